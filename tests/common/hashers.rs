//! Hashers that make a table's life hard. Know keys of one word and nothing else.

use std::hash::{BuildHasher, Hasher};

/// Every key hashes to itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity;

/// All keys share two hashes, so that buckets overflow and tags tell nothing.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "not every user wants both")]
pub(crate) struct Colliding;

pub(crate) struct Word {
    value: u64,
    mask: u64,
}

impl BuildHasher for Identity {
    type Hasher = Word;

    fn build_hasher(&self) -> Word {
        Word { value: 0, mask: u64::MAX }
    }
}

impl BuildHasher for Colliding {
    type Hasher = Word;

    fn build_hasher(&self) -> Word {
        Word { value: 0, mask: 1 }
    }
}

impl Hasher for Word {
    fn finish(&self) -> u64 {
        self.value & self.mask
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.value = self.value << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.value = value;
    }
}
