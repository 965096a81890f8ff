//! Snapshots: what is alive comes back with what it had left, whatever the cache ends entries by; what is not a whole
//! snapshot changes nothing.
//!
//! The bytes are made and taken apart here by what the documents say of the format, with a checksum of our own.

#[path = "snapshot/options.rs"]
mod options;
#[path = "snapshot/refused.rs"]
mod refused;
#[path = "common/watchdog.rs"]
mod watchdog;

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, Expiry, Life, ManualClock, RemovalCause};
use watchdog::Watchdog;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The checksum of zip and PNG, bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    (!bytes.iter().fold(!0, byte)).to_le_bytes()
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = crc(&bytes);
    bytes.extend(check);
    bytes
}

fn header(version: u32) -> Vec<u8> {
    with_crc([&b"\x89TIDE\r\n\n"[..], &version.to_le_bytes()].concat())
}

/// A chunk's head.
fn head(length: u32, count: u32) -> Vec<u8> {
    with_crc([length.to_le_bytes(), count.to_le_bytes()].concat())
}

/// A whole snapshot of one chunk.
fn framed(payload: &[u8], count: u32, total: u64) -> Vec<u8> {
    let chunk = [header(1), head(payload.len() as u32, count), with_crc(payload.to_vec())].concat();
    with_crc([&chunk[..], &[0; 4], &total.to_le_bytes()].concat())
}

/// Where the first entry begins.
const FIRST: usize = 16 + 12;

fn manual<K, V>(clock: &ManualClock) -> tidewheel::CacheBuilder<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    Cache::builder().clock(clock.clone())
}

fn taken<K, V>(cache: &Cache<K, V>) -> Vec<u8>
where
    K: std::hash::Hash + Eq + Serialize + Send + Sync + 'static,
    V: Serialize + Send + Sync + 'static,
{
    let mut bytes = Vec::new();
    cache.snapshot(&mut bytes).expect("memory does not fail");
    bytes
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
enum Name {
    Plain(String),
    Pair { left: u64, right: u64 },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Page {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    parts: HashMap<u64, Vec<u8>>,
    ratio: f64,
}

fn page(number: u64) -> Page {
    Page {
        text: "x".repeat(number as usize % 100),
        note: (number % 3 == 0).then(|| format!("note {number}")),
        parts: (0..number % 4).map(|part| (part, vec![part as u8; 5])).collect(),
        ratio: number as f64 / 7.0,
    }
}

fn name(number: u64) -> Name {
    if number % 2 == 0 {
        Name::Plain(number.to_string())
    } else {
        Name::Pair { left: number, right: !number }
    }
}

#[test]
fn a_million_entries_come_back_with_what_they_had_left() {
    const COUNT: u64 = 1_000_000;
    let watchdog = Watchdog::over("a million entries there and back", 300);
    let clock = ManualClock::new();
    let cache = manual(&clock).time_to_live(MINUTE).build().unwrap();
    // Every seventh is over when it is written.
    let ttl = |key: u64| if key % 7 == 0 { SECOND } else { SECOND + Duration::from_nanos(key + 1) };
    (0..COUNT).for_each(|key| cache.insert_with_ttl(key, key * 3, ttl(key)));
    clock.advance(SECOND);
    watchdog.feed();
    let start = Instant::now();
    let bytes = taken(&cache);
    let written = start.elapsed();
    watchdog.feed();
    let later = ManualClock::new();
    later.advance(MINUTE);
    let other: Cache<u64, u64> = manual(&later).time_to_live(MINUTE).build().unwrap();
    let start = Instant::now();
    let count = other.restore(&bytes[..], Duration::ZERO).unwrap();
    println!("{COUNT} entries, {} bytes: written in {written:?}, read in {:?}", bytes.len(), start.elapsed());
    watchdog.feed();
    assert_eq!(count, (0..COUNT).filter(|key| key % 7 != 0).count() as u64);
    assert_eq!(other.entry_count() as u64, count);
    for key in 0..COUNT {
        assert_eq!(other.peek(&key), (key % 7 != 0).then_some(key * 3), "{key}");
        assert_eq!(other.remaining_ttl(&key), (key % 7 != 0).then(|| Duration::from_nanos(key + 1)), "{key}");
    }
    watchdog.feed();
    other.validate();
    later.advance(2 * SECOND);
    assert_eq!(other.entry_count(), 0, "they leave by themselves");
}

#[test]
fn on_a_real_clock_what_is_left_goes_on() {
    let cache = Cache::builder().build().unwrap();
    (0..1000u64).for_each(|key| cache.insert_with_ttl(key, key, MINUTE + Duration::from_millis(key)));
    let before = Instant::now();
    let first: Vec<_> = (0..1000).map(|key| cache.remaining_ttl(&key).unwrap()).collect();
    let bytes = taken(&cache);
    let took = before.elapsed();
    thread::sleep(Duration::from_millis(50));
    let other: Cache<u64, u64> = Cache::builder().build().unwrap();
    let restored = Instant::now();
    assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 1000);
    for (key, first) in (0..1000).zip(first) {
        let left = other.remaining_ttl(&key).unwrap();
        assert!(left <= first, "{key} gained: {left:?} after {first:?}");
        let lost = took + restored.elapsed() + Duration::from_millis(10);
        assert!(left + lost >= first, "{key} lost: {left:?} after {first:?}, at most {lost:?}");
    }
}

#[test]
fn keys_and_values_of_all_kinds_come_back() {
    let cache = Cache::builder().build().unwrap();
    (0..500).for_each(|number| cache.insert(name(number), page(number)));
    let other: Cache<Name, Page> = Cache::builder().build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 500);
    (0..500).for_each(|number| assert_eq!(other.get(&name(number)), Some(page(number))));
    let empty: Cache<Name, Page> = Cache::builder().build().unwrap();
    assert_eq!(cache.restore(&taken(&empty)[..], Duration::ZERO).unwrap(), 0);
    assert_eq!(cache.entry_count(), 500);
}

/// A field that is new has its default, one that is gone is left out, and their order is nothing.
#[test]
fn a_type_may_have_other_fields_by_then() {
    #[derive(Serialize)]
    struct Old {
        gone: u64,
        first: u8,
        second: u8,
    }
    #[derive(Clone, PartialEq, Debug, Deserialize)]
    struct New {
        second: u8,
        first: u8,
        #[serde(default)]
        added: Option<String>,
    }
    let cache = Cache::builder().build().unwrap();
    cache.insert(1u8, Old { gone: 9, first: 1, second: 2 });
    assert_eq!(cache.read(&1, |old| old.gone), Some(9));
    let other: Cache<u8, New> = Cache::builder().build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(other.get(&1), Some(New { second: 2, first: 1, added: None }));
}

/// The bytes of the only entry, as the documents have them.
#[test]
fn the_format_is_what_is_documented() {
    let clock = ManualClock::new();
    let cache = manual(&clock).time_to_live(MINUTE).build().unwrap();
    cache.insert_with_ttl(5u8, "abc", 10 * SECOND);
    clock.advance(4 * SECOND);
    let [left, age, ttl] = [6_000_000_000u64, 4_000_000_000, 10_000_000_000].map(u64::to_le_bytes);
    let spans = [left, left, [0xff; 8], age, ttl].concat();
    let lengths = [1u32.to_le_bytes(), 4u32.to_le_bytes()].concat();
    let entry = [&[1, 0][..], &spans, &lengths, &[5, 0xa3, b'a', b'b', b'c']].concat();
    assert_eq!(taken(&cache), framed(&entry, 1, 1));
}

// ---- times ----

/// What ends an entry is told of by the snapshot of the cache it came back to: it is the same, byte by byte.
#[test]
fn an_entry_that_comes_back_is_what_it_was() {
    type Make = fn(tidewheel::CacheBuilder<u64, u64>) -> tidewheel::CacheBuilder<u64, u64>;
    let makes: [Make; 8] = [
        |builder| builder,
        |builder| builder.time_to_live(MINUTE),
        |builder| builder.time_to_idle(MINUTE),
        |builder| builder.time_to_idle(MINUTE).time_to_live(MINUTE * 5),
        |builder| builder.time_to_idle(MINUTE).max_age(MINUTE * 10),
        |builder| builder.expire_after(Half).time_to_live(MINUTE * 7).max_capacity(100),
        |builder| builder.expire_after(Half).time_to_idle(MINUTE).max_capacity(100).shards(2),
        |builder| builder.max_age(MINUTE * 3).max_capacity(100).weigher(|_, _| 3).shards(2),
    ];
    let acts: [fn(&Cache<u64, u64>); 5] = [
        |_| (),
        |cache| cache.insert_with_ttl(1, 2, Duration::from_secs(41)),
        |cache| assert!(cache.persist(&1)),
        |cache| assert!((0..3).all(|_| cache.get(&1).is_some())),
        |cache| assert!(cache.touch(&1)),
    ];
    for (number, make) in makes.iter().enumerate() {
        for (act, change) in acts.iter().enumerate() {
            let clock = ManualClock::new();
            let cache = make(manual(&clock)).build().unwrap();
            cache.insert(1, 1);
            clock.advance(7 * SECOND);
            change(&cache);
            clock.advance(5 * SECOND);
            let bytes = taken(&cache);
            // This one's timeline has not come as far as the entry is old.
            let other = make(manual(&ManualClock::new())).build().unwrap();
            assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 1, "cache {number}, act {act}");
            assert_eq!(taken(&other), bytes, "cache {number}, act {act}");
            other.validate();
        }
    }
}

/// Half a minute from creation on; a read changes nothing.
struct Half;

impl Expiry<u64, u64> for Half {
    fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(MINUTE / 2)
    }
}

#[test]
fn touches_go_on_by_the_own_time_to_live_and_persisted_stays_persisted() {
    let clock = ManualClock::new();
    let cache = manual(&clock).time_to_live(MINUTE).build().unwrap();
    cache.insert_with_ttl("own", 1, 5 * SECOND);
    cache.insert("persisted", 2);
    cache.insert("usual", 3);
    assert!(cache.persist("persisted"));
    clock.advance(3 * SECOND);
    let bytes = taken(&cache);
    let clock = ManualClock::new();
    let other: Cache<String, u8> = manual(&clock).time_to_live(MINUTE).build().unwrap();
    assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 3);
    let left = |key: &str| other.remaining_ttl(key);
    assert_eq!(left("own"), Some(2 * SECOND));
    assert_eq!(left("persisted"), Some(Duration::MAX));
    assert_eq!(left("usual"), Some(57 * SECOND));
    clock.advance(SECOND);
    for key in ["own", "persisted", "usual"] {
        assert!(other.touch(key));
    }
    assert_eq!(left("own"), Some(5 * SECOND));
    assert_eq!(left("persisted"), Some(Duration::MAX));
    assert_eq!(left("usual"), Some(MINUTE));
}

/// A touch never ends an entry earlier, also not one for which the cache that wrote it had no end.
#[test]
fn what_had_no_time_to_live_takes_this_caches_at_the_next_write() {
    let cache = manual(&ManualClock::new()).build().unwrap();
    cache.insert("endless", 1);
    let other: Cache<String, u8> = manual(&ManualClock::new()).time_to_live(MINUTE).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    assert!(other.touch("endless"));
    assert_eq!(other.remaining_ttl("endless"), Some(Duration::MAX));
    assert!(other.update("endless", |value| value + 1));
    assert_eq!(other.remaining_ttl("endless"), Some(MINUTE));
}

#[test]
fn ages_count_on_even_before_the_clock_began() {
    let clock = ManualClock::new();
    let cache = manual(&clock).build().unwrap();
    cache.insert("young", 1);
    clock.advance(100 * MINUTE);
    cache.insert("old", 2);
    cache.rename("young", "renamed");
    clock.advance(20 * MINUTE);
    let bytes = taken(&cache);
    let clock = ManualClock::new();
    let other: Cache<String, u8> = manual(&clock).max_age(130 * MINUTE).build().unwrap();
    assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 2);
    let age = |key: &str| other.read_guard().entry(key).map(|entry| entry.age());
    assert_eq!((age("renamed"), age("old")), (Some(120 * MINUTE), Some(20 * MINUTE)));
    assert_eq!(other.remaining_ttl("renamed"), Some(10 * MINUTE));
    assert!(other.update("renamed", |value| value + 1));
    assert_eq!(other.remaining_ttl("renamed"), Some(10 * MINUTE), "no write extends it");
    assert!(other.rename("renamed", "again".into()));
    assert_eq!(age("again"), Some(120 * MINUTE));
    // One that is too old by now, in a cache that ends it sooner.
    let strict: Cache<String, u8> = manual(&ManualClock::new()).max_age(120 * MINUTE).build().unwrap();
    assert_eq!(strict.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
    assert_eq!((strict.get("renamed"), strict.get("old")), (None, Some(2)));
}

/// From a cache with a time to live into one with a time to idle alone: reads must not carry an entry over its limit.
#[test]
fn a_limit_holds_where_idleness_is_all_the_cache_knows() {
    let cache = manual(&ManualClock::new()).time_to_live(10 * SECOND).build().unwrap();
    cache.insert(1u64, 1u64);
    let clock = ManualClock::new();
    let other: Cache<u64, u64> = manual(&clock).time_to_idle(6 * SECOND).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(other.remaining_ttl(&1), Some(6 * SECOND));
    clock.advance(5 * SECOND);
    assert_eq!(other.get(&1), Some(1));
    clock.advance(4 * SECOND);
    assert_eq!(other.get(&1), Some(1));
    clock.advance(SECOND + Duration::from_nanos(2));
    assert_eq!(other.get(&1), None);
}

/// The same for an end that the `Expiry` of the first cache set.
#[test]
fn what_an_expiry_said_holds_where_idleness_is_all_the_cache_knows() {
    let cache = manual(&ManualClock::new()).expire_after(Half).build().unwrap();
    cache.insert(1u64, 1u64);
    let clock = ManualClock::new();
    let other: Cache<u64, u64> = manual(&clock).time_to_idle(6 * SECOND).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    for _ in 0..5 {
        clock.advance(5 * SECOND);
        assert_eq!(other.get(&1), Some(1));
    }
    assert_eq!(other.remaining_ttl(&1), Some(5 * SECOND));
    clock.advance(5 * SECOND);
    assert_eq!(other.get(&1), None, "reads carried it past what its Expiry said");
}

/// A cache without an `Expiry` keeps such an end as it keeps a time to live: a touch and a write restart it, `Life::Keep` does not.
#[test]
fn without_an_expiry_a_touch_or_a_write_restarts_what_one_said() {
    type Make = fn(tidewheel::CacheBuilder<u64, u64>) -> tidewheel::CacheBuilder<u64, u64>;
    let makes: [(Make, Duration); 4] = [
        (|builder| builder, Duration::MAX),
        (|builder| builder.time_to_live(MINUTE), MINUTE),
        (|builder| builder.time_to_idle(MINUTE), MINUTE),
        (|builder| builder.time_to_idle(2 * MINUTE).time_to_live(MINUTE), MINUTE),
    ];
    type Act = fn(&Cache<u64, u64>);
    let acts: [(bool, Act); 5] = [
        (true, |cache| assert!(cache.touch(&1))),
        (true, |cache| assert!(cache.update(&1, |value| value + 1))),
        (true, |cache| cache.replace(&1, 2).unwrap()),
        (false, |cache| assert!(cache.with_life(Life::Keep).update(&1, |value| value + 1))),
        (false, |cache| cache.with_life(Life::Keep).replace(&1, 2).unwrap()),
    ];
    let cache = manual(&ManualClock::new()).expire_after(Half).build().unwrap();
    cache.insert(1u64, 1u64);
    for (number, (make, restarted)) in makes.iter().enumerate() {
        for (act, (restarts, change)) in acts.iter().enumerate() {
            let clock = ManualClock::new();
            let other = make(manual(&clock)).build().unwrap();
            assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
            assert_eq!(other.remaining_ttl(&1), Some(MINUTE / 2), "cache {number}");
            clock.advance(10 * SECOND);
            change(&other);
            let left = if *restarts { *restarted } else { 20 * SECOND };
            assert_eq!(other.remaining_ttl(&1), Some(left), "cache {number}, act {act}");
            other.validate();
        }
    }
}

#[test]
fn idleness_goes_on_and_reads_restart_it() {
    let clock = ManualClock::new();
    let cache = manual(&clock).time_to_idle(MINUTE).build().unwrap();
    cache.insert(1u64, 1u64);
    clock.advance(40 * SECOND);
    let clock = ManualClock::new();
    let other: Cache<u64, u64> = manual(&clock).time_to_idle(MINUTE).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(other.remaining_ttl(&1), Some(20 * SECOND));
    clock.advance(19 * SECOND);
    assert_eq!(other.get(&1), Some(1));
    assert_eq!(other.remaining_ttl(&1), Some(MINUTE));
    clock.advance(MINUTE);
    assert_eq!(other.get(&1), None);
}

// ---- what is there, and what there is room for ----

#[test]
fn what_is_there_already_stays() {
    let clock = ManualClock::new();
    let cache = manual(&clock).build().unwrap();
    (0..100u64).for_each(|key| cache.insert(key, "old".to_string()));
    let bytes = taken(&cache);
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    let listener = move |_: &u64, _: &String, _: RemovalCause| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let clock = ManualClock::new();
    let other = manual(&clock).eviction_listener(listener).build().unwrap();
    (0..50).for_each(|key| other.insert(key, "new".to_string()));
    // It is over, so it is not there; and it was told of as such.
    other.insert_with_ttl(50, "over".to_string(), Duration::ZERO);
    assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 50);
    let is_new = |key: u64| other.get(&key).unwrap() == "new";
    assert_eq!((0..100).filter(|&key| is_new(key)).count(), 50);
    clock.advance(SECOND);
    assert_eq!(told.load(Ordering::Relaxed), 1, "nothing that was there was removed, but for what was over");
    other.validate();
}

#[test]
fn capacity_and_weights_are_respected() {
    let cache = manual(&ManualClock::new()).build().unwrap();
    (0..10_000u64).for_each(|key| cache.insert(key, key));
    let bytes = taken(&cache);
    let small: Cache<u64, u64> = manual(&ManualClock::new()).max_capacity(1000).shards(4).build().unwrap();
    assert_eq!(small.restore(&bytes[..], Duration::ZERO).unwrap(), 10_000);
    assert!(small.entry_count() <= 1000 && small.entry_count() > 900, "{}", small.entry_count());
    small.validate();
    // Even ones are too heavy for any shard.
    let weigher = |key: &u64, _: &u64| if key % 2 == 0 { 1_000_000 } else { 2 };
    let weighed = manual(&ManualClock::new()).max_capacity(1000).weigher(weigher).shards(4).build().unwrap();
    assert_eq!(weighed.restore(&bytes[..], Duration::ZERO).unwrap(), 5_000);
    assert!(weighed.weighted_size() <= 1000 && weighed.weighted_size() > 900);
    weighed.validate();
}

#[test]
fn hits_are_kept_up_to_three() {
    for hits in 0..5 {
        let cache = manual(&ManualClock::new()).max_capacity(100).build().unwrap();
        cache.insert(1u64, 1u64);
        (0..hits).for_each(|_| assert_eq!(cache.get(&1), Some(1)));
        let bytes = taken(&cache);
        assert_eq!(bytes[FIRST + 1], hits.min(3));
        let other: Cache<u64, u64> = manual(&ManualClock::new()).max_capacity(100).build().unwrap();
        assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
        assert_eq!(taken(&other)[FIRST + 1], hits.min(3));
        // Where nobody counts them, there are none.
        let unbounded: Cache<u64, u64> = manual(&ManualClock::new()).build().unwrap();
        assert_eq!(unbounded.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
        assert_eq!(taken(&unbounded)[FIRST + 1], 0);
    }
}

/// What is loaded meanwhile is older than what came back.
#[test]
fn a_load_under_way_is_overtaken() {
    let cache = Cache::builder().build().unwrap();
    cache.insert("k".to_string(), 1);
    let bytes = taken(&cache);
    let other: Cache<String, i32> = Cache::builder().build().unwrap();
    let loaded = other.get_with("k".to_string(), || {
        assert_eq!(other.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
        2
    });
    assert_eq!((loaded, other.get("k")), (2, Some(1)));
    // Nor does the load put a second entry beside it: it knows that there was none, unless it is told.
    assert_eq!(other.entry_count(), 1);
    other.validate();
}

/// A cache that was away is as if it had been there, and nobody had used it: it ends what has ended by then, and nothing
/// else is different in it.
#[test]
fn time_away_counts_as_time_that_nobody_used_the_cache() {
    type Make = fn(tidewheel::CacheBuilder<u64, u64>) -> tidewheel::CacheBuilder<u64, u64>;
    let makes: [Make; 5] = [
        |builder| builder.time_to_live(MINUTE),
        |builder| builder.time_to_idle(MINUTE).time_to_live(MINUTE * 5),
        |builder| builder.time_to_idle(MINUTE * 2).max_age(MINUTE),
        |builder| builder.max_age(MINUTE),
        |builder| builder.expire_after(Half).time_to_idle(MINUTE),
    ];
    for (number, make) in makes.iter().enumerate() {
        let clock = ManualClock::new();
        let cache = make(manual(&clock)).build().unwrap();
        cache.insert(1, 1);
        clock.advance(7 * SECOND);
        cache.insert_with_ttl(2, 2, 20 * SECOND);
        cache.insert(3, 3);
        assert!(cache.persist(&3) && cache.get(&1).is_some());
        let (bytes, mut away) = (taken(&cache), Duration::ZERO);
        for step in [0, 12, 8, 7, 20, 6, 7, 100_000] {
            clock.advance(step * SECOND);
            away += step * SECOND;
            let other: Cache<u64, u64> = make(manual(&ManualClock::new())).build().unwrap();
            let count = other.restore(&bytes[..], away).unwrap();
            assert_eq!(count, cache.iter().count() as u64, "cache {number}, after {away:?}");
            for key in cache.keys() {
                let times = |cache: &Cache<u64, u64>| {
                    let guard = cache.read_guard();
                    guard.entry(&key).map(|entry| (*entry.value(), entry.age(), entry.remaining_ttl()))
                };
                assert_eq!(times(&other), times(&cache), "cache {number}, entry {key}, after {away:?}");
            }
            other.validate();
        }
    }
}

/// Of a key that was met twice, what was written last counts.
#[test]
fn of_equal_keys_the_last_one_counts() {
    let clock = ManualClock::new();
    let cache = manual(&clock).build().unwrap();
    cache.insert(1u8, 2u8);
    let bytes = taken(&cache);
    let entry = &bytes[FIRST..FIRST + 52];
    let mut later = entry.to_vec();
    later[51] = 3;
    let other: Cache<u8, u8> = manual(&clock).build().unwrap();
    assert_eq!(other.restore(&framed(&[entry, &later].concat(), 2, 2)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(other.get(&1), Some(3));
}

// ---- others at work ----

/// A writer of bytes that stands still while others write to the cache, and drop what they replaced.
#[test]
fn a_writer_that_stands_still_delays_nobody() {
    let _watchdog = Watchdog::over("a writer that stands still", 60);
    /// Text that tells when it is dropped.
    struct Text(#[allow(dead_code)] Arc<()>); // its drop is the message
    impl Serialize for Text {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str("text")
        }
    }
    struct Slow<'c>(&'c Cache<u64, Text>, Vec<u8>);
    impl Write for Slow<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let value = Arc::new(());
            let held = Arc::downgrade(&value);
            thread::scope(|scope| {
                let cache = self.0;
                scope.spawn(move || {
                    cache.insert(u64::MAX, Text(value));
                    assert!(cache.invalidate(&u64::MAX));
                    // Each sweep waits for pins, ten milliseconds at most, and is not held up by ours. Another test's thread
                    // may be stopped under a pin.
                    let is_dropped = (0..1000).any(|_| {
                        cache.run_pending_tasks();
                        held.strong_count() == 0
                    });
                    assert!(is_dropped, "a pin is held while bytes are written");
                });
            });
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let cache = Cache::builder().reaper(tidewheel::Reaper::manual()).shards(1).build().unwrap();
    (0..3000).for_each(|key| cache.insert(key, Text(Arc::new(()))));
    let mut slow = Slow(&cache, Vec::new());
    assert_eq!(cache.snapshot(&mut slow).unwrap(), 3000);
    assert!(slow.1.len() > 128 << 10, "more than one chunk: {}", slow.1.len());
}

#[test]
fn what_stays_is_written_once_under_writers() {
    const STAY: u64 = 100_000;
    let watchdog = Watchdog::over("snapshots under two writers", 300);
    let cache: Cache<u64, u64> = Cache::builder().shards(4).build().unwrap();
    (0..STAY).for_each(|key| cache.insert(key, key));
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 1..=2 {
            let (cache, stop, rounds) = (&cache, &stop, &rounds);
            scope.spawn(move || {
                let passing = STAY * writer..STAY * (writer + 1);
                while !stop.load(Ordering::Relaxed) {
                    for key in passing.clone() {
                        cache.insert(key, key);
                        assert!(cache.update(&(key % STAY), |value| value + STAY));
                    }
                    passing.clone().for_each(|key| assert!(cache.invalidate(&key)));
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut known = 0;
        while rounds.load(Ordering::Relaxed) < 6 {
            let bytes = taken(&cache);
            let mut seen = vec![0u8; STAY as usize];
            for (key, value) in entries(&bytes) {
                assert_eq!(value % STAY, key % STAY, "the value of another key");
                if key < STAY {
                    seen[key as usize] += 1;
                }
            }
            assert_eq!(seen.iter().filter(|&&count| count != 1).count(), 0, "keys that are not in it once");
            let other: Cache<u64, u64> = Cache::builder().build().unwrap();
            other.restore(&bytes[..], Duration::ZERO).unwrap();
            assert!((0..STAY).all(|key| other.contains_key(&key)));
            // With a round of the writers: if they hang, there are snapshots without end.
            let done = rounds.load(Ordering::Relaxed);
            if done != known {
                known = done;
                watchdog.feed();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    cache.validate();
}

/// All keys and values, taken out of the bytes as the documents say.
fn entries(bytes: &[u8]) -> Vec<(u64, u64)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let number = |at: usize, length: usize| match length {
        1 => u64::from(bytes[at]),
        _ => bytes[at + 1..at + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let (mut at, mut found) = (16, Vec::new());
    while word(at) != 0 {
        let end = at + 12 + word(at);
        at += 12;
        while at < end {
            let (key, value) = (word(at + 42), word(at + 46));
            found.push((number(at + 50, key), number(at + 50 + key, value)));
            at += 50 + key + value;
        }
        at = end + 4;
    }
    assert_eq!(at + 16, bytes.len());
    found
}
