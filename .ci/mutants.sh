#!/usr/bin/env bash
# Puts small bugs into the modules that need no other thread, and asks whether a test notices. What survives has to be in .ci/mutants.txt, with the reason, or
# the step fails.
#
# cargo-mutants thinks up the bugs, some 1,950 of them; each day a part of them is tried. Nearly all stand in one program, each asleep, and are waked one at a
# time (loom-tests/examples/planted/mutants.rs). What cannot stand there (a constant, a function that returns an `impl`) is compiled by itself. It knows
# nothing of memory orderings: `planted --orderings` does (.ci/planted.sh).
#
#   .ci/mutants.sh [part/of, as in 0/6; today's part if not given; all of them with --file] [--file src/rows/mod.rs]...
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part=''
of_files=()
while [ "$#" -gt 0 ]; do
    if [[ "$1" =~ ^[0-9]+/[1-9][0-9]*$ ]] && [ -z "$part" ]; then
        part=$1
        shift
    elif [ "$1" = --file ] && [ "$#" -gt 1 ]; then
        of_files+=(--file "$2")
        shift 2
    else
        # What chooses among a function's mutants would change their numbers.
        fail "knows a part and --file, not '$1'"
    fi
done
cargo_tool cargo-mutants
have jq || debian jq
# The tests are compiled offline, in a copy.
fetch Cargo.toml "$LOOM"

# The modules that need no other thread: tests judge them in seconds.
pure=(src/column.rs src/hash.rs src/roster.rs 'src/policy/*.rs' 'src/rows/*.rs' 'src/snapshot/*.rs' 'src/stats/*.rs' 'src/time/**/*.rs' 'src/wheel/*.rs'
    src/inflight/queue.rs src/session/id.rs src/shard/jitter.rs)
# What lies beside them for the tests alone.
for_tests=(--exclude '**/tests.rs' --exclude '**/trial.rs' --exclude src/policy/replay.rs --exclude-re 'replace tests::')
# What a `Debug` shows, nobody promises.
shown=(--exclude-re '<impl fmt::Debug for')
files=("${for_tests[@]}" "${shown[@]}")
if [ "${#of_files[@]}" -eq 0 ]; then
    part=${part:-$(todays_part 6)}
    for file in "${pure[@]}"; do
        of_files+=(--file "$file")
    done
fi
files+=("${of_files[@]}")
part=${part:-0/1}

scratch
folder=$CARGO_TARGET_DIR/mutants
cargo mutants --list --json --all-features "${files[@]}" |
    jq -r '.[] | [.file, .span.start.line, .span.start.column, .span.end.line, .span.end.column, .replacement, .name] | @tsv' |
    LC_ALL=C sort -t $'\t' -s -k 1,1 -k 2,2n -k 3,3n >"$SCRATCH/all"
[ -s "$SCRATCH/all" ] || fail "there is no mutant of ${of_files[*]}"
# Of each, its name here, after cargo-mutants's: lines and columns change, and what is replaced where does not. Where that is said of several, which of
# them it is, in the order of the source.
awk -F '\t' '
    { name[NR] = here[NR] = $7; sub(/:[0-9]+:[0-9]+: /, ": ", here[NR]); nth[NR] = ++count[here[NR]] }
    END { for (n = 1; n <= NR; n++) print name[n] "\t" here[n] (count[here[n]] > 1 ? " (" nth[n] " of " count[here[n]] ")" : "") }
' "$SCRATCH/all" >"$SCRATCH/names"
# Not one after the other: so each part has some of each file.
awk -v part="$part" 'BEGIN { split(part, of, "/") } NR % of[2] == of[1]' "$SCRATCH/all" >"$SCRATCH/list"
[ -s "$SCRATCH/list" ] || fail "there is no mutant in part $part of ${of_files[*]}"

# What is explained of a file is there.
sed -n 's/^\(src[^#]*\) # .*/\1/p' .ci/mutants.txt >"$SCRATCH/explained"
stale=$(awk -F '\t' '
    NR == FNR { is_there[$2]; split($2, file, ":"); is_listed[file[1]]; next }
    { split($0, file, ":") }
    file[1] in is_listed && !($0 in is_there)
' "$SCRATCH/names" "$SCRATCH/explained")
[ -z "$stale" ] || fail "is explained in .ci/mutants.txt, and not there: $stale"

# Without it, a property test that fails by a mutant writes its case into a file among the sources.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
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
    what=$(name=$survivor awk -F '\t' '$1 == ENVIRON["name"] { print $2 }' "$SCRATCH/names")
    if ! grep -qFx -- "$what" "$SCRATCH/explained"; then
        say "survived, and is not explained: $survivor, here: $what"
        unknown=$((unknown + 1))
    fi
done < <(cat "$folder/missed.txt" "$SCRATCH/missed.txt")
say "$(wc -l <"$folder/caught.txt") mutants tested and caught, $(wc -l <"$folder/hung.txt") hung, $(cat "$folder/missed.txt" "$SCRATCH/missed.txt" | wc -l) survived, $unknown of them without an explanation; $(wc -l <"$folder/unviable.txt") do not compile, $(wc -l <"$folder/alone.txt") are compiled by themselves"
[ "$unknown" -eq 0 ]
