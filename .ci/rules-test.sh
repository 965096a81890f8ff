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
[ -z "$missed$surplus" ] || { cat report; fail "missed: $missed; found too much: $surplus"; }
say "$(grep -rc BREAKS src | awk -F: '{ n += $2 } END { print n }') planted breaches, all found"
