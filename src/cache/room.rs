//! Room from one shard for another, where entries have weights: which shard gives.
//!
//! Takes one shard's lock at a time, for a bounded number of entries. Who is told of what goes, and when, is up to the operation that
//! needs the room: it may hold a pin now.

use super::{Bound, Cache, Parts};
use crate::listener::RemovalCause;
use crate::policy::{Account, taken};
use crate::shard::{Around, Deferred, Elsewhere, Given, Held, Own, Shard};
use crate::sync::thread;

impl<K, V, S> Around<K, V> for Cache<K, V, S> {
    fn account(&self) -> Option<&Account> {
        self.parts().bound.as_ref()?.account()
    }

    fn start(&self, evicted: &mut Deferred<K, V>) {
        self.start(evicted);
    }

    fn raise(&self, credit: &mut Held<'_, K, V>) {
        let Parts { shards, .. } = self.parts();
        let Some(account) = self.account() else { return };
        // The capacity may have been lowered before this operation got the right to keep room. It is not lowered while it has that.
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
                // All other room is in the hands of operations that are about to store something or to give the room back. Or it
                // came into shards that had nothing when they were asked.
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
    if !credit.goes_by_bids || most <= credit.lacking {
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
    /// Sets the account's limit to what is wanted. First the heaviest shard gives what is too much, then the limit is lowered.
    pub(super) fn fit(&self, bound: &Bound, account: &Account) {
        let Parts { shards, .. } = self.parts();
        loop {
            // With the right, so that no other operation keeps a credit and waits for this one.
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

#[cfg(all(test, not(any(tidewheel_loom, tidewheel_shuttle))))]
mod tests {
    use super::*;
    use crate::sync::MutexGuard;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Each entry weighs what its value says.
    fn weighed(capacity: u64, shards: usize) -> Cache<u64, u32> {
        let builder = Cache::builder().max_capacity(capacity).shards(shards).record_stats();
        builder.weigher(|_, weight| *weight).build().expect("a reaper starts")
    }

    /// Has another thread insert entries of one weight. What is returned hears when all are inserted.
    fn inserting(cache: &Cache<u64, u32>, keys: std::ops::Range<u64>, weight: u32) -> Receiver<()> {
        let (cache, (done, is_done)) = (cache.clone(), channel());
        std::thread::spawn(move || {
            keys.for_each(|key| cache.insert(key, weight));
            let _ = done.send(());
        });
        is_done
    }

    fn until_waited_for(account: &Account) {
        let start = Instant::now();
        while !account.is_waited_for() {
            assert!(start.elapsed() < PATIENCE, "nobody waits");
            std::thread::yield_now();
        }
    }

    /// Lowers the capacity as `fit` does it, for another thread that waits for the right. One shard gives what is too much.
    fn lower(cache: &Cache<u64, u32>, right: MutexGuard<'_, ()>, capacity: u64) {
        let (bound, account) = (cache.parts().bound.as_ref().expect("it is bounded"), cache.account());
        let account = account.expect("it has weights");
        bound.begin(capacity);
        let shard = &cache.parts().shards[0];
        let Given { room, deferred, .. } = shard.give(bound.fit(account, 0));
        assert_eq!(bound.fit(account, room), 0);
        drop(right);
        cache.conclude(shard, deferred, RemovalCause::Size);
        bound.end();
    }

    /// Another writer is in the middle of making room, and has half of all so far. So each shard has less than its part.
    fn half_taken() -> Cache<u64, u32> {
        let cache = weighed(8_000, 8);
        assert_eq!(cache.account().map(|account| account.take_up_to(4_000)), Some(4_000));
        (0..4_000).for_each(|key| cache.insert(key, 1));
        assert_eq!((cache.weighted_size(), cache.stats().evicted), (8_000, 0));
        cache
    }

    #[test]
    fn light_entries_do_not_wait_for_the_room_of_a_heavy_one() {
        let cache = half_taken();
        let account = cache.account().expect("it has weights");
        let right = account.lock();
        inserting(&cache, 4_000..4_100, 1).recv_timeout(PATIENCE).expect("they wait for the right");
        assert_eq!((cache.entry_count(), cache.stats().evicted), (4_000, 100));
        account.give_back(4_000);
        drop(right);
        cache.validate();
    }

    #[test]
    fn who_goes_alone_and_gets_too_little_waits_and_keeps_nothing() {
        let cache = half_taken();
        let account = cache.account().expect("it has weights");
        let right = account.lock();
        // No more goes for it in one round than 128 entries.
        let inserted = inserting(&cache, 4_000..4_001, 200);
        until_waited_for(account);
        assert_eq!((cache.entry_count(), account.taken()), (3_872, 4_000 + 3_872));
        account.give_back(4_000);
        drop(right);
        inserted.recv_timeout(PATIENCE).expect("the right is free");
        assert_eq!((cache.entry_count(), cache.weighted_size()), (3_873, 4_072));
        cache.validate();
    }

    /// The capacity becomes less while a heavy entry waits for the right, and the entry is refused: nothing goes for it, not of
    /// its own shard either. The bug: its own shard had given 128 entries by then.
    #[test]
    fn nothing_goes_for_what_becomes_too_heavy_while_it_waits() {
        let cache = weighed(1_000, 1);
        (0..200).for_each(|key| cache.insert(key, 5));
        let account = cache.account().expect("it has weights");
        let right = account.lock();
        let refused = inserting(&cache, 1_000..1_001, 900);
        until_waited_for(account);
        assert_eq!(cache.stats().evicted, 0);
        lower(&cache, right, 899);
        refused.recv_timeout(PATIENCE).expect("the right is free");
        assert_eq!((cache.stats().refused, cache.weighted_size()), (1, 895));
        cache.validate_bound(899);
    }

    /// The same for one of many that are restored, and by then its key has been written. The bug: the next entry of its shard had
    /// the credit of one that is too heavy, which nobody raises, and went round for ever.
    #[cfg(feature = "serde")]
    #[test]
    fn what_becomes_too_heavy_and_is_not_stored_holds_nothing_up() {
        const HEAVY: u64 = u64::MAX;
        let cache = half_taken();
        let heavy = cache.locate(&HEAVY).shard;
        let lights = (10_000..).filter(|key| std::ptr::eq(cache.locate(key).shard, heavy)).take(100);
        let (source, mut bytes) = (weighed(10_000, 1), Vec::new());
        lights.for_each(|key| source.insert(key, 1));
        source.insert(HEAVY, 8_000);
        assert_eq!(source.snapshot(&mut bytes).ok(), Some(101));

        let account = cache.account().expect("it has weights");
        let right = account.lock();
        let (restoring, (done, is_done)) = (cache.clone(), channel());
        std::thread::spawn(move || done.send(restoring.restore(&bytes[..], Duration::ZERO).ok()));
        until_waited_for(account);
        cache.insert(HEAVY, 1);
        lower(&cache, right, 7_999);
        assert_eq!(is_done.recv_timeout(PATIENCE).expect("the right is free"), Some(100));
        account.give_back(4_000);
    }
}
