#!/usr/bin/env bash
# Demo on synthesised speech (espeak-ng): from nothing to word error rates and an ensemble distilled into one network.
# Needs only Python, git and a package registry; all of its speech is synthesised. The systems stand in systems.yaml.
#
#   bash recipes/demo/run.sh --size tiny
set -euo pipefail

stage=1             # first stage to run; without this option, what is complete is left alone
stop_stage=100      # last stage to run
exp=                # folder of the run (default: EXP_DIR, else exp/demo-SIZE)
size=small          # of the corpus: small or tiny
num_leaves=200      # of the phonetic decision tree
only=               # entries of systems.yaml to make, with what they read (default: all)
jobs=2              # processes at a time
source "$(dirname "$0")/../begin.sh"
exp=${exp:-${EXP_DIR:-exp/demo-$size}}

senones() {  # senones ALIGNMENTS OUTPUT: a tree, and for each split the labels of its cuts and a frame store
  once "$2/senones.json" -- asr-distill tree --lang "$exp/lang" --alignments "$1/alignments_train.jsonl.gz" \
    --cuts "$exp/fbank/cuts_train.jsonl.gz" --num-leaves "$num_leaves" --output "$2"
  for split in train dev test; do
    made=("$2/labels/cuts_$split.jsonl.gz") priors=()
    [ $split != train ] || { made+=("$2/priors.json"); priors=(--priors "$2/priors.json"); }
    once "${made[@]}" -- asr-distill tree label --inventory "$2/senones.json" "${priors[@]}" \
      --alignments "$1/alignments_$split.jsonl.gz" --cuts "$exp/fbank/cuts_$split.jsonl.gz" --output "$2/labels/cuts_$split.jsonl.gz"
    once "$2/frames/$split" -- asr-distill frames --cuts "$2/labels/cuts_$split.jsonl.gz" --senones "$2/senones.json" \
      --normalisation speaker --output "$2/frames/$split"
  done
}

if stage 1 "corpus: synthesised speech, manifests"; then
  once "$exp/manifests" -- python local/prepare_demo.py --size "$size" --output "$exp/manifests"
fi
if stage 2 "features"; then
  once "$exp/fbank" -- asr-distill features --cuts "$exp"/manifests/cuts_{train,dev,test}.jsonl.gz --output "$exp/fbank" \
    --config recipes/conf/fbank.yaml --jobs "$jobs"
fi
if stage 3 "lexicon, bigram, G"; then
  train=$exp/manifests/cuts_train.jsonl.gz arpa=$exp/lang/bigram.arpa
  once "$exp/lang" -- asr-distill lang build --lexicon "$exp/manifests/lexicon.txt" --cuts "$train" --output "$exp/lang"
  once "$arpa" -- asr-distill lang ngram --cuts "$train" --lang "$exp/lang" --order 2 --method kneser_ney --output "$arpa"
  once "$exp/lang/G_bigram.fst" -- asr-distill lang g --lang "$exp/lang" --arpa "$arpa" --output "$exp/lang/G_bigram.fst"
  for split in dev test; do
    once "$exp/lang/perplexity_bigram_$split.json" -- asr-distill lang ppl --arpa "$arpa" --lang "$exp/lang" \
      --cuts "$exp/manifests/cuts_$split.jsonl.gz" --output "$exp/lang/perplexity_bigram_$split.json"
  done
fi
if stage 4 "monophone GMM and its alignments"; then
  once "$exp/mono/gmm.json" -- asr-distill align mono --cuts "$exp/fbank/cuts_train.jsonl.gz" --lang "$exp/lang" --output "$exp/mono"
  for split in dev test; do
    once "$exp/mono/alignments_$split.jsonl.gz" -- asr-distill align forced --cuts "$exp/fbank/cuts_$split.jsonl.gz" \
      --lang "$exp/lang" --scores-from "$exp/mono" --output "$exp/mono/alignments_$split.jsonl.gz"
  done
fi
if stage 5 "senones of these alignments, and a network that aligns better"; then
  senones "$exp/mono" "$exp/first"
  once "$exp/models/first/seed0" -- asr-distill train --config recipes/conf/first.yaml --train "$exp/first/frames/train" --dev "$exp/first/frames/dev" \
    --inventory "$exp/first/senones.json" --priors "$exp/first/priors.json" --seeds 0 --threads "$jobs" --output "$exp/models/first"
fi
if stage 6 "alignments of that network, senones, frame stores"; then
  for split in train dev test; do
    once "$exp/align/alignments_$split.jsonl.gz" -- asr-distill align forced --cuts "$exp/fbank/cuts_$split.jsonl.gz" \
      --lang "$exp/lang" --scores-from "$exp/models/first/seed0" --output "$exp/align/alignments_$split.jsonl.gz"
  done
  senones "$exp/align" "$exp/senones"
fi
if stage 7 "graphs, triphone GMM"; then
  for inventory in senones mono; do
    once "$exp/graph/$inventory/bigram" -- asr-distill graph build --lang "$exp/lang" --g "$exp/lang/G_bigram.fst" \
      --inventory "$exp/$inventory/senones.json" --output "$exp/graph/$inventory/bigram"
    once "$exp/graph/$inventory/phones" -- asr-distill graph phone-loop --lang "$exp/lang" --inventory "$exp/$inventory/senones.json" \
      --alignments "$exp/mono/alignments_train.jsonl.gz" --output "$exp/graph/$inventory/phones"
  done
  once "$exp/tri/gmm.json" -- asr-distill align triphone --cuts "$exp/fbank/cuts_train.jsonl.gz" --lang "$exp/lang" --inventory \
    "$exp/senones/senones.json" --alignments "$exp/align/alignments_train.jsonl.gz" --total-gaussians 2500 --output "$exp/tri"
fi
if stage 8 "the systems: networks, ensemble, student, control"; then
  asr-distill run recipes/demo/systems.yaml --exp "$exp" --jobs "$jobs" ${only:+--only "$only"}
fi
if stage 9 "report"; then
  asr-distill report --run "$exp" --systems recipes/demo/systems.yaml --allow-missing --table --html "$exp/report.html" --plots "$exp/plots"
fi
