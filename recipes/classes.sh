# What the recipes with many classes share: a generalist, clusters, specialists, controls, tables. Sourced by recipes/NAME/run.sh.
#
#   --size NAME         recipes/NAME/conf/SIZE.yaml: full (default; hours), quick (minutes), and what else is there
#   --threads N         CPU threads of each run (default 1)
#   --jobs N            networks trained at a time, each in a process (default 2)
#   --device NAME       auto, cpu, cuda (default auto)
#   --stage N --stop-stage M   run only these stages; 1 data, 2 generalist, 3 specialists, 4 soft specialists,
#                       5 distilled back, 6 controls, 7 mixture of experts, 8 predictions,
#                       9 time and memory at 15,000 classes, 10 report
#   --publish yes       also write results.json, per_utterance.jsonl, RESULTS.md and plots/ to recipes/NAME
#   --exp DIR           where everything goes (default EXP_DIR, else exp/NAME-SIZE)
#
# It can be stopped and started at any moment: a network that is trained is not trained again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
recipe_dir=recipes/$recipe
source recipes/stages.sh
usage() { sed -n '2,/^[^#]/p' "$recipe_dir/run.sh" | sed -nE 's/^# ?//p'; sed -n '2,/^[^#]/p' recipes/classes.sh | sed -nE 's/^# ?//p'; }
known_options() { echo "--size --threads --jobs --device --stage --stop-stage --publish --exp"; }

size=full threads=1 jobs=2 device=auto stage=1 stop_stage=100 publish=no exp="" arguments="$*"
asked_for_stages=yes  # what is done is known from the files themselves, network by network
parse_options "$@"
config=$recipe_dir/conf/$size.yaml
[ -f "$config" ] || die "--size $size: expected one of $(ls "$recipe_dir/conf" | sed "s,[.]yaml,," | tr "\n" " ")"
exp=${exp:-${EXP_DIR:-exp/$recipe-$size}}

venv=$(bash local/setup.sh --print-venv)
export OMP_NUM_THREADS=$threads
classes() { local part=$1; shift; "$venv/bin/asr-distill" classes "$part" --config "$config" --run "$exp" "$@"; }
train() { classes train --threads "$threads" --jobs "$jobs" --device "$device" --systems "$1"; }

prepare() { classes data; classes plan; }
generalist() { train generalist; }
specialists() { train specialists; }
soft_specialists() { train soft_specialists; }
distilled_back() { train distilled_back,continued; }
controls() { train longer,wider,ensemble; }
mixture() { train mixture; }
predictions() { classes predict --device "$device"; }
scale() {
  local options=()
  [ "$size" != quick ] || options+=(--num-classes 2000 --num-clusters 8)
  classes scale --threads "$threads" "${options[@]}"
}
report() {
  local options=(--command "bash $recipe_dir/run.sh${arguments:+ $arguments}")
  [ "$publish" != yes ] || options+=(--publish "$recipe_dir")
  classes report "${options[@]}"
}

run_stage 1 data "archives" "data/" prepare
run_stage 2 generalist "data/" "models/generalist/" generalist
run_stage 3 specialists "models/generalist/" "clusters.json, models/specialists/" specialists
run_stage 4 soft-specialists "models/generalist/" "models/soft_specialists/" soft_specialists
run_stage 5 distilled-back "models/specialists/" "models/distilled_back/, models/continued/" distilled_back
run_stage 6 controls "data/" "models/longer/, models/wider/, models/ensemble/" controls
run_stage 7 mixture "data/" "models/mixture/" mixture
run_stage 8 predictions "models/" "predictions/" predictions
run_stage 9 scale "" "scale.json" scale
run_stage 10 report "predictions/" "results.json, RESULTS.md, plots/" report
