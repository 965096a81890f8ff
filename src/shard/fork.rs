//! What a shard leaves to a fork's child: its ledger, which nobody was writing to, less what other threads were about to bring.
//!
//! Knows no process.

use super::Shard;
use super::ledger::Ledger;
use crate::process::fork::Held;
use crate::sync::{Alarm, Arc};
use crate::table::{HeldTable, Table};
use crate::time::Tick;

struct HeldShard<A, K: 'static, V: 'static>(HeldTable<A, K, V, Ledger<K, V>>);

impl<K: 'static, V: 'static> Shard<K, V> {
    /// Has a shard stand still while the process forks. `find` is where it lies in its owner.
    pub(crate) fn hold<A: 'static>(
        owner: &Arc<A>,
        find: impl FnOnce(&A) -> &Self,
        patience: &Alarm,
    ) -> Option<Box<dyn Held>> {
        let held = Table::hold(owner, |owner| &find(owner).table, patience)?;
        Some(Box::new(HeldShard(held)))
    }
}

impl<A, K, V> Held for HeldShard<A, K, V> {
    fn inherit(&mut self) {
        let ledger = self.0.ledger();
        // No reaper knows of it here; a write that has something due tells it of both.
        ledger.inherited = ledger.due.min(ledger.inherited);
        ledger.set_due(Tick::NEVER);
        let Ledger { flights, refresh_times, .. } = ledger;
        flights.disown();
        if let Some(refresh_times) = refresh_times {
            refresh_times.disown();
        }
    }
}
