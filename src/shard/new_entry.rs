//! The entry that a writer passes to a shard, with its lifespan. Knows no table and no lock.

use super::lifespan::Lifespan;
use super::lookup::Lookup;
use crate::hash::HashBits;

/// A key and a value to store, with everything that a shard needs to know of them.
#[derive(Debug)]
pub(crate) struct NewEntry<'e, K, V> {
    pub(crate) hash: HashBits,
    /// The key and the value. They stay in the caller's memory until they are stored, so that a
    /// large value is not copied from stack to stack. If they are not stored, they are still there
    /// afterwards.
    pub(crate) entry: &'e mut Option<(K, V)>,
    pub(crate) weight: u32,
    pub(crate) lifespan: Lifespan,
}

pub(crate) const OFFERED: &str = "a new entry is there until it is stored";

impl<K, V> NewEntry<'_, K, V> {
    /// Returns the key. Must be called before the entry is stored.
    #[inline(always)]
    pub(super) fn key(&self) -> &K {
        &self.entry.as_ref().expect(OFFERED).0
    }

    #[inline(always)]
    pub(super) fn lookup(&self) -> Lookup<'_, K> {
        Lookup::new(self.hash, self.key())
    }
}
