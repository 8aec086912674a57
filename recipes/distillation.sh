# The stages that make many networks into one: an ensemble, its soft targets, students, their controls. Sourced by recipes/speech.sh.

ensemble_seeds() { seq 0 $((ensemble_size - 1)) | tr '\n' ' '; }

# Several networks: one thread each, as many at a time as there are threads. One network: all threads.
jobs_for() { case "$1" in *[-,]*) echo "--jobs $threads --threads 1" ;; *) echo "--threads $threads" ;; esac; }

training_frames() { echo "${transfer_frames:-$exp/senones/frames/train}"; }

train_seeds() {  # train_seeds CONFIG SYSTEM SEEDS [OPTIONS]: hard labels
  # shellcheck disable=SC2046
  distill train --config "$1" --train "$(training_frames)" --dev "$exp/senones/frames/dev" \
    --inventory "$exp/senones/senones.json" --priors "$exp/senones/priors.json" --output "$exp/models/$2" --seeds "$3" \
    $(jobs_for "$3") $(shared_speakers) "${@:4}"
}

distil_seeds() {  # distil_seeds SYSTEM SEEDS [OPTIONS]: from the ensemble's stored targets, unless an option names another teacher
  local teacher=(--soft-targets "$exp/targets/ensemble")
  case " ${*:3} " in *" --soft-targets "*|*" --teacher "*) teacher=() ;; esac
  local jobs
  jobs=$(jobs_for "$2")
  [ "$1" != sweep ] || jobs="--jobs $threads --threads 1"
  # shellcheck disable=SC2086  # the options are words
  distill distill --config "$student_config" $student_options --train "$(training_frames)" \
    --dev "$exp/senones/frames/dev" --inventory "$exp/senones/senones.json" --priors "$exp/senones/priors.json" \
    "${teacher[@]}" --output "$exp/models/$1" --seeds "$2" $jobs $(shared_speakers) "${@:3}"
}

point() {  # point [OPTIONS]: the temperature and hard weight that students take, unless there are OPTIONS that say it
  if [ -n "${1:-}" ]; then echo "$1"
  elif [ "$sweep" = yes ]; then echo "--point $exp/models/sweep/sweep.json"
  else echo "--temperature $temperature --hard-weight $hard_weight"; fi
}

# combine_members NAME MODE [SIZE [SYSTEM]]: a folder that decodes, scores and teaches as one model, of SYSTEM's first SIZE
combine_members() {
  local members=() dev=() seed
  for seed in $(seq 0 $((${3:-$ensemble_size} - 1))); do members+=("$exp/models/${4:-baseline}/seed$seed"); done
  case $2 in weighted|best) dev=(--dev "$exp/senones/frames/dev" --autocast auto) ;; esac
  distill ensemble combine --members "${members[@]}" --mode "$2" "${dev[@]}" --output "$exp/models/$1/seed0"
}

soft_targets() {  # soft_targets TEACHER NAME [OPTIONS instead of target_mode]
  local mode=$target_mode
  [ $# = 2 ] || mode=${*:3}
  # shellcheck disable=SC2086
  distill soft-targets --teacher "$exp/models/$1" --frames "$(training_frames)" --output "$exp/targets/$2" $mode $target_options
}

# measure_seeds SYSTEM "SEEDS" [TUNED SEED_OF_TUNED]: frame accuracy of models/SYSTEM/seedN, and the search of the test set. The
# first seed chooses its scales on dev and the others take them; with TUNED, all take those of that system's seed, which has
# chosen them before. What is newer than the model is left alone.
measure_seeds() {
  local system=$1 seed first=${2%% *} tuned=${3:-$1} model
  local seed_of_tuned=${4:-$first}
  for seed in $2; do
    model=$exp/models/$system/seed$seed
    # shellcheck disable=SC2046,SC2086
    newer "$exp/accuracy/$system/seed$seed.json" "$model" ||
      distill accuracy --model "$model" --frames $(printf "$exp/senones/frames/%s " $accuracy_sets) --autocast auto \
        --output "$exp/accuracy/$system/seed$seed.json"
    if [ "$tuned" = "$system" ] && [ "$seed" = "$first" ]; then
      newer "$exp/decode/${system}_$(last_searched)/seed$seed/test/decode.json" "$model" ||
        decode_system "$system" "$model" senones "$exp/senones/labels" "$exp/decode/${system}_{lm}/seed$seed" "${engines%% *}"
      [ -f "$model/ensemble.json" ] || keep_scale "$system" "$seed"
    else
      search_test "$system" "$seed" "$tuned" "$seed_of_tuned"
    fi
  done
}

searched() { if [ "$phone_loop" = yes ]; then echo "$language_models phones"; else echo "$language_models"; fi; }
last_searched() { local names; names=$(searched); echo "${names##* }"; }

newer() {  # newer FILE MODEL: FILE is there, and not older than the weights
  local weights=$2/model.safetensors
  [ -f "$weights" ] || weights=$2/ensemble.json
  [ -f "$1" ] && [ ! "$weights" -nt "$1" ]
}

search_test() {  # search_test SYSTEM SEED TUNED SEED_OF_TUNED: words with each LM, and phones, at scales that were chosen before
  local name output phones tuned
  for name in $(searched); do
    output=$exp/decode/${1}_$name/seed$2/test tuned=$exp/decode/${3}_$name/seed$4/dev/tuned.json
    if newer "$output/decode.json" "$exp/models/$1/seed$2" && [ ! "$tuned" -nt "$output/decode.json" ]; then continue; fi
    phones=()
    [ "$name" != phones ] || phones=(--graph "$exp/graph/senones/phones" --alignments "$exp/align/alignments_test.jsonl.gz")
    # shellcheck disable=SC2086
    distill decode --model "$exp/models/$1/seed$2" --system "$1" --cuts "$exp/senones/labels/cuts_test.jsonl.gz" \
      --engine "${engines%% *}" --scales-from "$tuned" "${phones[@]}" --output "$output" $network_options $beam_options \
      ${allow_bad:+--max-bad-share "$allow_bad"}
  done
}

train_ensemble() {
  local members=() seed
  for seed in $(ensemble_seeds); do members+=("$exp/models/baseline/seed$seed"); done
  # shellcheck disable=SC2086
  train_seeds "$config" baseline "0-$((ensemble_size - 1))" $train_options
  combine_members ensemble arithmetic
  combine_members geometric geometric
  distill ensemble curve --members "${members[@]}" --frames "$exp"/senones/frames/{dev,test} --modes arithmetic geometric \
    --dev "$exp/senones/frames/dev" --autocast auto --output "$exp/ensemble/curve.json" --plot "$exp/ensemble/curve.png"
}

decode_ensemble() {
  measure_seeds baseline "$(ensemble_seeds)"
  measure_seeds ensemble 0
  local size
  for size in $ensemble_sizes_wer; do
    if [ "$size" -gt "$ensemble_size" ]; then say "the ensemble has $ensemble_size networks: none of $size is searched"; continue; fi
    measure_size "$size"
  done
}

measure_size() {  # measure_size N: the first N baselines on test, at the scales that all of them chose on dev
  local name=ensemble_$1 phone_loop=no language_models=${language_models##* }
  combine_members "$name" arithmetic "$1"
  newer "$exp/accuracy/$name/seed0.json" "$exp/models/$name/seed0" ||
    distill accuracy --model "$exp/models/$name/seed0" --frames "$exp"/senones/frames/{dev,test} --autocast auto \
      --output "$exp/accuracy/$name/seed0.json"
  search_test "$name" 0 ensemble 0
}

write_soft_targets() { soft_targets ensemble/seed0 ensemble; }

sweep_students() {
  # shellcheck disable=SC2086
  [ "$sweep" = no ] || distil_seeds sweep 0 --temperature "$sweep_temperatures" --hard-weight "$sweep_hard_weights" $sweep_options
}

train_students() {  # the students, and networks that differ from them in nothing but their targets
  # shellcheck disable=SC2046
  distil_seeds distilled "$student_seeds" $(point)
  # shellcheck disable=SC2086
  train_seeds "$student_config" control "$student_seeds" $student_options
}

decode_students() {
  measure_seeds distilled "$(seq_of "$student_seeds")"
  measure_seeds control "$(seq_of "$student_seeds")"
}

# The same students and controls, each trained on from the baseline of its seed instead of from fresh weights.
warm_students() {
  # shellcheck disable=SC2034  # for distil_seeds
  local student_options="$student_options $warm_options" start=(--initial-model "$exp/models/baseline/seed{seed}")
  # shellcheck disable=SC2046
  distil_seeds warm "$student_seeds" $(point "$warm_targets") "${start[@]}"
  # shellcheck disable=SC2086
  train_seeds "$student_config" warm_control "$student_seeds" $student_options "${start[@]}"
  measure_seeds warm "$(seq_of "$student_seeds")"
  measure_seeds warm_control "$(seq_of "$student_seeds")"
}

# The same students and controls on copies of the training utterances at more speeds than the members have seen: the ensemble is
# asked about frames that it has not been fitted to. Also networks as the members are, on those copies: what more data does alone.
transfer_students() {
  local transfer_frames=$exp/transfer/frames/train cuts=$exp/fbank_transfer/cuts_train.jsonl.gz
  local alignments=$exp/transfer/alignments_train.jsonl.gz labels=$exp/transfer/labels/cuts_train.jsonl.gz
  distill features --cuts "$exp/manifests/cuts_train.jsonl.gz" --output "$exp/fbank_transfer" --speed-perturb "$transfer_speeds" \
    --config "$feature_config" --jobs "$threads" ${allow_bad:+--max-bad-share "$allow_bad"}
  distill align forced --cuts "$cuts" --lang "$exp/lang" --scores-from "$exp/models/first/seed0" --output "$alignments"
  distill tree label --inventory "$exp/senones/senones.json" --alignments "$alignments" --cuts "$cuts" --output "$labels"
  write_frames "$labels" "$exp/senones/senones.json" "$transfer_frames" "$exp/senones/frames/train"
  soft_targets ensemble/seed0 transfer
  # shellcheck disable=SC2046
  distil_seeds transfer "$student_seeds" $(point "$transfer_targets") --soft-targets "$exp/targets/transfer"
  # shellcheck disable=SC2086
  train_seeds "$student_config" transfer_control "$student_seeds" $student_options
  # shellcheck disable=SC2086
  train_seeds "$config" transfer_baseline "$student_seeds" $train_options
  measure_seeds transfer "$(seq_of "$student_seeds")"
  measure_seeds transfer_control "$(seq_of "$student_seeds")"
  measure_seeds transfer_baseline "$(seq_of "$student_seeds")"
}

train_small_data() {  # SHARE:EPOCHS pairs: hard targets with early stopping, soft targets without
  local pair share name
  for pair in $small_data; do
    share=${pair%:*} name=$(share_name "${pair%:*}")
    # shellcheck disable=SC2086
    train_seeds "$config" "hard_$name" "$small_data_seeds" $train_options --share "$share" --set "epochs=${pair#*:}" --set patience=10
    # shellcheck disable=SC2046
    distil_seeds "soft_$name" "$small_data_seeds" $(point) --share "$share" --set "epochs=${pair#*:}" --set keep=last
  done
}

decode_small_data() {
  local pair system seed seeds language_models=${language_models##* }  # one is enough here
  seeds=$(seq_of "$small_data_seeds")
  for pair in $small_data; do
    for system in "hard_$(share_name "${pair%:*}")" "soft_$(share_name "${pair%:*}")"; do
      measure_seeds "$system" "$seeds"
      for seed in $seeds; do
        newer "$exp/accuracy/${system}_share/seed$seed.json" "$exp/models/$system/seed$seed" ||
          distill accuracy --model "$exp/models/$system/seed$seed" --frames "$exp/senones/frames/train" --share "${pair%:*}" \
            --autocast auto --output "$exp/accuracy/${system}_share/seed$seed.json"
      done
    done
  done
}

share_name() { awk "BEGIN { printf \"%gpct\", 100 * $1 }"; }

# One thing changed at a time: from the chosen point, or for losses from ab_paper_t2 and ab_soft_only_t2, which are at T = 2. Where it
# is the network or its input, the same with hard labels is the control.
# With ablation_options, such as fewer epochs, the student and its control are trained with them too, to be compared with.
train_ablations() {
  # shellcheck disable=SC2034  # for distil_seeds
  local student_options="$student_options $ablation_options"
  local half=$((student_width / 2)) quarter=$((student_width / 4)) wider=$((student_width * 3 / 2))
  soft_targets geometric/seed0 geometric
  soft_targets "distilled/seed$(first_seed "$student_seeds")" generation2
  # shellcheck disable=SC2046
  {
    [ -z "$ablation_options" ] || distil_seeds ab_reference 0 $(point)
    distil_seeds ab_geometric 0 $(point) --soft-targets "$exp/targets/geometric"
    distil_seeds ab_generation2 0 $(point) --soft-targets "$exp/targets/generation2"
    distil_seeds ab_half 0 $(point) --set "network.width=$half"
    distil_seeds ab_quarter 0 $(point) --set "network.width=$quarter"
    distil_seeds ab_deeper 0 $(point) --set "network.layers=6"
    distil_seeds ab_wider 0 $(point) --set "network.width=$wider"
    distil_seeds ab_fast 0 $(point) --set "learning_rate=$student_fast_rate"
    distil_seeds ab_dropout 0 $(point) --set "network.dropout=0.2"
    distil_seeds ab_warm 0 $(point) --initial-model "$exp/models/baseline/seed0"
    distil_seeds ab_soft_only_t1 0 --temperature 1 --hard-weight 0
    distil_seeds ab_soft_only_t2 0 --temperature 2 --hard-weight 0
    distil_seeds ab_paper_t2 0 --temperature 2 --hard-weight 0.5
    distil_seeds ab_convex 0 --loss convex --temperature 2 --soft-weight 0.5 --hard-weight 0.5
    distil_seeds ab_student_at_one 0 --loss student_at_one --temperature 2 --hard-weight 0.5
    distil_seeds ab_corrected 0 --loss corrected --temperature 2 --hard-weight 0
    # a store that holds some classes only has no logits to match
    [ "$target_mode" != "--mode dense" ] || distil_seeds ab_logits 0 --loss logits --temperature 2 --hard-weight 0
    distil_seeds ab_on_the_fly 0 $(point) --teacher "$exp/models/ensemble/seed0"
    distil_seeds ab_soften_members 0 $(point) --teacher "$exp/models/ensemble/seed0" --soften members
    distil_seeds ab_masked 0 $(point) --teacher "$exp/models/ensemble/seed0" --set "spec_augment={}"
  }
  # shellcheck disable=SC2086
  [ -z "$ablation_options" ] || train_seeds "$student_config" ab_reference_hard 0 $student_options
  hard_ablation half "network.width=$half"
  hard_ablation quarter "network.width=$quarter"
  hard_ablation deeper "network.layers=6"
  hard_ablation wider "network.width=$wider"
  hard_ablation masked "spec_augment={}"
}

# shellcheck disable=SC2086  # the options are words
hard_ablation() { train_seeds "$student_config" "ab_$1_hard" 0 $student_options --set "$2"; }

# What each mode of the store costs: divergence from dense, and the same three students from each mode, all with the options of
# the ablations. topk has the bytes of topk_44, more of them for classes and fewer for the tail.
compare_stores() {
  # shellcheck disable=SC2034  # for distil_seeds and measure_seeds
  local student_options="$student_options $ablation_options" language_models=${language_models##* } accuracy_sets="dev test"
  local phone_loop=no whole=ensemble
  distill soft-targets --study --teacher "$exp/models/ensemble/seed0" --frames "$exp/senones/frames/dev" --output "$exp/targets/study.json"
  local chosen=$temperature mode
  [ "$sweep" = no ] ||
    chosen=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["chosen"]["temperature"])' "$exp/models/sweep/sweep.json")
  soft_targets ensemble/seed0 topk --mode topk --top-k 12 --tail-rank 20 --temperatures "1,$chosen"
  soft_targets ensemble/seed0 topk_44 --mode topk --top-k 6 --tail-rank 44 --temperatures "1,$chosen"
  soft_targets ensemble/seed0 topk_mean --mode topk --top-k 16 --tail-rank 0 --temperatures "1,$chosen"
  soft_targets ensemble/seed0 sampled --mode sampled --temperatures "$chosen"
  [ "$target_mode" = "--mode dense" ] || { whole=dense; soft_targets ensemble/seed0 dense --mode dense; }
  # shellcheck disable=SC2046
  distil_seeds dense 0-2 $(point) --soft-targets "$exp/targets/$whole"
  # shellcheck disable=SC2046
  for mode in topk topk_44 topk_mean sampled; do distil_seeds "$mode" 0-2 $(point) --soft-targets "$exp/targets/$mode"; done
  measure_seeds dense "0 1 2"
  for mode in topk topk_44 topk_mean sampled; do measure_seeds "$mode" "0 1 2" dense 0; done
}

decode_ablations() {
  local folder name language_models=${language_models##* } accuracy_sets="dev test" student  # enough here
  student=$(first_seed "$student_seeds")
  for folder in "$exp"/models/ab_*; do
    name=$(basename "$folder")
    case $name in
      *_hard) measure_seeds "$name" 0 control "$student" ;;
      *) measure_seeds "$name" 0 distilled "$student" ;;
    esac
  done
  for name in geometric weighted best; do
    [ -f "$exp/models/$name/seed0/ensemble.json" ] || combine_members "$name" "$name"
    measure_seeds "$name" 0
  done
}

# Lattice-free MMI from the first baseline and from the first of the students and of the warm ones, where there are any, and for
# each the same steps of plain cross-entropy. All are written as seed 0, and decoded at scales of their own.
train_sequence() {
  local system of options start
  for system in baseline distilled warm; do
    start=$exp/models/$system/seed$(first_seed "$student_seeds")
    [ "$system" != baseline ] || start=$exp/models/baseline/seed$(first_seed "$seeds")
    [ -d "$start" ] || continue
    # the options that the network was trained with, for they may say its size; those of the sequence stage win
    of=$config options="$train_options $sequence_options"
    [ "$system" = baseline ] || { of=$student_config options="$student_options $sequence_options"; }
    # shellcheck disable=SC2086
    train_seeds "$of" "mmi_$system" 0 --objective lfmmi --alignments "$exp/align/alignments_train.jsonl.gz" \
      --initial-model "$start" $options
    # shellcheck disable=SC2086
    train_seeds "$of" "ce_$system" 0 --initial-model "$start" $options
    measure_seeds "mmi_$system" 0
    measure_seeds "ce_$system" 0
  done
}
