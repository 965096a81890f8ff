#!/usr/bin/env bash
# Measures: the criterion benches of the crate, then the comparison with other crates, which leaves a report
# with charts in target/peers/. About an hour on two cores, which should have nothing else to do.
#
#   .ci/bench.sh [a filter for criterion's benches]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run cargo bench -- "$@"
run cargo run --release --manifest-path "$PEERS" -- --report "$CARGO_TARGET_DIR/peers"
