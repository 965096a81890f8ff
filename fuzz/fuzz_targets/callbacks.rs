//! Everything of the user's that a cache runs, panicking and calling back where the fuzzer says so: `Hash`, `Eq`, `Clone`, `Drop`, closures, listeners,
//! the weigher, an `Expiry`, a reload; with a capacity, times of all kinds, and a clock that jumps.
//!
//! No model can say what each answer must be. What must hold all the same: the cache is whole after each call, holds no more than its capacity, shows
//! no value under another key, after its time, or after it was told of as gone; each value is told of once; in the end nothing is left; and no call panics
//! but by the user's own panic, or as the documents say.
//!
//! The input: eight bytes of set-up, operations of three bytes, and, taken from its end, what callbacks do.
#![no_main]

#[path = "callbacks/user.rs"]
mod user;

use libfuzzer_sys::fuzz_target;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, CompResult, EvictionPolicy, Expiry, ManualClock, Op, Reaper};
use user::{Key, Store, Value, at};

/// Few, so that operations meet.
const KEYS: u8 = 12;
/// More operations tell no more, and slow the fuzzer down.
const MOST: usize = 120;
/// The byte of the set-up that says that nothing is reloaded.
const NEVER: u8 = 255;

/// A length of time in one byte: from nothing to ever.
fn length(byte: u8) -> Duration {
    let count = u64::from(byte & 15);
    let nanos = match byte >> 4 {
        0 => return Duration::from_nanos(count),
        1..=3 => 100_000_000,
        4..=7 => 999_999_999,
        8..=10 => 7_500_000_000,
        11 => 63_000_000_000,
        12 => 4_096_000_000_000,
        13 => 86_400_000_000_000,
        14 => 365 * 86_400_000_000_000,
        _ => return if count == 15 { Duration::MAX } else { Duration::from_secs(count * 20 * 365 * 86_400) },
    };
    Duration::from_nanos(nanos * count)
}

/// Answers by the weight of the value, after doing whatever callbacks do.
struct Rule(u8);

impl Rule {
    fn answer(&self, value: &Value, left: Option<Duration>) -> Option<Duration> {
        value.check();
        at(true);
        match self.0.wrapping_add(value.weight) % 5 {
            0 => None,
            1 => left,
            _ => Some(length(self.0.wrapping_mul(7).wrapping_add(value.weight))),
        }
    }
}

impl Expiry<Key, Value> for Rule {
    fn expire_after_create(&self, _: &Key, value: &Value) -> Option<Duration> {
        self.answer(value, None)
    }

    fn expire_after_read(&self, _: &Key, value: &Value, left: Option<Duration>) -> Option<Duration> {
        self.answer(value, left)
    }

    fn expire_after_update(&self, _: &Key, value: &Value, left: Option<Duration>) -> Option<Duration> {
        self.answer(value, left)
    }
}

thread_local! {
    static CLOCK: std::cell::RefCell<Option<ManualClock>> = const { std::cell::RefCell::new(None) };
}

fn clock() -> ManualClock {
    CLOCK.with_borrow(|clock| clock.clone().expect("set before anything runs"))
}

/// What makes no sense together is refused, and that is another target's business. Mostly it is a reload that would come after the end: it is left out
/// then.
fn build(setup: &[u8; 8]) -> Option<Store> {
    let [layout, capacity, ttl, idle, _, rule, told, policy] = *setup;
    let unrefreshed = [layout, capacity, ttl, idle, NEVER, rule, told, policy];
    builder(setup).build().or_else(|_| builder(&unrefreshed).build()).ok()
}

fn builder(
    &[layout, capacity, ttl, idle, refresh, rule, told, policy]: &[u8; 8],
) -> CacheBuilder<Key, Value> {
    let fresh = ManualClock::new();
    CLOCK.set(Some(fresh.clone()));
    let mut builder =
        Cache::builder().clock(fresh).reaper(Reaper::manual()).shards(1 << (layout & 1)).record_stats();
    if capacity != 255 {
        builder = builder.max_capacity(u64::from(capacity)).weigher(|_: &Key, value: &Value| {
            at(true);
            u32::from(value.weight)
        });
        if layout & 2 != 0 {
            builder = builder.pin_if(|_, value| {
                at(true);
                value.weight == 0
            });
        }
        let policies = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];
        builder = builder.eviction_policy(policies[usize::from(policy % 3)]);
    }
    if ttl != 255 {
        builder = builder.time_to_live(length(ttl));
    }
    if layout & 4 != 0 {
        builder = builder.max_age(length(0x8f));
    }
    if idle > 1 {
        builder = builder.time_to_idle(length(idle));
    }
    if layout & 8 != 0 {
        builder = builder.ttl_jitter(0.3);
    }
    if refresh != NEVER {
        builder = builder.refresh_after_write(length(refresh));
        if layout & 16 != 0 {
            builder = builder.refresh_with(
                |key, old: &Value| {
                    old.check();
                    at(true);
                    (!old.weight.is_multiple_of(3)).then(|| Value::new(key.id, old.weight.wrapping_add(1)))
                },
                |job| {
                    at(true);
                    job();
                },
            );
        }
    }
    if rule != 255 {
        builder = builder.expire_after(Rule(rule));
    }
    builder = builder.eviction_listener(user::hear);
    if told & 1 != 0 {
        builder = builder.expiration_listener(|entries| {
            assert!(!entries.is_empty(), "an empty batch");
            entries.iter().for_each(|(_, value)| value.check());
            at(true);
        });
    }
    if told & 2 != 0 {
        builder = builder.expiration_warning_listener(length(told), |_, value| {
            value.check();
            at(true);
        });
    }
    builder
}

fn closure(key: u8, weight: u8) -> Value {
    at(true);
    Value::new(key, weight)
}

fn looked(value: &Value) {
    value.check();
    at(true);
    value.check();
}

/// One call.
fn step(cache: &Store, [code, first, second]: [u8; 3]) {
    let id = first % KEYS;
    let (key, lent) = (|| Key::own(id), Key::lent(id));
    let value = || Value::new(id, second);
    match code % 40 {
        0..4 => cache.insert(key(), value()),
        4 => cache.insert_with_ttl(key(), value(), length(second)),
        5 => drop(cache.try_insert(key(), value())),
        6 => drop(cache.replace(&lent, value())),
        7 => {
            cache.update(&lent, |old| {
                looked(old);
                Value::new(id, second)
            });
        }
        8 => {
            cache.modify(&lent, |old| {
                looked(old);
                old.renew(second);
            });
        }
        9 => drop(cache.touch(&lent)),
        10 => drop(cache.set_ttl(&lent, length(second))),
        11 => drop(cache.persist(&lent)),
        12 => drop(cache.get(&lent)),
        13 => drop(cache.read(&lent, looked)),
        14 => {
            let guard = cache.read_guard();
            guard.get(&lent).into_iter().for_each(looked);
            guard.entry(&lent).into_iter().for_each(|entry| looked(entry.value()));
        }
        15 => drop(cache.remove(&lent)),
        16 => drop(cache.remove_if(&lent, |value| {
            looked(value);
            second & 1 == 0
        })),
        17 => {
            cache.rename_with(&lent, Key::own(second % KEYS), |old| {
                looked(old);
                (Value::new(second % KEYS, old.weight), ())
            });
        }
        18 => drop(cache.entry(key()).or_insert_with(|| closure(id, second))),
        19 => drop(cache.entry(key()).or_insert_with_if(
            || closure(id, second),
            |old| {
                looked(old);
                second & 1 == 0
            },
        )),
        20 => drop(cache.entry(key()).and_upsert_with(|old| {
            // Before there is a value: where a destructor panics after that, rustc forgets the value (its issue 47949).
            drop(old);
            closure(id, second)
        })),
        21 => {
            let result = cache.entry(key()).and_compute_with(|old| {
                old.iter().for_each(|old| looked(old.value()));
                drop(old);
                match second % 3 {
                    0 => Op::Nop,
                    1 => Op::Remove,
                    _ => Op::Put(closure(id, second)),
                }
            });
            if let CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) = &result {
                entry.value().check();
            }
        }
        22 => drop(cache.get_with(key(), || closure(id, second))),
        23 => drop(
            cache.try_get_with(key(), || if second & 1 == 0 { Ok(closure(id, second)) } else { Err(()) }),
        ),
        24 => drop(cache.optionally_get_with(key(), || (second & 1 == 0).then(|| closure(id, second)))),
        25 => drop(cache.get_with_ttl(key(), || (closure(id, second), length(second)))),
        26 => drop(cache.get_many_with((0..4).map(|more| Key::own((id + more) % KEYS)), |keys| {
            at(true);
            keys.iter().map(|key| (Key::own(key.id), Value::new(key.id, second))).collect::<Vec<_>>()
        })),
        27 => cache.iter().for_each(|entry| looked(&entry.1)),
        28 => cache.retain(|_, value| {
            looked(value);
            value.weight & 1 == second & 1
        }),
        29 => cache.drain().take(usize::from(second % 8)).for_each(drop),
        30 => drop(cache.invalidate(&lent)),
        31 if second & 3 == 0 => cache.invalidate_all(),
        32 => cache.run_pending_tasks(),
        33 => clock().advance_without_sweeping(length(second)),
        34 if cache.policy().max_capacity.is_some() => drop(cache.set_max_capacity(u64::from(second))),
        35 => drop(cache.refresh(&lent)),
        36 => cache.insert_many(
            (0..4).map(|more| (Key::own((id + more) % KEYS), Value::new((id + more) % KEYS, second))),
        ),
        37 => drop(cache.get_many(&[Key::lent(id), Key::lent(second % KEYS)])),
        _ => clock().advance(length(second)),
    }
}

/// What every look must find.
fn check(cache: &Store) {
    user::calm();
    user::check();
    cache.validate();
    if let Some(capacity) = cache.policy().max_capacity {
        assert!(cache.weighted_size() <= capacity, "{} of {capacity}", cache.weighted_size());
    }
    for id in 0..KEYS {
        cache.peek_with(&Key::lent(id), |value| {
            assert_eq!(value.key, id, "a value under another key");
            assert!(!user::was_heard(value.id), "{} was told of as gone, and is here", value.id);
        });
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((setup, rest)) = input.split_first_chunk::<8>() else { return };
    user::hook();
    let (ops, deeds) = rest.split_at(rest.len() / 2);
    user::begin(deeds, step);
    let Some(cache) = build(setup) else { return };
    user::meets(&cache);
    for bytes in ops.chunks_exact(3).take(MOST) {
        user::refill();
        let call = [bytes[0], bytes[1], bytes[2]];
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| step(&cache, call))) {
            assert!(user::is_allowed(&*payload));
        }
        check(&cache);
    }
    cache.invalidate_all();
    for _ in 0..4 {
        cache.run_pending_tasks();
    }
    assert_eq!(
        (cache.entry_count(), user::alive()),
        (0, 0),
        "entries, and values in memory, once all is removed"
    );
    drop(cache);
    user::check();
});
