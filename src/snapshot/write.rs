//! Writing a snapshot: entries are gathered in memory, chunk by chunk, and handed to the writer when it is asked for.

use super::{
    CHUNK, CHUNK_HEAD, ENTRY_HEAD, LARGEST, MAGIC, Record, SnapshotError, SnapshotPart, VERSION, checksum,
    encode,
};
use serde::Serialize;
use std::fmt;
use std::io::Write;

/// A snapshot under way.
pub(crate) struct Chunks<W> {
    writer: W,
    /// What the writer has not been given yet: closed chunks, and perhaps an open one.
    out: Vec<u8>,
    open: Option<Open>,
    /// The checksum of all that the writer was given.
    whole: crc32fast::Hasher,
    entries: u64,
}

/// The chunk that entries go to.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its head is in `out`.
    at: usize,
    count: u32,
}

impl<W: Write> Chunks<W> {
    /// Writes the header.
    pub(crate) fn begin(writer: W) -> Result<Self, SnapshotError> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        let mut chunks = Self { writer, out, open: None, whole: crc32fast::Hasher::new(), entries: 0 };
        chunks.hand_over()?;
        Ok(chunks)
    }

    /// Gathers an entry. Runs the user's `Serialize`, and does not touch the writer.
    pub(crate) fn add<K, V>(&mut self, record: &Record, key: &K, value: &V) -> Result<(), SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let Open { at, count } = self.open_chunk();
        let start = self.out.len();
        self.out.extend_from_slice(&[0; ENTRY_HEAD]);
        let key = self.serialize(key, SnapshotPart::Key)?;
        let value = self.serialize(value, SnapshotPart::Value)?;
        let bytes = self.out.len() - start;
        if bytes > LARGEST {
            return Err(SnapshotError::TooLarge { bytes: bytes as u64, most: LARGEST as u64 });
        }
        // Both are less than `LARGEST`.
        self.out[start..start + ENTRY_HEAD].copy_from_slice(&encode(record, key as u32, value as u32));
        self.open = Some(Open { at, count: count + 1 });
        self.entries += 1;
        Ok(())
    }

    /// The length of what a key or a value comes to.
    fn serialize(&mut self, what: &impl Serialize, part: SnapshotPart) -> Result<usize, SnapshotError> {
        let start = self.out.len();
        rmp_serde::encode::write_named(&mut self.out, what)
            .map_err(|source| SnapshotError::Serialize { part, source: Box::new(source) })?;
        Ok(self.out.len() - start)
    }

    fn open_chunk(&mut self) -> Open {
        if let Some(open) = self.open {
            if self.out.len() - open.at < CHUNK {
                return open;
            }
            self.close();
        }
        let open = Open { at: self.out.len(), count: 0 };
        self.out.extend_from_slice(&[0; CHUNK_HEAD]);
        open
    }

    /// Fills in the head of the open chunk, if there is one, and adds its checksum.
    fn close(&mut self) {
        let Some(Open { at, count }) = self.open.take() else { return };
        let length = (self.out.len() - at - CHUNK_HEAD) as u32;
        self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.out[at + 4..at + 8].copy_from_slice(&count.to_le_bytes());
        let head = checksum(&self.out[at..at + 8]);
        self.out[at + 8..at + CHUNK_HEAD].copy_from_slice(&head.to_le_bytes());
        let payload = checksum(&self.out[at + CHUNK_HEAD..]);
        self.out.extend_from_slice(&payload.to_le_bytes());
    }

    /// Gives the writer what is gathered, if it is a chunk's worth.
    pub(crate) fn hand_over_if_full(&mut self) -> Result<(), SnapshotError> {
        if self.out.len() < CHUNK { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), SnapshotError> {
        self.close();
        self.writer.write_all(&self.out).map_err(SnapshotError::Write)?;
        self.whole.update(&self.out);
        self.out.clear();
        // Of a few large entries nothing stays allocated.
        self.out.shrink_to(2 * CHUNK);
        Ok(())
    }

    /// Writes the trailer. How many entries there are.
    pub(crate) fn finish(mut self) -> Result<u64, SnapshotError> {
        self.hand_over()?;
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&self.entries.to_le_bytes());
        self.whole.update(&self.out);
        let whole = self.whole.clone().finalize();
        self.out.extend_from_slice(&whole.to_le_bytes());
        self.writer.write_all(&self.out).map_err(SnapshotError::Write)?;
        self.writer.flush().map_err(SnapshotError::Write)?;
        Ok(self.entries)
    }
}

impl<W> fmt::Debug for Chunks<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("entries", &self.entries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn record() -> Record {
        let [left, limit, expiry, age] = [Span::ENDLESS; 4];
        Record { left, limit, expiry, age, ttl: None, hits: 0 }
    }

    /// What the head and a key below 128 come to. A text's length takes three bytes, or five from 64 KiB on.
    const BEFORE_THE_TEXT: usize = ENTRY_HEAD + 1;

    #[test]
    fn an_entry_comes_to_what_is_allowed_and_no_byte_more() {
        let mut chunks = Chunks::begin(Vec::new()).expect("a vector takes it");
        let text = "a".repeat(LARGEST - BEFORE_THE_TEXT - 5);
        chunks.add(&record(), &7, &text).expect("it is just allowed");
        let error = chunks.add(&record(), &7, &(text + "a")).expect_err("it is too long");
        let most = LARGEST as u64;
        assert!(
            matches!(error, SnapshotError::TooLarge { bytes, most: allowed } if (bytes, allowed) == (most + 1, most))
        );
    }

    #[test]
    fn a_chunk_takes_no_further_entry_once_it_is_long_enough() {
        for (missing, takes_more) in [(1, true), (0, false)] {
            let mut chunks = Chunks::begin(Vec::new()).expect("a vector takes it");
            let mut add = |length: usize| {
                chunks.add(&record(), &7, &"a".repeat(length)).expect("it is not too long");
                chunks.open.expect("a chunk is open").at
            };
            // A chunk that is full, and one that is as long as is asked for with its first entry.
            let full = add(CHUNK);
            let next = add(CHUNK - missing - CHUNK_HEAD - BEFORE_THE_TEXT - 3);
            assert_ne!(next, full);
            assert_eq!(add(1) == next, takes_more, "{missing} bytes are missing");
            assert_eq!(chunks.finish().expect("a vector takes it"), 3);
        }
    }

    #[test]
    fn what_is_gathered_is_handed_over_and_takes_no_memory_then() {
        let mut chunks = Chunks::begin(Vec::new()).expect("a vector takes it");
        let header = chunks.writer.len();
        chunks.add(&record(), &7, &"a").expect("it is short");
        chunks.hand_over_if_full().expect("a vector takes it");
        assert_eq!(chunks.writer.len(), header, "a little waits for more");
        chunks.add(&record(), &7, &"a".repeat(CHUNK * 8)).expect("it is not too long");
        chunks.hand_over_if_full().expect("a vector takes it");
        assert!(chunks.writer.len() > CHUNK * 8 && chunks.out.is_empty());
        assert!((CHUNK + 1..CHUNK * 4).contains(&chunks.out.capacity()), "{}", chunks.out.capacity());
    }
}
