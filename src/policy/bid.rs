//! Bids: what each shard would give next where something large comes, and whose bid is taken.
//!
//! Each shard gives in its own order; which shard it is, nobody's order says. But what goes for a large entry may be large
//! itself, and leaves room unused until the next one comes: half an entry in the mean, if whatever is next goes. So of
//! what is next in one shard or the other, that goes which is just enough.

use super::{Entries, EvictionPolicy, MAIN, Policy, SMALL};
use crate::rows::RowId;
use std::cmp::Reverse;

/// There is room for so many large entries at most.
const LARGE: u64 = 32;
/// Bids that leave as much room unused, but for one part in so many of all there is, are as good as each other.
const ALIKE: u64 = 64;
/// A shard gives once others gave so many times for each shard that there is: so what is next in it goes some time, however
/// badly it fits.
const PASSED_OVER: u32 = 2;
/// Rows that are looked at for one that was not hit.
const LOOKS: usize = 8;

/// What a shard would give next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bid {
    /// Its weight, as far as that can be told; nothing if there is nothing.
    weight: u64,
    /// How often another bid was taken since this shard gave something.
    passed_over: u32,
}

impl Policy {
    /// Whether so much is large, beside what there is room for.
    #[inline]
    pub(crate) fn is_large(&self, weight: u64) -> bool {
        self.shards != 1 && self.account().is_some_and(|account| weight > account.limit() / LARGE)
    }

    /// Whether it may give without a look at the bids of others: nothing large comes, or all there is but `staying` is not enough for it.
    #[inline]
    pub(crate) fn gives_unasked(&self, needed: u64, staying: u32) -> bool {
        !self.is_large(needed) || self.weight() - u64::from(staying) <= self.lacking(needed)
    }

    /// What is to go next, if that row stays. It counts as passed over, until it has given.
    pub(crate) fn bid(&mut self, entries: &mut impl Entries, staying: Option<RowId>) -> Bid {
        let is_mains = self.len[SMALL] == 0 || self.weight[SMALL] < self.target.part_of(self.room());
        let queues = if is_mains && self.len[MAIN] != 0 { [MAIN, SMALL] } else { [SMALL, MAIN] };
        let is_fifo = self.kind == EvictionPolicy::Fifo;
        let next = queues.into_iter().find_map(|queue| {
            let after = |row: &RowId| self.queues.after(&self.rows, *row);
            let rows = std::iter::successors(self.queues.front(queue), after);
            let mut rows = rows.filter(|&row| Some(row) != staying).take(LOOKS);
            let first = rows.next()?;
            let mut is_next = |row: RowId| is_fifo || entries.lower(row, 0) == 0;
            if is_next(first) { Some(first) } else { rows.find(|&row| is_next(row)).or(Some(first)) }
        });
        self.passed_over = self.passed_over.saturating_add(1);
        Bid { weight: next.map_or(0, |row| u64::from(self.weights.get(row))), passed_over: self.passed_over }
    }

    /// It was this shard's bid that was taken, or it gives unasked.
    #[inline]
    pub(crate) fn has_given(&mut self) {
        self.passed_over = 0;
    }
}

/// Which shard gives, and how much of what is lacking before it is asked again who does; `limit` is all the room there is.
/// None if there is nothing. Of each shard it is told the weight and the bid.
pub(crate) fn taken(
    bids: impl ExactSizeIterator<Item = (u64, Bid)>,
    limit: u64,
    lacking: u64,
) -> Option<(usize, u64)> {
    let patience = PASSED_OVER * u32::try_from(bids.len()).unwrap_or(u32::MAX / PASSED_OVER);
    let alike = (limit / ALIKE).max(1);
    let (mut longest, mut best, mut heaviest, mut largest) = (None, None, None, 0);
    for (number, (weight, bid)) in bids.enumerate().filter(|(_, (_, bid))| bid.weight != 0) {
        if bid.passed_over > patience {
            longest = longest.max(Some((bid.passed_over, weight, number)));
        }
        if let Some(unused) = bid.weight.checked_sub(lacking) {
            best = best.max(Some((Reverse(unused / alike), weight, number)));
        }
        heaviest = heaviest.max(Some((weight, number)));
        largest = largest.max(bid.weight);
    }
    match (longest, best, heaviest) {
        // One entry.
        (Some((.., number)), ..) => Some((number, 1)),
        (None, Some((.., number)), _) => Some((number, lacking)),
        // Until one is enough.
        (None, None, heaviest) => heaviest.map(|(_, number)| (number, lacking - largest)),
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    fn told(bids: &[(u64, u64, u32)], lacking: u64) -> Option<(usize, u64)> {
        let bid = |&(all, weight, passed_over): &(u64, u64, u32)| (all, Bid { weight, passed_over });
        taken(bids.iter().map(bid), 640, lacking)
    }

    #[test]
    fn what_is_just_enough_is_taken() {
        assert_eq!(told(&[(300, 200, 0), (100, 90, 0), (200, 60, 0)], 80), Some((1, 80)));
        assert_eq!(told(&[(300, 200, 0), (100, 90, 0), (200, 60, 0)], 60), Some((2, 60)));
        assert_eq!(told(&[(300, 200, 0), (0, 0, 0)], 60), Some((0, 60)));
    }

    #[test]
    fn of_those_that_fit_alike_the_heaviest_shard_gives() {
        assert_eq!(told(&[(90, 89, 0), (300, 88, 0), (200, 81, 0)], 80), Some((1, 80)));
        assert_eq!(told(&[(90, 81, 0), (300, 90, 0)], 80), Some((0, 80)));
    }

    #[test]
    fn where_nothing_is_enough_the_heaviest_shard_gives_until_something_is() {
        assert_eq!(told(&[(300, 10, 0), (100, 30, 0), (0, 0, 0)], 80), Some((0, 50)));
        assert_eq!(told(&[(0, 0, 7), (0, 0, 9)], 80), None);
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        assert_eq!(told(&[(300, 200, 4), (100, 90, 0)], 80), Some((1, 80)));
        assert_eq!(told(&[(300, 200, 5), (100, 90, 0)], 80), Some((0, 1)));
        assert_eq!(told(&[(300, 200, 5), (100, 90, 6)], 80), Some((1, 1)));
        assert_eq!(told(&[(300, 200, 1), (0, 0, 60)], 80), Some((0, 80)), "it has nothing");
    }
}
