#!/usr/bin/env bash
# The stress tests and the sessions example in turn, on the real clock, for as long as one likes.
#
#   .ci/soak.sh [seconds, 3600 if not given]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-3600}
run cargo test --release --no-run --test stress --test threads
run cargo build --release --example sessions

rounds=0
while [ $((SECONDS - BEGAN)) -lt "$seconds" ]; do
    run cargo test --quiet --release --test stress --test threads
    run cargo run --quiet --release --example sessions
    rounds=$((rounds + 1))
done
say "$rounds rounds"
