#!/usr/bin/env bash
# Tests on other machines than this one: 32 bits (i686, run by this processor), weak memory (AArch64) and big endian (s390x), run by qemu. Snapshots move
# between them: a file that was written here is read there, and written again byte by byte (tests/machines.rs).
#
# qemu translates, so that it shows the other instructions and their byte order; of the weak memory of AArch64 it shows what this processor allows, which
# is little. That is for the models.
#
#   .ci/machines.sh [i686|aarch64|s390x]...     all of them, if none is named
#
# A machine is left out where Debian's packages cannot be installed; the last line says which were run. Exit code 77 where one was left out.
# What cannot be run here (macOS, Windows, WASI, ARM of 32 bits) is held to `cargo check`, in .ci/build-all.sh.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

quick_releases

# target_of NAME: rustc's word for it.
target_of() {
    case "$1" in
        i686 | aarch64 | s390x) printf '%s-unknown-linux-gnu\n' "$1" ;;
        *) fail "knows i686, aarch64 and s390x, not '$1'" ;;
    esac
}

# The whole library's own tests where they take seconds; under qemu, which is slower by ten times and more, those of the parts in which words and bytes matter.
tests_of() {
    case "$1" in
        i686) printf '%s\n' --lib --test builder --test model --test snapshot --test machines --test session --test owners --test lives --test stress --test linear ;;
        *) printf '%s\n' --lib --test machines --test model --test snapshot ;;
    esac
}

prepare() {
    case "$1" in
        # Not gcc-multilib, which cannot be there beside compilers for other machines.
        i686) compgen -G '/usr/lib/gcc/x86_64-linux-gnu/*/32' >/dev/null || debian "lib32gcc-$(gcc -dumpversion)-dev" libc6-dev-i386 ;;
        aarch64) have qemu-aarch64 && have aarch64-linux-gnu-gcc || debian qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
        s390x) have qemu-s390x && have s390x-linux-gnu-gcc || debian qemu-user gcc-s390x-linux-gnu libc6-dev-s390x-cross ;;
    esac
}

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER="qemu-s390x -L /usr/s390x-linux-gnu"
# Under qemu threads are slow: what watches the clock is told so.
export TIDEWHEEL_LINEAR=${TIDEWHEEL_LINEAR:-100000}

[ "$#" -gt 0 ] || set -- i686 aarch64 s390x
ran=()
left_out=()
failed=()
for machine in "$@"; do
    target=$(target_of "$machine")
    rustup target list --installed | grep -qx "$target" || run rustup target add "$target"
    # Apart, so that only this machine ends where there are no packages at all.
    if ! (prepare "$machine"); then
        say "NOTE: $machine is left out: its packages cannot be installed"
        left_out+=("$machine")
        continue
    fi
    mapfile -t tests < <(tests_of "$machine")
    # Numbers of 128 bits and loops over millions are a matter of minutes under qemu: the long ones are not for it.
    skip=()
    [ "$machine" = i686 ] || skip=(--skip a_million_entries --skip each_time_to_live_is_on_time)
    # One that fails does not stop the others.
    if run cargo test --release --all-features --target "$target" --no-fail-fast "${tests[@]}" -- "${skip[@]}"; then
        ran+=("$machine")
    else
        failed+=("$machine")
    fi
done
[ "${#failed[@]}" -eq 0 ] || fail "${failed[*]}"
[ "${#left_out[@]}" -eq 0 ] || leave_out "${left_out[*]}; ran on ${ran[*]:-none}"
say "ran on ${ran[*]}"
