//! Room: what a bounded shard gives up before something comes.
//!
//! The policy says which row goes; here its entry goes, before the one that needs the room is published. So at
//! no moment does the shard hold more than it may. Knows causes; knows no order of rows.

use super::change::{drop_expired, hand_out, take};
use super::write::Table;
use super::{Chores, Evicted, Ledger, Shard, Terms};
use crate::policy::{Bid, Entries, Policy};
use crate::rows::{Booked, RowId, Rows};
use crate::table::{Place, Unlinked, fetch};
use crate::time::Tick;

/// Entries that are evicted each time the lock is held, when others than one new entry need their room.
pub(super) const HOLD: usize = if cfg!(tidewheel_loom) { 1 } else { 128 };

/// What did not stay, for the caller, who tells the listener.
pub(crate) struct Left<K, V> {
    /// Evicted, or expired before a writer came across them; and whether they were alive. If somebody listens.
    pub(crate) evicted: Vec<(Unlinked<K, V>, bool)>,
    /// Too heavy to be kept at all.
    pub(crate) refused: Option<(K, V)>,
    /// What evictions in other shards have left to do.
    pub(crate) elsewhere: Evicted<K, V>,
}

impl<K, V> Default for Left<K, V> {
    fn default() -> Self {
        Self { evicted: Vec::new(), refused: None, elsewhere: Vec::new() }
    }
}

/// What the policy may ask of the entries.
struct InTable<'r, 'a, 't, K, V> {
    table: &'r Table<'a, 't, K, V>,
    rows: &'r Rows<Booked>,
    /// The row that was asked about last, and where its entry is: nearly always the one that goes.
    last: Option<(RowId, Place<K, V>)>,
}

impl<K, V> Entries for InTable<'_, '_, '_, K, V> {
    fn hash(&self, row: RowId) -> u32 {
        self.rows[row].home
    }

    #[inline]
    fn lower(&mut self, row: RowId, by: u8) -> u8 {
        let place = self.table.find_row(self.rows[row].home, row);
        self.last = Some((row, place));
        self.table.lower_hits(place, by)
    }
}

impl<K, V> Ledger<K, V> {
    /// Whether an entry of this weight is more than the shard may hold, by itself.
    #[inline]
    pub(super) fn is_too_heavy(&self, weight: u32) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.is_too_heavy(weight))
    }

    #[inline]
    pub(super) fn weight_of(&self, row: RowId) -> u32 {
        self.policy.as_ref().map_or(0, |policy| policy.weight_of(row))
    }

    pub(super) fn left(&mut self) -> &mut Left<K, V> {
        self.left.get_or_insert_default()
    }
}

/// Evicts until there is room for so much more. The row of the last one that went is for the newcomer: it is nobody's, and still in
/// the wheel, where it need not move if that is where it would go again.
#[inline(always)]
pub(super) fn make_room<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
    more: u32,
) -> Option<RowId> {
    if ledger.policy.as_ref().is_some_and(|policy| policy.is_too_much(more)) {
        make_room_now(terms, (table, ledger), now, more)
    } else {
        None
    }
}

#[inline(never)]
fn make_room_now<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
    more: u32,
) -> Option<RowId> {
    let mut left = None;
    while ledger.policy.as_ref().is_some_and(|policy| policy.is_too_much(more)) {
        let Some(row) = evict_one(terms, (table, ledger), now) else { break };
        if let Some(other) = left.replace(row) {
            ledger.give_up(other);
        }
    }
    left
}

/// Makes room for another weight of an entry that is about to be replaced. The entry itself stays.
#[inline(always)]
pub(super) fn make_room_in_place<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
    (row, weight): (RowId, u32),
) {
    let Some(policy) = &ledger.policy else { return };
    // Without a weigher: if it was pinned and is not any more. So it is in no queue, and is not chosen.
    let more = weight.saturating_sub(policy.weight_of(row));
    if more != 0 && policy.is_too_much(more) {
        if let Some(left) = make_room_now(terms, (table, ledger), now, more) {
            ledger.give_up(left);
        }
    }
}

/// Evicts while it is too much, so many entries at most. False if that was not enough.
#[inline(never)]
pub(super) fn evict_some<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
    most: usize,
    mut is_too_much: impl FnMut(&mut Policy) -> bool,
) -> bool {
    for _ in 0..most {
        let Some(policy) = &mut ledger.policy else { return true };
        if !is_too_much(policy) {
            return true;
        }
        let Some(row) = evict_one(terms, (table, ledger), now) else { return true };
        ledger.give_up(row);
    }
    // The last one may have been enough.
    ledger.policy.as_mut().is_none_or(|policy| !is_too_much(policy))
}

/// What would go next, if that row stays.
#[inline(never)]
pub(super) fn bid<K, V>(
    table: &Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    staying: Option<RowId>,
) -> Bid {
    let Ledger { policy: Some(policy), rows, .. } = ledger else { return Bid::default() };
    policy.bid(&mut InTable { table, rows, last: None }, staying)
}

/// Evicts whatever is to go next, and leaves its row; none if there is nothing. On its own, and the only one that asks for a victim: so all of it is in
/// one place, as the compiler sees it.
#[inline(never)]
fn evict_one<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
) -> Option<RowId> {
    let Ledger { policy: Some(policy), rows, .. } = ledger else { return None };
    let mut entries = InTable { table, rows, last: None };
    let row = policy.victim(&mut entries)?;
    let place = match entries.last {
        Some((asked, place)) if asked == row => place,
        _ => table.find_row(rows[row].home, row),
    };
    evict(terms, (table, ledger), now, (row, place));
    fetch_for_eviction(table, ledger);
    Some(row)
}

/// Has brought near what an insert will write to that is not near yet, apart from what an eviction before it leaves: each is a miss else,
/// one after the other.
#[inline]
pub(super) fn fetch_for_insert<K, V>(
    table: &Table<'_, '_, K, V>,
    ledger: &Ledger<K, V>,
    (hash, weight): (u32, u32),
) {
    let Ledger { policy: Some(policy), rows, .. } = ledger else { return };
    if let Some(memory) = policy.memory_of(hash) {
        fetch(memory);
    }
    table.fetch_new_node();
    if let (false, Some(row)) = (policy.is_too_much(weight), rows.next_new()) {
        rows.fetch(row);
        policy.fetch(row);
    }
}

/// The same of the next three victims. Of the first it is what its bucket leads to, and that was asked for an eviction ago; of the second its
/// bucket, to which its row leads; and the row of the third.
#[inline]
fn fetch_for_eviction<K, V>(table: &Table<'_, '_, K, V>, ledger: &Ledger<K, V>) {
    let Ledger { policy: Some(policy), rows, .. } = ledger else { return };
    let Some(first) = policy.next_out() else { return };
    let home = rows[first].home;
    table.fetch_node_at(home);
    if !ledger.stays {
        ledger.fetch_neighbours(first);
    }
    if let Some(memory) = policy.memory_of(home) {
        fetch(memory);
    }
    let Some(second) = policy.after(first) else { return };
    table.fetch_bucket(rows[second].home);
    if let Some(third) = policy.after(second) {
        rows.fetch(third);
        policy.fetch(third);
    }
}

fn evict<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    now: Tick,
    (row, place): (RowId, Place<K, V>),
) {
    let was_alive = table.node(place).kill(now);
    let weight = ledger.weight_of(row);
    if let Some(tally) = &mut ledger.tally {
        if was_alive {
            tally.evicted += 1;
            tally.evicted_weight += u64::from(weight);
        } else {
            tally.expired += 1;
        }
    }
    let old = table.unlink(place).weighing(weight);
    ledger.leave(row);
    // If it was over, it is told of here all the same: what waits for the reaper is not bounded.
    if let Some(old) = hand_out(terms, table, old) {
        ledger.left().evicted.push((old, was_alive));
    }
}

impl<K, V> Shard<K, V> {
    /// An entry that is too heavy is not kept, and what it was to replace goes.
    #[cold]
    pub(super) fn refuse(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        entry: &mut Option<(K, V)>,
        (place, now): (Option<Place<K, V>>, Tick),
    ) -> Chores<K, V> {
        let mut was_alive = false;
        let removed = place.and_then(|place| {
            if !table.node(place).kill(now) {
                drop_expired(terms, table, ledger, place);
                return None;
            }
            was_alive = true;
            let old = take(table, ledger, place);
            hand_out(terms, table, old)
        });
        ledger.left().refused = entry.take();
        if let Some(tally) = &mut ledger.tally {
            tally.refused += 1;
            tally.replacements += u64::from(was_alive);
        }
        self.settle((table, ledger), (now, Tick::NEVER), removed)
    }

    /// Another capacity, asked for under the lock, or as much less as can be had at once: false if it is not all. Where there is
    /// an account, that holds, and this is the shard's part of it.
    pub(crate) fn set_capacity(&self, terms: &Terms, capacity: impl Fn() -> u64) -> (bool, Chores<K, V>) {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let (now, capacity) = (terms.clock.now(), capacity());
        // Evicted first, then allowed no more than is left: so it only ever becomes less.
        let is_too_much: &mut dyn FnMut(&mut Policy) -> bool =
            &mut |policy| policy.account().is_none() && policy.weight() > capacity;
        let done = evict_some(terms, (&mut table, ledger), now, HOLD, is_too_much);
        if let Some(policy) = &mut ledger.policy {
            policy.set_capacity(if done { capacity } else { policy.weight().max(capacity) });
            policy.trim();
            if terms.weighed {
                table.set_batch_weight(batch_weight(policy.capacity()));
            }
        }
        (done, self.settle((&mut table, ledger), (now, Tick::NEVER), None))
    }
}

/// Debris of more than this weight makes a batch, which its writer drops at once unless somebody is pinned: so it is
/// half a sixteenth that waits in a shard, and a value.
pub(super) const fn batch_weight(capacity: u64) -> u64 {
    capacity / 32
}
