//! A snapshot that was written on one machine is read on every other: 64 bits or 32, little endian or big. The file was written on x86-64.

#![cfg(feature = "serde")]

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;
use tidewheel::{Cache, ManualClock};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Page {
    text: String,
    numbers: Vec<i64>,
    ratio: f64,
    note: Option<char>,
}

fn page(number: u32) -> Page {
    Page {
        text: "käse ".repeat(number as usize % 7),
        numbers: (0..number % 5).map(|power| -(1 << (12 * power))).collect(),
        ratio: f64::from(number) / 3.0,
        note: (number % 2 == 0).then_some('\u{1F9C0}'),
    }
}

/// Numbers are their own hashes, so that they lie in the same order on each machine.
#[derive(Clone, Copy, Default)]
struct Identity;

struct Word(u64);

impl BuildHasher for Identity {
    type Hasher = Word;

    fn build_hasher(&self) -> Word {
        Word(0)
    }
}

impl Hasher for Word {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number);
    }
}

fn cache() -> (ManualClock, Cache<u32, Page, Identity>) {
    let clock = ManualClock::new();
    let builder = Cache::builder().clock(clock.clone()).shards(2).max_capacity(1000);
    (clock, builder.time_to_live(Duration::from_secs(60)).build_with_hasher(Identity).unwrap())
}

fn filled() -> Cache<u32, Page, Identity> {
    let (clock, cache) = cache();
    for number in 0..100u32 {
        cache.insert_with_ttl(number, page(number), Duration::from_nanos(1 + (u64::from(number) << 33)));
    }
    (1..10).for_each(|number| assert!(cache.persist(&number) && cache.get(&number).is_some()));
    clock.advance(Duration::from_nanos(987_654_321));
    cache
}

fn taken(cache: &Cache<u32, Page, Identity>) -> Vec<u8> {
    let mut bytes = Vec::new();
    cache.snapshot(&mut bytes).unwrap();
    bytes
}

const WRITTEN: &[u8] = include_bytes!("data/snapshot-1.bin");

#[test]
fn a_snapshot_of_another_machine_comes_back() {
    let (_, cache) = cache();
    let here = filled();
    // All but the first, which was over.
    assert_eq!(cache.restore(WRITTEN, Duration::ZERO).unwrap(), 99);
    for number in 0..100 {
        assert_eq!(cache.peek(&number), here.peek(&number), "{number}");
        assert_eq!(cache.remaining_ttl(&number), here.remaining_ttl(&number), "{number}");
    }
    assert!(cache.peek(&99) == Some(page(99)) && cache.peek(&0).is_none());
    cache.validate();
}

#[test]
fn it_is_written_the_same_byte_by_byte() {
    let bytes = taken(&filled());
    // To make it anew, where the format has a new version.
    if let Some(path) = std::env::var_os("TIDEWHEEL_WRITE_SNAPSHOT") {
        std::fs::write(path, &bytes).unwrap();
    }
    let first = bytes.iter().zip(WRITTEN).position(|(here, there)| here != there);
    assert_eq!((first, bytes.len()), (None, WRITTEN.len()), "where it differs, and its length");
}
