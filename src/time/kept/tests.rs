//! Tests of the kept time, with artificial readings.

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

fn at(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

/// Returns whether a reader sees an entry that ends at `end`, when the real time is `now`.
fn sees(kept: &Kept, trust: &Trust, end: u64, now: u64) -> bool {
    let deadline = Deadline::at(at(end));
    kept.shows(deadline, trust)
        || match kept.check(trust, at(now)) {
            Found::Kept(time) => !deadline.is_over(time),
            Found::Unkept | Found::Wanted => !deadline.is_over(at(now)),
        }
}

/// Returns the state of a thread that has just checked.
fn checked(kept: &Kept, now: u64) -> Trust {
    let trust = Trust::new();
    kept.check(&trust, at(now));
    trust
}

#[test]
fn a_thread_begins_with_a_check() {
    let kept = Kept::new();
    kept.write(at(S));
    assert!(!sees(&kept, &Trust::new(), 5 * S, 11 * S));
}

/// The process was stopped for ten seconds. A thread sees entries that have expired meanwhile at
/// most 64 times, and the thread that notices tells the others.
#[test]
fn a_thread_trusts_the_kept_time_for_64_reads_in_a_row() {
    let kept = Kept::new();
    kept.write(at(S));
    let [first, second, third] = [0; 3].map(|_| checked(&kept, S));
    assert!((0..10).all(|_| sees(&kept, &second, 5 * S, S)));
    assert_eq!((0..1000).filter(|_| sees(&kept, &first, 5 * S, 11 * S)).count(), 64);
    for told in [second, third] {
        assert_eq!((0..1000).filter(|_| sees(&kept, &told, 5 * S, 11 * S)).count(), 0);
    }
    // The word stays until the timekeeper is back.
    assert_eq!(kept.load(), NOBODY);
    kept.write(at(11 * S));
    assert_eq!(kept.check(&first, at(11 * S + MS)), Found::Kept(at(11 * S + MS)));
    assert!(sees(&kept, &first, 12 * S, 11 * S + MS));
}

#[test]
fn who_finds_a_reading_old_publishes_a_new_one() {
    let kept = Kept::new();
    kept.write(at(S));
    for (passed, then) in [(4 * MS, S), (4 * MS + 1, S + 4 * MS + 1), (8 * MS, S + 4 * MS + 1)] {
        assert_eq!(kept.check(&Trust::new(), at(S + passed)), Found::Kept(at(S + passed)));
        assert_eq!(kept.load(), then, "after {passed}");
    }
}

/// The time that a thread gets is never behind what any thread got before, whatever the clock does.
#[test]
fn a_clock_that_jumps_back_is_not_followed() {
    let kept = Kept::new();
    let trust = Trust::new();
    let mut latest = 0;
    for now in [10 * S, 10 * S + MS, 4 * S, 4 * S + MS, 3, 10 * S, 11 * S] {
        kept.write(at(now));
        latest = latest.max(now);
        assert_eq!(kept.load(), latest);
        assert_eq!(kept.check(&trust, at(now)), Found::Kept(at(latest)));
        assert!(!kept.shows(Deadline::at(at(latest)), &trust));
        assert!(kept.shows(Deadline::at(at(latest + 1)), &trust));
    }
}

/// A reader is delayed between its look and its write, and the timekeeper parks meanwhile.
#[test]
fn a_reader_brings_nothing_back_where_nobody_keeps_the_time() {
    let kept = Kept::new();
    kept.write(at(S));
    let seen = kept.load();
    kept.leave();
    assert_eq!(kept.replace(seen, 2 * S), Err(NOBODY));
    kept.catch_up(seen, at(S + 5 * MS));
    assert_eq!(kept.load(), NOBODY);
}

#[test]
fn where_nobody_keeps_the_time_no_end_is_seen_ahead() {
    let kept = Kept::new();
    let trust = checked(&kept, S);
    for end in [1, S, S << 20, NOBODY] {
        assert!(!kept.shows(Deadline::at(at(end)), &trust));
    }
    assert_eq!(kept.check(&trust, at(5 * S)), Found::Unkept);
}

/// Reads at a steady pace. Returns how often the timekeeper was called.
fn calls(a_second: u64, reads: u64) -> u64 {
    let (kept, trust) = (Kept::new(), Trust::new());
    (0..reads).map(|read| u64::from(kept.check(&trust, at(S + read * S / a_second)) == Found::Wanted)).sum()
}

#[test]
fn a_timekeeper_is_called_from_half_a_million_reads_a_second_on() {
    assert_eq!(calls(300, 300 * 3600), 0);
    assert_eq!(calls(10_000, 1_000_000), 0);
    assert_eq!(calls(450_000, 3_000_000), 0);
    assert!(calls(550_000, 40_000) > 0);
    assert!(calls(50_000_000, 40_000) > 0);
}

/// Threads count by themselves, and add their counts together.
#[test]
fn many_threads_with_few_reads_call_one_together() {
    let (kept, threads) = (Kept::new(), [0; 100].map(|_| Trust::new()));
    let reads = (0..1_000u64).flat_map(|round| threads.iter().map(move |trust| (round, trust)));
    // 20,000 rounds of 100 reads a second.
    let wanted =
        reads.filter(|(round, trust)| kept.check(trust, at(S + round * S / 20_000)) == Found::Wanted);
    assert!(wanted.count() > 0);
}

#[test]
fn checks_are_counted_up_to_what_is_enough() {
    let kept = Kept::new();
    kept.write(at(S));
    let trust = Trust::new();
    assert_eq!(kept.take_checks(), 0);
    // This makes 64 reads and a check.
    let read = |reads| (0..reads).for_each(|_| assert!(sees(&kept, &trust, 2 * S, S)));
    read(1 + 2 * 65);
    assert_eq!(kept.take_checks(), 3);
    read(1000 * 65);
    assert_eq!(kept.take_checks(), BUSY);
    // A deadline that has passed leads to a closer look, which does not count as a check.
    (0..10).for_each(|_| assert!(!sees(&kept, &trust, S, S)));
    assert_eq!(kept.take_checks(), 0);
}
