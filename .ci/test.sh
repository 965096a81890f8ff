#!/usr/bin/env bash
# Runs the test command, taken from the README: what it tells its readers to type is what is run here. Then some of
# the tests in optimized code, as users run it: what is about that code alone (how large its stacks are), and what
# watches threads and the clock. (.ci/nightly runs a fourth of them so each night. To build all of them takes 20 minutes.)
# The command is the one line of the code block between two lines `<!-- test-command -->`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
quick_releases

[ -f README.md ] || fail "there is no README.md"
marks=$(grep -c '^<!-- test-command -->$' README.md || true)
[ "$marks" -eq 2 ] || fail "README.md has $marks lines '<!-- test-command -->' instead of 2"
# Between the marks, without fences, blank lines and a prompt.
command=$(sed -n '/^<!-- test-command -->$/,/^<!-- test-command -->$/p' README.md |
    sed -e '/^<!--/d' -e '/^```/d' -e '/^[[:space:]]*$/d' -e 's/^[[:space:]]*\(\$ \)\{0,1\}//')
[ "$(printf '%s\n' "$command" | wc -l)" -eq 1 ] || fail "README.md has more than one test command: $command"
case "$command" in
    "cargo test" | "cargo test "*) ;;
    *) fail "README.md's test command is no 'cargo test': '$command'" ;;
esac

run bash -c "$command"
run cargo test --release --all-features --test stack --test stress --test linear --test window
