//! A shard: a table, and the rows and the wheel that go with it, under one mutex.
//!
//! Here the two sides meet: what readers see (nodes) and what writers keep (rows). A shard knows times
//! and causes; it knows no listener, no hasher and no other shard, and runs no user code under its lock
//! but `Eq`, before the first change.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the shard, its ledger, and the chores that an operation leaves behind |
//! | `write.rs` | the operations that writers call |
//! | `bounds.rs` | when an entry ends, and what of that reads do not move |
//! | `change.rs` | how an entry comes, is replaced and goes |
//! | `check.rs` | recounts everything, for tests |
//! | `chores.rs` | what an operation leaves to be done after the unlock |
//! | `clear.rs` | what `invalidate_all` does |
//! | `credit.rs` | room from other shards, where entries have weights |
//! | `fork.rs` | what a shard leaves to a fork's child |
//! | `fresh.rs` | which values are old enough to be loaded anew, and who does it |
//! | `idle.rs` | reads that restart the time to idle |
//! | `jitter.rs` | by how much a time to live is shortened |
//! | `late.rs` | what writers do where readers or the reaper are late |
//! | `life.rs` | how long an entry lives whose value is written |
//! | `many.rs` | inserts of which several are done while the lock is held |
//! | `offer.rs` | entries that are offered, and stay with their callers until they are stored |
//! | `record.rs` | what there is to know of an entry, and how one comes back |
//! | `room.rs` | what a bounded shard gives up before something comes |
//! | `rule.rs` | what the user's `Expiry` said, and how it takes effect |
//! | `sweep.rs` | what the reaper does |
//! | `terms.rs` | what every operation needs to know of the cache |
//! | `turns.rs` | loads and computations: who leads, who waits |
//!
//! # Invariants
//!
//! - **S1** Each row has one entry and each entry one row, with the same home bucket, however often it is replaced: an entry's row is
//!   what its node says.
//! - **S2** A row whose entry can expire is in the wheel, in a slot that comes due no later than the entry's
//!   deadline needs. (A touch moves the deadline later and tells nobody.)
//! - **S3** `Ledger::due` is not later than the first start of a second at or after any deadline; nor than
//!   the next second, if debris waits. When it moves earlier, the
//!   reaper is woken. (In a fork's child the reaper knows of nothing: there it is `Ledger::inherited` until something else
//!   is due. A writer that does some of what is due leaves it as it is.)
//! - **S4** A removed value is handed out once, to whoever has removed it, and he tells the listener before he returns: what
//!   had expired, too, and what made room (`Ledger::left`). So nothing waits to be told of, but what the reaper itself has just
//!   taken out.

mod bounds;
mod change;
mod check;
mod chores;
mod clear;
mod credit;
mod fork;
mod fresh;
mod idle;
mod jitter;
mod late;
mod life;
mod many;
mod offer;
#[cfg(feature = "serde")]
mod record;
mod room;
mod rule;
mod sweep;
mod terms;
mod turns;
mod write;

pub(crate) use chores::Chores;
pub(crate) use clear::{Cleared, Clearings, Departure};
pub(crate) use credit::{Around, Evicted, Held, Own};
pub(crate) use fresh::{Claim, Fresh};
pub(crate) use late::Work;
pub(crate) use life::Lasting;
pub(crate) use many::Waiting;
pub(crate) use offer::OFFERED;
#[cfg(feature = "serde")]
pub(crate) use record::{Comeback, Record, Returned};
pub(crate) use room::Left;
pub(crate) use rule::{Expected, Ruled, Ruling};
pub(crate) use sweep::Hears;
pub(crate) use terms::{Lengths, OnUse, Terms};
pub(crate) use turns::{Acted, Anew, Deed, Found, Landed, Onward};
pub(crate) use write::{Removed, Replaced};

use crate::column::Column;
use crate::flight::Flights;
use crate::hash::HashBits;
use crate::policy::Policy;
use crate::rows::{Booked, Chain, Link, Lists, RowId, Rows};
use crate::stats::{Stats, Tally};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, CachePadded};
use crate::table::{Cursor, Met, Node, Pin, RouteEnd, Table, Writing};
use crate::time::{Birth, Span, Tick, Timeline};
use crate::wheel::Wheel;
use bounds::{Bounds, boundary, stays};
use std::fmt;

/// The times of an entry that outlive a replacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    /// The entry's own time to live; `ENDLESS` for none.
    pub(crate) ttl: Span,
    /// When it was created.
    pub(crate) born: Birth,
}

/// A birth in halves, for a row.
fn pack(born: Birth) -> [u32; 2] {
    [born.to_bits() as u32, (born.to_bits() >> 32) as u32]
}

fn unpack([low, high]: [u32; 2]) -> Birth {
    Birth::from_bits(u64::from(low) | u64::from(high) << 32)
}

/// The chain of the wheel's slots.
#[derive(Debug)]
pub(crate) struct InWheel;

impl Chain<Booked> for InWheel {
    #[inline]
    fn link(row: &Booked) -> &Link {
        &row.wheel
    }

    #[inline]
    fn link_mut(row: &mut Booked) -> &mut Link {
        &mut row.wheel
    }
}

/// The writers' books, under the table's lock.
struct Ledger<K, V> {
    rows: Rows<Booked>,
    wheel: Wheel<InWheel>,
    /// When the reaper is to come next.
    due: Tick,
    /// In a fork's child: when it was to come next, until it is told that (`fork.rs`).
    inherited: Tick,
    /// From then on, writers do some of it.
    late_at: Tick,
    /// So long after `due`.
    patience: Span,
    /// Whether somebody is to be told of expired entries.
    listened: bool,
    /// Since when a move of the table has been under way, or there has been much more memory than the entries need: the reaper
    /// sees to both when that has been so for a while.
    untidy_since: Option<Tick>,
    /// Of what it gives back then, the rows are done.
    trimmed_rows: bool,
    /// The time to live of each entry, where it is not the cache's.
    ttls: Column<Span>,
    bounds: Bounds,
    /// Which entry goes when the shard is full, if it can be.
    policy: Option<Policy>,
    /// Whether the row of the last new entry stayed in the slot where it was: then the next one will, too.
    stays: bool,
    /// How long before it expires somebody is to be warned of an entry; none if nobody is.
    lead: Span,
    /// What did not stay, for the operation under way to hand out.
    left: Option<Box<Left<K, V>>>,
    /// As `Shard::fresh`.
    fresh: Option<Arc<Fresh>>,
    /// If there are statistics.
    tally: Option<Box<Tally>>,
    /// Keys that are being loaded or computed. Whatever puts a value under a key, or removes one that is asked to go,
    /// overtakes its flight.
    flights: Flights<K, V>,
}

impl<K, V> Ledger<K, V> {
    fn home(&self, row: RowId) -> u32 {
        self.rows[row].home
    }

    /// Has what is about to be written to brought near, where an entry is to go: its row's neighbours in the wheel.
    #[inline(always)]
    fn fetch_neighbours(&self, row: RowId) {
        Lists::<InWheel>::fetch(&self.rows, row);
    }

    fn times(&self, row: RowId) -> Times {
        Times { ttl: self.ttls.get(row), born: unpack(self.rows[row].born) }
    }

    fn set_ttl(&mut self, row: RowId, ttl: Span) {
        self.ttls.set(row, ttl);
    }

    fn set_born(&mut self, row: RowId, born: Birth) {
        self.rows[row].born = pack(born);
    }

    /// Files a row that is in no slot, unless its entry never expires.
    #[inline(always)]
    fn file(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.wheel.file(&mut self.rows, row, deadline);
        }
    }

    /// Files the row of a new entry, which may be in the slot of the one that had the row before.
    #[inline(always)]
    fn file_new(&mut self, row: RowId, deadline: Tick, now: Tick) {
        if deadline < Tick::NEVER {
            let deadline = self.slot_deadline(row, deadline, now);
            self.stays = self.wheel.file_anew(&mut self.rows, row, deadline);
        } else {
            self.wheel.unfile(&mut self.rows, row);
        }
    }

    /// The deadline by which a row is filed.
    #[inline(always)]
    fn slot_deadline(&mut self, row: RowId, deadline: Tick, now: Tick) -> Tick {
        // A hand that was left behind in a long silence would put the row into too coarse a slot.
        self.wheel.advance(&mut self.rows, now);
        let warns = self.lead != Span::NONE && self.rows[row].warned == 0;
        if warns { deadline.before(self.lead) } else { deadline }
    }

    /// Files a row whose deadline moved from `before` to `after`, where the row is at hand.
    fn refile(&mut self, row: RowId, before: Tick, after: Tick, now: Tick) {
        if !(self.wheel.is_filed(&self.rows, row) && stays(before, after)) {
            self.file_again(row, after, now);
        }
    }

    #[inline(never)]
    fn file_again(&mut self, row: RowId, deadline: Tick, now: Tick) {
        self.wheel.unfile(&mut self.rows, row);
        self.file(row, deadline, now);
    }

    /// The row's entry has another deadline, which somebody is to be warned of. Whether the row was filed by the old one.
    #[inline]
    fn renew(&mut self, row: RowId) -> bool {
        self.lead != Span::NONE && std::mem::take(&mut self.rows[row].warned) != 0
    }

    /// When something is to be done about an entry.
    #[inline]
    fn first_due(&self, deadline: Tick) -> Tick {
        if deadline == Tick::NEVER { deadline } else { deadline.before(self.lead) }
    }

    /// A row for an entry, which is in no slot yet.
    #[inline(always)]
    fn book(&mut self, home: u32, times: Times) -> RowId {
        let booked = Booked { home, wheel: Link::LOOSE, born: pack(times.born), label: 0, warned: 0 };
        let row = self.rows.insert(booked).expect("a shard holds at most 2^27 entries");
        self.ttls.set(row, times.ttl);
        row
    }

    /// The row of an entry that has just gone, for another one. It is in the slot that it was in.
    #[inline]
    fn book_over(&mut self, row: RowId, home: u32, times: Times) -> RowId {
        let booked = &mut self.rows[row];
        (booked.home, booked.born, booked.warned) = (home, pack(times.born), 0);
        self.ttls.set(row, times.ttl);
        row
    }

    /// A row's entry gets another node. The row keeps its places in lists, and what is in it, but for its time to live and its weight.
    #[inline]
    fn rebook(&mut self, row: RowId, ttl: Span, weight: u32) {
        self.ttls.set(row, ttl);
        if let Some(policy) = &mut self.policy {
            policy.reweigh(row, weight);
        }
    }

    /// The entry of a row is gone. The row is nobody's, and still in the wheel: for another entry, or to be given up.
    #[inline(always)]
    fn leave(&mut self, row: RowId) {
        if let Some(policy) = &mut self.policy {
            policy.leave(row);
        }
        if self.flights.is_watched() {
            self.flights.note_end(row);
        }
    }

    /// Nobody wants a row that was left.
    #[inline(always)]
    fn give_up(&mut self, row: RowId) {
        self.wheel.unfile(&mut self.rows, row);
        self.rows.remove(row);
    }
}

/// One slice of the key space.
pub(crate) struct Shard<K, V> {
    /// Which one it is.
    number: usize,
    table: Table<K, V, Ledger<K, V>>,
    gauges: CachePadded<Gauges>,
    /// When values are to be loaded anew, if they are.
    fresh: Option<Arc<Fresh>>,
}

/// What can be seen of a shard without its lock. Written under it.
struct Gauges {
    /// As `Ledger::due`.
    due: AtomicU64,
    /// Entries in the table.
    len: AtomicUsize,
    /// What they weigh, if the shard is bounded.
    weight: AtomicU64,
    /// Whether sealed debris waits to ripen or to be dropped.
    waiting: AtomicBool,
}

impl<K, V> Shard<K, V> {
    /// One of so many, with room for `capacity` entries at once. With a policy it is bounded; `counted` says that there are statistics.
    pub(crate) fn new(
        (number, shards): (usize, usize),
        (capacity, now): (usize, Tick),
        terms: &Terms,
        policy: Option<Policy>,
        counted: bool,
        route: RouteEnd<K, V>,
    ) -> Self {
        let fresh = terms.refresh.map(|after| Arc::new(Fresh::new(after)));
        let batch_weight =
            policy.as_ref().filter(|_| terms.weighed).map(|policy| room::batch_weight(policy.capacity()));
        let ledger = Ledger {
            rows: Rows::new(),
            wheel: Wheel::new(now),
            due: Tick::NEVER,
            inherited: Tick::NEVER,
            late_at: Tick::NEVER,
            patience: late::patience(terms),
            listened: terms.listened,
            untidy_since: None,
            trimmed_rows: false,
            ttls: Column::new(terms.ttl),
            lead: terms.lead,
            bounds: Bounds::new(),
            policy,
            stays: false,
            left: None,
            fresh: fresh.clone(),
            tally: counted.then(Box::default),
            flights: Flights::new(),
        };
        let table = Table::new(capacity, ledger, route);
        {
            let mut locked = table.lock();
            let (mut writing, _) = locked.parts();
            if let Some(weight) = batch_weight {
                writing.set_batch_weight(weight);
            }
            // A clock that is moved by hand stands still while large values are made.
            if terms.clock.manual().is_none() {
                writing.be_prompt(shards);
            }
        }
        Self {
            number,
            table,
            fresh,
            gauges: CachePadded::new(Gauges {
                due: AtomicU64::new(Tick::NEVER.as_nanos()),
                len: AtomicUsize::new(0),
                weight: AtomicU64::new(0),
                waiting: AtomicBool::new(false),
            }),
        }
    }

    /// The node of a key. Whether it is visible is for the node to say.
    #[inline]
    pub(crate) fn find<'g, const COUNT: bool>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        self.table.route().find(hash, is_key, COUNT, pin)
    }

    /// The node of a live entry, and what `ask` makes of it: `None` if the node says that it is over.
    #[inline(always)]
    pub(crate) fn alive<'g, const COUNT: bool, R>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
        ask: impl Fn(&Node<K, V>) -> Option<R>,
    ) -> Option<(&'g Node<K, V>, R)> {
        let node = self.find::<COUNT>(hash, &is_key, pin)?;
        match ask(node) {
            Some(answer) => Some((node, answer)),
            None => self.alive_after(node, hash, is_key, pin, ask),
        }
    }

    /// Goes on from a node that is over.
    #[cold]
    fn alive_after<'g, R>(
        &'g self,
        mut node: &'g Node<K, V>,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
        ask: impl Fn(&Node<K, V>) -> Option<R>,
    ) -> Option<(&'g Node<K, V>, R)> {
        loop {
            // It is over; but a writer may have put another node in its place before that, which we were
            // too slow to see. (A node that is over and still in the table stays over.)
            let again = self.find::<false>(hash, &is_key, pin)?;
            if std::ptr::eq(again, node) {
                return None;
            }
            if let Some(answer) = ask(again) {
                return Some((again, answer));
            }
            node = again;
        }
    }

    /// The node of a live entry, for readers.
    #[inline(always)]
    pub(crate) fn visible<'g, const COUNT: bool>(
        &'g self,
        clock: &Timeline,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        self.alive::<COUNT, _>(hash, is_key, pin, |node| node.is_visible(|| clock.recent()).then_some(()))
            .map(|(node, ())| node)
    }

    /// Meets the nodes of the next few buckets, alive or not. See `table/walk.rs`.
    pub(crate) fn walk<'g>(
        &'g self,
        cursor: &mut Cursor,
        hash_of: &impl Fn(&K) -> HashBits,
        met: &mut Vec<Met<'g, K, V>>,
        pin: &'g Pin,
    ) where
        K: Eq,
    {
        self.table.walk(cursor, hash_of, met, pin);
    }

    /// Entries in the table, expired and not yet removed ones included.
    pub(crate) fn len(&self) -> usize {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.len.load(Ordering::Relaxed)
    }

    /// What the entries weigh, in a bounded shard: never more than it may hold.
    pub(crate) fn weight(&self) -> u64 {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.weight.load(Ordering::Relaxed)
    }

    /// Adds what was counted to the cache's statistics.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        if let Some(tally) = &ledger.tally {
            stats.add(tally, table.debris());
        }
    }

    /// When the reaper is to come next.
    pub(crate) fn due(&self) -> Tick {
        // ORDERING: Relaxed; a reaper that misses a change is woken for it (`Registration::wake`, after
        // `Shard::settle` released the lock).
        Tick::from_nanos(self.gauges.due.load(Ordering::Relaxed))
    }

    /// Whether sealed debris waits to ripen or to be dropped.
    pub(crate) fn is_waiting(&self) -> bool {
        // ORDERING: Relaxed; as `due`.
        self.gauges.waiting.load(Ordering::Relaxed)
    }

    /// Shows the books' state outside. The last thing under the lock.
    fn publish(&self, table: &Writing<'_, '_, K, V, Ledger<K, V>>, ledger: &mut Ledger<K, V>) {
        self.publish_due(ledger.due.min(ledger.inherited));
        self.publish_size(table, ledger);
        let waiting = table.has_sealed_debris();
        // ORDERING: Relaxed, both; see `is_waiting`. Who has the lock alone stores it.
        if self.gauges.waiting.load(Ordering::Relaxed) != waiting {
            self.gauges.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    /// Not stored where it is the same: other threads may have the cache line, and need not lose it.
    #[inline]
    fn publish_size(&self, table: &Writing<'_, '_, K, V, Ledger<K, V>>, ledger: &mut Ledger<K, V>) {
        let len = table.len();
        // ORDERING: Relaxed, all; see `len` and `weight`. Who has the lock alone stores them.
        if self.gauges.len.load(Ordering::Relaxed) != len {
            self.gauges.len.store(len, Ordering::Relaxed);
        }
        if let Some(policy) = &mut ledger.policy {
            policy.give_back();
            let weight = policy.weight();
            // ORDERING: Relaxed, both; as above.
            if self.gauges.weight.load(Ordering::Relaxed) != weight {
                self.gauges.weight.store(weight, Ordering::Relaxed);
            }
        }
    }

    fn publish_due(&self, due: Tick) {
        // ORDERING: Relaxed, both; see `due`. As with `waiting`.
        if self.gauges.due.load(Ordering::Relaxed) != due.as_nanos() {
            self.gauges.due.store(due.as_nanos(), Ordering::Relaxed);
        }
    }
}

impl<K, V> fmt::Debug for Shard<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("len", &self.len()).field("due", &self.due()).finish_non_exhaustive()
    }
}
