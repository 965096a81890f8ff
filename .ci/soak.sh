#!/usr/bin/env bash
# The stress tests and the sessions example in turn, on the real clock, for as long as one likes; or the bounded cache
# against its model, for as many steps.
#
#   .ci/soak.sh [seconds, 3600 if not given]
#   .ci/soak.sh model [steps on small caches, 10,000,000 if not given] [on large ones, 100,000,000] [seed]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ "${1:-}" = model ]; then
    run env TIDEWHEEL_STEPS="${2:-10000000}" TIDEWHEEL_LARGE_STEPS="${3:-100000000}" TIDEWHEEL_SEED="${4:-1}" \
        cargo test --release --test bounded_model -- --nocapture
    exit
fi

seconds=${1:-3600}
run cargo test --release --no-run --test stress --test threads --test bounded
run cargo build --release --example sessions

rounds=0
while [ $((SECONDS - BEGAN)) -lt "$seconds" ]; do
    run cargo test --quiet --release --test stress --test threads --test bounded
    run cargo run --quiet --release --example sessions
    rounds=$((rounds + 1))
done
say "$rounds rounds"
