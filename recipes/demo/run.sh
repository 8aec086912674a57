#!/usr/bin/env bash
# Demo on synthesised speech (espeak-ng): from nothing to word error rates in a quarter of an hour on two cores, environment included.
# Needs only Python, git and a package registry; `--size tiny` takes four minutes. All of its speech is synthesised.
recipe=demo
source "$(dirname "$0")/../speech.sh"
