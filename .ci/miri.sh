#!/usr/bin/env bash
# Small tests under Miri, which checks every access to memory, and takes some thousand times as long: a few minutes. It knows
# no `membarrier`, so readers have fences there (`src/sync/mod.rs`).
#
# Skipped (exit code 77) where there is no nightly toolchain, or it cannot be given Miri and the source of the standard library.
#
#   .ci/miri.sh [seeds]     threads are scheduled in so many ways (4)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seeds=${1:-4}
have_toolchain nightly || leave_out "there is no nightly toolchain"
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    run rustup component add --toolchain nightly miri rust-src || leave_out "the nightly toolchain cannot be given Miri"
fi
if ! run cargo +nightly miri setup --quiet; then
    leave_out "Miri cannot build the standard library here, whose source (rust-src) it needs"
fi

run env MIRIFLAGS="-Zmiri-many-seeds=0..$seeds" cargo +nightly miri test --quiet --all-features --test tiny
run cargo +nightly miri test --quiet --all-features --test expiry
