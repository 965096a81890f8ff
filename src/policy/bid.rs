//! Bids: what each shard would give next when a large entry comes, and which bid is taken.
//!
//! Each shard evicts in its own order, but no order says which shard evicts. The victim of a large
//! entry may be large itself. Then the room that is left over stays unused until the next entry
//! comes: half an entry on average, if the victim is any next one. So the shard whose next
//! victim is just large enough gives room.

use super::{Entries, EvictionPolicy, MAIN, Policy, SMALL};
use crate::rows::RowId;
use std::cmp::Reverse;

/// An entry is large if there is room for at most this many of its weight.
const LARGE: u64 = 32;
/// The room that bids leave unused is compared in steps of the total divided by this. Bids within one
/// step are equally good.
const ALIKE: u64 = 64;
/// A shard gives after the other shards gave this many times for each shard of the cache. So its
/// next victim goes eventually, however badly it fits.
const PASSED_OVER: u32 = 2;
/// The number of rows that are searched for one that was not hit.
const LOOKS: usize = 8;

/// What a shard would give next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bid {
    /// The weight of the next victim, as far as it can be told; 0 if there is none.
    weight: u64,
    /// How often another bid was taken since this shard last gave something.
    passed_over: u32,
}

impl Policy {
    /// Returns whether this weight is large compared with the total room.
    #[inline]
    pub(crate) fn is_large(&self, weight: u64) -> bool {
        self.account().is_some_and(|account| weight > account.limit() / LARGE)
    }

    /// Returns whether room for this weight is given by bids: it is large, and there is more than one
    /// shard to bid.
    #[inline]
    pub(crate) fn goes_by_bids(&self, weight: u64) -> bool {
        self.shards != 1 && self.is_large(weight)
    }

    /// Returns whether the shard may give without comparing bids: the entry is not large, or all
    /// rows but `staying` are not enough for it.
    #[inline]
    pub(crate) fn gives_unasked(&self, needed: u64, staying: u32) -> bool {
        !self.goes_by_bids(needed) || self.weight() - u64::from(staying) <= self.lacking(needed)
    }

    /// Returns the bid for the next victim if the row `staying` stays. The shard counts as passed
    /// over until it gives.
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

    /// Notes that this shard's bid was taken, or that it gives without comparison.
    #[inline]
    pub(crate) fn has_given(&mut self) {
        self.passed_over = 0;
    }
}

/// Returns which shard gives, and how much of the lacking room it gives before the bids are
/// compared again. `limit` is the total room. Returns `None` if no shard has anything. `bids`
/// yields the weight and the bid of each shard.
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
        // The shard gives one entry.
        (Some((.., number)), ..) => Some((number, 1)),
        (None, Some((.., number)), _) => Some((number, lacking)),
        // The shard gives until one entry is enough for the rest.
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
