# The stages of every speech recipe, written once. A recipe is a run.sh that sets `recipe` and sources this file, a
# conf/recipe.conf that sets variables listed here, a conf/recipe.report.yaml, and a local/prepare_*.py that writes manifests.
# Stages call `asr-distill SUBCOMMAND` and read and write files only, so that any of them can be run again by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
recipe_dir=recipes/$recipe
source recipes/stages.sh
source recipes/distillation.sh
source recipes/specialists.sh
source recipes/paper_size.sh

# --- how the run goes
stage=1
stop_stage=100
exp=""                     # EXP_DIR, else exp/NAME
threads=2                  # for training and search
paper=no                   # yes: also train the paper's 8x2560
publish=no                 # yes: copy the figures of the finished run beside the recipe
# --- corpus and features
prepare=""                 # local/prepare_NAME.py with its options, without --output
split=""                   # --split of that script, where it has one
size=""                    # --size of that script, where it has one
feature_config=recipes/conf/fbank.yaml
allow_bad=""               # share of utterances (0 to 1) that features and search leave out where they cannot be used; each is listed
normalisation=speaker
speed_perturb=0.9,1.0,1.1  # 1.0 for none
# --- lexicon and language models
lexicon=lexicon.txt        # in manifests/, where the corpus has one
lexicon_format=auto        # its columns, comments and alternatives: auto, plain, lexiconp, lexiconp_silprob, cmudict, mfa
vocabulary=lexicon         # of the n-grams. lexicon: all its words; train: those of the training text, others are errors
lang_kind=build            # build: from dictionaries; subwords: from the training text alone
lang_options=""            # options of `asr-distill lang build` or `lang subwords`
language_models=""         # names; each has an arpa_NAME (file) or ngram_NAME (options of `lang ngram`)
lm_grid="1.0:0.0 1.0:1.0 1.0:-1.0"  # LM scale:word penalty (nats), each pair a graph; the best on dev is kept
# --- alignment and senones
num_leaves=300
triphone=yes               # also a triphone GMM on the same senones, the stronger baseline
triphone_gaussians=2500
# --- network and search
config=recipes/conf/cpu.yaml
first_config=recipes/conf/first.yaml
paper_config=recipes/conf/paper.yaml
network_options=""         # of `asr-distill decode`, for the network: --autocast auto computes in bf16 where the processor has it
paper_network_options=""   # the same for the 8x2560
accuracy_sets="train dev test"
paper_accuracy_sets="train dev test"
paper_options=""           # of `asr-distill train`, such as --set epochs=3
train_options=""           # of `asr-distill train` for the baseline, such as --set epochs=3
seeds=0
# --- distillation (stages 16 to 29, and 31)
distillation=no            # yes: an ensemble, its soft targets, students and their controls
ensemble_size=10
ensemble_sizes_wer=""      # such as "2 3 5": also search with the first so many networks; the reports have rows for 2 to 9
target_mode="--mode dense" # of `asr-distill soft-targets`: some hundred senones can be kept whole; many thousand ask for topk
target_options=""          # of the same, whatever the mode: --autocast auto asks the teacher in bf16 where the processor has it
student_config=recipes/conf/student.yaml
student_options=""         # of `asr-distill train` and `distill`, such as --set epochs=3: students and their controls have the same
student_seeds=0-4
student_width=512          # of student_config; ablations take the half and the quarter
student_fast_rate=2.0e-3
sweep=yes                  # temperatures and hard weights on one seed, chosen on dev; no: the two below
temperature=2
hard_weight=0.5
sweep_temperatures=1,2,5,10
sweep_hard_weights=0,0.5,1
sweep_options=""           # such as --set epochs=1
transfer_speeds=""         # also students and controls on copies at these speeds, such as 0.85,0.9,0.95,1.0,1.05,1.1,1.15
transfer_targets=""        # such as --temperature 2 --hard-weight 0; the sweep's point otherwise
warm=no                    # yes: also students and controls that start from the baseline of their seed
warm_options=""            # such as --set epochs=6, over student_options
warm_targets=""            # the same for them
small_data="0.03:60 0.1:30 0.2:20 0.5:12"  # share of the training utterances:epochs; "" for none; reports: 3, 10, 20, 50 % only
small_data_seeds=0
ablations=no
ablation_options=""        # such as --set epochs=4: a smaller budget for all of them, and for the student they are compared with
sequence=no                # yes: fine-tune by lattice-free MMI the first baseline, student and (with warm=yes) warm student
sequence_options="--set epochs=1 --set learning_rate=1.0e-4 --set batch_size=2500 --set keep=last"
# --- specialists for senones (stage 30), from the first baseline
specialists=no             # yes: clusters of confusable senones, a specialist for each with hard and with soft targets
specialist_config=recipes/conf/specialist.yaml
specialist_options=""      # of `asr-distill specialists train`, such as --epoch-frames 20000 --set epochs=2
soft_specialist_options="" # more of them for the specialists with soft targets, such as --temperature 5
specialist_clusters=20
specialist_size=30         # senones of each; clusters overlap
cluster_options=""         # of `asr-distill specialists cluster`, such as --num-frames 200000
combine_options=""         # of `asr-distill specialists combine`, such as --top-n 2
# --- many networks of the paper's size (stage 31, of the distillation: students take the sweep's point)
large=no                   # yes: ensemble_size networks of 8x2560, their soft targets, students of that size
large_options=""           # of `asr-distill train` and `distill`: members and students have the same
large_student_seeds=0
# --- search
engines=""                 # the first tunes on dev; default: k2 kaldi, or kaldi where k2 is not installed
phone_loop=yes             # also phone error rates; stages with many networks leave them out
wide=yes                   # search once more with wider beams, to see whether the search makes errors of its own
scale_grid=0.05,0.07,0.1,0.14,0.2,0.28
beam_options=""            # of `asr-distill decode`, such as --beam 16
wide_options="--beam 30 --max-active 20000"
reference_alignment=""     # an independent HTK label file to compare phone boundaries with

conf=recipe                # conf/NAME.conf and conf/NAME.report.yaml of the recipe

for ((word = 1; word < $#; word++)); do  # the configuration first, so that other options win over it
  [ "${!word}" != --conf ] || { next=$((word + 1)); conf=${!next}; }
done
[ -f "$recipe_dir/conf/$conf.conf" ] || die "--conf $conf: there is no $recipe_dir/conf/$conf.conf"
source "$recipe_dir/conf/$conf.conf"
command_line="bash recipes/$recipe/run.sh$([ $# = 0 ] || printf ' %q' "$@")"
asked_for_stages=no
for word in "$@"; do [ "$word" != --stage ] || asked_for_stages=yes; done
parse_options "$@"
check_options
[ "$conf" = recipe ] || conf_suffix=-$conf
prepare_options=()  # of $prepare, where a recipe's conf has the function recipe_options, which is called when options are known
if declare -F recipe_options > /dev/null; then recipe_options; fi
exp=${exp:-${EXP_DIR:-exp/$recipe${size:+-$size}${conf_suffix:-}}}
mkdir -p "$exp"

venv=$(bash local/setup.sh --print-venv)
distill() { "$venv/bin/asr-distill" "$@"; }
python() { "$venv/bin/python" "$@"; }
export OMP_NUM_THREADS=$threads
if [ -z "$engines" ]; then engines=kaldi; ! python -c "import k2" 2>/dev/null || engines="k2 kaldi"; fi

# For commands that refuse a speaker in two parts; the custom recipe has the option.
shared_speakers() { [ "${allow_shared_speakers:-no}" = no ] || echo --allow-shared-speakers; }

prepare_corpus() {
  local options=("${prepare_options[@]}")
  [ -z "$split" ] || options+=(--split "$split")
  [ -z "$size" ] || options+=(--size "$size")
  # shellcheck disable=SC2086  # the options are words
  python $prepare --output "$exp/manifests" "${options[@]}"
}

compute_features() {
  local options=(--config "$feature_config" --jobs "$threads" ${allow_bad:+--max-bad-share "$allow_bad"})
  # shellcheck disable=SC2046
  distill features --cuts "$exp"/manifests/cuts_{train,dev,test}.jsonl.gz --output "$exp/fbank" "${options[@]}" $(shared_speakers)
  [ "$speed_perturb" = 1.0 ] || distill features --cuts "$exp/manifests/cuts_train.jsonl.gz" --output "$exp/fbank_perturbed" \
    --speed-perturb "$speed_perturb" "${options[@]}"
}

check_leaves() { distill tree roots --lang "$exp/lang" --num-leaves "$num_leaves"; }  # now, and not when speech is aligned

build_lang() {
  local name arpa model options pair scale penalty words=()
  if [ "$lang_kind" = build ]; then
    words=(--vocabulary "$vocabulary")  # not of the lexicon: dev and test are aligned with all of its words
    [ ! -f "$exp/manifests/$lexicon" ] || lang_options="--lexicon $exp/manifests/$lexicon --lexicon-format $lexicon_format $lang_options"
  fi
  # shellcheck disable=SC2086
  distill lang "$lang_kind" $lang_options --cuts "$exp/manifests/cuts_train.jsonl.gz" --output "$exp/lang"
  check_leaves
  for name in $language_models; do
    arpa=arpa_$name options=ngram_$name
    if [ -n "${!arpa:-}" ]; then
      model=$exp/manifests/${!arpa}
    else
      model=$exp/lang/$name.arpa
      # shellcheck disable=SC2086
      distill lang ngram --cuts "$exp/manifests/cuts_train.jsonl.gz" --lang "$exp/lang" "${words[@]}" ${!options} \
        --output "$model"
    fi
    for split in dev test; do
      distill lang ppl --arpa "$model" --lang "$exp/lang" --cuts "$exp/manifests/cuts_$split.jsonl.gz" \
        --output "$exp/lang/perplexity_${name}_$split.json"
    done
    for pair in $lm_grid; do
      scale=${pair%:*} penalty=${pair#*:}
      distill lang g --lang "$exp/lang" --arpa "$model" --lm-scale "$scale" --word-penalty "$penalty" \
        --output "$exp/lang/G_${name}_${scale}_$penalty.fst"
    done
  done
  write_vocabulary "$model"
}

write_vocabulary() {  # write_vocabulary ARPA: lang/vocabulary.txt, the words that can be recognised: those of ARPA that lang has too
  python -c 'import sys
from asr_distill.base import write_text
from asr_distill.lang.arpa import END, UNKNOWN_NAMES, Arpa
from asr_distill.lang.symbols import SymbolTable
arpa, lang = sys.argv[1:]
known = set(SymbolTable.read(f"{lang}/words.txt")) - {END, *UNKNOWN_NAMES}
write_text(f"{lang}/vocabulary.txt", "".join(f"{word}\n" for word in sorted(known.intersection(Arpa.read(arpa).words))))' \
    "$1" "$exp/lang"
}

train_monophone() {
  distill align mono --cuts "$exp/fbank/cuts_train.jsonl.gz" --lang "$exp/lang" --output "$exp/mono"
  for split in dev test; do
    distill align forced --cuts "$exp/fbank/cuts_$split.jsonl.gz" --lang "$exp/lang" --scores-from "$exp/mono" \
      --output "$exp/mono/alignments_$split.jsonl.gz"
  done
}

# senones_from ALIGNMENTS_DIR OUTPUT TRAIN_CUTS: a tree, its labels on every split, priors, frame stores
senones_from() {
  local alignments=$1 output=$2 train_cuts=$3 cuts split of_train
  distill tree --lang "$exp/lang" --alignments "$alignments/alignments_train.jsonl.gz" --cuts "$exp/fbank/cuts_train.jsonl.gz" \
    --num-leaves "$num_leaves" --output "$output"
  for split in train dev test; do  # train first: frames of the others may be normalised as its are
    cuts=$exp/fbank/cuts_$split.jsonl.gz priors=() of_train=$output/frames/train
    [ "$split" != train ] || { cuts=$train_cuts; priors=(--priors "$output/priors.json"); of_train=""; }
    distill tree label --inventory "$output/senones.json" --alignments "$alignments/alignments_$split.jsonl.gz" \
      --cuts "$cuts" --output "$output/labels/cuts_$split.jsonl.gz" "${priors[@]}"
    write_frames "$output/labels/cuts_$split.jsonl.gz" "$output/senones.json" "$output/frames/$split" "$of_train"
  done
}

write_frames() {  # write_frames CUTS SENONES OUTPUT [TRAINING_FRAMES]: of which the statistics are taken where they are the corpus's
  local normalised=(--normalisation "$normalisation")
  [ "$normalisation" != corpus ] || [ -z "${4:-}" ] || normalised=(--normalisation-from "$4")
  distill frames --cuts "$1" "${normalised[@]}" --senones "$2" --output "$3"
}

train_network() {  # train_network SENONES CONFIG OUTPUT SEEDS [OPTIONS]
  # shellcheck disable=SC2046
  distill train --config "$2" --train "$1/frames/train" --dev "$1/frames/dev" --inventory "$1/senones.json" \
    --priors "$1/priors.json" --output "$3" --seeds "$4" --threads "$threads" $(shared_speakers) "${@:5}"
}

first_senones() {
  senones_from "$exp/mono" "$exp/first" "$exp/fbank/cuts_train.jsonl.gz"
  train_network "$exp/first" "$first_config" "$exp/models/first" 0
}

realign() {
  local train_cuts=$exp/fbank/cuts_train.jsonl.gz
  [ "$speed_perturb" = 1.0 ] || train_cuts=$exp/fbank_perturbed/cuts_train.jsonl.gz
  for split in train dev test; do
    local cuts=$exp/fbank/cuts_$split.jsonl.gz
    [ "$split" != train ] || cuts=$train_cuts
    distill align forced --cuts "$cuts" --lang "$exp/lang" --scores-from "$exp/models/first/seed0" \
      --output "$exp/align/alignments_$split.jsonl.gz"
  done
  senones_from "$exp/align" "$exp/senones" "$train_cuts"
}

# shellcheck disable=SC2086  # the options are words
train_baseline() { train_network "$exp/senones" "$config" "$exp/models/baseline" "$seeds" $train_options; }
# shellcheck disable=SC2086
train_paper() { train_network "$exp/senones" "$paper_config" "$exp/models/paper" 0 $paper_options; }

build_graphs() {
  local name pair inventory
  for name in $language_models; do
    for pair in $lm_grid; do
      for inventory in senones mono; do
        distill graph build --lang "$exp/lang" --g "$exp/lang/G_${name}_${pair%:*}_${pair#*:}.fst" \
          --inventory "$exp/$inventory/senones.json" --output "$exp/graph/$inventory/${name}_${pair%:*}_${pair#*:}"
      done
    done
  done
  for inventory in senones mono; do
    distill graph phone-loop --lang "$exp/lang" --inventory "$exp/$inventory/senones.json" \
      --alignments "$exp/mono/alignments_train.jsonl.gz" --output "$exp/graph/$inventory/phones"
  done
}

# decode_system SYSTEM MODEL INVENTORY LABELS OUTPUT "ENGINES": scales chosen on dev with the first engine, then test with each.
# OUTPUT has {lm} where the language model's name goes; a further engine writes to OUTPUT with its name after the system's.
decode_system() {
  local system=$1 model=$2 inventory=$3 labels=$4 pattern=$5 first=${6%% *} name engine folder output
  # shellcheck disable=SC2206  # the options are words
  local decode=(decode --model "$model" --system "$system" $network_options ${allow_bad:+--max-bad-share "$allow_bad"}) cuts=$labels/cuts
  for name in $language_models; do
    folder=${pattern//\{lm\}/$name}
    # shellcheck disable=SC2086
    distill "${decode[@]}" --graph "$exp/graph/$inventory/${name}"_* --cuts "${cuts}_dev.jsonl.gz" --engine "$first" \
      --scale-grid "$scale_grid" --output "$folder/dev" $beam_options
    for engine in $6; do
      output=$folder; [ "$engine" = "$first" ] || output=${folder/\/decode\/$system/\/decode\/${system}_$engine}
      # shellcheck disable=SC2086
      distill "${decode[@]}" --cuts "${cuts}_test.jsonl.gz" --engine "$engine" --scales-from "$folder/dev/tuned.json" \
        --lang "$exp/lang" --output "$output/test" $beam_options
      distill score "$output/test" --training-cuts "$exp/manifests/cuts_train.jsonl.gz"
    done
  done
  [ "$phone_loop" = yes ] || return 0
  folder=${pattern//\{lm\}/phones}
  for split in dev test; do
    local scales=(--scale-grid "$scale_grid" --graph "$exp/graph/$inventory/phones")
    [ "$split" = dev ] || scales=(--scales-from "$folder/dev/tuned.json")
    # shellcheck disable=SC2086
    distill "${decode[@]}" --cuts "${cuts}_$split.jsonl.gz" --engine "$first" "${scales[@]}" \
      --alignments "$exp/align/alignments_$split.jsonl.gz" --output "$folder/$split" $beam_options
  done
}

# decode_network SYSTEM "SEEDS" "ENGINES": every seed of models/SYSTEM, searched and measured
decode_network() {
  local seed model
  for seed in $2; do
    model=$exp/models/$1/seed$seed
    # shellcheck disable=SC2086
    distill accuracy --model "$model" --frames $(printf "$exp/senones/frames/%s " $accuracy_sets) --autocast auto \
      --output "$exp/accuracy/$1/seed$seed.json"
    decode_system "$1" "$model" senones "$exp/senones/labels" "$exp/decode/$1_{lm}/seed$seed" "$3"
    keep_scale "$1" "$seed"
  done
}

keep_scale() {  # keep_scale SYSTEM SEED: the bundle gets the acoustic scale that dev chose with the last language model
  distill bundle scale "$exp/models/$1/seed$2" --from "$exp/decode/$1_${language_models##* }/seed$2/dev/tuned.json" > "$exp/models/$1/bundle.txt"
}

train_triphone() {
  distill align triphone --cuts "$exp/fbank/cuts_train.jsonl.gz" --lang "$exp/lang" --inventory "$exp/senones/senones.json" \
    --alignments "$exp/align/alignments_train.jsonl.gz" --total-gaussians "$triphone_gaussians" --output "$exp/tri"
  decode_system tri "$exp/tri" senones "$exp/senones/labels" "$exp/decode/tri_{lm}/seed0" "${engines%% *}"
}

decode_monophone() { decode_system mono "$exp/mono" mono "$exp/fbank" "$exp/decode/mono_{lm}/seed0" "${engines%% *}"; }
decode_baseline() { decode_network baseline "$(seq_of "$seeds")" "$engines"; }
decode_paper() {
  local network_options=$paper_network_options accuracy_sets=$paper_accuracy_sets
  decode_network paper 0 "$engines"
}

seq_of() {  # 0-2,5 to 0 1 2 5
  local part
  for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done | tr '\n' ' '
}

first_seed() { echo "${1%%[-,]*}"; }  # of what seq_of takes

check_alignment() {  # against an independent alignment, where the corpus has one
  if [ -n "$reference_alignment" ] && [ -f "$reference_alignment" ]; then
    for kind in mono align; do
      distill align compare --alignments "$exp/$kind/alignments_train.jsonl.gz" --lang "$exp/lang" \
        --reference "$reference_alignment" --output "$exp/$kind/compare.json"
    done
  fi
}

wider_beams() {  # the same search with wider beams: what it changes is search error
  local first=${engines%% *} name seed
  seed=$(first_seed "$seeds")
  for name in $language_models; do
    # shellcheck disable=SC2086
    distill decode --model "$exp/models/baseline/seed$seed" --system baseline_wide --engine "$first" \
      --cuts "$exp/senones/labels/cuts_test.jsonl.gz" --scales-from "$exp/decode/baseline_$name/seed$seed/dev/tuned.json" \
      $wide_options ${allow_bad:+--max-bad-share "$allow_bad"} --output "$exp/decode/baseline_wide_$name/seed0/test"
  done
}

report() {
  local cut
  cut=$(python -c 'import gzip, json, sys; print(json.loads(gzip.open(sys.argv[1], "rt").readline())["id"])' "$exp/align/alignments_test.jsonl.gz")
  distill align plot --alignments "$exp/align/alignments_test.jsonl.gz" --lang "$exp/lang" \
    --cuts "$exp/fbank/cuts_test.jsonl.gz" --output "$exp/align/utterance.png" -- "$cut"
  # A run may leave out whatever an option leaves out; what is missing is named.
  local options=(--html "$exp/report.html" --plots "$exp/plots" --run "$exp" --config "$recipe_dir/conf/$conf.report.yaml" --table
    --allow-missing)
  if [ "$publish" = no ]; then options+=(--command "$command_line"); else options+=(--publish "$recipe_dir"); fi
  [ "$conf" = recipe ] || [ "$publish" = no ] || options+=(--merge)
  distill report "${options[@]}"
}

data_stages=7  # the first stages, which all others stand on
note_options
run_stage 1 prepare "the corpus" "manifests/" prepare_corpus
# What a recipe leaves to the size of the corpus, where its conf has the function recipe_sizes, is decided here.
if declare -F recipe_sizes > /dev/null; then recipe_sizes; note_options; fi
run_stage 2 features "manifests/" "fbank/, fbank_perturbed/" compute_features
run_stage 3 lang "manifests/" "lang/" build_lang
run_stage 4 monophone "fbank/, lang/" "mono/" train_monophone
run_stage 5 first "mono/, fbank/" "first/, models/first/" first_senones
run_stage 6 senones "models/first/, fbank/" "align/, senones/" realign
run_stage 7 graphs "lang/, senones/" "graph/" build_graphs
run_stage 8 alignment "mono/, align/" "mono/compare.json, align/compare.json" check_alignment
run_stage 9 decode-monophone "graph/, mono/" "decode/mono_*" decode_monophone
[ "$triphone" = no ] || run_stage 10 triphone-gmm "senones/, align/" "tri/, decode/tri_*" train_triphone
run_stage 11 train "senones/" "models/baseline/" train_baseline
run_stage 12 decode-baseline "graph/, models/baseline/" "decode/baseline_*" decode_baseline
[ "$wide" = no ] || run_stage 13 wider-beams "graph/, models/baseline/" "decode/baseline_wide_*" wider_beams
if [ "$paper" = yes ]; then
  run_stage 14 train-paper "senones/" "models/paper/" train_paper
  run_stage 15 decode-paper "graph/, models/paper/" "decode/paper_*" decode_paper
fi
if [ "$distillation" = yes ]; then
  run_stage 16 ensemble "senones/" "models/baseline/, models/ensemble/, ensemble/" train_ensemble
  run_stage 17 decode-ensemble "graph/, models/" "decode/, accuracy/" decode_ensemble
  run_stage 18 soft-targets "models/ensemble/" "targets/" write_soft_targets
  run_stage 19 sweep "targets/" "models/sweep/" sweep_students
  run_stage 20 students "targets/" "models/distilled/, models/control/" train_students
  run_stage 21 decode-students "graph/, models/" "decode/, accuracy/" decode_students
  [ "$warm" = no ] || run_stage 22 warm-students "targets/, models/baseline/" "models/warm/, models/warm_control/, decode/" warm_students
  [ -z "$transfer_speeds" ] || run_stage 23 transfer-students "models/ensemble/, fbank/" "transfer/, models/transfer*/, decode/" \
    transfer_students
  if [ -n "$small_data" ]; then
    run_stage 24 small-data "targets/" "models/hard_*, models/soft_*" train_small_data
    run_stage 25 decode-small-data "graph/, models/" "decode/, accuracy/" decode_small_data
  fi
  if [ "$ablations" = yes ]; then
    run_stage 26 ablations "targets/" "models/ab_*" train_ablations
    run_stage 27 decode-ablations "graph/, models/" "decode/, accuracy/" decode_ablations
    run_stage 28 stores "models/ensemble/" "targets/, models/dense/, models/topk/, models/topk_44/, models/topk_mean/, models/sampled/" compare_stores
  fi
fi
[ "$sequence" = no ] || run_stage 29 sequence "models/, align/" "models/mmi_*, models/ce_*, decode/" train_sequence
[ "$specialists" = no ] || run_stage 30 specialists "models/baseline/, senones/" "specialists/, models/specialists/" train_specialists
[ "$distillation$large" != yesyes ] || run_stage 31 large "senones/, graph/" "models/large/, models/large_distilled/, decode/" large_networks
rm -f "$exp"/.stages/*-report  # always anew: another option may have added rows
run_stage 32 report "decode/, models/" "results.json, RESULTS.md" report
