//! Entries written out, and read back: `snapshot` and `restore`.
//!
//! Knows in which order things are looked at, written and stored; the bytes are up to `snapshot/`, the times to
//! `shard/restore.rs`.

use super::Cache;
use super::bulk::Owed;
use super::walk::Progress;
use crate::hash::HashBits;
use crate::key_value::{Key, Value};
use crate::shard::{PendingRestore, Returned, Shard};
use crate::snapshot::{Chunks, Entry, RestoreError, SnapshotError, Terms, read};
use crate::sync::catch;
use crate::table::Pin;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Reverse;
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::time::Duration;

/// Write all out, and read them back.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Writes every live entry: key, value, what is left of its time, its age, its own time to live
    /// where that differs from the cache's, and its counter of hits. Returns how many there are.
    /// [`restore`](Self::restore) reads them back, in this process or another.
    ///
    /// It sees what [`iter`](Self::iter) sees. Each key that is present throughout is written
    /// exactly once; one that comes or goes meanwhile may be written or not. Each value is the one
    /// that was stored when it was looked at, so a snapshot does not show one moment. Keys and
    /// values are written as their `Serialize` says, in MessagePack with the names of fields.
    /// [`docs::format`](crate::docs::format) describes the format, byte by byte.
    ///
    /// Write a file beside its place, sync it, and then rename it, so that there is never half a
    /// snapshot in it: `examples/warm_restart.rs` does that.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], when the writer fails, a key or a value cannot be serialized, or an entry comes to more than
    /// 256 MiB. Then what was written is no snapshot, and `restore` says so.
    ///
    /// # Complexity
    ///
    /// O(entries). It keeps in memory the bytes of some forty entries, and 64 KiB.
    ///
    /// # Concurrency
    ///
    /// Delays no writer for longer than it takes to look at the metadata of some forty entries, for
    /// which it takes their shard's lock once. `Serialize` runs outside every lock, while this
    /// thread's epoch is pinned, for up to some forty entries at a time. The writer is called with
    /// no lock and no pin, so a slow one delays nobody.
    ///
    /// # Panics
    ///
    /// If a `Serialize`, the hasher or the writer does. The cache is as it was.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::Cache;
    ///
    /// let cache = Cache::builder().time_to_live(Duration::from_secs(60)).build()?;
    /// cache.insert("a".to_string(), 1);
    /// let mut bytes = Vec::new();
    /// assert_eq!(cache.snapshot(&mut bytes)?, 1);
    ///
    /// // Ten seconds later, in the next process:
    /// let other: Cache<String, i32> = Cache::builder().time_to_live(Duration::from_secs(60)).build()?;
    /// assert_eq!(other.restore(&bytes[..], Duration::from_secs(10))?, 1);
    /// assert_eq!(other.get("a"), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self, writer: impl Write) -> Result<u64, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let mut chunks = Chunks::begin(writer)?;
        let mut progress = Progress::START;
        while self.gather(&mut progress, &mut chunks)? {
            chunks.hand_over_if_full()?;
        }
        chunks.finish()
    }

    /// Gathers the entries of a few buckets; false at the end.
    fn gather<W: Write>(&self, progress: &mut Progress, chunks: &mut Chunks<W>) -> Result<bool, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let (pin, mut met) = (Pin::new(), Vec::new());
        if !self.walk(progress, &mut met, &pin) {
            return Ok(false);
        }
        // All of one shard.
        if let Some(&(hash, _)) = met.first() {
            for (node, record) in self.shard_of(hash).records(&met, &pin) {
                chunks.add(&record, node.key(), node.value())?;
            }
        }
        Ok(true)
    }

    /// Reads a [`snapshot`](Self::snapshot) back, and stores what is in it. Returns how many
    /// entries came back.
    ///
    /// Everything is read and checked first: if anything is wrong, nothing is changed. Then each
    /// entry is stored, and lives on for as long as it had left when it was written, less `away`.
    ///
    /// `away` is how long the entries were in no process. Entries that had no more than that left
    /// do not come back, and the others are as much older. The crate cannot know it, since
    /// monotonic clocks say nothing across processes. The time at which the file was changed tells
    /// it, if the wall clock is right: `examples/warm_restart.rs` asks for that. With
    /// `Duration::ZERO` the time in between does not count, and an entry lives longer than its time
    /// to live says.
    ///
    /// - **Times**: an entry keeps its age, so that [`max_age`](crate::CacheBuilder::max_age)
    ///   counts on, `away` included. It keeps a time to live of its own, which touches and updates
    ///   restart; one that has none takes this cache's at the next write, and at a touch if that makes
    ///   its end later. Where this cache's `max_age` or time to idle would end it sooner, it ends
    ///   sooner. An [`Expiry`](crate::Expiry) is not asked: what it said before still counts. (In a
    ///   cache without an `Expiry` that is as a time to live that reads do not move: the next touch or
    ///   write has this cache's take its place, except with [`Life::Keep`](crate::Life::Keep).) No
    ///   jitter is drawn again. A `refresh_after_write` counts from the restore on.
    /// - **What has no time left** is not stored.
    /// - **What is there already stays**: a live entry under the same key is newer than a snapshot.
    ///   So a cache may be used while it is restored. If a key that comes back is being loaded or
    ///   computed, that is invalidated, as by an insert.
    /// - **Capacity** is respected as by inserts: where there is not room for all, some are evicted
    ///   for others. Counters of hits come back; the order in which entries came does not. The
    ///   weigher is asked again.
    ///
    /// It reads up to the snapshot's end and no byte further.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] says what is wrong, and at which byte. Either the reader fails; or the data
    /// is no snapshot, was written in a newer format, ends in the middle, or was changed (each
    /// chunk has a checksum, and so has the whole); or keys or values cannot be read. Then what
    /// their `Deserialize` says, which may quote them, is the error's source. Nothing was changed
    /// in the cache. (A checksum finds accidents. It does not stop somebody who wants to deceive
    /// you: restore only what you wrote yourself.)
    ///
    /// # Complexity
    ///
    /// O(bytes). All entries are in memory before the first is stored. A length that is read is not
    /// trusted: memory is allocated as bytes arrive.
    ///
    /// # Concurrency
    ///
    /// The reader, `Deserialize`, the hasher and the weigher run with no lock and no pin. Entries are stored as by
    /// [`insert_many`](Self::insert_many): others see some before others.
    ///
    /// # Panics
    ///
    /// If a `Deserialize`, the hasher, the weigher or the reader does; nothing was changed then. Or
    /// as `insert` does; then some entries may have come back.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().clock(clock.clone()).build()?;
    /// cache.insert_with_ttl(1, 'a', Duration::from_secs(10));
    /// clock.advance(Duration::from_secs(4));
    /// let mut bytes = Vec::new();
    /// cache.snapshot(&mut bytes)?;
    ///
    /// let later: Cache<i32, char> = Cache::builder().clock(ManualClock::new()).build()?;
    /// assert_eq!(later.restore(&bytes[..], Duration::from_secs(6))?, 0);
    /// assert_eq!(later.restore(&bytes[..], Duration::from_secs(2))?, 1);
    /// assert_eq!(later.remaining_ttl(&1), Some(Duration::from_secs(4)));
    /// assert!(later.restore(&bytes[1..], Duration::ZERO).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(&self, reader: impl Read, away: Duration) -> Result<u64, RestoreError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let written = read::<K, V>(reader)?.into_iter();
        let live = written.filter_map(|(record, key, value)| Some((record.after(away)?, key, value)));
        Ok(self.come_back(live.collect()))
    }

    /// As [`restore`](Self::restore), on other terms, and of entries whose values are made of what
    /// was written: by `adopt`, which is asked about the oldest first, when all is read and checked
    /// and before anything is stored. It is not asked about what is over. That does not come back,
    /// nor does what it makes nothing of.
    pub(crate) fn restore_as<W: DeserializeOwned>(
        &self,
        reader: impl Read,
        terms: Terms,
        mut adopt: impl FnMut(&K, W) -> Option<V>,
    ) -> Result<u64, RestoreError>
    where
        K: DeserializeOwned,
    {
        let mut written = read::<K, W>(reader)?;
        written.sort_by_key(|(record, ..)| Reverse(record.age));
        let max_age = self.parts().config.max_age;
        let adopted = written.into_iter().filter_map(|(record, key, value)| {
            let record = record.on(terms).filter(|record| record.age < max_age)?;
            let value = adopt(&key, value)?;
            Some((record, key, value))
        });
        Ok(self.come_back(adopted.collect()))
    }

    fn come_back(&self, entries: Vec<Entry<K, V>>) -> u64 {
        let parts = self.parts();
        let mask = parts.shards.len() - 1;
        let mut groups: Vec<Vec<PendingRestore<K, V>>> = parts.shards.iter().map(|_| Vec::new()).collect();
        // All of the user's code before the first change, but for `Eq`.
        for (record, key, value) in entries {
            let hash = HashBits::of(&parts.hasher, &key);
            let weight = self.weigh(&key, &value);
            groups[hash.shard(mask)].push(PendingRestore { hash, entry: (key, value), weight, record });
        }
        let count = parts.shards.iter().zip(groups).map(|(shard, group)| self.bring_back(shard, group));
        count.sum()
    }

    /// Stores what waits for a shard. It is taken from the end: of a key that is there twice, what was written last comes back.
    fn bring_back(&self, shard: &Shard<K, V>, mut group: Vec<PendingRestore<K, V>>) -> u64 {
        let mut count = 0;
        while !group.is_empty() {
            // In this order: if an `Eq` panics, what is owed is done before destructors run.
            let mut returned = Returned { count: 0, unwanted: Vec::new() };
            let mut owed = Owed { cache: self, shard, deferred: Vec::new() };
            shard.bring_back(self, &mut group, &mut owed.deferred, &mut returned);
            count += returned.count;
            drop(owed);
            for (key, value) in returned.unwanted {
                // Each by itself, as what is too heavy.
                catch(|| drop(key));
                catch(|| drop(value));
            }
        }
        count
    }
}
