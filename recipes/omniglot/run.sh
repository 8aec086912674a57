#!/usr/bin/env bash
# Specialists on Omniglot: 1,623 handwritten characters, few examples of each; every class, other drawers in the test.
#
# Finds the two archives by OMNIGLOT_DIR or at ../shared/omniglot, else downloads them from the data set's own site.
recipe=omniglot
source "$(dirname "$0")/../classes.sh"
