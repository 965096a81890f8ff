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

# longest TARGET: in bytes. Of operations, what a hundred do not show a thousand hardly do, and take ten times as long.
longest() {
    case "$1" in
        bounded | callbacks | operations) echo 512 ;;
        *) echo 4096 ;;
    esac
}

targets=$(cargo +nightly fuzz list)
[ -n "$targets" ] || fail "fuzz/ has no targets"
scratch
executions=0
for target in $targets; do
    # New finds of coverage go to the first directory, the kept seeds are only read.
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    # Where bytes are parsed, it helps that the fuzzer sees what is compared. Where they are choices, that takes up to three quarters of the time.
    case "$target" in
        near | restore | session_id) options=() ;;
        *) options=(--no-trace-compares) ;;
    esac
    run cargo +nightly fuzz run "${options[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_len="$(longest "$target")" -max_total_time="$seconds" -print_final_stats=1 2>&1 | tee "$SCRATCH/out"
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$SCRATCH/out")
    [ "${count:-0}" -gt 0 ] || fail "$target was not run: libFuzzer tells of no execution"
    say "$target: $count executions"
    executions=$((executions + count))
done
say "$executions executions, no fault"
