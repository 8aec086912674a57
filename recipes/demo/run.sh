#!/usr/bin/env bash
# Demo on synthesised speech (espeak-ng): from nothing to word error rates and an ensemble distilled into one network.
# Needs only Python, git and a package registry; `--size tiny` is the shortest, `--distillation no` takes 7 minutes on two cores.
# All of its speech is synthesised.
recipe=demo
source "$(dirname "$0")/../speech.sh"
