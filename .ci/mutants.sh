#!/usr/bin/env bash
# Puts small bugs into the modules that need no other thread, and asks whether a test notices. What survives has to be in .ci/mutants.txt, with the reason, or
# the step fails.
#
# cargo-mutants thinks up the bugs, some 1,950 of them; each day a part of them is tried. Nearly all stand in one program, each asleep, and are waked one at a
# time (loom-tests/examples/planted/mutants.rs). What cannot stand there (a constant, a function that returns an `impl`) is compiled by itself. It knows
# nothing of memory orderings: `planted --orderings` does (.ci/planted.sh).
#
#   .ci/mutants.sh [part/of, as in 0/6; today's part if not given; all of them with --file] [--file src/rows/mod.rs]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part=$(todays_part 6)
[[ " $* " != *" --file "* ]] || part=0/1
if [[ "${1:-}" =~ ^[0-9]+/[0-9]+$ ]]; then
    part=$1
    shift
fi
cargo_tool cargo-mutants
have jq || debian jq

# The modules that need no other thread: tests judge them in seconds.
pure=(src/column.rs src/hash.rs src/roster.rs 'src/policy/*.rs' 'src/rows/*.rs' 'src/snapshot/*.rs' 'src/stats/*.rs' 'src/time/**/*.rs' 'src/wheel/*.rs'
    src/inflight/queue.rs src/session/id.rs src/shard/jitter.rs)
# What lies beside them for the tests alone.
for_tests=(--exclude '**/tests.rs' --exclude '**/trial.rs' --exclude src/policy/replay.rs --exclude-re 'replace tests::')
# What a `Debug` shows, nobody promises.
shown=(--exclude-re '<impl fmt::Debug for')
files=("${for_tests[@]}" "${shown[@]}")
if [[ " $* " != *" --file "* ]]; then
    for file in "${pure[@]}"; do
        files+=(--file "$file")
    done
fi
files+=("$@")

scratch
folder=$CARGO_TARGET_DIR/mutants
# Not one after the other: so each part has some of each file.
cargo mutants --list --json --all-features "${files[@]}" |
    jq -r '.[] | [.file, .span.start.line, .span.start.column, .span.end.line, .span.end.column, .replacement, .name] | @tsv' |
    awk -v part="$part" 'BEGIN { split(part, of, "/") } NR % of[2] == of[1]' >"$SCRATCH/list"
(
    # In KiB. A mutant may ask for all the memory there is.
    ulimit -v 14000000
    run cargo run --release --manifest-path "$LOOM" --example planted -- --mutants "$SCRATCH/list" "$folder"
)

# Those that are compiled by themselves, each for the tests of the library.
alone() {
    local names=() name code=0
    while read -r name; do
        names+=(--re "^$(sed 's/[][\.*^$+?(){}|]/\\&/g' <<<"$name")\$")
    done <"$folder/alone.txt"
    : >"$SCRATCH/missed.txt"
    [ "${#names[@]}" -gt 0 ] || return 0
    (
        unset CARGO_TARGET_DIR
        run cargo mutants --all-features --no-shuffle --output "$SCRATCH" "${files[@]}" "${names[@]}" --cargo-arg=--lib
    ) || code=$?
    # 2: some survived; 3: some tests did not end. Whether that was known says the table.
    [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || [ "$code" -eq 3 ] || fail "cargo-mutants ends with $code"
    # It tries what leaves a field out whether that is named or not.
    grep -Fxf "$folder/alone.txt" "$SCRATCH/mutants.out/missed.txt" >"$SCRATCH/missed.txt" || true
}
alone

unknown=0
while read -r survivor; do
    # The line and the column change; what is replaced where does not.
    what=$(sed -E 's/^([^:]*):[0-9]+:[0-9]+: /\1: /' <<<"$survivor")
    if ! grep -qF -- "$what # " .ci/mutants.txt; then
        say "survived, and is not explained: $survivor"
        unknown=$((unknown + 1))
    fi
done < <(cat "$folder/missed.txt" "$SCRATCH/missed.txt")
say "$(wc -l <"$folder/caught.txt") mutants tested and caught, $(wc -l <"$folder/hung.txt") hung, $(cat "$folder/missed.txt" "$SCRATCH/missed.txt" | wc -l) survived, $unknown of them without an explanation; $(wc -l <"$folder/unviable.txt") do not compile, $(wc -l <"$folder/alone.txt") are compiled by themselves"
[ "$unknown" -eq 0 ]
