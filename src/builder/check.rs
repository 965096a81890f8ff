//! What a builder refuses, and what becomes of its options together.
//!
//! An option that would have no effect in any cache built so, or would take the effect of another
//! option away, is an error: somebody meant something by it. An option that has less of an effect
//! than one might think is accepted, and its documentation says so.
//!
//! | these two | what happens |
//! |---|---|
//! | `weigher`, no `max_capacity` | error: nothing that the weights are for |
//! | `pin_if`, no `max_capacity` | error: nothing is ever evicted |
//! | `eviction_policy`, no `max_capacity` | error: nothing is ever evicted |
//! | `refresh_with`, no `refresh_after_write` | error: nothing is ever old |
//! | `refresh_after_write`, zero | error: every value would be old at once |
//! | `refresh_after_write`, a `time_to_live` or `max_age` that is not longer | error: values are gone before they are old |
//! | `refresh_after_write`, a `time_to_idle` that is not longer | both: what is used often is loaded anew, what is not, goes |
//! | `refresh_after_write`, `expire_after` | both: a reload is an update for the [`Expiry`](crate::Expiry) |
//! | `refresh_after_write`, `ttl_jitter` | both: a value whose time to live was shortened to less than that goes first |
//! | `refresh_after_write`, own times to live | both: the same |
//! | `ttl_jitter`, no `time_to_live` | shortens entries' own times to live, and does nothing to the others |
//! | `time_to_live`, `time_to_idle`, `max_age`, `expire_after`: any two or more | the first end counts, whichever is longer |
//! | `expiration_warning_listener` with a lead of less than two seconds | may be too short to be told in time, and is documented |
//! | `expiration_warning_listener`, a time to live shorter than its lead | told within two seconds after the write |
//! | `expiration_warning_listener`, `expiration_listener`; nothing that ends entries | entries may have times to live of their own |
//! | `eviction_listener`, `expiration_listener`, `expiration_warning_listener`: any two or three | each hears; of one value the listener before the batch |
//! | `initial_capacity`, a smaller `max_capacity` | room for no more than that; with a `weigher`, which says nothing of their number, for as many as asked |
//! | `shards`, a small `max_capacity` | fewer shards; see [`max_capacity`](super::CacheBuilder::max_capacity) |
//! | `shards`, a `weigher` | fewer shards, likewise |
//! | `max_capacity` of zero, whatever else | nothing is kept but what `pin_if` pins |
//! | manual `clock`, a `reaper` with a thread | error: the thread would never see the clock move |
//! | manual `clock`, no `reaper` | the manual one |
//! | any other `clock`, the manual `reaper` | the owner sweeps, by [`run_pending_tasks`](crate::Cache::run_pending_tasks) |
//! | `record_stats`, `name`, a hasher; anything | independent |
//!
//! An option that is given twice counts as given last. Of sessions: `session/builder.rs`.

use super::CacheBuilder;
use super::shards::{MAX_AT_FIRST, MAX_IN_SHARD, MAX_SHARDS};
use crate::error::BuildError;
use crate::time::Span;

impl<K, V> CacheBuilder<K, V> {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        if let Some(given) = self.shards {
            if !given.is_power_of_two() || given > MAX_SHARDS {
                return Err(BuildError::Shards { given });
            }
        }
        if self.max_capacity.is_none() {
            if self.weigher.is_some() {
                return Err(BuildError::WeigherWithoutCapacity);
            }
            if self.pins.is_some() {
                return Err(BuildError::PinWithoutCapacity);
            }
            if self.eviction_policy.is_some() {
                return Err(BuildError::PolicyWithoutCapacity);
            }
        }
        let shards = self.shard_count();
        let most = (MAX_IN_SHARD as u64 * shards as u64).min(MAX_AT_FIRST as u64);
        if self.initial_entries() as u64 > most {
            return Err(BuildError::InitialCapacity { given: self.initial_capacity, most });
        }
        // No comparison is true of what is not a number.
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BuildError::Jitter { given: self.jitter });
        }
        self.check_refresh()?;
        let threaded = self.reaper.as_ref().is_some_and(|reaper| !reaper.is_manual());
        if threaded && self.timeline.manual().is_some() {
            return Err(BuildError::ManualClockWithThread);
        }
        Ok(())
    }

    fn check_refresh(&self) -> Result<(), BuildError> {
        let Some(after) = self.refresh else {
            return if self.background.is_some() { Err(BuildError::ReloadWithoutAge) } else { Ok(()) };
        };
        let lifetime = self.lengths.ttl.min(self.lengths.max_age);
        // An age that is never reached is nobody's mistake where nothing ends: it says "not yet".
        if after == Span::NONE || after >= lifetime && lifetime != Span::ENDLESS {
            let (given, lifetime) = (after.as_duration(), lifetime.as_duration());
            return Err(BuildError::RefreshAfter { given, lifetime });
        }
        Ok(())
    }
}
