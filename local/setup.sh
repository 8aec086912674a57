#!/usr/bin/env bash
# Makes the environment from a lock file; does nothing where it is there already. Nobody needs to activate anything.
#
#   bash local/setup.sh                      .venv; with k2 where the interpreter allows it (Python 3.11 or 3.10), else torch 2
#   bash local/setup.sh --flavour torch2     .venv-torch2: torch 2.13, no k2, kaldi-decoder searches (Python 3.10 to 3.13)
#   bash local/setup.sh --k2-wheel FILE      .venv-k2: a wheel of k2 that you have, with the torch it was built for; --torch
#                                            VERSION where it does not say which. K2_WHEEL=FILE does the same for every recipe
#   bash local/setup.sh --print-venv         the last line printed is the environment's folder
#
# --python PATH picks the interpreter, --venv DIR the folder.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
say() { echo "setup: $*" >&2; }
die() { say "$@"; exit 1; }

flavour="" python="" venv="" k2_wheel="" torch="" print_venv=0
while [ $# -gt 0 ]; do
  case "$1" in
    --print-venv) print_venv=1; shift; continue ;;
    --flavour|--python|--venv|--k2-wheel|--torch) [ -n "${2:-}" ] || { say "$1 needs a value; see the head of local/setup.sh"; exit 2; } ;;
    *) say "unknown option '$1'; see the head of local/setup.sh"; exit 2 ;;
  esac
  case "$1" in
    --flavour) flavour=$2 ;;
    --python) python=$2 ;;
    --venv) venv=$2 ;;
    --k2-wheel) k2_wheel=$2 ;;
    --torch) torch=$2 ;;
  esac
  shift 2
done
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

case "$flavour" in ""|k2|torch2) ;; *) say "unknown flavour '$flavour': k2 or torch2"; exit 2 ;; esac
[ -n "$flavour" ] || k2_wheel=${k2_wheel:-${K2_WHEEL:-}}
if [ -n "$k2_wheel" ]; then
  case "$k2_wheel" in /*) ;; *) k2_wheel=$here/$k2_wheel ;; esac
  [ "$flavour" != k2 ] || { say "--k2-wheel brings its own torch, --flavour k2 is torch 1.13.1 with the locked k2: give one of them"; exit 2; }
  flavour=torch2 venv=${venv:-.venv-k2}
elif [ -n "$torch" ]; then
  say "--torch goes with --k2-wheel: the flavours have their own torch"; exit 2
fi
wanted="3.11 3.10 3.12 3.13"; [ "$flavour" = k2 ] && wanted="3.11 3.10"
if [ -z "$python" ]; then
  for minor in $wanted; do
    for candidate in "python$minor" python3 python; do
      if [ "$(version_of "$candidate" || true)" = "$minor" ]; then python=$candidate; break 2; fi
    done
  done
fi
[ -n "$python" ] || die "no Python $wanted found on the PATH; install one (Debian 12: apt install python3 python3-venv) or name it with --python"
minor=$(version_of "$python" || true)
case " $wanted " in *" $minor "*) ;; *) die "$python is Python ${minor:-unknown}; this flavour needs one of: $wanted" ;; esac

if [ -n "$k2_wheel" ]; then
  built_for=$("$python" local/k2_wheel.py "$k2_wheel") || exit 1
  torch=${torch:-$built_for}
  [ -n "$torch" ] || die "$k2_wheel does not say which torch it was built for; add --torch VERSION"
elif [ -z "$flavour" ]; then
  case "$minor" in
    3.10|3.11) flavour=k2 ;;
    *) flavour=torch2; say "Python $minor: the registry has no k2 for it, so torch 2.13 without k2; kaldi-decoder searches" ;;
  esac
  if [ "$flavour" = k2 ] && [ "$(uname -sm)" != "Linux x86_64" ]; then
    flavour=torch2; say "$(uname -sm): the registry's k2 wheels are for Linux x86_64, so torch 2.13 without k2; kaldi-decoder searches"
  fi
  venv=${venv:-.venv}
elif [ "$flavour" = torch2 ]; then
  venv=${venv:-.venv-torch2}
fi
venv=${venv:-.venv}
[ "$flavour" = k2 ] || torch=${torch:-2.13.0}
lock=local/$flavour.lock
stamp="$flavour $minor $( (cat "$lock" pyproject.toml setup.py local/setup.sh; echo "$torch"; [ -z "$k2_wheel" ] || cat "$k2_wheel"; pwd) | cksum)"

if [ "$(cat "$venv/.asr-distill-setup" 2>/dev/null)" != "$stamp" ]; then
  say "making $venv (flavour $flavour, Python $minor, $lock${k2_wheel:+, torch $torch, $k2_wheel}); some 3 GB, a minute or two"
  [ ! -e "$venv" ] || [ -f "$venv/pyvenv.cfg" ] || die "$venv exists and is not a virtual environment; move it away or use --venv"
  rm -rf "$venv"
  "$python" -m venv "$venv" || die "$python cannot make virtual environments (Debian: apt install python3-venv)"
  install() { "$venv/bin/pip" install -q --disable-pip-version-check "$@"; }
  # The pip that comes with Python 3.10 to 3.13 installs k2's wheel; pip 26.3 refuses its name. So pip is left as it is,
  # or held back where a distribution ships a newer one.
  "$venv/bin/python" - <<'PY' || install 'pip<26.2'
import sys, pip
sys.exit(tuple(int(part) for part in pip.__version__.split(".")[:2]) >= (26, 2))
PY
  install --no-deps --require-hashes -r "$lock"
  # torch 2 is a version without a hash: a local CPU build satisfies it as well as the registry's CUDA build.
  [ "$flavour" = k2 ] || install "torch==$torch"
  install --no-deps --no-build-isolation -e .
  if [ -n "$k2_wheel" ]; then
    case "$torch" in 1.*|2.[0-2]|2.[0-2].*) install 'numpy<2' 'lhotse<1.32.1' ;; esac  # built against numpy 1
    install "torch==$torch" "$k2_wheel"
    "$venv/bin/python" -c 'import k2' || die "k2 from $k2_wheel does not import beside torch $torch (above); is it built for another?"
  fi
  echo "$stamp" > "$venv/.asr-distill-setup"
  say "$venv is ready"
fi
[ "$print_venv" = 0 ] || echo "$venv"
