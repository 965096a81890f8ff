//! Sessions written out and read back.
//!
//! The cache does it; what is added is that a session comes back with its owner and its permit, or
//! not at all.

use super::handle::SessionManager;
use super::id::SessionId;
use super::lifetime::Lives;
use super::owners::{Arrival, Claims, Owners, Step};
use super::permits::Permit;
use super::stored::{SessionOwner, Stored};
use crate::key_value::Value;
use crate::snapshot::{RestoreError, SnapshotError, Terms};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use std::io::{Read, Write};
use std::time::Duration;

impl<D: Serialize, O> Serialize for Stored<D, O> {
    /// The data alone. Its owner is not written, because the data says whose it is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// Writes every live session: its id, its data, its age, what is left of its time, and an idle
    /// time and a maximal age of its own, if it has them. (An idle time of its own counts as one
    /// only where it differs from this manager's.) Returns how many there are.
    /// [`restore`](Self::restore) reads them back, in this process or another, so that nobody has
    /// to log in again because of a deploy. It needs the feature `serde`.
    ///
    /// # Anyone who reads it can pose as any of your users
    ///
    /// The snapshot has the ids as they are in the cookies, because a cookie has to be found again.
    /// So until the sessions are over, it is worth as much as all passwords that were entered. It
    /// contains nothing that it does not need: no owner (the data says that), no figures, nothing of
    /// sessions that are over. What remains is up to you:
    ///
    /// - Write it to a file that only the service may read: made with the mode `0600`, not changed
    ///   to it afterwards; in a folder that is nobody else's; not in `/tmp`, and in no backup.
    ///   Better still is a file system in memory, if the machine stays up.
    /// - Remove it as soon as it is restored, whether that succeeded or not.
    /// - Where it has to cross a network, or to lie on a disk that others may get, encrypt and sign
    ///   it, in the writer that you pass.
    /// - Restore it once. What was logged out after the snapshot comes back with it, so an old one
    ///   undoes log-outs.
    ///
    /// A change that a request makes while it is written may be in it or not: stop such requests first.
    ///
    /// # Errors
    ///
    /// As [`Cache::snapshot`](crate::Cache::snapshot), whose format it is.
    ///
    /// # Concurrency
    ///
    /// As [`Cache::snapshot`](crate::Cache::snapshot). Does not restart idle times.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::SessionManager;
    ///
    /// let before = SessionManager::<String>::builder().for_logins().build()?;
    /// let id = before.create("ada".to_string())?;
    /// let mut bytes = Vec::new();
    /// assert_eq!(before.snapshot(&mut bytes)?, 1);
    ///
    /// // Ten seconds later, in the next process:
    /// let after = SessionManager::<String>::builder().for_logins().build()?;
    /// assert_eq!(after.restore(&bytes[..], Duration::from_secs(10))?, 1);
    /// assert_eq!(after.get(&id)?, "ada");
    /// assert!(after.remaining(&id)? <= Duration::from_secs(30 * 60 - 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self, writer: impl Write) -> Result<u64, SnapshotError>
    where
        D: Serialize,
    {
        self.cache.snapshot(writer)
    }

    /// Reads a [`snapshot`](Self::snapshot) back. Returns how many sessions came back, with their
    /// ids, ages and owners.
    ///
    /// `away` is how long the sessions were in no process. It is taken off what they had left, and
    /// sessions that had no more than that do not come back. The crate cannot know it, since a
    /// monotonic clock says nothing about another process. If the wall clock is right, you know it from
    /// the time at which the file was changed. With `Duration::ZERO` that time does not count, and a
    /// session lives longer than was promised.
    ///
    /// - **What is there already stays**: a session that lives here, or was restored before, is newer
    ///   than the snapshot. Even so, restore into a new manager. In the manager that wrote the
    ///   snapshot, a session that was logged out since comes back, and one that was rotated since
    ///   may come back under the id that it had then.
    /// - **Limits**: with [`max_sessions`](crate::SessionManagerBuilder::max_sessions), the oldest
    ///   sessions for which there is room come back, and the others do not.
    ///   [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner) keeps no session out; it
    ///   applies again from the next session on that is opened.
    /// - **Times**: a session keeps its age, what is left of its idle time, and an idle time of its
    ///   own. If it has none, its idle time is this manager's: what is left is no more than that,
    ///   and the next use restarts it. Where this manager's
    ///   [`max_age`](crate::SessionManagerBuilder::max_age) would end a session sooner, it ends
    ///   sooner.
    /// - **Other options**: options of this manager that the one before did not have apply to what
    ///   comes back. With [`reads_count`](crate::SessionManagerBuilder::reads_count), reads restart
    ///   its idle time, which is this manager's even if it had one of its own. With
    ///   [`own_max_ages`](crate::SessionManagerBuilder::own_max_ages), a session that has no
    ///   maximal age yet gets this manager's; one that has got one from a manager with
    ///   `own_max_ages` keeps it, shorter or longer. Without `own_max_ages`, a session ends by the
    ///   age that it had got there, or by this manager's `max_age` if that comes first. The first
    ///   touch or write changes that: from then on only this manager's `max_age` counts. Where
    ///   [reads count](crate::SessionManagerBuilder::reads_count), they restart the idle time and do
    ///   not change that, and [`get_and_touch`](Self::get_and_touch) is a read.
    ///
    /// # Errors
    ///
    /// As [`Cache::restore`](crate::Cache::restore): everything is read and checked first, and if
    /// anything is wrong, nothing is changed. (A checksum finds accidents. It does not stop
    /// somebody who wants to pass for one of your users: restore only what you wrote yourself.) The
    /// error can be logged: it says which entry could not be read, and nothing of what is in it.
    ///
    /// # Panics
    ///
    /// If `Deserialize`, the reader, or the function that says the
    /// [owner](crate::SessionManagerBuilder::owner) does. Then nothing was changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::SessionManager;
    ///
    /// let sessions = SessionManager::<String>::builder().build()?;
    /// assert!(sessions.restore(&b"no snapshot"[..], Duration::ZERO).is_err());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn restore(&self, reader: impl Read, away: Duration) -> Result<u64, RestoreError>
    where
        D: DeserializeOwned,
    {
        let mut permits = Vec::new();
        let mut claims = Claims::none(self);
        let adopt = |id: &SessionId, data: D| {
            // There already, or moved to another id since it was written down.
            let knows = |owners: &Owners<D, O>| owners.knows(&self.cache, *id);
            if self.cache.contains_key(id) || self.shared.owners.as_ref().is_some_and(knows) {
                return None;
            }
            let permit = match &self.shared.permits {
                Some(limit) => Some(limit.take()?),
                None => None,
            };
            let step = Step { from: None, to: *id, before: None, is_compared: false, arrival: Arrival::Back };
            let whose = claims.add(&step, &data).ok()?;
            // If the claim is denied, `permit` is dropped here, and so given back for another session.
            permits.extend(permit);
            Some(Stored { data, whose })
        };
        let Lives { idle, reads_count, max_age, .. } = self.shared.lives;
        let terms = Terms { away, max_age, most: idle, idles: reads_count };
        let count = self.cache.restore_as(reader, terms, adopt).map_err(unquoted)?;
        // The rest of them is given back.
        permits.drain(..).take(usize::try_from(count).unwrap_or(usize::MAX)).for_each(Permit::keep);
        Ok(count)
    }
}

/// Why sessions did not come back, without what the decoder says: that quotes what it has read, as in
/// `invalid type: string "..."`.
fn unquoted(error: RestoreError) -> RestoreError {
    match error {
        RestoreError::Deserialize { part, at, .. } => {
            let source = "its type's `Deserialize` refused it (no more is said, as that may quote a session)";
            RestoreError::Deserialize { part, at, source: source.into() }
        }
        other => other,
    }
}
