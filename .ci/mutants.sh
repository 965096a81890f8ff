#!/usr/bin/env bash
# Puts small bugs into the modules that are pure (the wheel, the rows, time, the hash), one at a time, and
# asks whether a test notices. Long: an hour or so on two cores. Names what survived in mutants.out/.
#
# It knows nothing of memory orderings: the planted bugs of .ci/planted.sh do.
#
#   .ci/mutants.sh [arguments for cargo mutants, such as --file src/rows/mod.rs or --shard 0/4]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cargo_tool cargo-mutants
files=()
if [[ " $* " != *" --file "* ]]; then
    for file in src/rows/mod.rs src/hash.rs src/time/*.rs 'src/wheel/*.rs'; do
        files+=(--file "$file")
    done
fi
# The unit tests of these modules and the property tests over the wheel are enough to judge them, and
# take seconds: no need for the real-clock tests.
unset CARGO_TARGET_DIR
run cargo mutants --no-shuffle "${files[@]}" "$@" -- --lib
