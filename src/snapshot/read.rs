//! Reading a snapshot: all of it, into memory, before anybody sees an entry.
//!
//! Memory is allocated as bytes arrive: a length only says when to stop. A chunk's entries are looked at only after
//! its checksum has turned out right.

use super::lengths;
use super::{
    CHECK, CHUNK_HEAD, ENTRY_HEAD, HEADER, LONGEST, MAGIC, Record, RestoreError, SnapshotPart, TRAILER,
    VERSION, checksum, decode, u32_at, u64_at,
};
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Read};

/// An entry that was read.
pub(crate) type Entry<K, V> = (Record, K, V);

/// Reads a snapshot up to its end, and not a byte further.
pub(crate) fn read<K, V>(reader: impl Read) -> Result<Vec<Entry<K, V>>, RestoreError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut source = Source { reader, at: 0, whole: crc32fast::Hasher::new() };
    source.header()?;
    let (mut entries, mut payload) = (Vec::new(), Vec::new());
    loop {
        let start = source.at;
        let length: [u8; 4] = source.bytes()?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            source.trailer(entries.len() as u64)?;
            return Ok(entries);
        }
        let count = source.chunk_head(start, length)?;
        let at = source.at;
        source.payload(length, &mut payload)?;
        decode_chunk(&payload, at, count, &mut entries)?;
    }
}

/// What is read, and how far it has come.
struct Source<R> {
    reader: R,
    /// Bytes read so far.
    at: u64,
    whole: crc32fast::Hasher,
}

impl<R: Read> Source<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => RestoreError::Truncated { at: self.at },
            _ => RestoreError::Read(error),
        })?;
        self.at += N as u64;
        self.whole.update(&bytes);
        Ok(bytes)
    }

    fn header(&mut self) -> Result<(), RestoreError> {
        let magic: [u8; 8] = self.bytes()?;
        if magic != MAGIC {
            return Err(RestoreError::NotASnapshot);
        }
        let rest: [u8; HEADER - 8] = self.bytes()?;
        let mut whole = MAGIC.to_vec();
        whole.extend_from_slice(&rest[..4]);
        if checksum(&whole) != u32_at(&rest, 4) {
            return Err(RestoreError::Corrupt { at: 0, what: "the header's checksum is another" });
        }
        match u32_at(&rest, 0) {
            VERSION => Ok(()),
            found => Err(RestoreError::Version { found, known: VERSION }),
        }
    }

    /// The number of entries in the chunk that begins at `start`, once its length is known to be what was written.
    fn chunk_head(&mut self, start: u64, length: usize) -> Result<u32, RestoreError> {
        let rest: [u8; CHUNK_HEAD - 4] = self.bytes()?;
        let corrupt = |what| Err(RestoreError::Corrupt { at: start, what });
        let mut head = (length as u32).to_le_bytes().to_vec();
        head.extend_from_slice(&rest[..4]);
        if checksum(&head) != u32_at(&rest, 4) {
            return corrupt("the checksum of a chunk's head is another");
        }
        if length > LONGEST {
            return corrupt("a chunk is longer than any may be");
        }
        Ok(u32_at(&rest, 0))
    }

    /// Reads a chunk's payload and its checksum.
    fn payload(&mut self, length: usize, payload: &mut Vec<u8>) -> Result<(), RestoreError> {
        let start = self.at;
        payload.clear();
        let mut limited = self.reader.by_ref().take(length as u64);
        limited.read_to_end(payload).map_err(RestoreError::Read)?;
        self.at += payload.len() as u64;
        if payload.len() < length {
            return Err(RestoreError::Truncated { at: start });
        }
        self.whole.update(payload);
        let check: [u8; CHECK] = self.bytes()?;
        if checksum(payload) != u32::from_le_bytes(check) {
            return Err(RestoreError::Corrupt { at: start, what: "a chunk's checksum is another" });
        }
        Ok(())
    }

    /// What follows the length 0.
    fn trailer(&mut self, entries: u64) -> Result<(), RestoreError> {
        let start = self.at;
        let corrupt = |what| Err(RestoreError::Corrupt { at: start, what });
        let count: [u8; 8] = self.bytes()?;
        let whole = self.whole.clone().finalize();
        let check: [u8; TRAILER - 12] = self.bytes()?;
        if whole != u32::from_le_bytes(check) {
            return corrupt("the checksum of the whole is another");
        }
        if u64_at(&count, 0) != entries {
            return corrupt("there are not as many entries as is said");
        }
        Ok(())
    }
}

/// The entries of a chunk whose payload begins at byte `at`.
fn decode_chunk<K, V>(
    payload: &[u8],
    at: u64,
    count: u32,
    entries: &mut Vec<Entry<K, V>>,
) -> Result<(), RestoreError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut rest = payload;
    for _ in 0..count {
        let at = at + (payload.len() - rest.len()) as u64;
        let corrupt = |what| RestoreError::Corrupt { at, what };
        let (head, after) =
            rest.split_first_chunk::<ENTRY_HEAD>().ok_or(corrupt("an entry is longer than its chunk"))?;
        let (record, key, value) = decode(head).map_err(corrupt)?;
        let parts = after.split_at_checked(key).and_then(|(key, after)| {
            let (value, after) = after.split_at_checked(value)?;
            Some((key, value, after))
        });
        let (key, value, after) = parts.ok_or(corrupt("an entry is longer than its chunk"))?;
        entries.push((record, part(key, SnapshotPart::Key, at)?, part(value, SnapshotPart::Value, at)?));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(RestoreError::Corrupt { at, what: "a chunk is longer than its entries" });
    }
    Ok(())
}

/// A key or a value, of the entry that begins at byte `at`.
fn part<T: DeserializeOwned>(mut bytes: &[u8], part: SnapshotPart, at: u64) -> Result<T, RestoreError> {
    if !lengths::begins_with_a_value(bytes) {
        let source = Box::from("a length in it is more than what follows");
        return Err(RestoreError::Deserialize { part, at, source });
    }
    let decoded = T::deserialize(&mut rmp_serde::Deserializer::new(&mut bytes))
        .map_err(|source| RestoreError::Deserialize { part, at, source: Box::new(source) })?;
    if !bytes.is_empty() {
        return Err(RestoreError::Corrupt { at, what: "a key or value is shorter than is said" });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_may_be_as_long_as_its_last_entry_can_make_it_and_no_longer() {
        for (length, is_allowed) in [(LONGEST, true), (LONGEST + 1, false), (LONGEST * 2, false)] {
            let mut head = (length as u32).to_le_bytes().to_vec();
            head.extend_from_slice(&3u32.to_le_bytes());
            head.extend_from_slice(&checksum(&head).to_le_bytes());
            let mut source = Source { reader: &head[4..], at: 4, whole: crc32fast::Hasher::new() };
            match source.chunk_head(5, length) {
                Ok(count) => assert!(is_allowed && count == 3, "{length}"),
                Err(RestoreError::Corrupt { at: 5, .. }) => assert!(!is_allowed, "{length}"),
                Err(other) => panic!("{length}: {other}"),
            }
        }
    }
}
