#!/usr/bin/env bash
# speechocean762 (read English by Mandarin speakers, half of them children): from audio to the word error rate of a senone network.
#
# Finds the corpus by SPEECHOCEAN762_DIR or at ../shared/speechocean762.
recipe=speechocean762
source "$(dirname "$0")/../speech.sh"
