//! Entries that are offered to a shard: where they are until they are stored. Knows no table and no lock.

/// An entry that is offered, and its weight. It stays where its caller has it, and is taken from there if it is stored: what is
/// large is not handed from stack to stack.
pub(crate) type Offer<'e, K, V> = (&'e mut Option<(K, V)>, u32);

pub(crate) const OFFERED: &str = "what is offered is there until it is taken";

/// The key of what is offered.
#[inline(always)]
pub(super) fn offered<K, V>(entry: &Option<(K, V)>) -> &K {
    &entry.as_ref().expect(OFFERED).0
}
