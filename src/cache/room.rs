//! Room from one shard for another, where entries have weights: which shard gives.
//!
//! Takes one shard's lock at a time, for a bounded number of entries. Who is told of what goes, and when, is up to the operation that
//! needs the room: it may hold a pin now.

use super::{Bound, Cache, Parts};
use crate::listener::RemovalCause;
use crate::policy::{Account, taken};
use crate::shard::{Around, Elsewhere, Given, Held, Own, Shard};
use crate::sync::thread;

impl<K, V, S> Around<K, V> for Cache<K, V, S> {
    fn account(&self) -> Option<&Account> {
        self.parts().bound.as_ref()?.account()
    }

    fn raise(&self, credit: &mut Held<'_, K, V>) {
        let Parts { shards, .. } = self.parts();
        let Some(account) = self.account() else { return };
        // What the operation has given up itself so far. It looks its key up again before it concludes, and may wait.
        credit.evicted.iter_mut().for_each(|there| self.start(&mut there.deferred));
        // The capacity may have become less before this operation had the right to keep room, and does not as long as it has it.
        if u64::from(credit.weight) > account.limit() {
            return;
        }
        loop {
            let free = account.take_up_to(credit.lacking);
            credit.room += free;
            credit.lacking -= free;
            if credit.lacking == 0 {
                return;
            }
            let Some((number, gives)) = giver(shards, account, credit) else {
                // What there is, is in the hands of others, who are about to store it, or to give it back; or it came into
                // shards that had nothing when they were asked.
                credit.bids.clear();
                credit.own_gives_until = Some(0);
                thread::yield_now();
                return;
            };
            if number == credit.own.number {
                credit.own_gives_until = Some(credit.lacking - gives);
                return;
            }
            let Given { room, bid, mut deferred } = shards[number].give(gives);
            if let Some(before) = credit.bids.get_mut(number) {
                *before = bid;
            }
            self.start(&mut deferred);
            credit.room += room;
            credit.lacking = credit.lacking.saturating_sub(room);
            credit.evicted.push(Elsewhere { shard: number, deferred });
        }
    }

    fn conclude(&self, evicted: Vec<Elsewhere<K, V>>) {
        for Elsewhere { shard, deferred } in evicted {
            self.conclude(&self.parts().shards[shard], deferred, RemovalCause::Size);
        }
    }
}

/// Which shard gives next, and how much: the heaviest, what it can; for something large, the one whose bid fits best.
fn giver<K, V>(
    shards: &[Shard<K, V>],
    account: &Account,
    credit: &mut Held<'_, K, V>,
) -> Option<(usize, u64)> {
    let Own { number: own, rest, bid } = credit.own;
    let weight = |number: usize| if number == own { rest } else { shards[number].weight() };
    let heaviest = (0..shards.len()).map(|number| (weight(number), number)).max();
    let (most, heaviest) = heaviest.filter(|(most, _)| *most != 0)?;
    // If that is not enough, all of it can go.
    if !credit.is_large || most <= credit.lacking {
        return Some((heaviest, credit.lacking));
    }
    if credit.bids.is_empty() {
        let bid = |(number, shard): (usize, &Shard<K, V>)| if number == own { bid } else { shard.bid() };
        credit.bids.extend(shards.iter().enumerate().map(bid));
    }
    credit.bids[own] = bid;
    let bids = credit.bids.iter().enumerate().map(|(number, bid)| (weight(number), *bid));
    taken(bids, account.limit(), credit.lacking)
}

impl<K, V, S> Cache<K, V, S> {
    /// Has the account's limit be what is wanted: of what is too much, first the heaviest shard gives, then the limit is less.
    pub(super) fn fit(&self, bound: &Bound, account: &Account) {
        let Parts { shards, .. } = self.parts();
        loop {
            // So that nobody else keeps a credit, and waits for us.
            let right = account.lock();
            let lacking = bound.fit(account, 0);
            if lacking == 0 {
                return;
            }
            let heaviest = shards.iter().max_by_key(|shard| shard.weight());
            let Some(shard) = heaviest else { return };
            let Given { room, deferred, .. } = shard.give(lacking);
            let _ = bound.fit(account, room);
            drop(right);
            self.conclude(shard, deferred, RemovalCause::Size);
            if room == 0 {
                // As in `raise`.
                thread::yield_now();
            }
        }
    }
}
