//! Panics of user code that must not surface in somebody else's call.
//!
//! A destructor or a listener runs on whatever thread comes to it: the reaper, or a writer that helps to
//! drop. Its panic is reported by the panic hook as usual, and ends here.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs user code and swallows its panic.
///
/// `AssertUnwindSafe`: callers touch nothing of their own inside `run` that could be left half-done.
pub(crate) fn contained(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // A payload is a user's value too, and its destructor may panic in turn. That second payload is
        // leaked: somebody has to stop.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::contained;

    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained_too() {
        contained(|| std::panic::panic_any(PanicsWhenDropped));
    }
}
