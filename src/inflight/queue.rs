//! The calls that wait for a key's turn, in the order in which they came.
//!
//! Calls that accept the same outcomes are in one group. So an outcome reaches the calls that
//! accept it without a look at any other, and a call that leaves is found by its number. The work
//! for one call does not depend on how many wait. This file knows numbers and what calls accept. It
//! knows no flight.
//!
//! # Invariants
//!
//! - **Q1** A number is in a queue at most once. Of two calls, the one with the smaller number came
//!   first.
//! - **Q2** A call is in the group of what it accepts, and there is one group for each such.

use super::waiter::{Call, Kind, Wants};
use crate::sync::{Alarm, Arc};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long other calls may take the turn before a call to which it was offered. It is long enough
/// that a thread that was just woken nearly always comes in time, and short enough that nobody
/// notices the delay.
const LONGEST_PASSED_OVER: Duration = Duration::from_millis(1);

/// A waiting call.
pub(super) struct QueuedCall<K, V> {
    pub(super) call: Arc<Call<K, V>>,
    /// When the call has been passed over for long enough; `None` if the turn was not offered to it
    /// yet.
    patience: Option<Alarm>,
}

/// Calls that accept the same outcomes, by their numbers.
struct Group<K, V> {
    wants: Wants,
    calls: BTreeMap<u64, QueuedCall<K, V>>,
}

pub(super) struct Queue<K, V> {
    /// The groups, including empty ones. There are as many as there are things that the calls of
    /// one key want, which is two or three.
    groups: Vec<Group<K, V>>,
}

/// The first of the waiting calls.
pub(super) struct First<'a, K, V> {
    pub(super) number: u64,
    pub(super) wants: Wants,
    pub(super) waiting: &'a mut QueuedCall<K, V>,
}

impl<K, V> QueuedCall<K, V> {
    /// Returns whether the call has been passed over for long enough, so that it gets the turn
    /// directly. Called each time that the turn comes to this call.
    pub(super) fn is_out_of_patience(&mut self) -> bool {
        match &self.patience {
            Some(patience) => patience.is_over(),
            None => {
                self.patience = Some(Alarm::after(LONGEST_PASSED_OVER));
                false
            }
        }
    }
}

impl<K, V> Queue<K, V> {
    pub(super) const fn new() -> Self {
        Self { groups: Vec::new() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.calls.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.calls.len()).sum()
    }

    fn group(&mut self, wants: Wants) -> &mut Group<K, V> {
        let place = self.groups.iter().position(|group| group.wants == wants).unwrap_or_else(|| {
            self.groups.push(Group { wants, calls: BTreeMap::new() });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    pub(super) fn push(&mut self, number: u64, wants: Wants, call: Arc<Call<K, V>>) {
        debug_assert!(!self.contains(number), "two calls of one number");
        self.group(wants).calls.insert(number, QueuedCall { call, patience: None });
    }

    /// Appends all calls of another queue. Of two groups, the calls of the smaller one are moved: a
    /// call that moves comes to be among twice as many, so no call moves often.
    pub(super) fn append(&mut self, other: Self) {
        for mut group in other.groups {
            let calls = &mut self.group(group.wants).calls;
            if calls.len() < group.calls.len() {
                std::mem::swap(calls, &mut group.calls);
            }
            // `BTreeMap::append` would build the larger map anew.
            calls.extend(group.calls);
        }
    }

    pub(super) fn first(&mut self) -> Option<First<'_, K, V>> {
        let firsts = self.groups.iter_mut().filter_map(|group| {
            let (number, waiting) = group.calls.iter_mut().next()?;
            Some(First { number: *number, wants: group.wants, waiting })
        });
        firsts.min_by_key(|first| first.number)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.groups.iter().any(|group| group.calls.contains_key(&number))
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Arc<Call<K, V>>> {
        self.groups.iter_mut().find_map(|group| group.calls.remove(&number)).map(|waiting| waiting.call)
    }

    /// Takes out the calls that accept an outcome of this kind.
    pub(super) fn take(&mut self, kind: Kind) -> Vec<Arc<Call<K, V>>> {
        let mut taken = Vec::new();
        for group in self.groups.iter_mut().filter(|group| group.wants.accepts(kind)) {
            taken.extend(std::mem::take(&mut group.calls).into_values().map(|waiting| waiting.call));
        }
        taken
    }
}

#[cfg(all(test, not(tidewheel_loom), not(tidewheel_shuttle)))]
mod tests {
    use super::*;
    use std::any::TypeId;

    const TURN: Wants = Wants::Turn;
    const VALUE: Wants = Wants::value(None, false);
    const OPTIONAL: Wants = Wants::value(None, true);

    fn fallible() -> Wants {
        Wants::value(Some(TypeId::of::<String>()), false)
    }

    fn queue(calls: &[(u64, Wants)]) -> Queue<u64, ()> {
        let mut queue = Queue::new();
        for &(number, wants) in calls {
            queue.push(number, wants, Call::new(number));
        }
        queue
    }

    fn keys(calls: Vec<Arc<Call<u64, ()>>>) -> Vec<u64> {
        let mut keys: Vec<_> = calls.iter().map(|call| call.key).collect();
        keys.sort_unstable();
        keys
    }

    fn in_order(mut queue: Queue<u64, ()>) -> Vec<u64> {
        std::iter::from_fn(|| {
            let number = queue.first()?.number;
            queue.remove(number).map(|call| call.key)
        })
        .collect()
    }

    #[test]
    fn the_first_is_who_came_first_whatever_it_wants() {
        let queue = queue(&[(3, VALUE), (1, TURN), (2, OPTIONAL), (4, TURN)]);
        assert_eq!(queue.len(), 4);
        assert_eq!(in_order(queue), [1, 2, 3, 4]);
    }

    #[test]
    fn an_outcome_takes_those_that_have_use_for_it_and_no_other() {
        let all = [(1, TURN), (2, VALUE), (3, fallible()), (4, OPTIONAL), (5, TURN), (6, VALUE)];
        let cases: [(Kind, &[u64]); 5] = [
            (Kind::Value, &[2, 3, 4, 6]),
            (Kind::Error(TypeId::of::<String>()), &[3]),
            (Kind::Error(TypeId::of::<u8>()), &[]),
            (Kind::Nothing, &[4]),
            (Kind::Own, &[]),
        ];
        for (kind, expected) in cases {
            let mut queue = queue(&all);
            assert_eq!(keys(queue.take(kind)), expected, "{kind:?}");
            let rest: Vec<u64> = (1..=6).filter(|number| !expected.contains(number)).collect();
            assert_eq!(in_order(queue), rest, "{kind:?}");
        }
    }

    #[test]
    fn those_of_another_queue_keep_their_places() {
        // For what calls want, the one queue has more of them, or the other one, or one has none.
        let one = [(2, TURN), (5, VALUE), (7, VALUE), (8, VALUE)];
        let other = [(1, VALUE), (3, TURN), (4, OPTIONAL), (9, TURN)];
        for (calls, more) in [(one, other), (other, one)] {
            let mut queue_of_both = queue(&calls);
            queue_of_both.append(queue(&more));
            assert!(queue_of_both.contains(3) && !queue_of_both.contains(6));
            assert_eq!(queue_of_both.len(), 8);
            assert_eq!(in_order(queue_of_both), [1, 2, 3, 4, 5, 7, 8, 9]);
        }
    }

    #[test]
    fn who_leaves_is_out_of_it() {
        let mut queue = queue(&[(1, TURN), (2, TURN), (3, VALUE)]);
        assert_eq!(queue.remove(2).map(|call| call.key), Some(2));
        assert!(queue.remove(2).is_none());
        assert_eq!(in_order(queue), [1, 3]);
    }

    #[test]
    fn nobody_is_out_of_patience_when_its_turn_comes_first() {
        let mut queue = queue(&[(1, TURN)]);
        let first = queue.first().expect("somebody waits").waiting;
        assert!(!first.is_out_of_patience());
        std::thread::sleep(2 * LONGEST_PASSED_OVER);
        assert!(first.is_out_of_patience());
    }
}
