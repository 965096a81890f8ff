//! The sessions of each owner.
//!
//! Knows owners, and the origins of sessions (`tracks.rs`). Owners are hashed and compared when
//! somebody comes with one; a group that was found has a number, and whoever has that needs no code
//! of the user's any more.

use crate::RandomState;
use crate::session::id::SessionId;
use equivalent::Equivalent;
use std::collections::HashMap;
use std::num::NonZeroU64;

/// Which group it is, as long as it has a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) struct GroupId {
    pub(super) hash: u64,
    number: NonZeroU64,
}

/// Which place it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) struct PlaceId {
    pub(super) group: GroupId,
    pub(super) origin: SessionId,
}

impl PlaceId {
    pub(in crate::session) fn new(group: GroupId, origin: SessionId) -> Self {
        Self { group, origin }
    }
}

/// A session in its owner's group.
pub(super) struct Place {
    /// How many are about to store the session with this owner, or have just done so.
    pub(super) claims: u32,
    /// The order in which sessions became the owner's.
    pub(super) joined: u64,
}

/// What an owner has.
pub(super) struct Group<O> {
    owner: O,
    number: NonZeroU64,
    /// The last number that a place's `joined` was given.
    joined: u64,
    pub(super) places: HashMap<SessionId, Place, RandomState>,
}

/// The owners that lie under one lock.
pub(super) struct Groups<O> {
    by_hash: HashMap<u64, Vec<Group<O>>, RandomState>,
    next: NonZeroU64,
    hasher: RandomState,
}

impl<O> Group<O> {
    /// Claims the place for one more, the last in the order.
    pub(super) fn add(&mut self, origin: SessionId) {
        self.joined += 1;
        self.places.insert(origin, Place { claims: 1, joined: self.joined });
    }

    /// The origins of these sessions in the order in which they became the owner's.
    pub(super) fn in_order(&self, choose: impl Fn(&SessionId) -> bool) -> Vec<SessionId> {
        let chosen = self.places.iter().filter(|(origin, _)| choose(origin));
        let mut order: Vec<_> = chosen.map(|(origin, place)| (place.joined, *origin)).collect();
        order.sort_unstable_by_key(|&(joined, _)| joined);
        order.into_iter().map(|(_, origin)| origin).collect()
    }
}

impl<O> Groups<O> {
    pub(super) fn new(hasher: &RandomState) -> Self {
        let by_hash = HashMap::with_hasher(hasher.clone());
        Self { by_hash, next: NonZeroU64::MIN, hasher: hasher.clone() }
    }

    pub(super) fn of<Q>(&self, owner: &Q, hash: u64) -> Option<GroupId>
    where
        Q: ?Sized + Equivalent<O>,
    {
        let group = self.by_hash.get(&hash)?.iter().find(|group| owner.equivalent(&group.owner))?;
        Some(GroupId { hash, number: group.number })
    }

    /// A group without a place. There must be none for this owner.
    pub(super) fn make(&mut self, owner: O, hash: u64) -> GroupId {
        let number = self.next;
        self.next = number.saturating_add(1);
        let places = HashMap::with_hasher(self.hasher.clone());
        let same_hash = self.by_hash.entry(hash).or_default();
        same_hash.reserve_exact(1);
        same_hash.push(Group { owner, number, joined: 0, places });
        GroupId { hash, number }
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group<O>> {
        self.by_hash.get(&id.hash)?.iter().find(|group| group.number == id.number)
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group<O>> {
        self.by_hash.get_mut(&id.hash)?.iter_mut().find(|group| group.number == id.number)
    }

    pub(super) fn place_mut(&mut self, place: PlaceId) -> Option<&mut Place> {
        self.get_mut(place.group)?.places.get_mut(&place.origin)
    }

    /// What is to be dropped outside the lock, if the group has no place left.
    pub(super) fn remove_if_empty(&mut self, id: GroupId) -> Option<Group<O>> {
        let same_hash = self.by_hash.get_mut(&id.hash)?;
        let at = same_hash.iter().position(|group| group.number == id.number)?;
        if !same_hash[at].places.is_empty() {
            shrink(&mut same_hash[at].places);
            return None;
        }
        let gone = same_hash.swap_remove(at);
        if same_hash.is_empty() {
            self.by_hash.remove(&id.hash);
            shrink(&mut self.by_hash);
        }
        Some(gone)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group<O>> {
        self.by_hash.values_mut().flatten()
    }

    pub(super) fn places(&self) -> usize {
        self.by_hash.values().flatten().map(|group| group.places.len()).sum()
    }
}

/// Gives memory back that a map needed once.
pub(super) fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V, RandomState>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
