#!/usr/bin/env bash
# The loom models, on both kinds of pins and graces: the crate's own slots, and crossbeam-epoch, as where the kernel has
# no barrier for the whole process. Each is explored within its full bounds, for so many seconds at most; one that has
# more ways than that is then explored within the short set's bounds, to their end. Prints for each how many runs it took,
# and whether there are more: loom-full.sh takes the time for those.
#
#   .ci/loom.sh [seconds]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TIDEWHEEL_LOOM=${1:-4}
run cargo test --release --manifest-path "$LOOM" -- --nocapture
run env RUSTFLAGS="--cfg crossbeam_loom" cargo test --release --manifest-path "$LOOM" -- --nocapture
