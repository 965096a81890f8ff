#!/usr/bin/env bash
# Counts the instructions of each hot path under callgrind (benches/counts.rs), and the locked ones among them, and
# holds them to the table benches/counts.tsv: a guard of speed that does not depend on the machine's mood.
#
#   .ci/counts.sh [--accept]        --accept: what is counted becomes the table
#
# More than the table says is a failure, beyond a tolerance for what the optimiser does by chance. For locked
# instructions there is none: no optimiser brings any. Fewer is a visible line: who made something faster should not be stopped, yet until the table is renewed, as much
# could be lost again unseen. Counts repeat to a tenth of an instruction on one machine; what they depend on
# is named in the table:
#
# - the target: nothing is compared with another one's;
# - the compiler and the C library (its allocator): with others the tolerance is wide. No tolerance at all
#   would stop everybody on the day of a new compiler, no comparison would be a guard that left unseen;
# - whether the kernel keeps time by the processor's counter, for the one path that reads the system's clock;
# - valgrind, which should make no difference.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

table=benches/counts.tsv
# Per cent, and instructions where that is more; per cent if the table was made by another compiler.
close=3
least=2
wide=20

accept=false
case "${1:-}" in
    '') ;;
    --accept) accept=true ;;
    *) fail "usage: .ci/counts.sh [--accept]" ;;
esac

# Whoever sets these builds another program than the one in the table.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

if ! have valgrind; then
    [ "$accept" = false ] || fail "there is no valgrind to count with"
    say "NOTE: there is no valgrind here: instructions are not counted, the hot paths not guarded"
    exit 0
fi

made_with() {
    printf '# target: %s\n# compiler: %s\n' "$(host)" "$(rustc --version)"
    printf '# libc: %s\n' "$(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)"
    printf '# clock: %s\n' "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource 2>/dev/null || echo unknown)"
    printf '# valgrind: %s\n' "$(valgrind --version)"
}

scratch
made_with >"$SCRATCH/made-with"
then_with() {
    sed -n "s/^# $1: //p" "$table"
}
now_with() {
    sed -n "s/^# $1: //p" "$SCRATCH/made-with"
}
differs() {
    [ "$(then_with "$1")" != "$(now_with "$1")" ]
}

if [ "$accept" = false ]; then
    [ -f "$table" ] || fail "there is no $table: .ci/counts.sh --accept makes it"
    if differs target; then
        say "NOTE: $table is of $(then_with target), this is $(now_with target): nothing is compared"
        exit 0
    fi
fi

# Cargo goes by the dates of files: in a target folder that another checkout shares, it may take that one's
# newer library for ours. A check that goes wrong so is repeated; a table would be wrong for long.
[ "$accept" = false ] || touch src/lib.rs
run cargo bench --bench counts --no-run
say "$ cargo bench --quiet --bench counts"
cargo bench --quiet --bench counts >"$SCRATCH/measured" || fail "counting failed"
[ "$(wc -l <"$SCRATCH/measured")" -gt 1 ] || fail "nothing was counted"

percent=$close
skip=''
if [ -f "$table" ]; then
    for what in compiler libc; do
        if differs "$what"; then
            percent=$wide
            say "NOTE: $table was made with $(then_with "$what"), this is $(now_with "$what"): $wide % are tolerated instead of $close %"
        fi
    done
    if differs clock; then
        skip=get-hit-strict-clock
        say "NOTE: the kernel's clock is $(now_with clock), of the table $(then_with clock): $skip is not compared"
    fi
    code=0
    awk -v percent="$percent" -v least="$least" -v skip="$skip" -f .ci/counts.awk \
        side=old "$table" side=new "$SCRATCH/measured" || code=$?
fi

if [ "$accept" = true ]; then
    {
        echo "# Counts per operation of each hot path, the loop included, as they were last accepted. Written by"
        echo "# .ci/counts.sh --accept and checked by .ci/counts.sh, which looks at the instructions and at the locked"
        echo "# ones among them (a tenth is what comes now and then)."
        echo "# benches/counts.rs says what an operation is."
        cat "$SCRATCH/made-with" "$SCRATCH/measured"
    } >"$SCRATCH/table"
    cp "$SCRATCH/table" "$table"
    say "$table is renewed: commit it together with the reason"
    exit 0
fi
case "$code" in
    0) say "no more than $percent % or $least instructions from the table" ;;
    3) say "NOTE: some paths take fewer instructions than $table says: .ci/counts.sh --accept renews it, so that they are kept" ;;
    *) fail "more instructions, or locked ones, than $table says, or rows on one side only, as shown above; if that is meant, .ci/counts.sh --accept renews it" ;;
esac
