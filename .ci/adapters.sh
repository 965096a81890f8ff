#!/usr/bin/env bash
# The packages that put tidewheel into frameworks (adapters/): linted and tested; the frameworks' own suites and examples on our stores; and the
# log-in of adapters/web-login in a real browser, where there is one, or where Debian's can be installed.
#
# What takes longer is not called from .ci/run: adapters-planted.sh, adapters-load.sh.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! have chromedriver && have apt-get; then
    debian chromium chromium-driver || true
fi
if have chromedriver; then
    export TIDEWHEEL_BROWSER=required
else
    say "NOTE: no chromedriver here, and Debian's cannot be installed: the log-in is not tested in a browser"
fi

run cargo clippy --locked --manifest-path "$ADAPTERS" --workspace --exclude tidewheel-load --all-targets --all-features -- -D warnings
run cargo test --locked --quiet --manifest-path "$ADAPTERS" --workspace --exclude tidewheel-load --all-features
