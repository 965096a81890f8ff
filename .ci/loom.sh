#!/usr/bin/env bash
# The loom models' short set, on both kinds of reclamation: the stand-in, which frees at the earliest
# legal moment, and real crossbeam-epoch. Prints for each model how many runs it took.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TIDEWHEEL_LOOM=short
run cargo test --release --manifest-path "$LOOM" -- --nocapture
run env RUSTFLAGS="--cfg crossbeam_loom" cargo test --release --manifest-path "$LOOM" -- --nocapture
