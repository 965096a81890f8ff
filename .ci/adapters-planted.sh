#!/usr/bin/env bash
# Plants one bug at a time in a copy of the adapters and demands that the test it names finds it. A survivor is an error. So is a test
# that fails, hangs or does not exist without a bug: it would find all of them. What is found in a later run has to pass as many runs without the bug.
#
#   .ci/adapters-planted.sh [a part of the names of the bugs]
#
# A bug is a file in adapters/planted/: a line that says what goes wrong; `file:` and `test:` (package, test program, part of the name
# of one test); and after `---- text` and `---- bug` what is there once, and what takes its place.
# Where no redis-server can be had, the bugs of the near cache are left out (exit code 77).
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

# passes TEST [TRIES]: whether it passes as often, as the sources are now; and it is one test.
passes() {
    local code=0
    ask "$@" || code=$?
    [ "$code" -eq 0 ] && is_told 'test result: ok\. 1 passed' && return
    tail -n 30 "$SCRATCH/out"
    say "$1: is not one test that passes (exit code $code)"
    return 1
}

# The tests of the programs `near` ask a server.
is_near() {
    [[ "$(field "$1" test)" == *" near "* ]]
}

bugs=()
left_out=0
has_server=no
! redis_server || has_server=yes
for bug in adapters/planted/*"${1:-}"*.bug; do
    [ -f "$bug" ] || fail "there is no such bug"
    if [ "$has_server" = no ] && is_near "$bug"; then
        left_out=$((left_out + 1))
    else
        bugs+=("$bug")
    fi
done
[ "${#bugs[@]}" -gt 0 ] || leave_out "$left_out bugs of the near cache: there is no redis-server"

# Without a bug.
mapfile -t tests < <(sed -n 's/^test: //p' "${bugs[@]}" | sort -u)
for test in "${tests[@]}"; do
    passes "$test" || fail "$test: does not pass without a bug"
done
say "${#tests[@]} tests pass without a bug"

survivors=0
for bug in "${bugs[@]}"; do
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
    found_in=$run
    if [ "$code" -eq 124 ] || is_told 'test result: FAILED'; then
        # Else it may be by chance that it failed with the bug.
        [ "$found_in" -eq 1 ] || passes "$(field "$bug" test)" "$found_in" || fail "$name: its test fails without it, too"
        say "$name: found in run $found_in"
    else
        survivors=$((survivors + 1))
        say "$name: SURVIVED (exit code $code)"
        tail -n 30 "$SCRATCH/out"
    fi
done
[ "$survivors" -eq 0 ] || fail "$survivors of ${#bugs[@]} survived"
[ "$left_out" -eq 0 ] || leave_out "$left_out bugs of the near cache: there is no redis-server; ${#bugs[@]} planted, all found"
say "${#bugs[@]} planted, all found"
