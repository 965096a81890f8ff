//! Why a session ends, and how a call that ends one passes the reason on to the listener.
//!
//! The cache reports a removed value on the thread that removed it, before that call returns. It does
//! not report what the call was for. So each call of the manager that removes something leaves its
//! reason in a thread-local, for as long as it runs. Calls that the user's code makes meanwhile leave
//! their own reasons there.

use crate::sync::thread_local;
use std::cell::Cell;
use std::fmt;

/// Why a session ended. Given to the function that hears of it: see
/// [`end_listener`](crate::SessionManagerBuilder::end_listener).
///
/// Its `Display` is one word, for a log or a label: `expired`, `ended`, `all_ended` or `displaced`, as
/// [`SessionStats`](crate::SessionStats) counts it.
///
/// ```
/// use std::sync::mpsc;
/// use tidewheel::{EndCause, SessionManager};
///
/// let (sender, ends) = mpsc::channel();
/// let sessions = SessionManager::builder()
///     .end_listener(move |_, data: &u32, cause| sender.send((*data, cause)).unwrap())
///     .build()?;
/// let id = sessions.create(7)?;
/// sessions.remove(&id)?;
/// assert_eq!(ends.try_iter().collect::<Vec<_>>(), [(7, EndCause::Ended)]);
/// assert_eq!(EndCause::Ended.to_string(), "ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EndCause {
    /// It was silent for its idle time, or reached its maximal age.
    Expired,
    /// It was ended by its id, or by [`retain`](crate::SessionManager::retain): a log-out.
    Ended,
    /// Its owner's sessions were ended, by [`end_all`](crate::SessionManager::end_all) or
    /// [`end_others`](crate::SessionManager::end_others).
    AllEnded,
    /// Its owner had as many sessions as he may, and opened another: see
    /// [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner).
    Displaced,
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Expired => "expired",
            Self::Ended => "ended",
            Self::AllEnded => "all_ended",
            Self::Displaced => "displaced",
        })
    }
}

/// What a call does to the values that it removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    /// Their sessions end.
    End(EndCause),
    /// Their session goes on under another id.
    Move,
}

thread_local! {
    static LEAVING: Cell<Leaving> = const { Cell::new(Leaving::End(EndCause::Ended)) };
}

/// Puts back what was said before, also if the call panics.
struct Before(Leaving);

impl Drop for Before {
    fn drop(&mut self) {
        let _ = LEAVING.try_with(|leaving| leaving.set(self.0));
    }
}

/// Runs a call that removes values for this reason.
pub(super) fn during<R>(leaving: Leaving, call: impl FnOnce() -> R) -> R {
    let before = LEAVING.try_with(|place| place.replace(leaving));
    let _before = before.map(Before);
    call()
}

/// Why this thread removes what it removes.
pub(super) fn leaving() -> Leaving {
    LEAVING.try_with(Cell::get).unwrap_or(Leaving::End(EndCause::Ended))
}
