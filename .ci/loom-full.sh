#!/usr/bin/env bash
# The loom models as far as they are explored where nobody asks for less, on both kinds of reclamation: with ever more
# preemptions, as long as they take no more than 100,000 runs each; 20,000 with crossbeam-epoch.
#
#   .ci/loom-full.sh [slots|epoch] [a filter for the models' names]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

which=both
case "${1:-}" in
    slots | epoch) which=$1 && shift ;;
esac
unset TIDEWHEEL_LOOM

if [ "$which" != epoch ]; then
    run_tests cargo test --release --manifest-path "$LOOM" --no-fail-fast -- --nocapture "$@"
fi
if [ "$which" != slots ]; then
    run_tests env RUSTFLAGS="--cfg crossbeam_loom" \
        cargo test --release --manifest-path "$LOOM" --no-fail-fast -- --nocapture "$@"
fi
