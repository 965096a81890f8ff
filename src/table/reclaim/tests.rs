//! Garbage alone: how much work a seal and a critical section take, and what a fork's child makes of it.

use super::super::Pin;
use super::*;
use crate::rows::RowId;
use crate::sync::Alarm;
use std::time::Duration;

fn add<V>(garbage: &mut Garbage<u64, V>, weight: u32) {
    garbage.add(Unlinked { named: Named::of(RowId::FIRST), node: NonNull::dangling(), weight });
}

/// One more batch takes as many steps as the first, however much waits already because a thread
/// is pinned: the number of tests is constant, and advances become ever less frequent. When no
/// thread is pinned, all garbage goes.
#[test]
fn what_waits_under_a_guard_makes_no_seal_dearer() {
    const SEALS: usize = 10_000;
    let pin = Pin::new();
    let mut garbage = Garbage::<u64, u64>::new();
    let (mut advances, mut vacated) = (0, 0);
    for _ in 0..SEALS {
        add(&mut garbage, 0);
        let sealed = garbage.seal().expect("something is in it");
        advances += usize::from(sealed.advance);
        let _ = sealed.start();
        assert!(
            garbage.take_reclaimable(Some(BATCHES_AT_A_SEAL), |_| panic!("the guard protects it")).is_empty()
        );
    }
    assert!(garbage.looks <= LOOKS * SEALS, "{} looks", garbage.looks);
    assert!(advances <= SEALS / 50, "{advances} advances");
    drop(pin);
    // Other tests pin their threads, too, for a while.
    while vacated < SEALS {
        epoch::advance_fully();
        let _ = garbage.take_reclaimable(None, |_| vacated += 1);
        std::thread::yield_now();
    }
    assert!(!garbage.has_sealed());
}

/// As many numbers are vacated in one critical section, or as many values handed out, however
/// much has become reclaimable at once.
#[test]
fn one_critical_section_takes_a_bounded_number() {
    const SEALS: usize = 300;
    let pin = Pin::new();
    let mut garbage = Garbage::<u64, u64>::new();
    for nodes in [1, 2 * PART, 1_000].into_iter().cycle().take(SEALS) {
        (0..nodes).for_each(|_| add(&mut garbage, 3));
        let _ = garbage.seal().expect("something is in it").start();
    }
    drop(pin);
    let (all, mut taken, mut for_writer) = (garbage.len(), 0, true);
    while taken < all {
        epoch::advance_fully();
        for_writer = !for_writer;
        let mut at_once = 0;
        let most = for_writer.then_some(BATCHES_AT_A_SEAL);
        let reclaimable = garbage.take_reclaimable(most, |_| at_once += 1);
        assert!(at_once <= if for_writer { BATCHES_AT_A_SEAL * PART } else { 2 * TAKEN_AT_ONCE });
        taken += at_once;
        assert!(reclaimable.has_more() <= !for_writer && reclaimable.is_empty());
        assert_eq!(garbage.len(), all - taken);
        std::thread::yield_now();
    }
    assert!(!garbage.has_sealed());
    assert_eq!(garbage.pace.waiting(), Load::default());
}

/// The first value after a seal sets the time at which its batch is full, and further values
/// leave it. So a batch of values that come fast is sealed in time, too.
#[test]
fn a_batch_is_full_in_time_however_many_values_come() {
    let mut garbage = Garbage::<u64, String>::new();
    garbage.be_prompt();
    let mut now = Tick::LONG_AGO.after(Span::from_nanos(1_000_000_000));
    add(&mut garbage, 0);
    assert!(garbage.is_at_stop(now), "a rare write does not wait for the next one");
    for values in [1, 2, BATCH as u64 - 1] {
        let _ = garbage.seal_full(now).expect("it was open for long").start();
        (0..values).for_each(|_| add(&mut garbage, 0));
        now = now.after(Span::from_nanos(199_999));
        assert!(!garbage.is_at_stop(now) && garbage.seal_full(now).is_none(), "{values} values, too early");
        now = now.after(Span::from_nanos(1));
        assert!(garbage.is_at_stop(now), "{values} values");
    }
}

/// The thread that was to start a grace period does not exist in the child, and the grace period ends all the same.
#[test]
fn what_other_threads_of_the_parent_had_yet_to_start_ends_in_the_child() {
    let mut garbage = Garbage::<u64, u64>::new();
    add(&mut garbage, 0);
    let _never_started = garbage.seal();
    // Of the kind that has to be started, whatever kind this machine has.
    garbage.sealed[0].grace = Arc::new(GracePeriod::Flagged(Arc::default()));
    let (mut vacated, patience) = (0, Alarm::after(Duration::from_secs(60)));
    while vacated == 0 {
        assert!(!patience.is_over(), "nobody has started it");
        garbage.start_anew();
        let _ = garbage.take_reclaimable(None, |_| vacated += 1);
        std::thread::yield_now();
    }
}
