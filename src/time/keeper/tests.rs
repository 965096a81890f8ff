//! Tests of the timekeeper: its rounds with an artificial clock, and its thread with a real one.

use super::*;
use crate::time::SECOND;
use std::cell::Cell;
use std::time::Instant;

const MS: u64 = 1_000_000;

fn at(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

/// Returns what a thread finds that checks now.
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
    // Half of the rounds are busy, which pays. A quarter is not enough.
    let mut pace = Pace::default();
    assert!((0..1000).all(|n| pace.round(if n % 2 == 0 { BUSY } else { 0 }, round) == Next::Round));
    assert!((0..1000).any(|n| pace.round(if n % 4 == 0 { BUSY } else { 0 }, round) == Next::Rest));
}

#[test]
fn it_gives_up_where_it_comes_too_late_time_and_again() {
    let (round, late) = (Span::from_nanos(1_600_000), Span::from_nanos(9_000_000));
    let mut pace = Pace::default();
    // A stop of ten seconds counts as one round.
    assert_eq!(pace.round(BUSY, Span::from_nanos(10 * SECOND)), Next::Round);
    assert!((0..1000).all(|n| pace.round(BUSY, if n % 10 == 0 { late } else { round }) == Next::Round));
    assert!((0..20).any(|_| pace.round(BUSY, late) == Next::GiveUp));
}

/// Makes rounds on a clock that advances, stands still, jumps back, and jumps ahead: the time that
/// readers get never goes back, and in the end no thread keeps the time.
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
    // Now it can be started.
    let starts = Cell::new(0);
    for _ in 0..3 {
        keeper.call_by(at(2 * SECOND), || {
            starts.set(starts.get() + 1);
            Ok(thread::current())
        });
    }
    assert_eq!(starts.get(), 1);
    // The child of a fork begins anew.
    keeper.kept.write(at(3 * SECOND));
    keeper.inherit();
    assert_eq!(find(&keeper, 3 * SECOND), Found::Unkept);
    keeper.call_by(at(3 * SECOND), || {
        starts.set(starts.get() + 1);
        Ok(thread::current())
    });
    assert_eq!(starts.get(), 2);
}

/// The thread on a real clock keeps the time while there are checks, parks, and returns when it is
/// called.
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
    // What a reader does, for which the time is kept: a check after each 64 reads.
    let (trust, hour) = (Trust::new(), Span::from_nanos(3600 * SECOND));
    let read = || {
        let now = system::now();
        if !keeper.kept.shows(Deadline::at(now.after(hour)), &trust) {
            keeper.kept.check(&trust, now);
        }
    };
    for round in 0..3 {
        // The call is repeated, because the thread may be about to park.
        let called = Instant::now();
        until("called", &|| {
            keeper.call_by(system::now(), || keeper.start());
            is_kept()
        });
        let came_after = called.elapsed();
        let (reads, stopped) = read_without_a_pause(Duration::from_millis(200), read);
        // It parks if reads were few for 50 ms, and gives up if it gets no processor.
        let is_excused = came_after + stopped > Duration::from_millis(20)
            || reads < 100_000
            || keeper.is_shunned(system::now());
        // ORDERING: Relaxed; a figure.
        let is_awake = !keeper.rests.load(Ordering::Relaxed);
        assert!(is_awake || is_excused, "round {round}: it parked while there were {reads} reads");
        // Without checks the thread parks. A read would count as a check, so this looks at the
        // flag.
        // ORDERING: Relaxed; the closure loads it until it is true.
        until("parked", &|| keeper.rests.load(Ordering::Relaxed));
        assert!(!is_kept(), "round {round}");
    }
}

/// Returns how many reads there were, and for how long this thread did not run meanwhile.
#[cfg(not(miri))]
fn read_without_a_pause(time: Duration, read: impl Fn()) -> (u64, Duration) {
    let begun = Instant::now();
    let (mut last, mut reads, mut stopped) = (begun, 0, Duration::ZERO);
    while last - begun < time {
        read();
        reads += 1;
        let now = Instant::now();
        // A read takes about a microsecond.
        stopped += (now - last).saturating_sub(Duration::from_millis(1));
        last = now;
    }
    (reads, stopped)
}

/// Checks the promise on a real clock, for a thread that only reads: the kept time is never ahead,
/// and late for at most 64 reads in a row.
#[test]
#[cfg(not(miri))]
fn the_kept_time_is_never_ahead_and_late_for_64_reads_at_most() {
    // Right after the machine stood still, the kernel's coarse clock is late, too. A fault of ours is there each time.
    assert!((0..3).any(|_| late_checks() == 0), "late after a check in each of three runs");
}

/// Returns how many checks gave a time that was more than 10 ms behind, in a second and a half with a timekeeper.
#[cfg(not(miri))]
fn late_checks() -> u32 {
    let (trust, late) = (Trust::new(), Span::from_nanos(10 * MS));
    let (mut reads, mut lookups, mut in_a_row, mut was_kept, mut late_ones) = (0u64, 0u64, 0, false, 0);
    let start = system::now();
    // A busy machine may not read often enough to start the timekeeper.
    KEEPER.call(start);
    let mut before = start;
    let has_time = |passed: Span, was_kept: bool| {
        passed < Span::from_nanos(if was_kept { 1500 * MS } else { 60 * SECOND })
    };
    while has_time(before.since(start), was_kept) {
        if !was_kept {
            // It gives up for a while where it gets no processor.
            KEEPER.call(before);
        }
        // The deadline passed 10 ms ago. Both looks are reads, of which the thread may trust 64.
        let is_seen = shows(Deadline::at(before.before(late)), &trust);
        let is_ahead = shows(Deadline::at(before.after(late)), &trust);
        in_a_row = if is_seen { in_a_row + 1 + u32::from(is_ahead) } else { 0 };
        assert!(in_a_row <= 64);
        if !is_ahead {
            (lookups, in_a_row) = (lookups + 1, 0);
            let time = check(&trust);
            let after = system::now();
            assert!(time <= after, "ahead of the precise clock");
            late_ones += u32::from(before.since(time) > late);
        } else {
            was_kept = true;
        }
        reads += 1;
        before = system::now();
    }
    assert!(was_kept, "after {reads} reads, {lookups} of them by another clock, there was no timekeeper");
    late_ones
}
