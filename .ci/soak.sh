#!/usr/bin/env bash
# The soak (tests/soak): promises watched under faults, for as long as one likes; or the bounded cache against its model, for as many steps.
#
#   .ci/soak.sh [seconds, 1800 if not given]
#   .ci/soak.sh model [steps on small caches, 10,000,000 if not given] [on large ones, 100,000,000] [seed]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ "${1:-}" = model ]; then
    run env TIDEWHEEL_STEPS="${2:-10000000}" TIDEWHEEL_LARGE_STEPS="${3:-100000000}" TIDEWHEEL_SEED="${4:-1}" \
        cargo test --release --test bounded_model -- --nocapture
    exit
fi
run env TIDEWHEEL_SOAK="${1:-1800}" cargo test --release --all-features --test soak -- --nocapture
