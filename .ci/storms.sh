#!/usr/bin/env bash
# The storms: larger scenarios of loading, with schedules drawn at random by shuttle, for some 15 s in all. Prints for each
# how many schedules there were.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run_tests env TIDEWHEEL_STORMS="${TIDEWHEEL_STORMS:-2}" \
    cargo test --release --manifest-path "$SHUTTLE" --test storms -- --nocapture --test-threads=1 "$@"
