//! Snapshots: entries as bytes, in chunks with a checksum each, and one over all.
//!
//! Knows records, keys and values; knows no cache, no clock and no file. It trusts what it reads only after
//! a look at the checksum, and never trusts a length.
#![doc = include_str!("../docs/format.md")]

mod error;
mod lengths;
mod read;
mod write;

pub use error::{RestoreError, SnapshotError, SnapshotPart};
pub(crate) use read::{Entry, read};
pub(crate) use write::Chunks;

use crate::shard::Record;
use crate::time::Span;
use std::time::Duration;

/// What a snapshot begins with. Its first byte is no text, and a transfer that changes line ends changes the last two.
const MAGIC: [u8; 8] = *b"\x89TIDE\r\n\n";
/// The version of the format that is written, and the only one there has been.
const VERSION: u32 = 1;
/// The magic, the version and their checksum.
const HEADER: usize = 16;
/// A chunk's length, its number of entries, and their checksum.
const CHUNK_HEAD: usize = 12;
/// The length 0, the number of all entries, and the checksum of everything before it.
const TRAILER: usize = 16;
/// A checksum's length.
const CHECK: usize = 4;
/// What comes before an entry's key.
const ENTRY_HEAD: usize = 50;
/// A chunk takes no further entry once it is this long.
const CHUNK: usize = 64 << 10;
/// What an entry may come to, its head, key and value. (Unit tests make do with less memory.)
const LARGEST: usize = if cfg!(test) { 1 << 20 } else { 256 << 20 };
/// The longest chunk.
const LONGEST: usize = CHUNK + LARGEST;

/// The flag of an entry with a time to live other than the cache's; there is no other flag.
const OWN_TTL: u8 = 1;
/// Hits are counted up to this.
const MOST_HITS: u8 = 3;

/// What is made of the times that were written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How much time has passed since they were written.
    pub(crate) away: Duration,
    /// The age at which an entry ends for which an `Expiry` has set no end.
    pub(crate) max_age: Option<Duration>,
    /// The most that an entry without a time to live of its own has left.
    pub(crate) most: Duration,
    /// Whether what was an entry's time to live becomes its time to idle, which reads restart.
    pub(crate) idles: bool,
}

/// What is left of a time of which so much has passed.
fn less(span: Span, by: Span) -> Span {
    match span {
        Span::ENDLESS => span,
        _ => Span::from_nanos(span.as_nanos().saturating_sub(by.as_nanos())),
    }
}

impl Record {
    /// The same when time has gone on for so long; `None` if nothing is left of it then.
    pub(crate) fn after(self, away: Duration) -> Option<Self> {
        let by = Span::from_duration(away);
        let age = Span::from_nanos(self.age.as_nanos().saturating_add(by.as_nanos()));
        let [left, limit, expiry] = [self.left, self.limit, self.expiry].map(|span| less(span, by));
        let is_over = [left, limit, expiry].contains(&Span::NONE);
        (!is_over).then_some(Self { left, limit, expiry, age, ..self })
    }

    /// The same on these terms; `None` if nothing is left of it then.
    pub(crate) fn on(self, terms: Terms) -> Option<Self> {
        let Self { mut left, mut limit, mut expiry, age, mut ttl, .. } = self.after(terms.away)?;
        if expiry == Span::ENDLESS {
            let max_age = terms.max_age.map_or(Span::ENDLESS, Span::from_duration);
            expiry = less(max_age, age);
        }
        if ttl.is_none() {
            let most = Span::from_duration(terms.most);
            (left, limit) = (left.min(most), limit.min(most));
        }
        if terms.idles {
            // `left` has it, for as long as nobody uses the entry.
            (limit, ttl) = (Span::ENDLESS, None);
        }
        (![left, expiry].contains(&Span::NONE)).then_some(Self { left, limit, expiry, age, ttl, ..self })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

/// The head of an entry.
fn encode(record: &Record, key: u32, value: u32) -> [u8; ENTRY_HEAD] {
    let mut head = [0; ENTRY_HEAD];
    head[0] = if record.ttl.is_some() { OWN_TTL } else { 0 };
    head[1] = record.hits;
    let spans = [record.left, record.limit, record.expiry, record.age, record.ttl.unwrap_or(Span::NONE)];
    for (span, place) in spans.iter().zip(head[2..42].chunks_exact_mut(8)) {
        place.copy_from_slice(&span.as_nanos().to_le_bytes());
    }
    head[42..46].copy_from_slice(&key.to_le_bytes());
    head[46..50].copy_from_slice(&value.to_le_bytes());
    head
}

/// A record, and the lengths of key and value; or what is wrong with them.
fn decode(head: &[u8; ENTRY_HEAD]) -> Result<(Record, usize, usize), &'static str> {
    if head[0] & !OWN_TTL != 0 {
        return Err("an entry has a flag that is not known");
    }
    if head[1] > MOST_HITS {
        return Err("an entry was hit more often than is counted");
    }
    let span = |at| Span::from_nanos(u64_at(head, at));
    let record = Record {
        left: span(2),
        limit: span(10),
        expiry: span(18),
        age: span(26),
        ttl: (head[0] & OWN_TTL != 0).then(|| span(34)),
        hits: head[1],
    };
    Ok((record, u32_at(head, 42) as usize, u32_at(head, 46) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_bytes() {
        let nanos = Span::from_nanos;
        for ttl in [None, Some(Span::ENDLESS), Some(Span::NONE), Some(nanos(7))] {
            let (left, limit, expiry, age) = (nanos(1 << 40), nanos(2), Span::ENDLESS, nanos(3 << 50));
            let record = Record { left, limit, expiry, age, ttl, hits: 3 };
            assert_eq!(decode(&encode(&record, 5, u32::MAX)), Ok((record, 5, u32::MAX as usize)));
        }
    }

    #[test]
    fn what_is_left_is_what_the_time_away_and_the_terms_leave() {
        let nanos = Span::from_nanos;
        let (left, limit, expiry, age) = (nanos(10), nanos(20), Span::ENDLESS, nanos(3));
        let written = Record { left, limit, expiry, age, ttl: Some(nanos(7)), hits: 2 };
        let later = Record { left: nanos(6), limit: nanos(16), age: nanos(7), ..written };
        assert_eq!(written.after(Duration::from_nanos(4)), Some(later));
        assert_eq!(written.after(Duration::from_nanos(10)), None);
        assert_eq!(Record { limit: nanos(4), ..written }.after(Duration::from_nanos(4)), None);
        assert_eq!(Record { expiry: nanos(4), ..written }.after(Duration::from_nanos(4)), None);

        let spans = Duration::from_nanos;
        let terms = Terms { away: spans(4), max_age: Some(spans(100)), most: spans(5), idles: false };
        assert_eq!(written.on(terms), Some(Record { expiry: nanos(93), ..later }));
        let usual = Record { left: nanos(5), limit: nanos(5), expiry: nanos(93), ttl: None, ..later };
        assert_eq!(Record { ttl: None, ..written }.on(terms), Some(usual));
        let idle = Record { expiry: nanos(93), limit: Span::ENDLESS, ttl: None, ..later };
        assert_eq!(written.on(Terms { idles: true, ..terms }), Some(idle));
        assert_eq!(
            Record { expiry: nanos(50), ..written }.on(terms),
            Some(Record { expiry: nanos(46), ..later })
        );
        assert_eq!(written.on(Terms { max_age: None, ..terms }), Some(later));
        assert_eq!(written.on(Terms { max_age: Some(spans(7)), ..terms }), None);
        assert_eq!(Record { ttl: None, ..written }.on(Terms { most: Duration::ZERO, ..terms }), None);
    }

    #[test]
    fn what_no_version_writes_is_refused() {
        let record = Record {
            left: Span::NONE,
            limit: Span::NONE,
            expiry: Span::NONE,
            age: Span::NONE,
            ttl: None,
            hits: 0,
        };
        for (at, byte) in [(0, 2), (0, 0x80), (1, 4), (1, 0xff)] {
            let mut head = encode(&record, 1, 1);
            assert!(decode(&head).is_ok());
            head[at] = byte;
            assert!(decode(&head).is_err(), "byte {at} as {byte}");
        }
    }
}
