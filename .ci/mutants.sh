#!/usr/bin/env bash
# Puts small bugs into the modules that unit tests judge, one at a time, and asks whether a test notices. What survives is named in mutants.out/. It has
# to be in .ci/mutants.txt, with the reason, or the step fails.
#
# There are some 1,850 such bugs, and each takes seconds. So a run tries a part of them, another one each day: in eight weeks it has been
# through all. With --file it tries all of that file. It knows nothing of memory orderings: `planted --orderings` does (.ci/planted.sh).
#
#   .ci/mutants.sh [part/of, as in 0/56; today's part if not given] [arguments for cargo mutants, such as --file src/rows/mod.rs]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part=$(todays_part 56)
[[ " $* " != *" --file "* ]] || part=0/1
if [[ "${1:-}" =~ ^[0-9]+/[0-9]+$ ]]; then
    part=$1
    shift
fi
cargo_tool cargo-mutants

# The modules that unit tests judge, in seconds.
pure=(src/column.rs src/hash.rs src/roster.rs 'src/policy/*.rs' 'src/rows/*.rs' 'src/snapshot/*.rs' 'src/stats/*.rs' 'src/time/**/*.rs' 'src/wheel/*.rs'
    src/inflight/queue.rs src/session/id.rs src/shard/jitter.rs)
# What lies beside them for the tests alone.
for_tests=(--exclude '**/tests.rs' --exclude '**/trial.rs' --exclude src/policy/replay.rs)
files=("${for_tests[@]}")
if [[ " $* " != *" --file "* ]]; then
    for file in "${pure[@]}"; do
        files+=(--file "$file")
    done
fi
unset CARGO_TARGET_DIR
code=0
# Only the unit tests are built: with all of them each bug would take minutes.
run cargo mutants --all-features --sharding round-robin --shard "$part" --no-shuffle "${files[@]}" "$@" --cargo-arg=--lib || code=$?
# 2: some survived; 3: some tests did not end. Whether that was known says the table.
[ "$code" -eq 0 ] || [ "$code" -eq 2 ] || [ "$code" -eq 3 ] || exit "$code"

unknown=0
while read -r survivor; do
    # The line and the column change; what is replaced where does not.
    what=$(sed -E 's/^([^:]*):[0-9]+:[0-9]+: /\1: /' <<<"$survivor")
    if ! grep -qF -- "$what # " .ci/mutants.txt; then
        say "survived, and is not explained: $survivor"
        unknown=$((unknown + 1))
    fi
done <mutants.out/missed.txt
say "$(wc -l <mutants.out/caught.txt) mutants tested and caught, $(wc -l <mutants.out/missed.txt) survived, $unknown of them without an explanation"
[ "$unknown" -eq 0 ]
