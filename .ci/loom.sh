#!/usr/bin/env bash
# The loom models, on both kinds of pins and graces: the crate's own slots, and crossbeam-epoch, as where the kernel has
# no barrier for the whole process. Each is explored with ever more preemptions, as long as they take no more than so many
# runs each. Prints for each how far that went: loom-full.sh takes the time for more.
#
#   .ci/loom.sh [runs]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TIDEWHEEL_LOOM=${1:-5000}
run cargo test --release --manifest-path "$LOOM" -- --nocapture
run env RUSTFLAGS="--cfg crossbeam_loom" cargo test --release --manifest-path "$LOOM" -- --nocapture

# Planting works: all bugs are planted by .ci/nightly, and one here.
run bash .ci/planted.sh owner_hint_believed
