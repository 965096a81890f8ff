//! Reads that count as use: they restart the time to idle.

use super::{Shard, Terms};
use crate::hash::HashBits;
use crate::table::{Node, Pin, Touch};
use crate::time::{Deadline, Tick};

impl<K, V> Shard<K, V> {
    /// The node of a live entry, for readers that count as use, in a cache with a time to idle. Takes the
    /// lock only where the books must be asked how long the entry may live; once for each entry and step of
    /// the readers' clock, since until the next step the deadline that was set will do.
    pub(crate) fn used<'g>(
        &'g self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        (pin, is_counted): (&'g Pin, bool),
    ) -> Option<&'g Node<K, V>> {
        let restart = |node: &Node<K, V>| {
            // Whether it is uniform is asked after the deadline was loaded.
            let restarted = node.restart(&terms.clock, |now| terms.idle_deadline(now), || terms.is_uniform());
            (restarted != Touch::Gone).then_some(restarted)
        };
        let found = if is_counted {
            self.alive::<true, _>(hash, &is_key, pin, restart)?
        } else {
            self.alive::<false, _>(hash, &is_key, pin, restart)?
        };
        match found {
            (node, Touch::Done) => Some(node),
            _ => self.used_in_turn(terms, hash, is_key, pin),
        }
    }

    #[cold]
    fn used_in_turn<'g>(
        &'g self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, is_key)?;
        let bound = ledger.bound(table.row(place));
        let node = table.lend(place, pin);
        // Later by the lag, although this clock is precise: so the next read has nothing to do until the
        // readers' clock has passed this moment.
        let until = |now: Tick, before: Deadline| match terms.idle_deadline(now) {
            // Locked because of a seal alone: it has what this read would give it.
            idle if idle <= before.tick() => before,
            idle if idle < bound => Deadline::at(idle),
            _ => Deadline::fixed_at(bound.max(before.tick())),
        };
        node.touch_in_turn(&terms.clock, until).then_some(node)
    }
}
