//! How much memory a snapshot from a stranger takes, all in all: it is counted at the allocator, so
//! nothing else is in this program.
#![cfg(feature = "serde")]

use serde::{Deserialize, Serialize};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tidewheel::{Cache, RestoreError};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's, with a note of how much is held, and of the most that was.
struct Noting;

// SAFETY: it hands everything on to the system's allocator, and the notes allocate nothing.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Branching(std::collections::BTreeMap<u8, Vec<Branching>>);

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = crc32fast::hash(&bytes);
    bytes.extend(check.to_le_bytes());
    bytes
}

/// A snapshot of one entry with this value, and the key 1.
fn snapshot(value: &[u8]) -> Vec<u8> {
    let mut entry = vec![0, 0];
    [u64::MAX, u64::MAX, u64::MAX, 0, 0].iter().for_each(|time| entry.extend(time.to_le_bytes()));
    entry.extend(1u32.to_le_bytes());
    entry.extend((value.len() as u32).to_le_bytes());
    entry.push(1);
    entry.extend(value);
    let header = sealed([&b"\x89TIDE\r\n\n"[..], &1u32.to_le_bytes()].concat());
    let head = sealed([(entry.len() as u32).to_le_bytes(), 1u32.to_le_bytes()].concat());
    let chunk = [header, head, sealed(entry)].concat();
    sealed([&chunk[..], &[0; 4], &1u64.to_le_bytes()].concat())
}

/// Restores it. Returns what came of it, and the most memory that was held meanwhile.
fn restored<V>(value: &[u8]) -> (Result<u64, RestoreError>, usize)
where
    V: Clone + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static,
{
    let cache: Cache<u64, V> = Cache::builder().build().unwrap();
    let bytes = snapshot(value);
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let outcome = cache.restore(&bytes[..]);
    (outcome, MOST.load(Relaxed) - before)
}

/// Each list of a thousand, one in the other, says that it has four billion elements. Each was given
/// memory for as many as serde allows, a megabyte: a gigabyte for five kilobytes.
#[test]
fn lists_in_lists_that_lie_about_their_lengths_take_what_their_bytes_are_worth() {
    let run = || {
        let list = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let map = [0xdf, 0xff, 0xff, 0xff, 0xff, 1, 0xdd, 0xff, 0xff, 0xff, 0xff];
        // Each level alone is worth its bytes.
        let half = |_: usize| [&[0xdc][..], &2_000u16.to_be_bytes()].concat();
        let cases = [
            restored::<Nested>(&list.repeat(1000)),
            restored::<Branching>(&map.repeat(400)),
            restored::<Nested>(&(0..1000).map(half).collect::<Vec<_>>().concat()),
        ];
        for (outcome, most) in cases {
            assert!(matches!(outcome, Err(RestoreError::Deserialize { part: "value", .. })), "{outcome:?}");
            assert!(most <= 2 << 20, "{most} bytes");
        }
        let (outcome, _) = restored::<Nested>(&[&[0x91; 500][..], &[0x90]].concat());
        assert_eq!(outcome.unwrap(), 1, "one that is true is restored");
    };
    // The lists are deep.
    std::thread::Builder::new().stack_size(32 << 20).spawn(run).unwrap().join().unwrap();
}
