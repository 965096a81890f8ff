# What every script here begins with: strict mode, the repository root, words on what is done and how
# long it took. Sourced, not run.
#
# Knows nothing of the checks themselves.
# shellcheck shell=bash

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# The packages that are no part of the root's workspace.
# shellcheck disable=SC2034
LOOM=loom-tests/Cargo.toml
# shellcheck disable=SC2034
SHUTTLE=loom-tests/shuttle/Cargo.toml
# shellcheck disable=SC2034
PEERS=benches/peers/Cargo.toml
# shellcheck disable=SC2034
FUZZ=fuzz/Cargo.toml
# shellcheck disable=SC2034
ADAPTERS=adapters/Cargo.toml

# One target folder for all packages, so that what they have in common is compiled once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}

# Without line tables, which take a quarter of the time of building the tests, and are read by nobody where all is well. All
# profiles alike, so that they have their dependencies in common.
export CARGO_PROFILE_RELEASE_DEBUG=${CARGO_PROFILE_RELEASE_DEBUG:-0}
export CARGO_PROFILE_BENCH_DEBUG=$CARGO_PROFILE_RELEASE_DEBUG
export CARGO_PROFILE_DEV_DEBUG=$CARGO_PROFILE_RELEASE_DEBUG

# Releases without the second round of optimization, over all of a crate: a fifth less time to build the tests. How fast they are matters
# to nobody where it is called; the night builds them as a user does. (To build them for size takes half the time. But then a call takes
# more of the stack than tests/stack.rs allows.)
quick_releases() {
    export CARGO_PROFILE_RELEASE_LTO=off
}

# The command's name, as in "lint", and the second it began.
STEP=$(basename "$0" .sh)
BEGAN=$SECONDS

say() {
    printf -- '-- %s: %s\n' "$STEP" "$*"
}

fail() {
    printf -- '-- %s: FAILED: %s\n' "$STEP" "$*" >&2
    exit 1
}

# Ends a script that cannot do here what it is for, or not all of it: that is neither passed nor failed.
LEFT_OUT=77
leave_out() {
    say "left out: $*"
    exit "$LEFT_OUT"
}

# Says what it runs, runs it, says how long it took. Variables in front go through `env`:
# `run env RUSTFLAGS=... cargo ...`.
run() {
    local began=$SECONDS code=0
    printf -- '-- %s: $ %s\n' "$STEP" "$*"
    "$@" || code=$?
    say "$((SECONDS - began)) s"
    return "$code"
}

# The same for tests, of which at least one has to pass: a filter that fits none is a mistake.
run_tests() {
    local log programs code=0
    log=$(mktemp)
    run "$@" 2>&1 | tee "$log" || code=$?
    programs=$(grep -Ec '^test result:.* [1-9][0-9]* passed' "$log" || true)
    rm -f "$log"
    [ "$code" -eq 0 ] || return "$code"
    [ "$programs" -gt 0 ] || fail "no test fits: $*"
}

# todays_part OF: of so many parts of what takes long, the one that is due today, as in 0/4.
todays_part() {
    printf '%d/%d\n' "$((10#$(date +%j) % $1))" "$1"
}

# A scratch folder, in $SCRATCH, that goes when the script ends.
SCRATCH=''
scratch() {
    SCRATCH=$(mktemp -d)
}

finish() {
    local code=$?
    [ -z "$SCRATCH" ] || rm -rf "$SCRATCH"
    if [ "$code" -eq 0 ]; then
        say "passed in $((SECONDS - BEGAN)) s"
    elif [ "$code" -eq "$LEFT_OUT" ]; then
        say "skipped after $((SECONDS - BEGAN)) s"
    else
        say "failed (exit code $code) after $((SECONDS - BEGAN)) s"
    fi
}
trap finish EXIT
# Without these a script that was stopped would say that it passed.
trap 'exit 130' INT
trap 'exit 143' TERM

have() {
    command -v "$1" >/dev/null 2>&1
}

# Whether a toolchain of that name is installed. Never installs one.
have_toolchain() {
    have rustup && rustup toolchain list 2>/dev/null | grep -q "^$1"
}

# The triple of this machine, needed wherever a sanitizer wants an explicit --target.
host() {
    rustc -vV | sed -n 's/^host: //p'
}

# Debian packages, if they are not there and this machine lets us install them.
debian() {
    have apt-get || fail "needs the packages '$*' and this machine has no apt-get"
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
    run "${sudo[@]}" apt-get update -qq
    run "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# fetch MANIFEST..: what is compiled offline later, or apart from the manifest.
fetch() {
    local manifest
    for manifest in "$@"; do
        run cargo fetch --locked --quiet --manifest-path "$manifest"
    done
}

# A server for the near cache's tests, each of which starts one by itself; Debian's, if there is none. With one the tests have to use it. False if it
# cannot be had.
redis_server() {
    if ! have redis-server && ! have valkey-server && have apt-get; then
        debian redis-server || true
    fi
    have redis-server || have valkey-server || return 1
    export TIDEWHEEL_REDIS=required
}

# A cargo command of that name ("cargo-fuzz"), installed if it is missing. `--locked`: what its authors
# tested.
cargo_tool() {
    have "$1" && return
    run cargo install --locked --quiet "$1"
}
