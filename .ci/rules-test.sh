#!/usr/bin/env bash
# The check of .ci/rules.sh itself: a small crate that breaks each rule once must be refused, with every
# breach named and nothing else; without the breaches it must pass.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch
cp -r .ci "$SCRATCH/.ci"
cd "$SCRATCH"
git init --quiet .
mkdir -p src/table src/wheel

cat >src/table/mod.rs <<'END'
//! - **T1 Live.** It lives.
fn sound() {
    // SAFETY: T1, and
    // a second line.
    unsafe { x() }
    // ORDERING: Acquire; one comment for one access, over several lines,
    // and a second one of its own.
    match a.compare_exchange(
        old,
        new,
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {}
    // ORDERING: Relaxed, both; nobody
    // looks.
    a.store(1, Ordering::Relaxed);
    b.store(1, Ordering::Relaxed);

    let s = "unsafe // std::sync"; // unsafe, Ordering::Relaxed
    let r = r#"unsafe " Ordering::Relaxed"#;
    fence(Ordering::SeqCst); // ORDERING: a fence
    a.cmp(b) == Ordering::Less
}
#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;
    fn f() { a.load(Ordering::Relaxed); }
}
END
printf '%s\n' '//! Time.' 'use std::sync::OnceLock;' 'fn f() { unsafe { x() } }' >src/time.rs
printf '%s\n' '//! A wheel.' 'use crate::time::Tick;' 'use crate::wheel::level::Level;' >src/wheel/mod.rs
mkdir -p loom-tests/tests/models loom-tests/planted loom-tests/shuttle/tests/storms
# model NAME: a test of loom-tests/tests/models/races.rs.
model() {
    printf '%s\n' '#[test]' "fn $1() {" '    explore(TWO, || {});' '}' >>loom-tests/tests/models/races.rs
}
# bug NAME MODEL TEXT: one that is to be planted in src/wheel/mod.rs, in the place of that text.
bug() {
    printf '%s\n' 'Why.' 'file: src/wheel/mod.rs' "model: $2" 'with: slots' '---- text' "$3" '---- bug' >"loom-tests/planted/$1.bug"
}
model found
bug whole 'races::found' '//! A wheel.'
printf '%s\n' '#[test]' 'fn storm() {}' >loom-tests/shuttle/tests/storms/main.rs
bug of_a_storm 'storm' "$(printf '%s\n' 'use crate::time::Tick;' 'use crate::wheel::level::Level;')"

bash .ci/rules.sh >report 2>&1 || { cat report; fail "refuses a crate that keeps the rules"; }

# Each line that breaks a rule says so: the report must have all of them, and no other line.
cat >>src/table/mod.rs <<'END'
fn unsound() {
    // SAFETY: BREAKS cites nothing
    unsafe { x() }
    // SAFETY: BREAKS cites T2
    unsafe { x() }
    // ORDERING: Relaxed; for the next one only
    a.load(Ordering::Relaxed);
    a.load(Ordering::Acquire, BREAKS);

    // ORDERING: Relaxed, both
    a.load(Ordering::Relaxed);

    a.load(Ordering::Relaxed, BREAKS);
    // ORDERING: none, this is an access
    a.load(Ordering::SeqCst, BREAKS);
    // ORDERING: too far up

    fence(Ordering::SeqCst, BREAKS);
}
END
cat >>src/time.rs <<'END'
fn g() { unsafe { x(BREAKS) } }
use std::sync::Arc as BREAKS;
END
cat >>src/wheel/mod.rs <<'END'
fn g() { unsafe { x(BREAKS) } }
use std::{fmt, sync::BREAKS};
use loom::BREAKS;
use crossbeam_epoch as BREAKS;
use crate::table::BREAKS;
use crate::{time::Span, shard::BREAKS};
use crate::BREAKS;
use super::BREAKS::*;
#[allow(unsafe_code)] fn h(BREAKS) {}
use Ordering::{Relaxed, BREAKS};
END
model found_by_nobody
bug twice 'races::found' 'use crate::BREAKS;'
echo 'use crate::BREAKS;' >>src/wheel/mod.rs
bug gone 'races::found' '//! A cog.'
bug misnamed 'races::lost' '//! A wheel.'
bug unnamed '' '//! A wheel.' && sed -i '/^model:/d' loom-tests/planted/unnamed.bug
bug elsewhere 'races::found' '//! A wheel.' && sed -i 's/wheel/cog/' loom-tests/planted/elsewhere.bug
bug half 'races::found' '//! A wheel.' && sed -i '/^---- bug/d' loom-tests/planted/half.bug
printf '%s\n' 'fn BREAKS() {}' >src/helpers.rs
printf '//%.0s\n' {1..700} >>src/helpers.rs

if bash .ci/rules.sh >report 2>&1; then
    fail "accepts a crate that breaks every rule"
fi
missed=$(grep -rn BREAKS src | while IFS=: read -r file line _; do
    grep -q "^ *$file:$line:" report || echo "$file:$line"
done)
surplus=$(grep -E '^ +src/.*:[0-9]+:' report | grep -v BREAKS | grep -v 'src/time.rs:3:' || true)
for text in 'src/helpers.rs$' 'src/helpers.rs: 701 lines'; do
    grep -q "$text" report || missed+=" '$text'"
done
idle=$(sed -n 's/^ *loom-tests\/\([a-z/_]*\.[a-z]*\):/\1:/p' report | sort)
expected=$(sort <<'END'
planted/elsewhere.bug: there is no src/cog/mod.rs
planted/gone.bug: its text is there 0 times in src/wheel/mod.rs, not once
planted/half.bug: no '---- text' with a '---- bug' after it
planted/misnamed.bug: there is no model races::lost
planted/twice.bug: its text is there 2 times in src/wheel/mod.rs, not once
planted/unnamed.bug: names no model
tests/models/races.rs:6: no bug is planted for races::found_by_nobody
END
)
[ "$idle" = "$expected" ] || { cat report; fail "of planted bugs it says: $idle"; }
[ -z "$missed$surplus" ] || { cat report; fail "missed: $missed; found too much: $surplus"; }
say "$(grep -rc BREAKS src | awk -F: '{ n += $2 } END { print n }') planted breaches, all found"
