//! Tests of the timekeeper: its rounds with a clock that is made up, and the thread on a real one.

use super::*;
use crate::time::SECOND;
use std::cell::Cell;
use std::time::Instant;

const MS: u64 = 1_000_000;

fn at(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

/// What a thread finds that looks now.
fn find(keeper: &Keeper, now: u64) -> Found {
    keeper.kept.check(&Trust::new(), at(now))
}

#[test]
fn it_parks_when_reads_have_become_few() {
    let round = Span::from_nanos(1_600_000);
    let mut pace = Pace::default();
    assert!((0..1000).all(|_| pace.round(BUSY, round) == Next::Round));
    let quiet = (0..).take_while(|_| pace.round(BUSY - 1, round) == Next::Round).count();
    assert_eq!(quiet, 31);
    // Half of the rounds are busy: that pays. A fourth is not enough.
    let mut pace = Pace::default();
    assert!((0..1000).all(|n| pace.round(if n % 2 == 0 { BUSY } else { 0 }, round) == Next::Round));
    assert!((0..1000).any(|n| pace.round(if n % 4 == 0 { BUSY } else { 0 }, round) == Next::Rest));
}

#[test]
fn it_gives_up_where_it_comes_too_late_time_and_again() {
    let (round, late) = (Span::from_nanos(1_600_000), Span::from_nanos(9_000_000));
    let mut pace = Pace::default();
    // A stop of ten seconds is one round.
    assert_eq!(pace.round(BUSY, Span::from_nanos(10 * SECOND)), Next::Round);
    assert!((0..1000).all(|n| pace.round(BUSY, if n % 10 == 0 { late } else { round }) == Next::Round));
    assert!((0..20).any(|_| pace.round(BUSY, late) == Next::GiveUp));
}

/// Rounds on a clock that goes on, stands still, jumps back, and jumps ahead: what readers are told is never behind, and in the end
/// nobody keeps the time.
#[test]
fn rounds_on_a_clock_that_jumps() {
    let keeper = Keeper::new();
    let (now, rounds, latest) = (Cell::new(100 * SECOND), Cell::new(0u64), Cell::new(0));
    let clock = || {
        latest.set(latest.get().max(now.get()));
        at(now.get())
    };
    let sleep = || {
        assert_eq!(find(&keeper, latest.get()), Found::Kept(at(latest.get())), "round {}", rounds.get());
        assert!(!matches!(find(&keeper, latest.get() - 50 * MS), Found::Unkept));
        rounds.set(rounds.get() + 1);
        now.set(match rounds.get() {
            5 => now.get(),
            10 => now.get() - 90 * SECOND,
            15 => now.get() + 200 * SECOND,
            _ => now.get() + 2 * MS,
        });
    };
    keeper.keep(clock, sleep);
    assert_eq!(rounds.get(), 32);
    assert_eq!(find(&keeper, latest.get()), Found::Unkept);
}

#[test]
fn where_it_cannot_be_started_nobody_tries_again_for_a_second() {
    let keeper = Keeper::new();
    assert!(!keeper.is_shunned(at(SECOND)));
    keeper.call_by(at(SECOND), || Err(io::ErrorKind::PermissionDenied.into()));
    assert!(keeper.is_shunned(at(2 * SECOND - 1)));
    assert!(!keeper.is_shunned(at(2 * SECOND)));
    assert_eq!(find(&keeper, SECOND), Found::Unkept);
    // Then it can.
    let starts = Cell::new(0);
    for _ in 0..3 {
        keeper.call_by(at(2 * SECOND), || {
            starts.set(starts.get() + 1);
            Ok(thread::current())
        });
    }
    assert_eq!(starts.get(), 1);
    // A fork's child begins anew.
    keeper.kept.write(at(3 * SECOND));
    keeper.inherit();
    assert_eq!(find(&keeper, 3 * SECOND), Found::Unkept);
    keeper.call_by(at(3 * SECOND), || {
        starts.set(starts.get() + 1);
        Ok(thread::current())
    });
    assert_eq!(starts.get(), 2);
}

/// The thread, on a real clock: it keeps the time while there are checks, parks, and is back when it is called.
#[test]
#[cfg(not(miri))]
fn the_thread_parks_and_comes_back() {
    let keeper: &'static Keeper = Box::leak(Box::new(Keeper::new()));
    let begun = Instant::now();
    let until = |what, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed().as_secs() < 60, "{what}");
            thread::yield_now();
        }
    };
    let is_kept = || matches!(find(keeper, system::now().as_nanos()), Found::Kept(_));
    for round in 0..3 {
        // As often as it takes: it may be about to park.
        until("called", &|| {
            keeper.call_by(system::now(), || keeper.start());
            is_kept()
        });
        let from = system::now();
        while system::now().since(from) < Span::from_nanos(200 * MS) {
            // Each of these threads begins with a check.
            is_kept();
        }
        // With nobody who checks it parks. A look would count as one, so this is a look at the flag.
        // ORDERING: Relaxed; it is looked at until it is there.
        until("parked", &|| keeper.rests.load(Ordering::Relaxed));
        assert!(!is_kept(), "round {round}");
    }
}

/// The promise, of a thread that does nothing but read, on a real clock: never ahead, and late 64 times in a row at most.
#[test]
#[cfg(not(miri))]
fn the_kept_time_is_never_ahead_and_late_for_64_reads_at_most() {
    let (trust, late) = (Trust::new(), Span::from_nanos(10 * MS));
    let (mut reads, mut lookups, mut in_a_row, mut was_kept) = (0u64, 0u64, 0, false);
    let start = system::now();
    // A busy machine may not read often enough for that.
    KEEPER.call(start);
    let mut before = start;
    while before.since(start) < Span::from_nanos(1500 * MS) {
        // It has ended 10 ms ago.
        let is_seen = shows(Deadline::at(before.before(late)), &trust);
        in_a_row = if is_seen { in_a_row + 1 } else { 0 };
        assert!(in_a_row <= 64);
        if !shows(Deadline::at(before.after(late)), &trust) {
            lookups += 1;
            let time = check(&trust);
            let after = system::now();
            assert!(time <= after, "ahead of the precise clock");
            assert!(before.since(time) <= late, "late after a check");
        } else {
            was_kept = true;
        }
        reads += 1;
        before = system::now();
    }
    assert!(was_kept, "after {reads} reads, {lookups} of them by another clock, there was no timekeeper");
}
