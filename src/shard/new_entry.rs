//! What a writer hands to a shard: a new entry, and how long it is to live. Knows no table and no lock.

use super::lifespan::Lifespan;
use super::lookup::Lookup;
use crate::hash::HashBits;

/// A key and a value that are to be stored, with all that a shard has to know of them.
#[derive(Debug)]
pub(crate) struct NewEntry<'e, K, V> {
    pub(crate) hash: HashBits,
    /// The key and the value. They stay where the caller has them, and are taken from there when they are stored: a large value is
    /// not copied from stack to stack. What was not stored is still there afterwards.
    pub(crate) entry: &'e mut Option<(K, V)>,
    pub(crate) weight: u32,
    pub(crate) lifespan: Lifespan,
}

pub(crate) const OFFERED: &str = "a new entry is there until it is stored";

impl<K, V> NewEntry<'_, K, V> {
    /// Its key. Only until it is stored.
    #[inline(always)]
    pub(super) fn key(&self) -> &K {
        &self.entry.as_ref().expect(OFFERED).0
    }

    #[inline(always)]
    pub(super) fn lookup(&self) -> Lookup<'_, K> {
        Lookup::new(self.hash, self.key())
    }
}
