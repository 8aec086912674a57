#!/usr/bin/env bash
# AN4 (census data: spelled words, numbers, commands): from audio to the word error rate of a senone network in a k2 graph.
#
# Finds the corpus by AN4_DIR or at ../shared/an4, else downloads it from its own site.
recipe=an4
source "$(dirname "$0")/../speech.sh"
