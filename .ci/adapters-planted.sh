#!/usr/bin/env bash
# Plants one bug at a time in a copy of the adapters and demands that the tests it names find it. A survivor is an error. So is a test
# that fails, hangs or does not exist without a bug: it would find all of them.
#
#   .ci/adapters-planted.sh [a part of the names of the bugs]
#
# A bug is a file in adapters/planted/: a line that says what goes wrong; `file:` and `test:` (package, test program, part of the test's
# name); and after `---- text` and `---- bug` what is there once, and what takes its place.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch
cp -r adapters "$SCRATCH/"
copy=$SCRATCH/adapters
# The core is the one that is here.
sed -i "s|path = \"../..\"|path = \"$ROOT\"|" "$copy"/*/Cargo.toml

# field FILE NAME: what it says under that name.
field() {
    sed -n "s/^$2: //p" "$1" | head -n 1
}

# part FILE MARK: the lines after a mark, up to the next.
part() {
    awk -v mark="---- $2" '/^---- / { is_in = $0 == mark; next } is_in' "$1"
}

# ask TEST [TRIES]: builds a bug's test, then runs it as often, until it fails. Its exit code is that of the test: 124 if a run took ten minutes.
# What does not compile finds nothing: that ends it all.
ask() {
    local package program filter code=0
    read -r package program filter <<<"$1"
    local cargo=(cargo test --quiet --manifest-path "$copy/Cargo.toml" -p "$package" --all-features --test "$program")
    "${cargo[@]}" --no-run >"$SCRATCH/out" 2>&1 || { tail -n 30 "$SCRATCH/out"; fail "$1: does not compile"; }
    for run in $(seq "${2:-1}"); do
        timeout 600 "${cargo[@]}" -- "$filter" >"$SCRATCH/out" 2>&1 || code=$?
        [ "$code" -eq 0 ] || break
    done
    return "$code"
}

# is_told TEXT: whether the last run printed it at the start of a line.
is_told() {
    grep -Eq "^$1" "$SCRATCH/out"
}

# Without a bug.
mapfile -t tests < <(sed -n 's/^test: //p' adapters/planted/*"${1:-}"*.bug | sort -u)
for test in "${tests[@]}"; do
    code=0
    ask "$test" || code=$?
    if [ "$code" -ne 0 ] || ! is_told 'test result: ok\. [1-9]'; then
        tail -n 30 "$SCRATCH/out"
        fail "$test: does not pass without a bug (exit code $code)"
    fi
done
say "${#tests[@]} tests pass without a bug"

survivors=0
tried=0
for bug in adapters/planted/*"${1:-}"*.bug; do
    name=$(basename "$bug" .bug)
    file=$copy/$(field "$bug" file)
    text=$(part "$bug" text)
    whole=$(cat "$file")
    rest=${whole/"$text"/}
    [ "$rest" != "$whole" ] && [ "${rest/"$text"/}" = "$rest" ] || fail "$name: its text is not in $file once"
    printf '%s\n' "${whole/"$text"/"$(part "$bug" bug)"}" >"$file"
    # A race is not met in each run.
    code=0
    ask "$(field "$bug" test)" 20 || code=$?
    printf '%s\n' "$whole" >"$file"
    tried=$((tried + 1))
    if [ "$code" -eq 124 ] || is_told 'test result: FAILED'; then
        say "$name: found in run $run"
    else
        survivors=$((survivors + 1))
        say "$name: SURVIVED (exit code $code)"
        tail -n 30 "$SCRATCH/out"
    fi
done
[ "$tried" -gt 0 ] || fail "there is no such bug"
[ "$survivors" -eq 0 ] || fail "$survivors of $tried survived"
say "$tried planted, all found"
