//! A pin for one read. It costs less than other pins, and it is always the outermost of its thread.
//!
//! This file knows neither slots nor what a pin protects.

use super::epoch::{Pin, enter_at_once, exit_at_once};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// The outermost pin of a thread that has a slot. It ends before the thread does. Pins that were
/// made meanwhile may last longer.
pub(crate) struct Brief(
    /// The pin, which proves that the thread is pinned. `Brief` itself undoes its count.
    ManuallyDrop<Pin>,
);

impl Brief {
    /// Pins this thread, if a look suffices for it. Returns `None` if the thread already holds a
    /// pin or has no slot.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        enter_at_once().then(|| Self(ManuallyDrop::new(Pin { on_this_thread: PhantomData })))
    }
}

impl Deref for Brief {
    type Target = Pin;

    #[inline(always)]
    fn deref(&self) -> &Pin {
        &self.0
    }
}

impl Drop for Brief {
    #[inline(always)]
    fn drop(&mut self) {
        exit_at_once();
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brief")
    }
}
