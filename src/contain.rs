//! Panics of user code that must not surface in somebody else's call.
//!
//! A destructor or a listener runs on whatever thread comes to it: the reaper, or a writer that helps to
//! drop. Its panic is reported by the panic hook as usual, and ends here.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs user code and swallows its panic: `None` if there was one.
///
/// `AssertUnwindSafe`: callers touch nothing of their own inside `run` that could be left half-done.
///
/// Not so under loom, where a panic is how a model fails and must get through.
pub(crate) fn contained<R>(run: impl FnOnce() -> R) -> Option<R> {
    if cfg!(tidewheel_loom) {
        return Some(run());
    }
    let payload = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    // A payload is a user's value too, and its destructor may panic in turn. That second payload is
    // leaked: somebody has to stop.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    None
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
        assert_eq!(contained(|| -> u8 { std::panic::panic_any(PanicsWhenDropped) }), None);
        assert_eq!(contained(|| 1), Some(1));
    }
}
