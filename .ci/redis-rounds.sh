#!/usr/bin/env bash
# The near cache of adapters/redis in rounds of faults, against a real redis-server: ten thousand, unless another number is given, and a quarter as many with a
# server that remembers one key. The comparison with other clients' caches is linted here, and run by hand. Fails if a reader ever gets less than what was acknowledged one lease before it asked.
#
#   .ci/redis-rounds.sh [rounds] [seed]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

redis_server || fail "needs a redis-server, and Debian's cannot be installed"
run cargo clippy --locked --manifest-path "$ADAPTERS" -p tidewheel-redis-compare --all-targets -- -D warnings
export TIDEWHEEL_REDIS_ROUNDS=${1:-10000} TIDEWHEEL_REDIS_SEED=${2:-$RANDOM}
run_tests cargo test --locked --release --manifest-path "$ADAPTERS" -p tidewheel-redis --all-features --test near rounds -- --nocapture
