//! How a policy pays for what comes, where all shards have one account.
//!
//! An operation takes what it needs before it publishes anything, and what goes meanwhile is its credit; what is left of
//! that in the end is given back. So it asks for little that others have an eye on.

use super::{Account, Policy};
use crate::rows::RowId;

impl Policy {
    #[inline]
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    /// What the shard's queues have room for, as far as they need to know: its part, or as much as it has.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        self.capacity.max(self.weight())
    }

    /// An entry that weighs so much is about to come; whether it is too heavy by itself. To be asked first, and once.
    pub(crate) fn refuses(&mut self, weight: u32) -> bool {
        self.refuses = self.account().is_some_and(|account| u64::from(weight) > account.limit());
        self.refuses
    }

    /// Whether so much is there for what comes: taken before, or from the account now.
    pub(crate) fn affords(&mut self, needed: u64) -> bool {
        let lacking = self.lacking(needed);
        if lacking == 0 {
            return true;
        }
        if self.account().is_none_or(|account| account.take(lacking)) {
            self.credit += lacking;
            return true;
        }
        // Something has to go.
        self.filling = false;
        false
    }

    /// How much of this is not there.
    pub(crate) fn lacking(&self, needed: u64) -> u64 {
        needed.saturating_sub(self.credit)
    }

    /// Whether it is this shard that gives, where something has to go: unless it has much less than its part, apart from
    /// so much that has to stay.
    pub(crate) fn is_due(&self, staying: u32) -> bool {
        let part = self.capacity - self.capacity / 8;
        self.shards == 1 || self.weight() >= part + u64::from(staying)
    }

    /// Room from elsewhere.
    pub(crate) fn add_credit(&mut self, room: u64) {
        self.credit += room;
    }

    /// What is left is the caller's.
    pub(crate) fn take_credit(&mut self) -> u64 {
        std::mem::take(&mut self.credit)
    }

    /// The end of an operation.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(std::mem::take(&mut self.credit));
        }
    }

    /// So much goes, and so much comes.
    pub(super) fn spend(&mut self, goes: u32, comes: u32) {
        self.credit = self.credit + u64::from(goes) - u64::from(comes);
    }

    /// Takes a row out of its queue, so that it is not chosen; whether it was in one.
    pub(crate) fn set_aside(&mut self, row: RowId) -> bool {
        let is_queued = self.rows[row].link.is_linked();
        if is_queued {
            self.pull(row);
        }
        is_queued
    }

    /// Puts it back, as one that has just come.
    pub(crate) fn put_back(&mut self, row: RowId) {
        let queue = super::queue_of(self.rows[row].since);
        self.push(queue, row);
    }
}
