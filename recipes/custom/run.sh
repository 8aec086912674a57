#!/usr/bin/env bash
# A corpus of your own, from audio to word error rates, with one command:
#
#   bash recipes/custom/run.sh --train data/train --dev data/dev --test data/test --lexicon data/local/dict/lexicon.txt --name mine
#
# Each part is a Kaldi data directory or a lhotse CutSet (cuts.jsonl.gz with supervisions). Without --dev, whole speakers of train
# are set aside; without --lexicon, CMUdict has the words; --lang-kind subwords needs no dictionary. The run is exp/custom-NAME.
# Every option is explained in recipes/custom/conf/recipe.conf and recipes/speech.sh.
recipe=custom
started_in=$PWD
source "$(dirname "$0")/../speech.sh"
