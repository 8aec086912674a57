#!/usr/bin/env bash
# Measures training, features and search against named references, on this machine; some minutes on two quiet cores.
#
#   --size full|tiny   what to measure: recipes/bench/conf/SIZE.yaml (default full)
#   --threads N        CPU threads (default 2)
#   --publish yes      also write recipes/bench/results.json and RESULTS.md
#   --exp DIR          where the figures go (default EXP_DIR, else exp/bench)
set -euo pipefail
cd "$(dirname "$0")/../.."
export ASR_DISTILL_PARENT=$$  # what the recipe runs ends with it, however it is ended

size=full threads=2 publish=no exp=${EXP_DIR:-exp/bench} arguments="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) sed -n '2,/^[^#]/p' "$0" | sed -nE 's/^# ?//p'; exit 0 ;;
    --size|--threads|--publish|--exp)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" '%s' "$2"; shift 2 ;;
    *) echo "error: unknown option '$1'; see bash recipes/bench/run.sh --help" >&2; exit 2 ;;
  esac
done
[ -f "recipes/bench/conf/$size.yaml" ] || { echo "error: --size $size: expected full or tiny" >&2; exit 2; }

venv=$(bash local/setup.sh --print-venv)
export OMP_NUM_THREADS=$threads
start=$SECONDS
"$venv/bin/asr-distill" bench all --config "recipes/bench/conf/$size.yaml" --threads "$threads" --output "$exp/bench.json"
echo "measured in $((SECONDS - start)) s" >&2
if [ "$publish" = yes ]; then
  "$venv/bin/asr-distill" bench publish --input "$exp/bench.json" --output recipes/bench \
    --command "bash recipes/bench/run.sh${arguments:+ $arguments}"
fi
