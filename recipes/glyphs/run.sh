#!/usr/bin/env bash
# Specialists on rendered characters: some 9,500 classes, images without end, a generalist that is short of time.
#
# The strokes come from the npm package hanzi-writer-data: by npm, or from the archive that HANZI_DATA names.
recipe=glyphs
source "$(dirname "$0")/../classes.sh"
