#!/usr/bin/env bash
# Filterbanks against torchaudio.compliance.kaldi.fbank on real speech, theirs in the system's own Python (Debian's
# python3-torchaudio, installed here where root may). Says so and passes where there is no torchaudio to be had.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { echo "torchaudio check: $*"; }
system=${SYSTEM_PYTHON:-/usr/bin/python3}
[ -x "$system" ] || { say "skipped: no $system"; exit 0; }
if ! "$system" -c 'import torchaudio' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  say "installing python3-torchaudio"
  apt-get install -qq -y --no-install-recommends python3-torchaudio > /dev/null 2>&1 \
    || { apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-torchaudio; } > /dev/null 2>&1 \
    || say "the package cannot be installed here"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
corpus=${AN4_DIR:-../shared/an4}
mapfile -t wavs < <(find "$corpus/wav" -name '*.wav' 2>/dev/null | LC_ALL=C sort | awk 'NR % 25 == 1')
[ ${#wavs[@]} -gt 0 ] || { say "skipped: no AN4 audio in $corpus (set AN4_DIR)"; exit 0; }
venv=$(bash local/setup.sh --print-venv)
"$venv/bin/python" local/check_fbank_torchaudio.py write "$folder" "${wavs[@]}"
status=0
"$system" local/check_fbank_torchaudio.py compare "$folder" || status=$?
[ "$status" = 77 ] || exit "$status"
