#!/usr/bin/env bash
# The loom models' short set, on both kinds of pins and graces: the crate's own slots, and
# crossbeam-epoch, as where the kernel has no barrier for the whole process. Prints for each model how many runs it took.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TIDEWHEEL_LOOM=short
run cargo test --release --manifest-path "$LOOM" -- --nocapture
run env RUSTFLAGS="--cfg crossbeam_loom" cargo test --release --manifest-path "$LOOM" -- --nocapture
