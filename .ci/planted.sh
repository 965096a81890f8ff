#!/usr/bin/env bash
# Plants one bug at a time in a copy of the source and demands that its loom model finds it. A survivor is
# an error, and so is a model without a bug.
#
#   .ci/planted.sh [a part of the names of the bugs]
#   .ci/planted.sh --in-turn                                 which are found without a race; a model of a race wants one that is not
#   .ci/planted.sh --orderings [a part of a file's name]     each ordering of an atomic access, weakened
#   .ci/planted.sh --orderings 0/4                           a part of these; `today` for today's
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "${2:-}" != today ] || set -- "$1" "$(todays_part 4)"
# The tool compiles offline: copies of both packages.
fetch "$LOOM" "$SHUTTLE"
run cargo run --release --manifest-path "$LOOM" --example planted -- "$@"
