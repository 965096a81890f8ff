#!/usr/bin/env bash
# The tests under AddressSanitizer (with its leak check), then under ThreadSanitizer. Needs a nightly
# toolchain; its standard library is taken as it is, not rebuilt.
#
# What ThreadSanitizer reports falsely for that reason, and .ci/tsan.supp keeps quiet: the test harness's
# own threads, a contended std::sync::Mutex, and the end of an Arc, whose fence it does not understand.
# No claim of memory safety rests on either: they miss what loom finds.
#
#   .ci/sanitize.sh [address|thread] [-- arguments for the tests]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

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
    run env RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="detect_leaks=1" \
        cargo +nightly test --release --target "$target" --lib --tests --no-fail-fast -- "$@"
fi
if [ "$which" != address ]; then
    run env RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg crossbeam_sanitize" \
        TSAN_OPTIONS="suppressions=$ROOT/.ci/tsan.supp halt_on_error=0 exitcode=66" \
        cargo +nightly test --release --target "$target" --lib --tests --no-fail-fast -- --test-threads=1 "$@"
fi
