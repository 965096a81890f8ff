//! Models of a cache that is full: what has to go, against those who look at it, use it, or write to it.
//!
//! Where nothing else is said the oldest entry goes, and no hits are counted. Under loom a bucket has one slot in
//! each word; keys 1 and 2 share a bucket, so that the second of them is in the second word. Their hits are in one byte.

use crate::common::cache::{HALF, Heard, Model, TTL, Value, spawn};
use crate::common::explore;
use tidewheel::EvictionPolicy::{Clock, Fifo};
use tidewheel::RemovalCause::{Expired, Replaced, Size};

/// Room for so many entries, which live for ever.
fn full_at(capacity: u64) -> Model {
    Model::holding(capacity, |builder| builder.eviction_policy(Fifo))
}

/// The same, and each weighs what its value says.
fn weighed_at(capacity: u64) -> Model {
    Model::build(|builder| {
        let builder = builder.max_capacity(capacity).eviction_policy(Fifo).initial_capacity(4);
        builder.weigher(|_, value: &Value| value.number() as u32)
    })
}

/// Room for 128 in two shards, where each entry weighs what its value says. Keys 1 and 4 belong to one shard, 2 and 3 to
/// the other.
fn two_shards() -> Model {
    let model = Model::build(|builder| {
        let builder = builder.max_capacity(128).shards(2).eviction_policy(Fifo).initial_capacity(4);
        builder.record_stats().weigher(|_, value: &Value| value.number() as u32)
    });
    assert_eq!(model.cache.policy().shards, 2);
    model
}

/// The same, but what was hit stays for another round.
fn counting_at(capacity: u64) -> Model {
    Model::holding(capacity, |builder| builder.eviction_policy(Clock))
}

/// Room for one entry, which lives for `TTL`, and somebody listens.
fn expiring_at_one() -> (Model, Heard) {
    let heard = Heard::default();
    let model = Model::holding(1, |builder| {
        builder.eviction_policy(Fifo).time_to_live(TTL).eviction_listener(heard.listener())
    });
    (model, heard)
}

/// A guard held while what it lent is evicted, and dropped by the reaper: it stays good. Whoever comes afterwards
/// does not find it.
#[test]
fn eviction_under_a_guard() {
    explore(|| {
        let model = full_at(1);
        model.insert(1, 1);
        let reader = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            let value = guard.get(&1);
            let first = value.map(|value| value.number());
            let again = value.map(|value| value.number());
            assert_eq!(first, again);
        });
        model.insert(2, 2);
        assert_eq!(model.see(1), None);
        model.reap_after(TTL);
        reader.join().unwrap();
        assert_eq!((model.see(1), model.see(2)), (None, Some(2)));
        model.end();
    });
}

/// An entry whose time runs out, unless it is touched, and which is evicted. A touch that succeeded was in time, so
/// that it did not expire; either way it does not come back, and the listener is told once.
#[test]
fn eviction_against_touch() {
    explore(|| {
        let (model, heard) = expiring_at_one();
        model.insert(1, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| (model.cache.touch(&1), model.cache.touch(&1)));
        model.pass(HALF);
        model.insert(2, 2);
        assert!(!model.cache.touch(&1), "it came back");
        let (first, second) = toucher.join().unwrap();
        assert!(first || !second, "it came back");
        assert_eq!((model.see(1), model.cache.weighted_size()), (None, 1));
        model.reap_after(TTL);
        assert_eq!(heard.all(), [(1, 1, if first { Size } else { Expired }), (2, 2, Expired)]);
        model.end();
    });
}

/// An update of an entry that is evicted comes first, and what it stored is told of, or it says that there is none.
#[test]
fn eviction_against_update() {
    explore(|| {
        let (model, heard) = expiring_at_one();
        model.insert(1, 1);
        let updater = spawn(&model, |model| model.update(1));
        model.insert(2, 2);
        let updated = updater.join().unwrap();
        assert_eq!((model.see(1), model.see(2)), (None, Some(2)));
        assert_eq!(model.cache.weighted_size(), 1);
        let told: &[_] = if updated { &[(1, 1, Replaced), (1, 2, Size)] } else { &[(1, 1, Size)] };
        assert_eq!(heard.all(), told);
        model.end();
    });
}

/// A value that takes more room than the one before, against an insert that takes it too: nothing is lost, and
/// nobody evicts the entry that it is about to replace.
#[test]
fn a_heavier_value_against_insert() {
    explore(|| {
        let model = weighed_at(5);
        model.insert(1, 2);
        model.insert(2, 2);
        let replacer = spawn(&model, |model| model.replace(1, 4));
        model.insert(3, 3);
        let replaced = replacer.join().unwrap();
        let seen = [1, 2, 3].map(|key| model.see(key));
        // If it was there in time, then nothing else had room beside it, and it had to go in its turn; if not, it
        // was the first to go.
        assert_eq!(seen, if replaced { [None, None, Some(3)] } else { [None, Some(2), Some(3)] });
        assert_eq!(model.cache.weighted_size(), seen.iter().flatten().sum::<u64>());
        model.end();
    });
}

/// An entry that is over is evicted while the reaper comes for it: it goes once, is told of once, as expired if
/// somebody saw it so, and its room is given back once.
#[test]
fn eviction_against_reap() {
    explore(|| {
        let (model, heard) = expiring_at_one();
        model.insert(1, 1);
        model.pass(HALF);
        let inserter = spawn(&model, |model| {
            let over = model.see(1).is_none();
            model.insert(2, 2);
            over
        });
        model.reap_after(HALF);
        let over = inserter.join().unwrap();
        assert_eq!((model.see(1), model.cache.weighted_size()), (None, 1));
        model.reap_after(2 * TTL);
        assert_eq!(model.cache.weighted_size(), 0);
        let told = heard.all();
        assert!(matches!(told[..], [(1, 1, Size | Expired), (2, 2, Expired)]), "{told:?}");
        assert!(!over || told[0].2 == Expired, "{told:?}");
        model.end();
    });
}

/// A bound that becomes less while somebody inserts: it holds when the call has returned, and until then the
/// larger one does.
#[test]
fn a_smaller_bound_against_insert() {
    explore(|| {
        let model = full_at(3);
        model.insert(1, 1);
        model.insert(2, 2);
        let inserter = spawn(&model, |model| {
            model.insert(4, 4);
            assert!(model.cache.weighted_size() <= 3);
        });
        // Less than there may be, and then less than there is.
        for capacity in [2, 1] {
            model.cache.set_max_capacity(capacity).unwrap();
            assert!(model.cache.weighted_size() <= capacity);
        }
        inserter.join().unwrap();
        assert_eq!(model.cache.weighted_size(), 1);
        model.end();
    });
}

/// A look at the size while the bound becomes less and more: the entries are the same all the time.
#[test]
fn the_size_against_another_bound() {
    explore(|| {
        let model = weighed_at(5);
        model.insert(1, 2);
        let other = spawn(&model, |model| {
            model.cache.set_max_capacity(3).unwrap();
            model.cache.set_max_capacity(5).unwrap();
        });
        assert_eq!(model.cache.weighted_size(), 2);
        other.join().unwrap();
        assert_eq!(model.cache.weighted_size(), 2);
        model.end();
    });
}

/// Two who change the bound at once: one of them was last, and what the cache says is what holds.
#[test]
fn a_bound_against_another() {
    explore(|| {
        let model = full_at(2);
        model.insert(1, 1);
        model.insert(2, 2);
        let other = spawn(&model, |model| model.cache.set_max_capacity(3).unwrap());
        model.cache.set_max_capacity(1).unwrap();
        other.join().unwrap();
        let capacity = model.cache.policy().max_capacity;
        assert!(matches!(capacity, Some(1 | 3)), "{capacity:?}");
        (3..=6).for_each(|key| model.insert(key, key));
        assert_eq!(Some(model.cache.weighted_size()), capacity);
        model.end();
    });
}

/// Somebody who only looks, while one entry makes room for another: he who has seen the new one does not see the
/// old one any more.
#[test]
fn eviction_seen_from_outside() {
    explore(|| {
        let model = full_at(1);
        model.insert(1, 1);
        let looker = spawn(&model, |model| {
            let (new, old) = (model.see(2), model.see(1));
            assert!(new.is_none() || old.is_none(), "more than there is room for");
            assert!(model.cache.weighted_size() <= 1);
        });
        model.insert(2, 2);
        looker.join().unwrap();
        model.end();
    });
}

/// The same where a value is replaced by a heavier one.
#[test]
fn a_heavier_value_seen_from_outside() {
    explore(|| {
        let model = weighed_at(4);
        model.insert(1, 2);
        model.insert(2, 2);
        let looker = spawn(&model, |model| {
            let (heavier, other) = model.see_both([1, 2]);
            assert!(heavier == Some(2) || other.is_none(), "more than there is room for");
            assert!(model.cache.weighted_size() <= 4);
        });
        assert!(model.replace(1, 4));
        looker.join().unwrap();
        model.end();
    });
}

/// A hit is counted in the bucket where a tag is set and cleared: both are as they were meant to be.
#[test]
fn a_hit_against_the_tags_beside_it() {
    explore(|| {
        let model = counting_at(3);
        model.insert(1, 1);
        let reader = spawn(&model, |model| (model.see(1), model.see(1)));
        model.insert(2, 2);
        assert_eq!(model.see(2), Some(2));
        assert!(model.cache.invalidate(&2));
        assert_eq!(model.see(2), None);
        assert_eq!(reader.join().unwrap(), (Some(1), Some(1)));
        assert_eq!(model.see(2), None);
        model.end();
    });
}

/// A hit is counted where the writer lowers hits to find one that may go: whatever it finds, one goes, and tags
/// are as they were meant to be.
#[test]
fn a_hit_against_lowered_hits() {
    explore(|| {
        let model = counting_at(2);
        model.insert(1, 1);
        model.insert(2, 2);
        assert_eq!(model.see(1), Some(1));
        let reader = spawn(&model, |model| model.see(2));
        model.insert(4, 4);
        assert!(matches!(reader.join().unwrap(), None | Some(2)));
        let seen = [1, 2].map(|key| model.see(key));
        assert!(matches!(seen, [Some(1), None] | [None, Some(2)]), "{seen:?}");
        assert_eq!((model.see(4), model.cache.weighted_size()), (Some(4), 2));
        model.end();
    });
}

/// Two writers in two shards, and room for one of the two values: whoever looks never finds both, and the second one
/// gets the room of the first.
#[test]
fn room_for_one_of_two_shards() {
    explore(|| {
        let model = two_shards();
        let [one, other] = [1, 2].map(|key| spawn(&model, move |model| model.insert(key, 80)));
        let (first, second, again) = (model.see(1), model.see(2), model.see(1));
        // It does not come again.
        assert!(first.is_none() || second.is_none() || again.is_none(), "more than there is room for");
        assert!(model.cache.weighted_size() <= 128);
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!([1, 2].map(|key| model.see(key)).iter().flatten().count(), 1);
        assert_eq!(model.cache.weighted_size(), 80);
        model.end();
    });
}

/// Room that a removal gives back is taken by another shard's writer: what had it is gone by then.
#[test]
fn room_from_a_removal_in_another_shard() {
    explore(|| {
        let model = two_shards();
        model.insert(1, 80);
        let inserter = spawn(&model, |model| {
            model.insert(2, 80);
            assert_eq!(model.see(1), None, "more than there is room for");
            assert!(model.cache.weighted_size() <= 128);
        });
        model.cache.invalidate(&1);
        inserter.join().unwrap();
        assert_eq!((model.see(1), model.see(2)), (None, Some(80)));
        assert_eq!(model.cache.weighted_size(), 80);
        model.end();
    });
}

/// Two writers who need more than what is free, or than the other one's shard has: neither waits for the other's room for ever.
#[test]
fn two_who_need_all_the_room() {
    explore(|| {
        let model = two_shards();
        model.insert(1, 60);
        let other = spawn(&model, |model| model.insert(4, 128));
        model.insert(3, 128);
        other.join().unwrap();
        let left = [1, 3, 4].map(|key| model.see(key));
        assert!(matches!(left, [None, Some(128), None] | [None, None, Some(128)]), "{left:?}");
        assert_eq!(model.cache.weighted_size(), 128);
        model.end();
    });
}

/// Less room while somebody takes it: the bound holds when the call has returned, and what does not fit is not kept.
#[test]
fn less_room_for_two_shards_against_insert() {
    explore(|| {
        let model = two_shards();
        model.insert(1, 60);
        let inserter = spawn(&model, |model| {
            model.insert(2, 100);
            assert!(model.cache.weighted_size() <= 128);
        });
        model.cache.set_max_capacity(70).unwrap();
        assert!(model.cache.weighted_size() <= 70);
        inserter.join().unwrap();
        assert!(model.cache.weighted_size() <= 70 && model.see(2).is_none());
        // Either the value was there in time and took the other one's room, or it is refused and takes nothing.
        let was_refused = model.cache.stats().refused == 1;
        assert_eq!(model.see(1), was_refused.then_some(60));
        model.end();
    });
}

/// A light value comes while another writer makes room for a heavy one. It waits for nobody then, and takes only what its own
/// shard gives. (Where it has the right to keep room, the heavier shard gives: that may be the heavy value, which has just come.)
#[test]
fn a_light_value_beside_a_heavy_one() {
    explore(|| {
        let model = two_shards();
        model.insert(2, 10);
        model.insert(1, 118);
        let other = spawn(&model, |model| model.insert(4, 60));
        model.insert(3, 4);
        assert!(model.cache.weighted_size() <= 128);
        other.join().unwrap();
        let left = [1, 3, 4].map(|key| model.see(key));
        assert!(matches!(left, [None, Some(4), None | Some(60)]), "{left:?}");
        model.end();
    });
}
