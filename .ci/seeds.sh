#!/usr/bin/env bash
# Runs every fuzz target over its kept seeds once, under AddressSanitizer: what was found before is not
# found again. Takes seconds once the targets are built.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! have_toolchain nightly || ! have cargo-fuzz; then
    say "NOTE: no nightly toolchain with cargo-fuzz here: the seeds are not run"
    exit 0
fi
targets=$(cargo +nightly fuzz list)
[ -n "$targets" ] || fail "fuzz/ has no targets"
for target in $targets; do
    seeds=fuzz/seeds/$target
    [ -n "$(ls "$seeds" 2>/dev/null)" ] || fail "$target has no seeds in $seeds"
    run cargo +nightly fuzz run --dev "$target" "$seeds" -- -runs=0
done
