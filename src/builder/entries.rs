//! A builder whose entries become others, before anything was said about entries.

use super::CacheBuilder;
use crate::listener::Listener;

impl<K, V> CacheBuilder<K, V> {
    /// Makes the same choices for entries of other types. Must be called before the builder has
    /// been given any function for keys or values.
    pub(crate) fn for_other_entries<L, W>(self) -> CacheBuilder<L, W> {
        let nobody = self.weigher.is_none() && self.pins.is_none() && self.expiry.is_none();
        debug_assert!(nobody && self.background.is_none() && !self.listener.is_there());
        CacheBuilder {
            name: self.name,
            max_capacity: self.max_capacity,
            eviction_policy: self.eviction_policy,
            weigher: None,
            pins: None,
            counted: self.counted,
            initial_capacity: self.initial_capacity,
            shards: self.shards,
            lengths: self.lengths,
            jitter: self.jitter,
            expiry: None,
            listener: Listener::new(),
            warn_before: self.warn_before,
            refresh: self.refresh,
            background: None,
            timeline: self.timeline,
            reaper: self.reaper,
            helped: self.helped,
            in_hand: self.in_hand,
        }
    }
}
