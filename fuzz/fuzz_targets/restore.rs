//! Snapshots from strangers: whatever the bytes, `restore` does not panic, asks for no more memory than they are worth,
//! and changes nothing unless they are whole.
//!
//! The first byte of the input says what the rest is: bytes as they are; bytes that are given the checksums which they
//! lack, so that the fuzzer gets behind them; or changes to a snapshot that is whole. Values are lists, or nested as deep as they like.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use tidewheel::{Cache, ManualClock};

type Pages = Cache<u16, (String, Vec<u64>)>;

/// Values that can be as deep as whoever wrote them likes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// What this thread asked for and did not give back, and the most that this was.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST_HELD: Cell<isize> = const { Cell::new(0) };
}

/// The system's, with a note of the largest piece that this thread asked for, and of all that it holds.
struct Noting;

fn note(bytes: isize) {
    let Ok(held) = HELD.try_with(|held| held.replace(held.get() + bytes) + bytes) else { return };
    let _ = MOST_HELD.try_with(|most| most.set(most.get().max(held)));
}

// SAFETY: it hands everything on to the system's allocator, and the note allocates nothing.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        note(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// What serde allows itself for a list whose length is told, and some rounding.
const MOST: usize = 2 << 20;

fn cache() -> Pages {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().clock(clock).shards(2).max_capacity(1 << 20).time_to_live(Duration::from_secs(60));
    cache.build().expect("a cache of this kind can be built")
}

fn taken(cache: &Pages) -> Vec<u8> {
    let mut bytes = Vec::new();
    cache.snapshot(&mut bytes).expect("memory does not fail");
    bytes
}

fn good() -> Vec<u8> {
    let cache = cache();
    for key in 0..6u16 {
        cache.insert(key, ("text".repeat(usize::from(key)), vec![u64::MAX >> (key * 9); 3]));
    }
    assert!(cache.persist(&1) && cache.set_ttl(&2, Duration::from_secs(7)));
    taken(&cache)
}

/// One chunk of so many entries, with every checksum right.
fn framed(count: u8, payload: &[u8]) -> Vec<u8> {
    let sealed = |mut bytes: Vec<u8>| {
        let check = crc32fast::hash(&bytes);
        bytes.extend(check.to_le_bytes());
        bytes
    };
    let header = sealed([&b"\x89TIDE\r\n\n"[..], &1u32.to_le_bytes()].concat());
    let head = sealed([(payload.len() as u32).to_le_bytes(), u32::from(count).to_le_bytes()].concat());
    let chunk = [header, head, sealed(payload.to_vec())].concat();
    sealed([&chunk[..], &[0; 4], &u64::from(count).to_le_bytes()].concat())
}

/// A whole snapshot, changed: three bytes to a change, two for the place and one for what is flipped there.
fn flipped(changes: &[u8]) -> (Vec<u8>, bool) {
    let good = good();
    let mut bytes = good.clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    let is_good = bytes == good;
    (bytes, is_good)
}

/// Restores, and looks at the memory that it takes meanwhile: at once, and all in all. (An entry that waits to be stored
/// takes some hundred bytes for its fifty, and shards have room for many at first.)
fn measured<T>(restore: impl FnOnce() -> T, bytes: usize) -> T {
    let before = HELD.get();
    LARGEST.set(0);
    MOST_HELD.set(before);
    let restored = restore();
    let (largest, held) = (LARGEST.get(), MOST_HELD.get() - before);
    assert!(largest <= MOST + 8 * bytes, "{largest} bytes at once");
    assert!(held <= (MOST + 64 * bytes) as isize, "{held} bytes for {bytes}");
    restored
}

/// Nested values, and weights that add up to more than a number holds.
fn nested(bytes: &[u8]) {
    let builder = Cache::<u16, Nested>::builder().clock(ManualClock::new()).shards(1);
    let heavy = |_: &u16, value: &Nested| u32::MAX - value.0.len() as u32;
    let cache =
        builder.max_capacity(u64::MAX).weigher(heavy).build().expect("a cache of this kind can be built");
    match measured(|| cache.restore(bytes, Duration::ZERO), bytes.len()) {
        Ok(count) => assert!(cache.entry_count() as u64 <= count),
        Err(error) => assert!(!error.to_string().is_empty() && cache.entry_count() == 0, "{error}"),
    }
    cache.validate();
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, rest)) = input.split_first() else { return };
    let (bytes, must) = match kind % 5 {
        4 => {
            return nested(
                &rest.split_first().map_or(Vec::new(), |(&count, payload)| framed(count, payload)),
            );
        }
        0 => (rest.to_vec(), None),
        1 => (rest.split_first().map_or(Vec::new(), |(&count, payload)| framed(count, payload)), None),
        2 => {
            let (bytes, is_good) = flipped(rest);
            // Checksums find up to some changes for sure, and miss one in four billion of the rest.
            (bytes, Some(is_good))
        }
        _ => {
            let good = good();
            let end = rest.iter().take(2).fold(0, |end, &byte| end << 8 | usize::from(byte)) % good.len();
            (good[..end].to_vec(), Some(false))
        }
    };
    let cache = cache();
    cache.insert(1, ("there".to_string(), Vec::new()));
    let before = taken(&cache);
    let restored = measured(|| cache.restore(&bytes[..], Duration::ZERO), bytes.len());
    assert!(must.is_none_or(|must| must == restored.is_ok()), "{restored:?}");
    match restored {
        Ok(count) => {
            assert_eq!(cache.entry_count() as u64, count + 1);
            let there = cache.peek(&1).map(|(text, _)| text);
            assert_eq!(there.as_deref(), Some("there"), "what is there already stays");
            // There and back once more: the same entries, with the same times.
            let (again, bytes) = (self::cache(), taken(&cache));
            assert_eq!(again.restore(&bytes[..], Duration::ZERO).expect("what was just written"), count + 1);
            for key in cache.keys() {
                assert_eq!(again.peek(&key), cache.peek(&key));
                assert_eq!(again.remaining_ttl(&key), cache.remaining_ttl(&key));
            }
            again.validate();
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(taken(&cache), before, "something was changed: {error}");
        }
    }
    cache.validate();
});
