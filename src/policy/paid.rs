//! How a policy pays for new entries, where all shards have one account.
//!
//! An operation takes what it needs before it publishes anything. The weight of entries that go
//! meanwhile is added to its credit, and the operation gives back in the end what is left. So it
//! rarely writes to the account, which all shards share.

use super::{Account, Policy};
use crate::rows::RowId;

impl Policy {
    #[inline]
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    /// Returns the room that counts for the queues: the shard's part, or the weight of its rows if
    /// that is more.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        self.capacity.max(self.weight())
    }

    /// Returns whether a new entry of this weight exceeds the whole capacity. Must be called once,
    /// before anything else is done for the entry.
    pub(crate) fn refuses(&mut self, weight: u32) -> bool {
        self.refuses = self.account().is_some_and(|account| u64::from(weight) > account.limit());
        self.refuses
    }

    /// Returns whether `needed` is available: from the credit, or taken from the account now.
    pub(crate) fn affords(&mut self, needed: u64) -> bool {
        let lacking = self.lacking(needed);
        if lacking == 0 {
            return true;
        }
        if self.account().is_none_or(|account| account.take(lacking)) {
            self.credit += lacking;
            return true;
        }
        // Something has to be evicted.
        self.filling = false;
        false
    }

    /// Returns how much of `needed` the credit lacks.
    pub(crate) fn lacking(&self, needed: u64) -> u64 {
        needed.saturating_sub(self.credit)
    }

    /// Returns whether this shard gives when something has to be evicted: it does unless it has
    /// much less than its part, not counting `staying`.
    pub(crate) fn is_due(&self, staying: u32) -> bool {
        let part = self.capacity - self.capacity / 8;
        self.shards == 1 || self.weight() >= part + u64::from(staying)
    }

    /// Adds room from other shards to the credit.
    pub(crate) fn add_credit(&mut self, room: u64) {
        self.credit += room;
    }

    /// Takes the whole credit for the caller.
    pub(crate) fn take_credit(&mut self) -> u64 {
        std::mem::take(&mut self.credit)
    }

    /// Gives the remaining credit back at the end of an operation.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(std::mem::take(&mut self.credit));
        }
    }

    /// Adds the weight of an entry that goes to the credit, and subtracts the weight of one that
    /// comes.
    pub(super) fn spend(&mut self, goes: u32, comes: u32) {
        self.credit = self.credit + u64::from(goes) - u64::from(comes);
    }

    /// Takes a row out of its queue, so that it is not chosen as a victim. Returns whether it was
    /// in one.
    pub(crate) fn set_aside(&mut self, row: RowId) -> bool {
        let is_queued = self.rows[row].link.is_linked();
        if is_queued {
            self.pull(row);
        }
        is_queued
    }

    /// Puts a row back that was set aside, like a row that has just come.
    pub(crate) fn put_back(&mut self, row: RowId) {
        let queue = super::queue_of(self.rows[row].since);
        self.push(queue, row);
    }
}
