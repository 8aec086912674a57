# What every speech recipe shares: how a run is controlled. Sourced by recipes/speech.sh; not a program.
#
#   --stage N --stop-stage M   run only these stages, done or not; without --stage, stages that are done are left alone
#   --OPTION VALUE             any variable of recipes/speech.sh or of the recipe's conf/recipe.conf (dashes for underscores)

export ASR_DISTILL_PARENT=$$  # what the recipe runs ends with it, however it is ended

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

option_names() { settings | sed -nE 's/^([a-z][a-z0-9_]*)=.*/\1/p' | grep -vx recipe_dir | sort -u; }

known_options() { option_names | sed 's/^/--/' | tr '_\n' '- '; }

usage() {
  sed -n '2,/^[^#]/p' "$recipe_dir/run.sh" | sed -nE 's/^# ?//p'
  echo
  echo "example: bash recipes/$recipe/run.sh --stage 4 --stop-stage 6"
  echo "Stages that are done are left alone; --stage N runs N and those after it anew. Options and their defaults:"
  awk '
    { named = /^[a-z][a-z0-9_]*=/ && !/^recipe_dir=/; name = $0; sub(/=.*/, "", name) }
    NR == FNR { if (named) last[name] = FNR; next }
    /^# ---/ { sub(/^# --- /, ""); print "\n" $0 ":" }
    named && last[name] == FNR {
      comment = ""
      if (match($0, / +# /)) { comment = "   # " substr($0, RSTART + RLENGTH); $0 = substr($0, 1, RSTART - 1) }
      sub(/^[^=]*=/, ""); gsub(/_/, "-", name)
      print "  --" name " " $0 comment
    }' <(settings) <(settings)
}

# run_stage NUMBER NAME "what it reads" "what it writes" FUNCTION
run_stage() {
  local number=$1 name=$2 reads=$3 writes=$4 work=$5
  local marker="$exp/.stages/$number-$name" options
  [ "$number" -ge "$stage" ] && [ "$number" -le "$stop_stage" ] || return 0
  options=$(options_read_by "$work")
  if [ "$asked_for_stages" = no ] && [ -f "$marker" ]; then
    check_done "$number" "$name" "$options"
    say "Stage $number: $name is done"
    return 0
  fi
  say "Stage $number: $name   reads: $reads   writes: $writes"
  local start=$SECONDS
  "$work"
  mkdir -p "$exp/.stages"
  { echo "$((SECONDS - start)) seconds"; echo "$options"; } > "$exp/.stages/.$number-$name"
  mv "$exp/.stages/.$number-$name" "$marker"
  say "Stage $number: $name took $((SECONDS - start)) s"
}

# Else its figures would stand under options that they were not made with. Data that were prepared anew since are only noted: the
# commands themselves refuse what does not fit.
check_done() {  # check_done NUMBER NAME "OPTIONS NOW"
  local marker="$exp/.stages/$1-$2" before now earlier number
  while IFS= read -r before; do
    now=$(grep "^${before%%=*}=" <<< "$3") || continue  # an option that is no more, or the seconds
    [ "$before" = "$now" ] || die "stage $1 ($2) was run with $(as_option "$before"), now it is $(as_option "$now"). Next:" \
      "--stage $1, which runs it and all after it anew; the option as it was; or another EXP_DIR, for a run of its own"
  done < "$marker"
  for earlier in "$exp"/.stages/[0-9]*; do
    number=${earlier##*/} number=${number%%-*}
    if [ "$number" -lt "$1" ] && [ "$number" -le "$data_stages" ] && [ "$earlier" -nt "$marker" ]; then
      say "note: stage ${earlier##*/} was run again after stage $1 ($2); --stage $1 runs that and all after it anew"
    fi
  done
}

as_option() { local name=${1%%=*}; echo "--${name//_/-} ${1#*=}"; }

declare -A words_of=() value_of=()  # by function ' name ' and, where a value is read, ' $name '; by option its value
no_influence=" stage stop_stage threads publish exp conf "  # on what a stage makes

note_options() {  # before the stages, for these set variables by the names of options
  local _option _function  # no option is called so
  for _option in $(option_names); do
    case $no_influence in *" $_option "*) ;; *) value_of[$_option]=$(printf %q "${!_option}") ;; esac
  done
  for _function in $(declare -F | sed 's/.* //'); do
    words_of[$_function]=" $(declare -f "$_function" | grep -oE '([$][{]?[!#]?)?[A-Za-z_][A-Za-z0-9_]*' | sed -E 's/^[$][{]?[!#]?/$/' |
      sort -u | tr '\n' ' ')"
  done
}

options_read_by() {  # options_read_by FUNCTION: lines NAME=VALUE of the options that it reads, or a function that it calls
  local -A seen=()
  local queue=("$1") name text="" found
  while [ ${#queue[@]} -gt 0 ]; do
    name=${queue[0]} queue=("${queue[@]:1}")
    [ -z "${seen[$name]:-}" ] || continue
    seen[$name]=yes
    text+=${words_of[$name]:-}
    for found in ${words_of[$name]:-}; do
      case $found in check_*) continue ;; esac  # what these look at decides nothing that is written
      [ -z "${words_of[$found]:-}" ] || queue+=("$found")
    done
  done
  for name in $(printf '%s\n' "${!value_of[@]}" | sort); do
    case $name in
      arpa_*|ngram_*|ngram) found=" ${name%%_*}_ " ;;  # the name of a language model follows
      *_*) found=" $name " ;;                          # in (( )) without a dollar
      *) found=" \$$name " ;;
    esac
    case $text in *"$found"*|*" \$$name "*) echo "$name=${value_of[$name]}" ;; esac
  done
}
