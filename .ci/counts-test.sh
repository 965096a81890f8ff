#!/usr/bin/env bash
# The check of .ci/counts.sh itself, on made-up counts: what is over the tolerance, or no longer counted,
# must be refused and named, and what is within it must pass. Nothing is built or counted: cargo, rustc
# and valgrind are stand-ins.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch
cp -r .ci "$SCRATCH/.ci"
cd "$SCRATCH"
mkdir benches bin src
for tool in bash dirname basename mktemp rm cp cat sed awk wc touch; do
    ln -s "$(command -v "$tool")" "bin/$tool"
done
stand_in() {
    printf '#!/usr/bin/env bash\n%s\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}
# shellcheck disable=SC2016
stand_in cargo '[[ " $* " != *" --no-run "* ]] || exit 0; cat counted; exit "$(cat code)"'
stand_in rustc 'if [ "$1" = -vV ]; then echo "host: here"; else echo "rustc 1"; fi'
stand_in valgrind 'echo valgrind-1'
echo 0 >code

# counted NAME COUNT ...: what the next run will find.
counted() {
    printf 'operation\tinstructions\tlocked\tmisses\n' >counted
    printf '%s\t%s\t0.0\t1.0\n' "$@" >>counted
}
checks=0
# expect CODE TEXT [ARGUMENTS]: runs .ci/counts.sh, which must exit with that and print a line that matches.
expect() {
    local wanted=$1 text=$2 code=0
    shift 2
    checks=$((checks + 1))
    PATH=$SCRATCH/bin bash .ci/counts.sh "$@" >report 2>&1 || code=$?
    [ "$code" -eq "$wanted" ] || { cat report; fail "exit code $code instead of $wanted, at check $checks ('$text')"; }
    grep -qE -- "$text" report || { cat report; fail "does not print '$text'"; }
}
# changed SCRIPT: changes the table by sed, until `restored`.
changed() {
    cp benches/counts.tsv kept
    sed -i "$1" benches/counts.tsv
}
restored() {
    cp kept benches/counts.tsv
}

counted get 100.0 tick 1000.0
expect 1 'there is no benches/counts.tsv'
expect 0 'is renewed' --accept
expect 0 'no more than 3 % or 2 instructions'
[ "$(grep -c '^# ' benches/counts.tsv)" -ge 5 ] || fail "the table does not say what it was made with"

# Three per cent are within, a little more is not, in each row by itself.
counted get 103.0 tick 1030.0
expect 0 'no more than'
counted get 103.1 tick 1000.0
expect 1 '^ +get +100.0 +103.1 .*FAILED: more by 3.1, allowed are 3.0'
grep -q -- '--accept' report || fail "does not say how to accept"
counted get 100.0 tick 1030.1
expect 1 '^ +tick +1000.0 +1030.1 .*FAILED: more'
# A small count may grow by two instructions, and not by more.
counted get 10.0 tick 1000.0
expect 0 'is renewed' --accept
counted get 12.0 tick 1000.0
expect 0 'no more than'
counted get 12.1 tick 1000.0
expect 1 '^ +get .*FAILED: more'
# Fewer: a visible line, but it does not outweigh a failure.
counted get 10.0 tick 900.0
expect 0 'NOTE: some paths take fewer'
counted get 13.0 tick 900.0
expect 1 '^ +get .*FAILED: more'

# A locked instruction in each operation, or in every fifth, whatever the number of instructions. One in ten is what shifts.
counted get 10.0 tick 1000.0
sed -i 's/^tick\t1000.0\t0.0/tick\t990.0\t0.1/' counted
expect 0 'no more than'
sed -i 's/^tick\t990.0\t0.1/tick\t990.0\t0.2/' counted
expect 1 '^ +tick .*FAILED: 0.2 locked, the table says 0.0'
sed -i 's/^tick\t990.0\t0.2/tick\t990.0\t1.0/' counted
expect 1 '^ +tick .*FAILED: 1.0 locked, the table says 0.0'
sed -i 's/^tick\t990.0\t1.0/tick\t990.0\t/' counted
expect 1 '^ +tick .*FAILED: no count'

# Rows on one side, no numbers, no rows.
counted get 10.0
expect 1 '^ +tick .*FAILED: not counted'
counted get 10.0 tick 1000.0 touch 5.0
expect 1 '^ +touch .*FAILED: not in the table'
counted get 10.0 tick ''
expect 1 '^ +tick .*FAILED: no count'
counted get 10.0 tick 1000.0 get 10.0
expect 1 '^ +get .*FAILED: twice'
printf 'operation\tinstructions\n' >counted
expect 1 'nothing was counted'
cp benches/counts.tsv kept
expect 1 'nothing was counted' --accept
counted get 10.0 tick 1000.0
echo 101 >code
expect 1 'FAILED: counting failed' --accept
cmp -s kept benches/counts.tsv || fail "accepts what was not counted"
echo 0 >code

# Another compiler: a wide tolerance, which is one all the same. Another target: none.
changed 's/^# compiler: .*/# compiler: rustc 0/'
counted get 10.0 tick 1200.0
expect 0 'NOTE: .* made with rustc 0, this is rustc 1: 20 %'
counted get 10.0 tick 1201.0
expect 1 '^ +tick .*FAILED: more'
restored
changed 's/^# target: .*/# target: there/'
expect 0 'NOTE: .* of there, this is here: nothing is compared'
restored
# A clock that the kernel keeps otherwise: one row is not compared.
counted get-hit-strict-clock 100.0 tick 1000.0
expect 0 'is renewed' --accept
counted get-hit-strict-clock 900.0 tick 1000.0
expect 1 '^ +get-hit-strict-clock .*FAILED: more'
changed 's/^# clock: .*/# clock: sundial/'
expect 0 'NOTE: .* sundial: get-hit-strict-clock is not compared'
restored

rm bin/valgrind
expect 0 'NOTE: there is no valgrind'
expect 1 'no valgrind to count with' --accept
say "$checks made-up cases, each judged rightly"
