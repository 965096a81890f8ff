//! Input by somebody who means harm: keys that collide, ids that are guessed, snapshots that are none. (What is random is fuzzed: `fuzz/`.)

#[cfg(feature = "serde")]
#[path = "common/framed.rs"]
mod framed;
#[path = "common/hashers.rs"]
mod hashers;

use hashers::Identity;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher};
use tidewheel::{Cache, RandomState, SessionManager};

thread_local! {
    /// How often this thread has compared keys. Tests run side by side.
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts its comparisons.
#[derive(Clone, Debug)]
struct Key(u64);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Comparisons for each key of its insert, of a look that finds it, and of one that finds nothing.
fn comparisons(state: impl BuildHasher + Send + Sync + 'static, keys: &[u64]) -> [f64; 3] {
    let cache = Cache::builder().shards(8).build_with_hasher(state).unwrap();
    let counted = |call: &dyn Fn(u64)| {
        COMPARED.set(0);
        keys.iter().for_each(|&key| call(key));
        COMPARED.get() as f64 / keys.len() as f64
    };
    let inserts = counted(&|key| cache.insert(Key(key), key));
    let hits = counted(&|key| assert_eq!(cache.get(&Key(key)), Some(key)));
    cache.validate();
    // Every second one goes, so that the others' looks end beside it.
    keys.iter().step_by(2).for_each(|&key| assert_eq!(cache.remove(&Key(key)), Some(key)));
    let misses = counted(&|key| assert!(cache.get(&Key(!key)).is_none()));
    [inserts, hits, misses]
}

/// Flat: a key is compared with itself once, and with hardly another. A tag has 255 values, and a bucket a dozen places.
fn assert_flat(what: &str, [inserts, hits, misses]: [f64; 3]) {
    println!("{what}: {inserts:.3} comparisons an insert, {hits:.3} a hit, {misses:.3} a miss");
    assert!(
        inserts < 0.2 && (1.0..1.2).contains(&hits) && misses < 0.2,
        "{what}: {inserts}, {hits}, {misses}"
    );
}

/// Keys that were found to collide in one cache are nothing special in another: its hasher has keys of its own. In the first they are compared with
/// hundreds each, which shows that they do collide.
#[test]
fn keys_that_collide_in_one_cache_do_not_in_another() {
    const COUNT: usize = 2000;
    let theirs = RandomState::new().unwrap();
    // The same shard of eight, and the same 32nd part of the buckets and of the tags there.
    let is_chosen = |key: &u64| {
        let bits = theirs.hash_one(Key(*key));
        bits >> 48 & 7 == 0 && (bits as u32) >> 27 == 0 && bits & 31 == 0
    };
    let keys: Vec<u64> = (0..).filter(is_chosen).take(COUNT).collect();
    let [_, hits, _] = comparisons(theirs.clone(), &keys);
    println!("{hits:.1} comparisons a hit where they were chosen");
    assert!(hits > 2.0, "{hits}: they do not collide, and show nothing");
    assert_flat("chosen for another cache", comparisons(RandomState::new().unwrap(), &keys));
}

/// Numbers as users may choose them to crowd a table: steps of powers of two, few bits set, mirrored, huge.
#[test]
fn rows_of_numbers_of_all_kinds_are_flat() {
    const COUNT: u64 = 20_000;
    type Row = fn(u64) -> u64;
    let rows: [(&str, Row); 7] = [
        ("in a row", |key| key),
        ("by 2^12", |key| key << 12),
        ("by 2^32", |key| key << 32),
        ("by 2^48", |key| key.rotate_right(16)),
        ("by the golden ratio", |key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        ("mirrored", u64::reverse_bits),
        ("two halves alike", |key| key << 32 | key),
    ];
    for (what, row) in rows {
        let keys: Vec<u64> = (0..COUNT).map(row).collect();
        assert_flat(what, comparisons(RandomState::new().unwrap(), &keys));
        assert_flat(&format!("{what}, hashed to themselves"), comparisons(Identity, &keys));
    }
}

/// What a sign of base64url stands for.
fn digit(sign: u8) -> u128 {
    u128::from(match sign {
        b'A'..=b'Z' => sign - b'A',
        b'a'..=b'z' => sign - b'a' + 26,
        b'0'..=b'9' => sign - b'0' + 52,
        b'-' => 62,
        _ => 63,
    })
}

/// Of so many ids: no two are alike, and at each place each sign is as often as it should be.
fn check_ids(count: usize) {
    let sessions = SessionManager::<()>::new();
    // By sign at each of the 22 places. The last one stands for two bits.
    let mut signs = vec![[0u64; 128]; 22];
    let mut pairs = vec![0u64; 128 * 128];
    let mut before = b'A';
    let mut all: Vec<u128> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = sessions.create(()).unwrap();
        let text = id.encode();
        let text = text.as_bytes();
        (0..22).for_each(|place| signs[place][usize::from(text[place])] += 1);
        // From one id to the next.
        pairs[usize::from(before) << 7 | usize::from(text[0])] += 1;
        before = text[21];
        all.push(text[..21].iter().fold(0, |sum, &sign| sum << 6 | digit(sign)) << 2 | digit(text[21]) >> 4);
        sessions.remove(&id).unwrap();
    }
    let check = |what: &str, counts: &[u64]| {
        let (classes, total) =
            (counts.iter().filter(|&&count| count > 0).count(), counts.iter().sum::<u64>());
        let expected = total as f64 / classes as f64;
        let square: f64 = counts
            .iter()
            .filter(|&&count| count > 0)
            .map(|&count| (count as f64 - expected).powi(2) / expected)
            .sum();
        // What chance exceeds in one case of a billion. (Wilson and Hilferty: the cube root is nearly normal, and this is six
        // times its deviation above its mean.)
        let free = (classes - 1) as f64;
        let spread = 2.0 / (9.0 * free);
        let most = free * (1.0 - spread + 6.0 * spread.sqrt()).powi(3);
        println!("{what}: {square:.1} over {classes} signs, at most {most:.1}");
        assert!(square < most, "{what}: {square} is more than {most}");
        classes
    };
    for (place, counts) in signs.iter().enumerate() {
        assert_eq!(check(&format!("place {place}"), counts), if place < 21 { 64 } else { 4 });
    }
    assert_eq!(check("from one id to the next", &pairs), 4 * 64);
    all.sort_unstable();
    let twice = all.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(twice, 0, "of {count} ids");
}

#[test]
fn ids_are_unlike_and_even() {
    check_ids(200_000);
}

/// `.ci/nightly` runs it.
#[test]
#[ignore = "half a minute"]
fn ten_million_ids_are_unlike_and_even() {
    check_ids(10_000_000);
}

#[cfg(feature = "serde")]
mod snapshots {
    use crate::framed::{entry, framed};
    use serde::{Deserialize, Serialize};
    use std::time::Duration;
    use tidewheel::{Cache, RestoreError, SnapshotPart};

    /// As deep as whoever wrote it likes.
    #[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
    struct Nested(Vec<Nested>);

    const EVER: u64 = u64::MAX;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![0x91; depth], vec![0x90]].concat()
    }

    /// MessagePack's decoder gives up at its depth; a stack that overflows would end the process. A thread's usual stack is enough for
    /// that depth, but for code that is not optimized.
    #[test]
    fn what_is_nested_too_deep_is_an_error() {
        let stack = if cfg!(debug_assertions) { 32 << 20 } else { 2 << 20 };
        let thread = std::thread::Builder::new().stack_size(stack).spawn(restore_what_is_nested);
        thread.unwrap().join().unwrap();
    }

    fn restore_what_is_nested() {
        let values: Cache<u64, Nested> = Cache::builder().build().unwrap();
        let keys: Cache<Nested, u64> = Cache::builder().build().unwrap();
        let times = [EVER, EVER, EVER, 0, 0];
        for depth in [1, 100] {
            assert_eq!(
                values
                    .restore(&framed(&[entry(0, times, &[depth as u8], &nested(depth))])[..], Duration::ZERO)
                    .unwrap(),
                1
            );
            assert_eq!(
                keys.restore(&framed(&[entry(0, times, &nested(depth), &[1])])[..], Duration::ZERO).unwrap(),
                1
            );
        }
        for depth in [5_000, 1_000_000, 50_000_000] {
            let error = values.restore(&framed(&[entry(0, times, &[2], &nested(depth))])[..], Duration::ZERO);
            assert!(
                matches!(error, Err(RestoreError::Deserialize { part: SnapshotPart::Value, .. })),
                "{depth}: {error:?}"
            );
            let error = keys.restore(&framed(&[entry(0, times, &nested(depth), &[2])])[..], Duration::ZERO);
            assert!(
                matches!(error, Err(RestoreError::Deserialize { part: SnapshotPart::Key, .. })),
                "{depth}: {error:?}"
            );
        }
        assert_eq!((values.entry_count(), keys.entry_count()), (2, 2));
        values.validate();
        keys.validate();
    }

    /// Whatever the times are, an entry is there or it is not, and leaves no trace beyond its time.
    #[test]
    fn times_of_all_sizes_are_taken_as_they_are() {
        let sizes = [0, 1, 1 << 30, 1 << 62, (1 << 62) + 1, 1 << 63, EVER - 1, EVER];
        let mut entries = Vec::new();
        for (place, left) in sizes.into_iter().enumerate() {
            for (other, age) in sizes.into_iter().enumerate() {
                let key = (place * sizes.len() + other) as u8;
                for flag in [0, 1] {
                    entries.push(entry(
                        flag,
                        [left, age, EVER, age, if flag == 1 { left } else { 0 }],
                        &[key],
                        &[7],
                    ));
                }
            }
        }
        let builder = || Cache::<u8, u8>::builder().clock(tidewheel::ManualClock::new());
        let minute = Duration::from_secs(60);
        for cache in [
            builder().build().unwrap(),
            builder().time_to_live(minute).build().unwrap(),
            builder().time_to_idle(minute).max_age(minute).max_capacity(40).build().unwrap(),
        ] {
            let restored = cache.restore(&framed(&entries)[..], Duration::ZERO).unwrap();
            assert!(restored <= entries.len() as u64);
            cache.validate();
            for (key, value) in &cache {
                assert!(value == 7 && cache.remaining_ttl(&key).is_some_and(|left| !left.is_zero()));
            }
        }
    }

    /// Sums of weights do not go round, and more than there is room for is not kept.
    #[test]
    fn weights_as_large_as_can_be_are_summed_rightly() {
        let entries: Vec<_> = (0..100).map(|key| entry(0, [EVER, EVER, EVER, 0, 0], &[key], &[7])).collect();
        for capacity in [0, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 10 * u64::from(u32::MAX), u64::MAX]
        {
            let builder = Cache::<u8, u8>::builder().shards(1).max_capacity(capacity);
            let cache = builder.weigher(|_, _| u32::MAX).build().unwrap();
            cache.restore(&framed(&entries)[..], Duration::ZERO).unwrap();
            let fit = (capacity / u64::from(u32::MAX)).min(100);
            assert!(cache.weighted_size() <= capacity && cache.entry_count() as u64 <= fit, "{capacity}");
            assert!(capacity < u64::MAX || cache.entry_count() == 100);
            cache.validate();
        }
    }

    /// The same key again and again, far more often than there is room for.
    #[test]
    fn a_key_that_is_there_a_hundred_thousand_times_is_one_entry() {
        let entries = vec![entry(0, [EVER, EVER, EVER, 0, 0], &[1], &[7]); 100_000];
        let cache: Cache<u8, u8> = Cache::builder().max_capacity(10).build().unwrap();
        cache.restore(&framed(&entries)[..], Duration::ZERO).unwrap();
        assert_eq!((cache.entry_count(), cache.get(&1)), (1, Some(7)));
        cache.validate();
    }
}
