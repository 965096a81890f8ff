#!/usr/bin/env bash
# The log-in of adapters/web-login under load, over loopback: half a minute of requests by two threads, and ten thousand log-outs against
# requests in flight. Fails if a session of ours is lost, is found after its end, or comes back; beside it what other stores make of it.
#
#   .ci/adapters-load.sh [seconds] [log-outs]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run cargo clippy --locked --manifest-path "$ADAPTERS" -p tidewheel-load --all-targets -- -D warnings
run cargo build --locked --release --manifest-path "$ADAPTERS" -p tidewheel-load
for store in tidewheel manager memory moka; do
    "$CARGO_TARGET_DIR/release/tidewheel-load" "$store" "${1:-30}" "${2:-10000}"
done
