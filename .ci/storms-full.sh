#!/usr/bin/env bash
# The storms for as long as you like: ten minutes for each, unless another number of seconds is given.
#
#   .ci/storms-full.sh [seconds] [a filter for the scenarios' names]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-600}
[ "$#" -eq 0 ] || shift
TIDEWHEEL_STORMS=$seconds run bash .ci/storms.sh "$@"
