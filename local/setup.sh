#!/usr/bin/env bash
# Makes the environment from a lock file; does nothing where it is there already. Nobody needs to activate anything.
#
#   bash local/setup.sh                      .venv; with k2 where the interpreter allows it (Python 3.11 or 3.10), else torch 2
#   bash local/setup.sh --flavour torch2     .venv-torch2: torch 2.13, no k2, kaldi-decoder searches (Python 3.10 to 3.12)
#   bash local/setup.sh --print-venv         the last line printed is the environment's folder
#
# --python PATH picks the interpreter, --venv DIR the folder.
set -euo pipefail
cd "$(dirname "$0")/.."

flavour="" python="" venv="" print_venv=0
while [ $# -gt 0 ]; do
  case "$1" in
    --flavour) flavour=$2; shift 2 ;;
    --python) python=$2; shift 2 ;;
    --venv) venv=$2; shift 2 ;;
    --print-venv) print_venv=1; shift ;;
    *) echo "setup.sh: unknown option '$1'; see the head of local/setup.sh" >&2; exit 2 ;;
  esac
done
say() { echo "setup: $*" >&2; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

case "$flavour" in ""|k2|torch2) ;; *) say "unknown flavour '$flavour': k2 or torch2"; exit 2 ;; esac
wanted="3.11 3.10 3.12"; [ "$flavour" = k2 ] && wanted="3.11 3.10"
if [ -z "$python" ]; then
  for minor in $wanted; do
    for candidate in "python$minor" python3 python; do
      if [ "$(version_of "$candidate" || true)" = "$minor" ]; then python=$candidate; break 2; fi
    done
  done
fi
[ -n "$python" ] || { say "no Python $wanted found on the PATH; install one (Debian 12: apt install python3 python3-venv) or name it with --python"; exit 1; }
minor=$(version_of "$python" || true)
case " $wanted " in *" $minor "*) ;; *) say "$python is Python ${minor:-unknown}; this flavour needs one of: $wanted"; exit 1 ;; esac

if [ -z "$flavour" ]; then
  if [ "$minor" = 3.12 ]; then
    flavour=torch2; say "Python $minor: the registry has no k2 for it, so torch 2.13 without k2; kaldi-decoder searches"
  elif [ "$(uname -sm)" != "Linux x86_64" ]; then
    flavour=torch2; say "$(uname -sm): the registry's k2 wheels are for Linux x86_64, so torch 2.13 without k2; kaldi-decoder searches"
  else
    flavour=k2
  fi
  default_venv=.venv
else
  default_venv=.venv; [ "$flavour" = torch2 ] && default_venv=.venv-torch2
fi
venv=${venv:-$default_venv}
lock=local/$flavour.lock
stamp="$flavour $minor $( (cat "$lock" pyproject.toml local/setup.sh; pwd) | cksum)"

if [ "$(cat "$venv/.asr-distill-setup" 2>/dev/null)" != "$stamp" ]; then
  say "making $venv (flavour $flavour, Python $minor, $lock); about 3 GB for k2's torch, a minute or two"
  [ ! -e "$venv" ] || [ -f "$venv/pyvenv.cfg" ] || { say "$venv exists and is not a virtual environment; move it away or use --venv"; exit 1; }
  rm -rf "$venv"
  "$python" -m venv "$venv" || { say "$python cannot make virtual environments (Debian: apt install python3-venv)"; exit 1; }
  # The pip that comes with Python 3.10 to 3.12 installs k2's wheel; pip 26.3 refuses its name. So pip is left as it is,
  # or held back where a distribution ships a newer one.
  "$venv/bin/python" - <<'PY' || "$venv/bin/pip" install -q --disable-pip-version-check 'pip<26.2'
import sys, pip
sys.exit(tuple(int(part) for part in pip.__version__.split(".")[:2]) >= (26, 2))
PY
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes -r "$lock"
  [ "$flavour" = k2 ] || "$venv/bin/pip" install -q --disable-pip-version-check 'torch==2.13.0'
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  echo "$stamp" > "$venv/.asr-distill-setup"
  say "$venv is ready"
fi
[ "$print_venv" = 0 ] || echo "$venv"
