//! How much a cache may hold, as all of its shards agree on it.

use crate::policy::{Account, EvictionPolicy};
use crate::process::fork::{Held, Kept};
use crate::process::hand::InHand;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Alarm, Arc, Mutex};

/// What an entry weighs, as the user says: nothing if it is pinned, and else one at least.
pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// How much a cache may hold.
pub(crate) struct Bound {
    /// In all, as was asked for last.
    pub(super) wanted: AtomicU64,
    /// The capacity in force. It is more than is wanted while not all shards know what is wanted.
    holds: AtomicU64,
    changing: Mutex<Changing>,
    pub(super) policy: EvictionPolicy,
    /// Where entries have weights.
    pub(super) account: Option<Arc<Account>>,
}

/// How many callers are about to change it.
struct Changing {
    callers: usize,
    in_hand: InHand,
}

impl Bound {
    pub(crate) fn new(capacity: u64, policy: EvictionPolicy, account: Option<Arc<Account>>) -> Self {
        let [wanted, holds] = [capacity; 2].map(AtomicU64::new);
        let changing = Mutex::new(Changing { callers: 0, in_hand: InHand::new() });
        Self { wanted, holds, changing, policy, account }
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    pub(super) fn capacity(&self) -> u64 {
        // ORDERING: Relaxed; a figure.
        self.holds.load(Ordering::Relaxed)
    }

    /// The capacity, if nobody is about to change it.
    pub(super) fn settled(&self) -> Option<u64> {
        let changing = self.changing.lock();
        (changing.callers == 0).then(|| self.capacity())
    }

    /// Before the first shard hears of another capacity.
    pub(super) fn begin(&self, capacity: u64) {
        let mut changing = self.changing.lock();
        changing.add(1);
        // ORDERING: Relaxed; a figure.
        self.holds.fetch_max(capacity, Ordering::Relaxed);
        // ORDERING: Relaxed; loaded under each shard's lock: whoever has that lock last loads what was stored last.
        self.wanted.store(capacity, Ordering::Relaxed);
    }

    /// Sets an account's limit to what is wanted, or as near as `given` and the free room allow. Returns the excess that is
    /// left.
    pub(super) fn fit(&self, account: &Account, given: u64) -> u64 {
        let _changing = self.changing.lock();
        // ORDERING: Relaxed; it is stored under this lock.
        account.set_limit(self.wanted.load(Ordering::Relaxed), given)
    }

    /// How much room is taken, where there is an account. Its limit does not change meanwhile.
    pub(super) fn taken(&self) -> Option<u64> {
        let account = self.account.as_ref()?;
        let _changing = self.changing.lock();
        Some(account.taken())
    }

    /// After the last shard has heard of it. While others are on their way, not all have heard of what they want.
    pub(super) fn end(&self) {
        let mut changing = self.changing.lock();
        changing.add(-1);
        if changing.callers == 0 {
            // ORDERING: Relaxed, both; as in `begin`.
            self.holds.store(self.wanted.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Returns a shard's part of the capacity: what it may hold or, in a cache with an account, what it is meant to hold.
    /// All parts are as equal as can be, and add up to the capacity.
    pub(crate) fn part(capacity: u64, shard: usize, shards: usize) -> u64 {
        let (shard, shards) = (shard as u64, shards as u64);
        capacity / shards + u64::from(shard < capacity % shards)
    }

    /// Keeps the account and what is about to change unchanged while the process forks. `find` returns the bound within its
    /// owner.
    pub(super) fn hold<A>(
        owner: &Arc<A>,
        find: fn(&A) -> Option<&Self>,
        patience: &Alarm,
    ) -> Vec<Box<dyn Held>>
    where
        A: Send + Sync + 'static,
    {
        let Some(bound) = find(owner) else { return Vec::new() };
        let account = bound.account.as_ref().and_then(|account| Account::hold(account, patience));
        let changing = Kept::new(owner, |owner| &find(owner).expect("it was just found").changing, patience)
            .map(|kept| Box::new(kept) as _);
        account.into_iter().chain(changing).collect()
    }
}

impl Changing {
    fn add(&mut self, one: isize) {
        self.callers = self.callers.saturating_add_signed(one);
        self.in_hand.note(one);
    }
}

impl<A: Send + Sync> Held for Kept<A, Changing> {
    /// Other threads' callers are not there.
    fn inherit(&mut self) {
        let changing = self.content();
        changing.callers = usize::try_from(changing.in_hand.own()).unwrap_or_default();
    }
}
