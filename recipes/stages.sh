# What every speech recipe shares: how a run is controlled. Sourced by recipes/speech.sh; not a program.
#
#   --stage N --stop-stage M   run only these stages, done or not; without them, stages that are done are left alone
#   --OPTION VALUE             any variable of recipes/speech.sh or of the recipe's conf/recipe.conf (dashes for underscores)

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { echo "error: $*" >&2; exit 1; }

parse_options() {  # parse_options "$@": sets the variable that an option names; refuses one that no configuration knows
  while [ $# -gt 0 ]; do
    case "$1" in
      -h|--help) usage; exit 0 ;;
      --*) local _variable=${1#--}; _variable=${_variable//-/_}  # no option is called so
           [ -n "${!_variable+known}" ] || die "unknown option $1; known: $(known_options)"
           [ $# -ge 2 ] || die "$1 needs a value"
           printf -v "$_variable" '%s' "$2"; shift 2 ;;
      *) die "unexpected argument '$1'; options look like --stage 5" ;;
    esac
  done
}

check_options() {  # when options are known: what would otherwise be taken for another value, and only be noticed hours later
  local name
  for name in $(settings | sed -nE 's/^([a-z][a-z0-9_]*)=(yes|no)\>.*/\1/p' | sort -u); do yes_or_no "$name"; done
  for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-9]{1,9}$ ]] || die "--${name//_/-} '${!name}': expected the number of a stage, such as 5"
  done
  [ "$stage" -le "$stop_stage" ] || die "--stage $stage --stop-stage $stop_stage: expected a first stage that is not after the last"
}

yes_or_no() {  # yes_or_no VARIABLE
  case ${!1} in yes|no) ;; *) die "--${1//_/-} '${!1}': expected yes or no" ;; esac
}

settings() { sed '/^for ((word/,$d' recipes/speech.sh; cat "$recipe_dir/conf/$conf.conf"; }  # lines VARIABLE=DEFAULT, and others

known_options() {
  settings | sed -nE 's/^([a-z][a-z0-9_]*)=.*/--\1/p' | grep -v -- --recipe_dir | tr _ - | sort -u | tr '\n' ' '
}

usage() {
  sed -n '2,/^[^#]/p' "$recipe_dir/run.sh" | sed -nE 's/^# ?//p'
  echo; echo "options: $(known_options)"
  echo "example: bash recipes/$recipe/run.sh --stage 4 --stop-stage 6"
}

# run_stage NUMBER NAME "what it reads" "what it writes" FUNCTION
run_stage() {
  local number=$1 name=$2 reads=$3 writes=$4 work=$5
  local marker="$exp/.stages/$number-$name"
  [ "$number" -ge "$stage" ] && [ "$number" -le "$stop_stage" ] || return 0
  if [ "$asked_for_stages" = no ] && [ -f "$marker" ]; then say "Stage $number: $name is done"; return 0; fi
  say "Stage $number: $name   reads: $reads   writes: $writes"
  local start=$SECONDS
  "$work"
  mkdir -p "$exp/.stages"
  echo "$((SECONDS - start)) seconds" > "$marker"
  say "Stage $number: $name took $((SECONDS - start)) s"
}
