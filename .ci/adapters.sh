#!/usr/bin/env bash
# The packages that put tidewheel into frameworks (adapters/): linted and tested; the frameworks' own suites and examples on our stores; the
# log-in of adapters/web-login in a real browser, and the near cache against a real redis-server, where there are such, or where Debian's can be installed.
#
# What takes longer is not called from .ci/run: adapters-planted.sh, adapters-load.sh, redis-rounds.sh.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! have chromedriver && have apt-get; then
    debian chromium chromium-driver || true
fi
if have chromedriver; then
    export TIDEWHEEL_BROWSER=required
else
    say "NOTE: no chromedriver here, and Debian's cannot be installed: the log-in is not tested in a browser"
fi

if ! redis_server; then
    say "NOTE: no redis-server here, and Debian's cannot be installed: the near cache is tested without one"
fi

# tidewheel-suites takes the frameworks' packages as they lie here, and asks for them offline.
fetch "$ADAPTERS"
run cargo clippy --locked --manifest-path "$ADAPTERS" --workspace --exclude tidewheel-load --exclude tidewheel-redis-compare --all-targets --all-features -- -D warnings
# Each exporter by itself, and none: each has code that only it uses.
for feature in '' metrics opentelemetry prometheus-client redis; do
    run cargo clippy --locked --manifest-path "$ADAPTERS" --package tidewheel-metrics --no-default-features --features "$feature" --all-targets -- -D warnings
done
run cargo test --locked --quiet --manifest-path "$ADAPTERS" --workspace --exclude tidewheel-load --exclude tidewheel-redis-compare --all-features
