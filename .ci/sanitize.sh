#!/usr/bin/env bash
# The tests under AddressSanitizer (with its leak check), then under ThreadSanitizer. Needs a nightly
# toolchain; its standard library is taken as it is, not rebuilt.
#
# ThreadSanitizer does not see what the standard library does inside, and so takes what a lock guards for
# a race whenever somebody had to wait for the lock. It is therefore given a copy of the source in which
# crate::sync::Mutex tries until it gets the lock: that much it sees. What it still reports falsely is
# kept quiet by .ci/tsan.supp, which says why. Of the tests, it runs the stress tests alone.
#
# No claim of memory safety rests on either: they miss what loom finds.
#
#   .ci/sanitize.sh [address|thread] [-- arguments for the tests]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# Where a report points to.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_DEV_DEBUG=line-tables-only

which=both
case "${1:-}" in
    address | thread) which=$1 && shift ;;
esac
[ "${1:-}" != -- ] || shift
have_toolchain nightly || fail "sanitizers need a nightly toolchain: rustup toolchain install nightly"
target=$(host)
# Frames of the standard library and of ours by name, in reports and for the suppressions.
have llvm-symbolizer || debian llvm

if [ "$which" != thread ]; then
    # But for two that measure what memory the system has given: AddressSanitizer keeps what is freed for a while.
    set -- "$@" --skip large_values_that_come_and_go --skip a_cache_that_fell
    # All test programs but two: one reads the source alone, the other measures the stack of optimized code.
    tests=()
    for file in tests/*.rs tests/*/main.rs; do
        name=$(basename "${file%/main.rs}" .rs)
        [ "$name" = house ] || [ "$name" = stack ] || tests+=(--test "$name")
    done
    # Without optimization, so with all assertions: to build them takes a fourth of the time. Its frames are large: so are the stacks.
    run env RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="detect_leaks=1" RUST_MIN_STACK=16777216 \
        cargo +nightly test --target "$target" --all-features --lib "${tests[@]}" --no-fail-fast -- "$@"
fi
if [ "$which" != address ]; then
    scratch
    git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock src benches examples tests |
        xargs -0 cp --parents -t "$SCRATCH"
    lock='self\.raw\.lock()\.unwrap_or_else(PoisonError::into_inner)'
    try='loop { if let Ok(guard) = self.raw.try_lock() { break guard; } thread::yield_now(); }'
    [ "$(grep -c "$lock" "$SCRATCH/src/sync/mutex.rs")" -eq 1 ] || fail "src/sync/mutex.rs does not lock its Mutex as it did"
    sed -i "s/$lock/$try/" "$SCRATCH/src/sync/mutex.rs"
    run env RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg crossbeam_sanitize -Awarnings" \
        TSAN_OPTIONS="suppressions=$ROOT/.ci/tsan.supp halt_on_error=0 exitcode=66" \
        cargo +nightly test --manifest-path "$SCRATCH/Cargo.toml" --release --target "$target" \
        --test stress -- --test-threads=1 "$@"
fi
