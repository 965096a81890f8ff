//! The ledger: what writers keep of a shard's entries. It holds the rows, the wheel, the policy and
//! per-row columns, and is guarded by the table's lock.
//!
//! The ledger knows no nodes; the table has these. It holds keys and values only on their way out
//! ([`Left`]).

use super::config::Config;
use super::deadline::{Bounds, Ends, Times, stays};
use super::deferred::Left;
use super::refresh::RefreshTimes;
use crate::column::Column;
use crate::inflight::Flights;
use crate::policy::Policy;
use crate::rows::{Chain, Link, Lists, Metadata, RowId, Rows};
use crate::stats::Tally;
use crate::sync::Arc;
use crate::time::{Birth, Span, Tick};
use crate::wheel::Wheel;

/// Splits a time of birth into two halves, as a row stores it.
#[inline]
fn pack(born: Birth) -> [u32; 2] {
    [born.to_bits() as u32, (born.to_bits() >> 32) as u32]
}

#[inline]
fn unpack([low, high]: [u32; 2]) -> Birth {
    Birth::from_bits(u64::from(low) | u64::from(high) << 32)
}

/// The chain through rows that links the slots of the wheel.
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

/// A time of birth that is not in its row yet.
#[derive(Clone, Copy)]
struct Unwritten {
    row: RowId,
    born: Birth,
}

/// The writers' metadata, guarded by the table's lock.
pub(super) struct Ledger<K, V> {
    pub(super) rows: Rows<Metadata>,
    /// The birth of the last entry that took another's place, if it is still there. A store to its
    /// row would be a cache miss, for which the unlock would wait. So the row is prefetched, and
    /// written when the next such entry comes.
    unwritten: Option<Unwritten>,
    pub(super) wheel: Wheel<InWheel>,
    /// When the reaper has to come next (S3).
    pub(super) due: Tick,
    /// In the child of a fork: the parent's `due`, until the child's reaper is told of it
    /// (`rely_on_no_reaper`). Otherwise `NEVER`.
    pub(super) inherited: Tick,
    /// From this time on, writers do some of the due work.
    pub(super) late_at: Tick,
    /// The span from `due`, or from `inherited` if that is earlier, to `late_at`.
    pub(super) patience: Span,
    /// Since when the table has been moving, or has had much more memory than the entries need. The
    /// reaper acts on either once it has lasted for a while.
    pub(super) untidy_since: Option<Tick>,
    /// Whether the current round of giving back memory is finished with the rows.
    pub(super) trimmed_rows: bool,
    /// The time to live of each entry, where it differs from the cache's.
    pub(super) ttls: Column<Span>,
    pub(super) bounds: Bounds,
    /// The policy that chooses victims, if the shard is bounded.
    pub(super) policy: Option<Policy>,
    /// Whether the row of the last new entry stayed in its slot. If so, the next one probably will,
    /// too.
    pub(super) stays: bool,
    /// How long before its deadline a warning of an entry's expiry is due; `NONE` if nobody is
    /// warned.
    pub(super) warn_before: Span,
    /// By row, if the row is `warned`: the deadline for which the warning was given.
    pub(super) warned_of: Column<Tick>,
    /// Entries that the current operation evicted, refused or found expired, for the operation to
    /// hand out.
    pub(super) left: Option<Box<Left<K, V>>>,
    /// The same as `Shard::refresh_times`.
    pub(super) refresh_times: Option<Arc<RefreshTimes>>,
    /// The counts of this shard, if the cache keeps statistics.
    pub(super) tally: Option<Box<Tally>>,
    /// The flights of keys that are being loaded or computed. Every operation that stores a value
    /// under a key, or removes a key on request, invalidates the key's flight.
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
            unwritten: None,
            wheel: Wheel::new(config.clock.now()),
            due: Tick::NEVER,
            inherited: Tick::NEVER,
            late_at: Tick::NEVER,
            patience: config.patience(),
            untidy_since: None,
            trimmed_rows: false,
            ttls: Column::new(config.ttl),
            warn_before: config.warn_before,
            warned_of: Column::new(Tick::NEVER),
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

    /// Prefetches the row's neighbours in the wheel, which a removal of the row is about to write.
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
        match self.unwritten {
            Some(unwritten) if unwritten.row == row => unwritten.born,
            _ => unpack(self.rows[row].born),
        }
    }

    pub(super) fn set_ttl(&mut self, row: RowId, ttl: Span) {
        self.ttls.set(row, ttl);
    }

    /// Returns whether the birth that is not written yet belongs to a live row.
    pub(super) fn is_unwritten_of_a_row(&self) -> bool {
        self.unwritten.is_none_or(|unwritten| self.rows.contains(unwritten.row))
    }

    /// Sets the birth of an entry that takes another's place.
    #[inline]
    pub(super) fn set_born(&mut self, row: RowId, born: Birth) {
        self.rows.prefetch(row);
        if let Some(last) = self.unwritten.replace(Unwritten { row, born }) {
            self.rows[last.row].born = pack(last.born);
        }
    }

    /// Files a row that is in no slot, unless its entry never expires.
    #[inline(always)]
    pub(super) fn file(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.wheel.file(&mut self.rows, row, deadline);
        }
    }

    /// Files the row of a new entry. The row may still be in the slot of the entry that had it
    /// before.
    #[inline(always)]
    pub(super) fn file_new(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.stays = self.wheel.file_anew(&mut self.rows, row, deadline);
        } else {
            self.wheel.unfile(&mut self.rows, row);
        }
    }

    /// Returns the deadline by which a row is filed.
    #[inline(always)]
    pub(super) fn slot_deadline(&mut self, row: RowId, deadline: Tick, now: Tick) -> Tick {
        // Without this, after a long silence the hand of the wheel is far behind, and the row would
        // get too coarse a slot.
        self.wheel.advance(&mut self.rows, now);
        let warns = self.warn_before != Span::NONE && self.rows[row].warned == 0;
        if warns { deadline.before(self.warn_before) } else { deadline }
    }

    /// Files a row again after a writer moved its deadline from `before` to `after`, unless it can
    /// stay.
    pub(super) fn refile(&mut self, row: RowId, before: Tick, after: Tick, now: Tick) {
        let is_renewed = before != after && self.renew(row);
        if is_renewed || !(self.wheel.is_filed(&self.rows, row) && stays(before, after)) {
            self.file_again(row, after, now);
        }
    }

    #[inline(never)]
    pub(super) fn file_again(&mut self, row: RowId, deadline: Tick, now: Tick) {
        self.wheel.unfile(&mut self.rows, row);
        self.file(row, deadline, now);
    }

    /// Notes that the row's entry has another deadline, of which a warning is due again. Returns
    /// whether the row was filed by the deadline itself. Then it has to be filed again, by the time
    /// of its next warning.
    #[inline]
    pub(super) fn renew(&mut self, row: RowId) -> bool {
        self.warn_before != Span::NONE && std::mem::take(&mut self.rows[row].warned) != 0
    }

    /// Returns whether a warning was given of this deadline. (A touch moves a deadline, and does not
    /// tell the ledger: a warning that was given may have been of another one.)
    pub(super) fn is_warned_of(&self, row: RowId, deadline: Tick) -> bool {
        self.rows[row].warned != 0 && self.warned_of.get(row) == deadline
    }

    /// Notes whether a warning was given of this deadline, by which the row is about to be filed.
    pub(super) fn note_warning(&mut self, row: RowId, deadline: Tick, is_given: bool) {
        self.rows[row].warned = u8::from(is_given);
        if is_given {
            self.warned_of.set(row, deadline);
        }
    }

    /// Returns when the reaper has to act on an entry first: to warn of it, or to remove it.
    #[inline]
    pub(super) fn first_due(&self, deadline: Tick) -> Tick {
        if deadline == Tick::NEVER { deadline } else { deadline.before(self.warn_before) }
    }

    /// Adds a row for an entry. The row is in no slot yet.
    #[inline(always)]
    pub(super) fn add_row(&mut self, home: u32, times: Times) -> RowId {
        let metadata =
            Metadata { home, wheel: Link::LOOSE, born: pack(times.born), label: 0, warned: 0, live: 1 };
        let row = self.rows.insert(metadata).expect("a shard holds at most 2^27 - 64 entries");
        self.ttls.set(row, times.ttl);
        row
    }

    /// Reuses the row of an entry that has just been removed for another entry. The row stays in
    /// its slot.
    #[inline]
    pub(super) fn reuse_row(&mut self, row: RowId, home: u32, times: Times) -> RowId {
        let metadata = &mut self.rows[row];
        (metadata.home, metadata.born, metadata.warned) = (home, pack(times.born), 0);
        self.ttls.set(row, times.ttl);
        row
    }

    /// Updates a row whose entry gets another node. The row keeps its places in lists and its
    /// contents, except for the time to live and the weight.
    #[inline]
    pub(super) fn update_row(&mut self, row: RowId, ttl: Span, weight: u32) {
        self.ttls.set(row, ttl);
        if let Some(policy) = &mut self.policy {
            policy.reweigh(row, weight);
        }
    }

    /// Takes the row of a removed entry out of the policy. The row then belongs to no entry and is
    /// still in the wheel. The caller reuses it or gives it up.
    #[inline(always)]
    pub(super) fn leave(&mut self, row: RowId) {
        if self.unwritten.is_some_and(|unwritten| unwritten.row == row) {
            self.unwritten = None;
        }
        if let Some(policy) = &mut self.policy {
            policy.leave(row);
        }
        if self.flights.is_watched() {
            self.flights.note_end(row);
        }
    }

    /// Frees a row that was left and is not reused.
    #[inline(always)]
    pub(super) fn give_up(&mut self, row: RowId) {
        self.wheel.unfile(&mut self.rows, row);
        self.rows.remove(row);
    }

    /// Requires the reaper to come by `need`. If `due` was later, moves `due` to `need` and returns
    /// the tick for which the reaper has to be woken (S3).
    pub(super) fn require_reaper_by(&mut self, need: Tick) -> Option<Tick> {
        if need >= self.due {
            return None;
        }
        let due = need.min(self.inherited);
        self.set_due(due, Tick::NEVER);
        Some(due)
    }

    /// Notes that no reaper knows of the due time (S3). A write that leaves the reaper work
    /// tells it of both times.
    pub(super) fn rely_on_no_reaper(&mut self) {
        self.set_due(Tick::NEVER, self.due.min(self.inherited));
    }

    /// Notes that a sweep has left nothing to do before `next`. That moves `due` later only (S3):
    /// the sweep need not be the reaper's, so the reaper may not have heard of `next`. And the
    /// old `due` is early enough for every entry that is still there.
    pub(super) fn put_off(&mut self, next: Tick) {
        self.set_due(self.due.max(next), self.inherited.max(next));
    }

    /// Stores the bounds of a row's entry.
    #[inline]
    pub(super) fn bind(&mut self, config: &Config, row: RowId, ends: Ends) {
        if config.effects.moves_deadline {
            self.bounds.limits.set(row, ends.limit);
            self.bounds.expiries.set(row, ends.expiry);
        }
    }

    /// Returns when something other than idleness ends the entry.
    #[inline]
    pub(super) fn bound(&self, row: RowId) -> Tick {
        self.bounds.limits.get(row).min(self.bounds.expiries.get(row))
    }

    /// Returns when time to live and age end the entry, if the ledger keeps that. Otherwise returns
    /// `LONG_AGO`, which is no limit: the node's deadline holds it.
    #[inline]
    pub(super) fn limit(&self, config: &Config, row: RowId) -> Tick {
        if config.effects.moves_deadline { self.bounds.limits.get(row) } else { Tick::LONG_AGO }
    }

    /// Returns when the `Expiry` ends the entry.
    #[inline]
    pub(super) fn expiry(&self, row: RowId) -> Tick {
        self.bounds.expiries.get(row)
    }
}

/// Returns the weight above which the open batch of garbage is full. The writer that seals such a
/// batch drops it at once, unless a thread is pinned. Batches that are full with 64 light values wait
/// longer: five of them may weigh just under 5/32 of the shard's part (`src/docs/architecture.md`).
pub(super) const fn batch_weight(capacity: u64) -> u64 {
    capacity / 32
}
