//! Recounting, for tests: whether the parts of a shard's ledger agree with each other and with the
//! table.

use super::Shard;
use super::deadline::boundary;
use super::txn::Txn;
use crate::policy::Policy;
use crate::table::Pin;
use crate::time::Tick;

impl<K, V> Shard<K, V> {
    /// Returns how many calls wait for another call of their key.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().txn().ledger.flights.waiting()
    }

    /// Returns the time by which the reaper was required to come (S3).
    pub(crate) fn appointment(&self) -> Tick {
        self.lock().txn().ledger.due
    }

    /// Recounts everything. Returns the shard's part of the capacity, 0 if it is not bounded. Panics
    /// where two parts of the ledger disagree.
    pub(crate) fn validate(&self) -> u64
    where
        K: Eq,
    {
        let pin = Pin::new();
        let mut lock = self.lock();
        let Txn { table, ledger, .. } = lock.txn();
        let ledger = &*ledger;
        ledger.flights.check();
        ledger.rows.check();
        assert!(
            ledger.is_unwritten_of_a_row(),
            "of a row that is vacant it is to be written when its entry was created"
        );
        let mut entries = Vec::new();
        table.validate(|row, home, node| {
            assert!(ledger.rows.contains(row), "an entry names a row that is vacant");
            assert_eq!(ledger.home(row), home, "a row's home, and its entry's");
            let place = table.find_row(home, row);
            assert!(std::ptr::eq(table.node(place), node), "two entries name one row");
            let expires = node.deadline() < Tick::NEVER;
            assert!(
                ledger.wheel.is_filed(&ledger.rows, row) || !expires,
                "an entry that can expire is not in the wheel"
            );
            // When an entry that is expired from the start has to be removed depends on when it was
            // written.
            let over = node.deadline() <= Tick::LONG_AGO;
            let needed = boundary(node.deadline()).max(ledger.wheel.next_due());
            assert!(over || ledger.due.min(ledger.inherited) <= needed, "the reaper comes too late");
            entries.push((home, row));
        });
        assert_eq!(entries.len(), ledger.rows.len(), "entries against rows");
        assert_eq!(entries.len(), self.len(), "entries against the gauge");
        // Equal keys have equal homes.
        entries.sort_unstable_by_key(|(home, _)| *home);
        for twins in entries.chunk_by(|(home, _), (other, _)| home == other) {
            let keys = || twins.iter().map(|(home, row)| table.node(table.find_row(*home, *row)).key());
            for (place, key) in keys().enumerate() {
                assert!(!keys().take(place).any(|other| other == key), "two entries of one key");
            }
        }
        if let Some(policy) = &ledger.policy {
            policy.check(ledger.rows.ids());
            assert_eq!(policy.weight(), self.weight(), "weights against the gauge");
            assert!(
                self.config.weighed || policy.weight() == policy.len(),
                "one that is not pinned weighs one"
            );
        }
        ledger.wheel.check(&ledger.rows, |row| {
            // A reader that found the deadline passed has put `DEAD` in its place, or a writer has
            // put an entry there that is expired from the start. In either case it is unknown which
            // slot the row needed.
            let deadline = table.node(table.find_row(ledger.home(row), row)).deadline();
            if deadline <= Tick::LONG_AGO { Tick::NEVER } else { deadline }
        });
        let part = ledger.policy.as_ref().map_or(0, Policy::capacity);
        drop(lock);
        drop(pin);
        part
    }
}
