//! Room from one shard for another, where entries have weights: which shard gives.
//!
//! Takes one shard's lock at a time, for a bounded number of entries. Who is told of what goes, and when, is up to the operation that
//! needs the room: it may hold a pin now.

use super::{Bound, Cache, Parts};
use crate::listener::RemovalCause;
use crate::policy::Account;
use crate::shard::{Around, Evicted, Held, Shard, Terms};
use crate::sync::thread;

impl<K, V, S> Around<K, V> for Cache<K, V, S> {
    #[inline]
    fn terms(&self) -> &Terms {
        &self.parts().terms
    }

    fn account(&self) -> Option<&Account> {
        self.parts().bound.as_ref()?.account()
    }

    fn raise(&self, credit: &mut Held<'_, K, V>) {
        let Parts { shards, terms, .. } = self.parts();
        let Some(account) = self.account() else { return };
        // What the operation has given up itself so far. It looks its key up again before it concludes, and may wait.
        credit.evicted.iter_mut().for_each(|(_, chores)| self.start(chores));
        let (own, rest) = credit.own;
        loop {
            let free = account.take_up_to(credit.lacking);
            credit.room += free;
            credit.lacking -= free;
            if credit.lacking == 0 {
                return;
            }
            let weight =
                |number: usize, shard: &Shard<K, V>| if number == own { rest } else { shard.weight() };
            let most = shards.iter().enumerate().map(|(number, shard)| (weight(number, shard), number)).max();
            let Some((_, number)) = most.filter(|(most, _)| *most != 0) else {
                // What there is, is in the hands of others, who are about to store it, or to give it back.
                credit.is_own_turn = true;
                thread::yield_now();
                return;
            };
            if number == own {
                credit.is_own_turn = true;
                return;
            }
            let (given, mut chores) = shards[number].give(terms, credit.lacking);
            self.start(&mut chores);
            credit.room += given;
            credit.lacking = credit.lacking.saturating_sub(given);
            credit.evicted.push((number, chores));
        }
    }

    fn conclude(&self, evicted: Evicted<K, V>) {
        for (number, chores) in evicted {
            self.conclude(&self.parts().shards[number], chores, RemovalCause::Size);
        }
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Has the account's limit be what is wanted: of what is too much, first the heaviest shard gives, then the limit is less.
    pub(super) fn fit(&self, bound: &Bound, account: &Account) {
        let Parts { shards, terms, .. } = self.parts();
        loop {
            // So that nobody else keeps a credit, and waits for us.
            let turn = account.turn();
            let lacking = bound.fit(account, 0);
            if lacking == 0 {
                return;
            }
            let heaviest = shards.iter().max_by_key(|shard| shard.weight());
            let Some(shard) = heaviest else { return };
            let (given, chores) = shard.give(terms, lacking);
            let _ = bound.fit(account, given);
            drop(turn);
            self.conclude(shard, chores, RemovalCause::Size);
            if given == 0 {
                // As in `raise`.
                thread::yield_now();
            }
        }
    }
}
