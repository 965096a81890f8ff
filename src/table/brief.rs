//! A pin for a read that is over before anything else happens.
//!
//! Knows neither slots nor what a pin protects.

use super::epoch::{Pin, enter_at_once, exit_at_once};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// The outermost pin of a thread that has a slot. It ends before the thread does; pins that were made meanwhile may last longer.
pub(crate) struct Brief(
    /// As it is one. What it counts as is undone by `Brief` itself.
    ManuallyDrop<Pin>,
);

impl Brief {
    /// Pins this thread, unless that takes more than a look: where it holds another pin, and where it has no slot.
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
