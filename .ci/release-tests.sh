#!/usr/bin/env bash
# The tests in optimized code, as a user builds it. Nearly all of the time is building: so a run takes the library's own tests and a fourth of the test
# programs, another one each day. (.ci/run takes four programs every time.)
#
#   .ci/release-tests.sh [part/of, as in 0/4, or 0/1 for all; today's part if not given]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part=${1:-$(todays_part 4)}
[[ "$part" =~ ^([0-9]+)/([1-9][0-9]*)$ ]] || fail "'$part' is no part: 0/4 is one"
number=${BASH_REMATCH[1]} of=${BASH_REMATCH[2]}
[ "$number" -lt "$of" ] || fail "there is no part $number of $of: the first is 0"

programs=(--lib)
counter=0
for file in tests/*.rs tests/*/main.rs; do
    [ $((counter++ % of)) -ne "$number" ] || programs+=(--test "$(basename "${file%/main.rs}" .rs)")
done
run cargo test --release --all-features --no-fail-fast "${programs[@]}"
say "ran on part $part"
