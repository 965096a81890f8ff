//! How an entry comes, is replaced, and goes: in the table and in the books at once.
//!
//! What every path that changes a shard is made of. Knows neither why it is called nor what is done after the unlock.

use super::bounds::Ends;
use super::life::Written;
use super::offer::Offer;
use super::room::{fetch_for_insert, make_room, make_room_in_place};
use super::write::Table;
use super::{Ledger, Shard, Terms, Times, stays};
use crate::hash::HashBits;
use crate::table::{Place, Unlinked};
use crate::time::Tick;

impl<K, V> Shard<K, V> {
    /// A row and an entry for it, hit so often at least. Returns when the reaper has to come.
    #[inline(always)]
    pub(super) fn add(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        (now, ends, times, hits): (Tick, Ends, Times, u8),
    ) -> Tick {
        let named = table.new_node();
        fetch_for_insert(table, ledger, (hash.home(), weight));
        let row = match make_room(terms, (table, ledger), now, weight) {
            Some(row) => ledger.book_over(row, hash.home(), times),
            None => ledger.book(hash.home(), times),
        };
        if let Some(fresh) = &ledger.fresh {
            fresh.start(named, now);
        }
        let hits =
            ledger.policy.as_mut().map_or(0, |policy| policy.admit(row, hash.home(), weight).max(hits));
        if let Some(tally) = &mut ledger.tally {
            tally.inserts += 1;
        }
        table.insert(hash, (named, row, hits), entry, ends.deadline);
        ledger.bind(terms, row, ends);
        let deadline = ends.deadline.tick();
        ledger.file_new(row, deadline, now);
        if table.is_moving() { deadline.min(ledger.tidy_later(now)) } else { deadline }
    }
}

/// Puts a new node in the place of another, whose deadline was `before`. The row stays, and is not looked at where nothing of it changes.
#[inline(always)]
pub(super) fn exchange<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    place: Place<K, V>,
    (entry, weight): Offer<'_, K, V>,
    (before, now, Written { ttl, ends, .. }): (Tick, Tick, Written),
) -> Unlinked<K, V> {
    let row = table.row(place);
    // Before anything is changed.
    let named = table.new_node();
    make_room_in_place(terms, (table, ledger), now, (row, weight));
    let weighed = ledger.weight_of(row);
    ledger.rebook(row, ttl, weight);
    if let Some(fresh) = &ledger.fresh {
        fresh.start(named, now);
    }
    let old = table.replace(place, named, entry, ends.deadline).weighing(weighed);
    ledger.bind(terms, row, ends);
    let deadline = ends.deadline.tick();
    // Of the same deadline nobody is warned again.
    let is_renewed = before != deadline && ledger.renew(row);
    // What could expire is in the wheel (S2).
    let never_did = before == Tick::NEVER && deadline == Tick::NEVER;
    if is_renewed || !(never_did || stays(before, deadline)) {
        ledger.file_again(row, deadline, now);
    }
    debug_assert!(deadline == Tick::NEVER || ledger.wheel.is_filed(&ledger.rows, row), "S2");
    old
}

/// An unlinked node that was alive: for the caller, who tells the listener, or else debris at once.
pub(super) fn hand_out<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    old: Unlinked<K, V>,
) -> Option<Unlinked<K, V>> {
    if terms.listened {
        return Some(old);
    }
    table.retire(old);
    None
}

/// An unlinked node that had expired before a writer came across it: for the caller too, or else debris at once. He tells
/// before he returns, so that nobody hears later that a key has expired which was written meanwhile (S4).
pub(super) fn bury<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    old: Unlinked<K, V>,
) {
    if terms.listened {
        ledger.left().evicted.push((old, false));
    } else {
        table.retire(old);
    }
}

/// Takes out an entry that is over, and that a writer has come across.
pub(super) fn drop_expired<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place<K, V>,
) {
    let old = take_expired(table, ledger, place);
    bury(terms, table, ledger, old);
}

/// Takes out an entry that is over.
pub(super) fn take_expired<K, V>(
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place<K, V>,
) -> Unlinked<K, V> {
    if let Some(tally) = &mut ledger.tally {
        tally.expired += 1;
    }
    take(table, ledger, place)
}

/// Takes out an entry, for whatever reason.
#[inline(always)]
pub(super) fn take<K, V>(
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place<K, V>,
) -> Unlinked<K, V> {
    let row = table.row(place);
    let old = table.unlink(place).weighing(ledger.weight_of(row));
    ledger.leave(row);
    ledger.give_up(row);
    old
}
