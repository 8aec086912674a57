# What recipes share: options, the environment, stages. Sourced by recipes/NAME/run.sh behind its variables; not a program.
# A variable is an option of the same name with dashes; its comment is its help.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
script=recipes/$(basename "$(dirname "$0")")/run.sh
export ASR_DISTILL_PARENT=$$  # what the recipe runs ends with it, however it is ended
stages_asked=no

die() { echo "error: $*" >&2; exit 1; }
settings() { sed -nE '/^source /q; s/^([a-z][a-z0-9_]*)=([^#]*[^# ]|) *(# *(.*))?$/\1\t\2\t\4/p' "$script"; }
usage() {
  sed -n '2,/^[^#]/p' "$script" | sed -nE 's/^# ?//p'
  printf '\nOptions and their defaults:\n'
  settings | awk -F '\t' '{ gsub(/_/, "-", $1); printf "  --%-24s %s\n", $1 " " $2, $3 }'
}

while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) usage; exit 0 ;;
    --*) name=${1#--}; name=${name//-/_}
         settings | cut -f 1 | grep -qx "$name" || die "unknown option $1; bash $script --help lists them"
         [ $# -ge 2 ] || die "$1 needs a value"
         [ "$name" != stage ] || stages_asked=yes
         printf -v "$name" '%s' "$2"; shift 2 ;;
    *) die "unexpected argument '$1'; options look like --stage 5" ;;
  esac
done
for name in stage stop_stage; do
  [[ ${!name} =~ ^[0-9]{1,3}$ ]] || die "--${name//_/-} '${!name}': expected the number of a stage, such as 5"
done
[ "$stage" -le "$stop_stage" ] || die "--stage $stage --stop-stage $stop_stage: the first stage is after the last"

venv=$(bash local/setup.sh --print-venv)
export OMP_NUM_THREADS=1
PATH=$PWD/$venv/bin:$PATH

stage() {  # stage NUMBER WHAT: whether it is to be run; says so
  [ "$1" -ge "$stage" ] && [ "$1" -le "$stop_stage" ] || return 1
  printf '%s Stage %s: %s\n' "$(date +%H:%M:%S)" "$1" "$2" >&2
}

once() {  # once OUTPUT... -- COMMAND...: what is complete for the same words and inputs is left alone, unless --stage was given
  local options=(--records "$exp/.done")
  [ "$stages_asked" = no ] || options+=(--again)
  while [ "$1" != -- ]; do options+=(--writes "$1"); shift; done
  asr-distill once "${options[@]}" "$@"
}
