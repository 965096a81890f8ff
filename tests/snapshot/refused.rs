//! What is no whole snapshot is refused, says why, and changes nothing; and so does what cannot be written.

use super::{FIRST, MINUTE, framed, head, header, manual, taken};
use serde::Serialize;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RestoreError, SnapshotError, SnapshotPart};

thread_local! {
    /// The largest piece of memory that this thread asked for.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's, with a note of the largest piece.
struct Noting;

// SAFETY: it hands everything on to the system's allocator, and the note allocates nothing.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// A cache that holds something, and its snapshot, for attempts that must change nothing.
struct Untouched {
    cache: Cache<u64, String>,
    before: Vec<u8>,
}

impl Untouched {
    fn new() -> Self {
        let cache = manual(&ManualClock::new()).max_capacity(100).time_to_live(MINUTE).build().unwrap();
        (0..5).for_each(|key| cache.insert(key, "there".to_string()));
        Self { before: taken(&cache), cache }
    }

    fn refuse(&self, reader: impl Read, of: &str) -> RestoreError {
        let error = self.cache.restore(reader, Duration::ZERO).expect_err(of);
        assert_eq!(self.cache.entry_count(), 5, "{of}");
        assert_eq!(taken(&self.cache), self.before, "{of}");
        assert!(!error.to_string().is_empty());
        error
    }
}

/// What the error behind this one says, which this one leaves to it.
fn behind(error: &dyn Error) -> String {
    let said = error.source().expect("an error behind it").to_string();
    assert!(!error.to_string().contains(&said), "{error}");
    said
}

fn small_snapshot() -> Vec<u8> {
    let cache = manual(&ManualClock::new()).build().unwrap();
    cache.insert(77u64, "seven".to_string());
    cache.insert_with_ttl(78u64, "eight".to_string(), MINUTE);
    taken(&cache)
}

#[test]
fn every_byte_that_is_another_is_noticed() {
    let (good, untouched) = (small_snapshot(), Untouched::new());
    for at in 0..good.len() {
        for change in [1u8, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= change;
            let error = untouched.refuse(&bad[..], &format!("byte {at} changed by {change:#x}"));
            match error {
                RestoreError::NotASnapshot => assert!(at < 8),
                RestoreError::Corrupt { at: found, .. } | RestoreError::Truncated { at: found, .. } => {
                    assert!(found <= good.len() as u64, "{error}");
                }
                _ => panic!("byte {at} changed by {change:#x}: {error:?}"),
            }
        }
    }
    assert_eq!(untouched.cache.restore(&good[..], Duration::ZERO).unwrap(), 2);
}

#[test]
fn every_end_that_comes_too_soon_is_noticed() {
    let (good, untouched) = (small_snapshot(), Untouched::new());
    let whole = good.len();
    // Where the parts begin: two of the header, two of the chunk's head, the payload and its checksum, and
    // three of the trailer.
    let parts = [0, 8, 16, 20, FIRST, whole - 20, whole - 16, whole - 12, whole - 4];
    for end in 0..whole {
        let error = untouched.refuse(&good[..end], &format!("{end} bytes"));
        let begins = parts.into_iter().filter(|&at| at <= end).max().expect("the first begins at 0") as u64;
        assert!(
            matches!(error, RestoreError::Truncated { at, .. } if at == begins),
            "{end} bytes, in the part that begins at {begins}: {error}"
        );
    }
    // What follows is not touched.
    let mut reader = &[&good[..], b"rest"].concat()[..];
    assert_eq!(untouched.cache.restore(&mut reader, Duration::ZERO).unwrap(), 2);
    assert_eq!(reader, b"rest");
}

/// Whole, and still wrong: whoever wrote it did not write this format.
#[test]
fn what_is_whole_and_wrong_is_refused() {
    let untouched = Untouched::new();
    let mut good = small_snapshot()[FIRST..].to_vec();
    good.truncate(good.len() - 16 - 4);
    let refuse = |payload: &[u8], count, total, of: &str| {
        let error = untouched.refuse(&framed(payload, count, total)[..], of);
        assert!(matches!(error, RestoreError::Corrupt { .. }), "{of}: {error:?}");
    };
    refuse(&good, 2, 3, "another number of entries in all");
    refuse(&good, 1, 1, "fewer entries in a chunk");
    refuse(&good, 3, 3, "more entries in a chunk");
    refuse(&good, u32::MAX, 2, "far more entries in a chunk");
    refuse(&good[..good.len() - 1], 2, 2, "an entry that is cut off");
    let changed = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    refuse(&changed(0, 2), 2, 2, "a flag that is not known");
    refuse(&changed(1, 4), 2, 2, "too many hits");
    refuse(&changed(45, 0xff), 2, 2, "a key of four billion bytes");
    refuse(&changed(49, 0xff), 2, 2, "a value of four billion bytes");
    // A key of two bytes, of which one is the number.
    let stretched = [&good[..42], &[2, 0, 0, 0, 5], &good[47..]].concat();
    refuse(&stretched, 2, 2, "a key that is longer than what is in it");
    let error = untouched.refuse(&framed(&changed(50, 0xc0), 2, 2)[..], "a key that is no number");
    assert!(matches!(error, RestoreError::Deserialize { part: SnapshotPart::Key, at: 28, .. }), "{error:?}");
    behind(&error);
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let untouched = Untouched::new();
    let newer = [&header(2)[..], &small_snapshot()[16..]].concat();
    let error = untouched.refuse(&newer[..], "version 2");
    assert!(matches!(error, RestoreError::Version { found: 2, known: 1, .. }), "{error:?}");
    assert!(matches!(untouched.refuse(&header(0)[..], "version 0"), RestoreError::Version { found: 0, .. }));
}

#[test]
fn no_length_has_memory_allocated() {
    let untouched = Untouched::new();
    let most = (256 << 20) + (64 << 10);
    // An array of four billion numbers, and a text of as many bytes.
    let entry = |value: &[u8]| {
        let lengths = [1u32.to_le_bytes(), (value.len() as u32).to_le_bytes()].concat();
        framed(&[&[0; 42][..], &lengths, &[7], value].concat(), 1, 1)
    };
    let cases = [
        ("a chunk as long as may be", [header(1), head(most, 1), vec![0; 100]].concat()),
        ("a longer one", [header(1), head(most + 1, 1), vec![0; 100]].concat()),
        ("the longest", [header(1), head(u32::MAX, u32::MAX), vec![0; 100]].concat()),
        ("a text", entry(&[0xdb, 0xff, 0xff, 0xff, 0xff])),
        ("bytes", entry(&[0xc6, 0xff, 0xff, 0xff, 0xff])),
        ("an array", entry(&[0xdd, 0xff, 0xff, 0xff, 0xff])),
    ];
    let lists: Cache<u64, Vec<u64>> = Cache::builder().build().unwrap();
    for (of, bytes) in cases {
        LARGEST.set(0);
        assert!(untouched.cache.restore(&bytes[..], Duration::ZERO).is_err(), "{of}");
        assert!(lists.restore(&bytes[..], Duration::ZERO).is_err(), "{of}");
        // What serde allows itself for a list whose length is told.
        assert!(LARGEST.get() <= 1 << 20, "{of}: {} bytes at once", LARGEST.get());
        untouched.refuse(&bytes[..], of);
    }
}

// ---- writers and readers that fail ----

/// Takes so many bytes, and then no more.
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        let some = bytes.len().min(self.room);
        self.room -= some;
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_is_told_of_wherever_it_fails() {
    let cache = Cache::builder().build().unwrap();
    (0..10_000u64).for_each(|key| cache.insert(key, [key; 4]));
    let whole = taken(&cache).len();
    for room in [0, 1, 15, 16, 17, 5000, whole / 2, whole - 17, whole - 16, whole - 1] {
        let error = cache.snapshot(Full { room }).expect_err("a full disk");
        assert!(
            matches!(&error, SnapshotError::Write(source) if source.kind() == io::ErrorKind::StorageFull)
        );
        assert_eq!(behind(&error), "the disk is full");
    }
    assert_eq!(cache.snapshot(Full { room: whole }).unwrap(), 10_000);
}

#[test]
fn a_reader_that_fails_is_told_of() {
    /// Fails after what it has.
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 if !into.is_empty() => Err(io::Error::other("the cable is out")),
                count => Ok(count),
            }
        }
    }
    let (good, untouched) = (small_snapshot(), Untouched::new());
    for end in 0..good.len() {
        let error = untouched.refuse(Broken(&good[..end]), "a broken reader");
        assert!(matches!(error, RestoreError::Read(_)), "{end}: {error:?}");
        assert_eq!(behind(&error), "the cable is out");
    }
}

#[test]
fn what_cannot_be_serialized_is_told_of() {
    struct Secret(bool);
    impl Serialize for Secret {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 {
                Err(serde::ser::Error::custom("nobody's business"))
            } else {
                serializer.serialize_unit()
            }
        }
    }
    let cache = Cache::builder().build().unwrap();
    (0..1000u64).for_each(|key| cache.insert(key, Secret(key == 500)));
    let error = cache.snapshot(Vec::new()).expect_err("a secret");
    assert!(matches!(error, SnapshotError::Serialize { part: SnapshotPart::Value, .. }), "{error:?}");
    assert!(behind(&error).contains("nobody's business"));
    assert!(cache.invalidate(&500));
    assert_eq!(cache.snapshot(Vec::new()).unwrap(), 999);
}
