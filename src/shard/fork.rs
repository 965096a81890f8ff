//! The state of a shard in the child of a fork: its ledger, to which no thread was writing, without
//! the flights of other threads.
//!
//! This file knows no process.

use super::Shard;
use super::ledger::Ledger;
use crate::process::fork::Held;
use crate::sync::{Alarm, Arc};
use crate::table::{HeldTable, Table};

struct HeldShard<A, K: 'static, V: 'static>(HeldTable<A, K, V, Ledger<K, V>>);

impl<K: 'static, V: 'static> Shard<K, V> {
    /// Keeps a shard unchanged while the process forks. `find` returns the shard within its owner.
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
        self.0.inherit();
        let ledger = self.0.ledger();
        ledger.rely_on_no_reaper();
        let Ledger { flights, refresh_times, .. } = ledger;
        flights.disown();
        if let Some(refresh_times) = refresh_times {
            refresh_times.disown();
        }
    }
}
