//! What writers keep of a shard's entries: rows, the wheel, the policy, and what is said of each row. Under the table's lock.
//!
//! Knows neither keys nor values, but for what is on its way out ([`Left`]), and no node: the table has these.

use super::config::Config;
use super::deadline::{Bounds, Ends, Times, stays};
use super::deferred::Left;
use super::refresh::RefreshTimes;
use crate::column::Column;
use crate::flight::Flights;
use crate::policy::Policy;
use crate::rows::{Chain, Link, Lists, Metadata, RowId, Rows};
use crate::stats::Tally;
use crate::sync::Arc;
use crate::time::{Birth, Span, Tick};
use crate::wheel::Wheel;

/// A birth in halves, for a row.
#[inline]
fn pack(born: Birth) -> [u32; 2] {
    [born.to_bits() as u32, (born.to_bits() >> 32) as u32]
}

#[inline]
fn unpack([low, high]: [u32; 2]) -> Birth {
    Birth::from_bits(u64::from(low) | u64::from(high) << 32)
}

/// The chain of the wheel's slots.
#[derive(Debug)]
pub(crate) struct InWheel;

impl Chain<Metadata> for InWheel {
    #[inline]
    fn link(row: &Metadata) -> &Link {
        &row.wheel
    }

    #[inline]
    fn link_mut(row: &mut Metadata) -> &mut Link {
        &mut row.wheel
    }
}

/// The writers' metadata, under the table's lock.
pub(super) struct Ledger<K, V> {
    pub(super) rows: Rows<Metadata>,
    pub(super) wheel: Wheel<InWheel>,
    /// When the reaper is to come next.
    pub(super) due: Tick,
    /// In a fork's child: when it was to come next, until it is told that (`fork.rs`).
    pub(super) inherited: Tick,
    /// From then on, writers do some of it.
    pub(super) late_at: Tick,
    /// So long after `due`.
    pub(super) patience: Span,
    /// Since when a move of the table has been under way, or there has been much more memory than the entries need: the reaper
    /// sees to both when that has been so for a while.
    pub(super) untidy_since: Option<Tick>,
    /// Of what it gives back then, the rows are done.
    pub(super) trimmed_rows: bool,
    /// The time to live of each entry, where it is not the cache's.
    pub(super) ttls: Column<Span>,
    pub(super) bounds: Bounds,
    /// Which entry goes when the shard is full, if it can be.
    pub(super) policy: Option<Policy>,
    /// Whether the row of the last new entry stayed in the slot where it was: then the next one will, too.
    pub(super) stays: bool,
    /// How long before it expires somebody is to be warned of an entry; none if nobody is.
    pub(super) warn_before: Span,
    /// What did not stay, for the operation under way to hand out.
    pub(super) left: Option<Box<Left<K, V>>>,
    /// As `Shard::fresh`.
    pub(super) refresh_times: Option<Arc<RefreshTimes>>,
    /// If there are statistics.
    pub(super) tally: Option<Box<Tally>>,
    /// Keys that are being loaded or computed. Whatever puts a value under a key, or removes one that is asked to go,
    /// invalidates its flight.
    pub(super) flights: Flights<K, V>,
}

impl<K, V> Ledger<K, V> {
    pub(super) fn new(
        config: &Config,
        policy: Option<Policy>,
        refresh_times: Option<Arc<RefreshTimes>>,
        counted: bool,
    ) -> Self {
        Self {
            rows: Rows::new(),
            wheel: Wheel::new(config.clock.now()),
            due: Tick::NEVER,
            inherited: Tick::NEVER,
            late_at: Tick::NEVER,
            patience: config.patience(),
            untidy_since: None,
            trimmed_rows: false,
            ttls: Column::new(config.ttl),
            warn_before: config.warn_before,
            bounds: Bounds::new(),
            policy,
            stays: false,
            left: None,
            refresh_times,
            tally: counted.then(Box::default),
            flights: Flights::new(),
        }
    }

    #[inline]
    pub(super) fn home(&self, row: RowId) -> u32 {
        self.rows[row].home
    }

    /// Has what is about to be written to prefetched, where an entry is to go: its row's neighbours in the wheel.
    #[inline(always)]
    pub(super) fn prefetch_neighbours(&self, row: RowId) {
        Lists::<InWheel>::prefetch(&self.rows, row);
    }

    #[inline]
    pub(super) fn times(&self, row: RowId) -> Times {
        Times { ttl: self.ttls.get(row), born: self.born(row) }
    }

    #[inline]
    pub(super) fn born(&self, row: RowId) -> Birth {
        unpack(self.rows[row].born)
    }

    pub(super) fn set_ttl(&mut self, row: RowId, ttl: Span) {
        self.ttls.set(row, ttl);
    }

    pub(super) fn set_born(&mut self, row: RowId, born: Birth) {
        self.rows[row].born = pack(born);
    }

    /// Files a row that is in no slot, unless its entry never expires.
    #[inline(always)]
    pub(super) fn file(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.wheel.file(&mut self.rows, row, deadline);
        }
    }

    /// Files the row of a new entry, which may be in the slot of the one that had the row before.
    #[inline(always)]
    pub(super) fn file_new(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.stays = self.wheel.file_anew(&mut self.rows, row, deadline);
        } else {
            self.wheel.unfile(&mut self.rows, row);
        }
    }

    /// The deadline by which a row is filed.
    #[inline(always)]
    pub(super) fn slot_deadline(&mut self, row: RowId, deadline: Tick, now: Tick) -> Tick {
        // A hand that was left behind in a long silence would put the row into too coarse a slot.
        self.wheel.advance(&mut self.rows, now);
        let warns = self.warn_before != Span::NONE && self.rows[row].warned == 0;
        if warns { deadline.before(self.warn_before) } else { deadline }
    }

    /// Files a row whose deadline moved from `before` to `after`, where the row is at hand.
    pub(super) fn refile(&mut self, row: RowId, before: Tick, after: Tick, now: Tick) {
        if !(self.wheel.is_filed(&self.rows, row) && stays(before, after)) {
            self.file_again(row, after, now);
        }
    }

    #[inline(never)]
    pub(super) fn file_again(&mut self, row: RowId, deadline: Tick, now: Tick) {
        self.wheel.unfile(&mut self.rows, row);
        self.file(row, deadline, now);
    }

    /// The row's entry has another deadline, which somebody is to be warned of. Whether the row was filed by the old one.
    #[inline]
    pub(super) fn renew(&mut self, row: RowId) -> bool {
        self.warn_before != Span::NONE && std::mem::take(&mut self.rows[row].warned) != 0
    }

    /// When something is to be done about an entry.
    #[inline]
    pub(super) fn first_due(&self, deadline: Tick) -> Tick {
        if deadline == Tick::NEVER { deadline } else { deadline.before(self.warn_before) }
    }

    /// A row for an entry, which is in no slot yet.
    #[inline(always)]
    pub(super) fn add_row(&mut self, home: u32, times: Times) -> RowId {
        let metadata = Metadata { home, wheel: Link::LOOSE, born: pack(times.born), label: 0, warned: 0 };
        let row = self.rows.insert(metadata).expect("a shard holds at most 2^27 entries");
        self.ttls.set(row, times.ttl);
        row
    }

    /// The row of an entry that has just gone, for another one. It is in the slot that it was in.
    #[inline]
    pub(super) fn reuse_row(&mut self, row: RowId, home: u32, times: Times) -> RowId {
        let metadata = &mut self.rows[row];
        (metadata.home, metadata.born, metadata.warned) = (home, pack(times.born), 0);
        self.ttls.set(row, times.ttl);
        row
    }

    /// A row's entry gets another node. The row keeps its places in lists, and what is in it, but for its time to live and its weight.
    #[inline]
    pub(super) fn update_row(&mut self, row: RowId, ttl: Span, weight: u32) {
        self.ttls.set(row, ttl);
        if let Some(policy) = &mut self.policy {
            policy.reweigh(row, weight);
        }
    }

    /// The entry of a row is gone. The row is nobody's, and still in the wheel: for another entry, or to be given up.
    #[inline(always)]
    pub(super) fn leave(&mut self, row: RowId) {
        if let Some(policy) = &mut self.policy {
            policy.leave(row);
        }
        if self.flights.is_watched() {
            self.flights.note_end(row);
        }
    }

    /// Nobody wants a row that was left.
    #[inline(always)]
    pub(super) fn give_up(&mut self, row: RowId) {
        self.wheel.unfile(&mut self.rows, row);
        self.rows.remove(row);
    }

    /// Something is due at `need`. Moves `due` forward to that if it was later, and returns the tick for which the reaper must be
    /// woken then (S3).
    pub(super) fn require_reaper_by(&mut self, need: Tick) -> Option<Tick> {
        if need >= self.due {
            return None;
        }
        let due = need.min(std::mem::replace(&mut self.inherited, Tick::NEVER));
        self.set_due(due);
        Some(due)
    }

    /// Notes what bounds a row's entry.
    #[inline]
    pub(super) fn bind(&mut self, config: &Config, row: RowId, ends: Ends) {
        if config.effects.moves_deadline {
            self.bounds.limits.set(row, ends.limit);
            self.bounds.expiries.set(row, ends.expiry);
        }
    }

    /// Where something else than idleness ends the entry.
    #[inline]
    pub(super) fn bound(&self, row: RowId) -> Tick {
        self.bounds.limits.get(row).min(self.bounds.expiries.get(row))
    }

    /// Where time to live and age end the entry, if that is kept; else the deadline says it.
    #[inline]
    pub(super) fn limit(&self, config: &Config, row: RowId) -> Tick {
        if config.effects.moves_deadline { self.bounds.limits.get(row) } else { Tick::LONG_AGO }
    }

    /// Where the `Expiry` ends the entry.
    #[inline]
    pub(super) fn expiry(&self, row: RowId) -> Tick {
        self.bounds.expiries.get(row)
    }
}

/// Garbage of more than this weight makes a batch, which its writer drops at once unless somebody is pinned: so it is
/// half a sixteenth that waits in a shard, and a value.
pub(super) const fn batch_weight(capacity: u64) -> u64 {
    capacity / 32
}
