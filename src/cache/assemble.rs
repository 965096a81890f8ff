//! A cache is put together: its reaper, its clock and the process come to know it.

use super::fork;
use super::handle::{Cache, Inner, Parts};
use crate::error::BuildError;
use crate::key_value::{Key, Value};
use crate::reaper::Reaper;
use crate::sync::{Arc, Edge, OnceLock};
use std::hash::BuildHasher;

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn assemble(parts: Parts<K, V, S>, reaper: &Reaper) -> Result<Self, BuildError> {
        let inner = Arc::new(Inner {
            parts,
            edge: Edge::new(),
            #[cfg(feature = "tracing")]
            held_up: crate::trace::HeldUp::new(),
            watch: OnceLock::new(),
            heir: OnceLock::new(),
            registration: OnceLock::new(),
        });
        let weak = Arc::downgrade(&inner);
        let registration = reaper.register(weak.clone()).map_err(BuildError::Reaper)?;
        // It was just made, so it is not set.
        let _ = inner.registration.set(registration);
        let _ = inner.heir.set(fork::register(weak.clone()));
        if let Some(clock) = inner.parts.config.clock.manual() {
            let _ = inner.watch.set(clock.watch(weak));
        }
        Ok(Self { inner })
    }
}
