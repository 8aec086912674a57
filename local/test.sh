#!/usr/bin/env bash
# Makes the environment if need be and runs the tests:  bash local/test.sh [--flavour k2|torch2] [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
flavour=()
if [ "${1:-}" = --flavour ]; then flavour=(--flavour "${2:?--flavour needs k2 or torch2}"); shift 2; fi
venv=$(bash local/setup.sh "${flavour[@]}" --print-venv)
[ $# -gt 0 ] || set -- -m "not slow"
exec "$venv/bin/python" -m pytest "$@"
