#!/usr/bin/env bash
# The tests under AddressSanitizer (with its leak check), then under ThreadSanitizer. Needs a nightly
# toolchain; for ThreadSanitizer with the source of the standard library (rust-src), which is compiled
# along: in one that is not instrumented nobody sees what a lock orders.
#
# ThreadSanitizer runs the stress tests alone, and nothing of what it reports is suppressed. (A
# suppression is dangerous: it goes for each race that has its word in any frame of one of the two
# stacks, and std::thread is in each.) It is shown first that it reports a race in a test, and one in
# the crate, both planted in the copy of the source that it is given. In that copy one call is another:
# the compiler leaves `fetch_max` as it is, and ThreadSanitizer does not see what it orders
# (llvm/llvm-project#211388). So the end of grace periods is a `fetch_update` there.
#
# It does not see fences either, nor `membarrier`. It reports nothing false for want of them: they
# order atomic accesses (which of a pin and an advance is first, whether a reaper sleeps), and what is
# not atomic is ordered by Release and Acquire. For the same reason it cannot find a fence that is
# missing.
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
# Frames by name in reports.
have llvm-symbolizer || debian llvm

if [ "$which" != thread ]; then
    # But for those that measure what memory the system has given: AddressSanitizer keeps what is freed for a while.
    set -- "$@" --skip large_values_that_come_and_go --skip and_fell_holds --skip that_fell_holds --skip entries_that_come_and_go_take
    # All test programs but three: one reads the source alone, one measures the stack of optimized code, and the soak takes memory away.
    tests=()
    for file in tests/*.rs tests/*/main.rs; do
        name=$(basename "${file%/main.rs}" .rs)
        [ "$name" = house ] || [ "$name" = stack ] || [ "$name" = soak ] || [ "$name" = process ] || tests+=(--test "$name")
    done
    # asan LEAKS ARGUMENTS: without optimization, so with all assertions; to build the tests takes a fourth of the time. Frames are large so: so are the stacks.
    asan() {
        local leaks=$1
        shift
        run env RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="detect_leaks=$leaks" RUST_MIN_STACK=16777216 \
            cargo +nightly test --target "$target" --all-features --no-fail-fast "$@"
    }
    # A test that fails does not stop the others.
    failed=
    asan 1 --lib "${tests[@]}" -- "$@" || failed=1
    # Without the leak check: it forks, which the filters for system calls in these tests forbid. And what other threads had in hand stays in the memory of a fork's child.
    # One test is left out: it refuses the call that counts the processors. The sanitizer makes that call in each new thread, and ends the process where it is refused.
    asan 0 --test process -- "$@" --skip without_processors_to_be_counted || failed=1
    [ -z "$failed" ] || fail "tests failed under AddressSanitizer"
fi

# mend FILE TEXT OTHER: replaces a text that stands in a file of the copy once, or else fails.
mend() {
    local file=$SCRATCH/$1 whole rest
    whole=$(cat "$file")
    rest=${whole/"$2"/}
    [ "$rest" != "$whole" ] && [ "${rest/"$2"/}" = "$rest" ] || fail "'$2' is not in $1 once"
    printf '%s\n' "${whole/"$2"/"$3"}" >"$file"
}

# tsan TEST [ARGUMENTS]: runs a test program of the copy.
tsan() {
    local test=$1
    shift
    run env RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg crossbeam_sanitize -Awarnings" \
        TSAN_OPTIONS="halt_on_error=0 exitcode=66" \
        cargo +nightly test -Zbuild-std --manifest-path "$SCRATCH/Cargo.toml" --release --target "$target" \
        --test "$test" -- --test-threads=1 "$@"
}

# must_report WHAT WHERE TEST [ARGUMENTS]: the test must fail because of a race that is reported there.
must_report() {
    local what=$1 where=$2
    shift 2
    if tsan "$@" >"$SCRATCH/out" 2>&1; then
        tail -n 30 "$SCRATCH/out"
        fail "$what is not found"
    fi
    if ! grep -q 'WARNING: ThreadSanitizer: data race' "$SCRATCH/out" || ! grep -q "$where" "$SCRATCH/out"; then
        tail -n 30 "$SCRATCH/out"
        fail "$what fails for another reason"
    fi
    say "$what is found"
}

if [ "$which" != address ]; then
    [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ] ||
        run rustup component add rust-src --toolchain nightly
    scratch
    git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock src benches examples tests |
        xargs -0 cp --parents -t "$SCRATCH"
    # The stress tests need no other crate.
    sed -i '/dev-dependencies\]$/,/^$/d' "$SCRATCH/Cargo.toml"
    mend src/table/epoch/mod.rs 'OVER.fetch_max(over, Ordering::Release)' \
        'let _ = OVER.fetch_update(Ordering::Release, Ordering::Relaxed, |other| Some(other.max(over)))'
    # Each access takes ten times as long, and the machine is busy.
    mend tests/common/watchdog.rs 'Duration::from_secs(seconds)' 'Duration::from_secs(10 * seconds)'

    # A race in a test. Neither thread waits for what the other one has done, except for its first step.
    cat >"$SCRATCH/tests/control.rs" <<'EOF'
//! A race.
use std::{cell::UnsafeCell, hint::black_box, sync::atomic::AtomicU32, sync::atomic::Ordering::Relaxed, thread};
struct Place(UnsafeCell<u64>);
unsafe impl Sync for Place {}
static PLACE: Place = Place(UnsafeCell::new(0));
static HERE: AtomicU32 = AtomicU32::new(0);
#[test]
fn a_race() {
    let work = || {
        HERE.fetch_add(1, Relaxed);
        while HERE.load(Relaxed) < 2 {
            thread::yield_now();
        }
        (0..100_000).for_each(|n| unsafe { *PLACE.0.get() = black_box(*PLACE.0.get() + n) });
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}
EOF
    must_report 'a race in a test' 'tests/control\.rs' control
    # A race in the crate: a reader that sees a node's number need not see what is in the node.
    stored='self.numbers[slot.index()].store(named.bits(), Ordering::Release)'
    mend src/table/bucket.rs "$stored" "${stored/Release/Relaxed}"
    must_report 'a race in the crate' 'src/table/' stress a_touch_that_succeeded_is_not_undone
    mend src/table/bucket.rs "${stored/Release/Relaxed}" "$stored"
    tsan stress "$@"
fi
