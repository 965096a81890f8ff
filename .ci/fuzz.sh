#!/usr/bin/env bash
# Fuzzes every target of fuzz/ under AddressSanitizer, from the seeds that are kept there.
#
#   .ci/fuzz.sh [seconds for each target, 600 if not given]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# Where a report points to.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only

seconds=${1:-600}
have_toolchain nightly || fail "fuzzing needs a nightly toolchain: rustup toolchain install nightly"
have c++ || debian g++
cargo_tool cargo-fuzz

targets=$(cargo +nightly fuzz list)
[ -n "$targets" ] || fail "fuzz/ has no targets"
for target in $targets; do
    # New finds of coverage go to the first directory, the kept seeds are only read.
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    run cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -print_final_stats=1
done
