//! Asking the user's `Expiry`: outside every lock, about a node that was looked at while pinned; what was
//! said counts only if that node is still there.

use super::handle::Place;
use super::rounds::{Round, Rounds};
use super::{Cache, Parts};
use crate::expiry::Expiry;
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::shard::{
    Deferred, Expected, Lasting, Lifespan, Lookup, NewEntry, OFFERED, Replaced, Ruled, Ruling,
};
use crate::sync::catch;
use crate::table::{Node, Pin};
use crate::time::{Span, Tick};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// What is said of a new entry.
pub(super) fn created<K: 'static, V: 'static>(expiry: &dyn Expiry<K, V>, key: &K, value: &V) -> Ruling {
    Ruling::After(span(expiry.expire_after_create(key, value)))
}

/// How often a read asks its `Expiry` at most. An answer is in vain if another value or another deadline came meanwhile, and
/// then the read asks again, about that one. Because of this limit a read does not keep its pin for as long as others write, nor
/// for ever if its `Expiry` itself writes the key. The last answer counts whatever the deadline is by then.
const ROUNDS: u32 = 4;

fn span(answer: Option<Duration>) -> Span {
    answer.map_or(Span::ENDLESS, Span::from_duration)
}

/// What is left until a deadline, as an `Expiry` is told it.
fn left(until: Tick, now: Tick) -> Option<Duration> {
    (until != Tick::NEVER).then(|| until.since(now).as_duration())
}

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// What is said of a new value in the place of a node's.
    #[inline(never)]
    pub(super) fn updated(&self, expiry: &dyn Expiry<K, V>, key: &K, value: &V, old: &Node<K, V>) -> Ruling {
        let now = self.parts().config.clock.now();
        // If it is over by now, whoever has the lock will find so.
        let left = left(old.visible_until(now).unwrap_or(now), now);
        let answer = expiry.expire_after_update(key, value, left);
        if answer == left { Ruling::Keep } else { Ruling::After(span(answer)) }
    }

    /// `insert`, with the `Expiry` asked until its answer is about what is there.
    #[inline(never)]
    pub(super) fn insert_as_ruled(
        &self,
        place: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        lasting: Lasting,
    ) -> Deferred<K, V> {
        self.insert_seen(place, offered, lasting, |_| ()).1
    }

    /// Inserts like `insert`, and returns what `see` makes of the live value that is replaced, if there is one. All user code
    /// runs before anything is changed, and again until it was about what is there.
    pub(super) fn insert_seen<R>(
        &self,
        Place { hash, shard }: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        lasting: Lasting,
        mut see: impl FnMut(&V) -> R,
    ) -> (Option<R>, Deferred<K, V>) {
        let Parts { expiry, .. } = self.parts();
        let weight = self.weigh_offer(offered);
        let mut rounds = Rounds::new();
        loop {
            let pin = Pin::new();
            let (key, value) = offered.as_ref().expect(OFFERED);
            let old = shard.visible::<false, K>(Lookup::new(hash, key), &pin);
            let mut round = rounds.begin(Place { hash, shard }, old);
            let seen = old.map(|node| see(node.value()));
            let ruling = match (expiry, old) {
                (None, _) => Ruling::NONE,
                (Some(expiry), None) => created(&**expiry, key, value),
                (Some(_), Some(_)) if lasting == Lasting::Kept => Ruling::Keep,
                (Some(expiry), Some(node)) => self.updated(&**expiry, key, value, node),
            };
            Round::has_run(&mut round);
            let expected = old.map_or(Expected::Absent, Expected::This);
            let lifespan = Lifespan { lasting, ruling };
            let inserted =
                shard.insert_if(self, NewEntry { hash, entry: offered, weight, lifespan }, &expected);
            drop(pin);
            let mut deferred = match inserted {
                Ok(deferred) => return (seen, deferred),
                Err(deferred) => deferred,
            };
            // What was seen is of no use any more. Its destructor is user code, so it comes after
            // the wake-up, and what is left to do besides must not be lost by its panic.
            self.start(&mut deferred);
            catch(|| drop(seen));
            rounds = self.lose(shard, deferred, rounds, round);
        }
    }

    /// `replace`, with the `Expiry` asked until its answer is about what is there.
    #[inline(never)]
    pub(super) fn replace_as_ruled(
        &self,
        expiry: &dyn Expiry<K, V>,
        Place { hash, shard }: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        life: Life,
    ) -> (Replaced, Deferred<K, V>) {
        let weight = self.weigh_offer(offered);
        let mut rounds = Rounds::new();
        loop {
            let pin = Pin::new();
            let (key, value) = offered.as_ref().expect(OFFERED);
            let Some(node) = shard.visible::<false, K>(Lookup::new(hash, key), &pin) else {
                return (Replaced::Gone, Deferred::none());
            };
            let mut round = rounds.begin(Place { hash, shard }, Some(node));
            let ruling = match life {
                Life::Keep => Ruling::Keep,
                _ => self.updated(expiry, key, value, node),
            };
            Round::has_run(&mut round);
            let lifespan = Lifespan { lasting: life.of_update(), ruling };
            let new = NewEntry { hash, entry: offered, weight, lifespan };
            let (replaced, deferred) = shard.replace_as(self, new, Some(node));
            drop(pin);
            if replaced != Replaced::Changed {
                return (replaced, deferred);
            }
            rounds = self.lose(shard, deferred, rounds, round);
        }
    }

    /// `read`, where use makes a difference. On its own, and with its own pin, so that the other `read` pays
    /// two instructions for it.
    #[inline(never)]
    pub(super) fn read_and_note<Q, R>(&self, key: &Q, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        self.noted(key, &pin).map(Node::value).map(run)
    }

    /// As `used`, where use makes a difference.
    #[inline(never)]
    pub(super) fn used_and_noted<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.noted(key, pin)
    }

    /// In place: where statistics are the difference, there is little to do.
    #[inline(always)]
    fn noted<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Parts { config, reads, .. } = self.parts();
        let node = if config.effects.moves_deadline {
            self.used_as_ruled(key, pin, config.effects.counts_hit)
        } else {
            self.visible(key, config.effects.counts_hit, pin)
        };
        if let Some(reads) = reads {
            reads.count(node.is_some());
        }
        node
    }

    /// As `used`, for a call that was counted when it looked first: it restarts times, and is no second hit, neither in the
    /// statistics nor for the policy.
    pub(super) fn used_uncounted<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        if self.parts().config.effects.moves_deadline {
            return self.used_as_ruled(key, pin, false);
        }
        self.visible(key, false, pin)
    }

    /// The node of a live entry, its times restarted by the use.
    #[inline(never)]
    fn used_as_ruled<'g, Q>(&'g self, key: &Q, pin: &'g Pin, is_counted: bool) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let config = &self.parts().config;
        let Place { hash, shard } = self.locate(key);
        let at = Lookup::new(hash, key);
        let mut rounds = 0;
        loop {
            rounds += 1;
            let node = if config.effects.restarts_idle {
                shard.used(at, is_counted, pin)?
            } else if is_counted {
                shard.visible::<true, Q>(at, pin)?
            } else {
                shard.visible::<false, Q>(at, pin)?
            };
            let Some(expiry) = &self.parts().expiry else {
                return Some(node);
            };
            let now = config.clock.recent();
            let Some(until) = node.visible_until(now) else { continue };
            let left = left(until, now);
            let answer = expiry.expire_after_read(node.key(), node.value(), left);
            let end = match span(answer) {
                Span::NONE => Tick::LONG_AGO,
                // By the readers' clock, which may lag: later by that, so as not to be early.
                span => now.after(config.clock.lag()).after(span),
            };
            if answer == left || end == until {
                return Some(node);
            }
            let told = (rounds < ROUNDS).then_some(until);
            if let Ruled::Done(wake) = shard.rule(at, node, told, end) {
                if let Some(at) = wake {
                    self.inner.wake_reaper(at);
                }
                return Some(node);
            }
            // Written meanwhile, time and again: so it counts as a read from before that.
            if rounds >= ROUNDS {
                return Some(node);
            }
        }
    }
}
