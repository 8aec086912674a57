#!/usr/bin/env bash
# Every MNIST experiment of the paper: teacher, students by width and temperature, transfer sets without some digits.
#
#   --size full|medium|quick   recipes/mnist/conf/SIZE.yaml: a night on two cores, two hours on one, minutes (default full)
#   --threads N                CPU threads of each run (default 1)
#   --jobs N                   runs at a time, each in a process (default 2)
#   --paper-protocol yes|no    report the biases with the fewest test errors beside the honest ones (default yes)
#   --publish yes              also write results.json, per_utterance.jsonl, RESULTS.md and plots/ to recipes/mnist
#   --corpus-dir DIR           the four idx files (default MNIST_DIR, else ../shared/mnist, else downloaded to downloads/mnist)
#   --exp DIR                  where the runs go (default EXP_DIR, else exp/mnist-SIZE)
#
# It can be stopped and started at any moment: a run that is trained is not trained again.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ASR_DISTILL_PARENT=$$  # what the recipe runs ends with it, however it is ended

size=full threads=1 jobs=2 paper_protocol=yes publish=no corpus_dir="" exp="" arguments="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) sed -n '2,/^[^#]/p' "$0" | sed -nE 's/^# ?//p'; exit 0 ;;
    --size|--threads|--jobs|--paper-protocol|--publish|--corpus-dir|--exp)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      name=${1#--}; printf -v "${name//-/_}" '%s' "$2"; shift 2 ;;
    *) echo "error: unknown option '$1'; see bash recipes/mnist/run.sh --help" >&2; exit 2 ;;
  esac
done
config=recipes/mnist/conf/$size.yaml
[ -f "$config" ] || { echo "error: --size $size: expected full, medium or quick" >&2; exit 2; }
exp=${exp:-${EXP_DIR:-exp/mnist-$size}}

venv=$(bash local/setup.sh --print-venv)
export OMP_NUM_THREADS=$threads
common=(--config "$config" --run "$exp" ${corpus_dir:+--corpus-dir "$corpus_dir"})
start=$SECONDS
"$venv/bin/asr-distill" mnist estimate "${common[@]}" --threads "$threads" --jobs "$jobs"
"$venv/bin/asr-distill" mnist train "${common[@]}" --threads "$threads" --jobs "$jobs"
report=(--command "bash recipes/mnist/run.sh${arguments:+ $arguments}")
[ "$paper_protocol" = no ] || report+=(--paper-protocol)
[ "$publish" != yes ] || report+=(--publish recipes/mnist)
"$venv/bin/asr-distill" mnist report "${common[@]}" "${report[@]}"
echo "took $((SECONDS - start)) s" >&2
