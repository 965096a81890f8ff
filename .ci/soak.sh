#!/usr/bin/env bash
# The soak (tests/soak): promises watched under faults, for as long as one likes; or the stress tests and the sessions example in turn, on the real
# clock; or the bounded cache against its model, for as many steps.
#
#   .ci/soak.sh [seconds, 1800 if not given]
#   .ci/soak.sh rounds [seconds, 1800 if not given]
#   .ci/soak.sh model [steps on small caches, 10,000,000 if not given] [on large ones, 100,000,000] [seed]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ "${1:-}" = model ]; then
    run env TIDEWHEEL_STEPS="${2:-10000000}" TIDEWHEEL_LARGE_STEPS="${3:-100000000}" TIDEWHEEL_SEED="${4:-1}" \
        cargo test --release --test bounded_model -- --nocapture
    exit
fi

if [ "${1:-}" != rounds ]; then
    run env TIDEWHEEL_SOAK="${1:-1800}" cargo test --release --all-features --test soak -- --nocapture
    exit
fi

seconds=${2:-1800}
run cargo test --release --no-run --test stress --test threads --test bounded_stress
run cargo build --release --example sessions
began=$SECONDS
rounds=0
while [ $((SECONDS - began)) -lt "$seconds" ]; do
    run cargo test --quiet --release --test stress --test threads --test bounded_stress
    run cargo run --quiet --release --example sessions
    rounds=$((rounds + 1))
done
say "$rounds rounds"
