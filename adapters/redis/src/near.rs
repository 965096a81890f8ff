//! What reads and writes do. Knows the wire through `Line` alone.
//!
//! A read takes the time, looks at the lease, and then at the entry. What is not here is asked for in a flight of the core's: one question for
//! each key, however many ask. A call that joins a flight may come long after its question was sent. So the answer counts for the call
//! only if the question was sent no more than a lease before the call, and the key had not ended in Redis by then. Else the call asks again.

use crate::CutOff;
use crate::codec::Codec;
use crate::error::Error;
use crate::keeper::{Line, Slot};
use crate::lease::{Lease, Moment};
use crate::link::{Said, within};
use crate::local::{Counts, Epoch, Fill, Forgets, Key, Local, count};
use crate::stats::{State, Stats};
use crate::under_way::{Load, UnderWay};
use redis::{Cmd, Value};
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidewheel::Cache;
use tokio::task::AbortHandle;

/// The longest time to live that Redis is told, in milliseconds. It adds it to those since 1970, and
/// refuses a sum that is no `i64`.
const LONGEST: u64 = i64::MAX as u64 / 2;

/// What it was built with.
pub(crate) struct Terms<V> {
    pub(crate) codec: Arc<dyn Codec<V>>,
    pub(crate) max_age: Duration,
    pub(crate) negative: Duration,
    pub(crate) cut_off: CutOff,
}

/// What all handles have in common.
pub(crate) struct Near<V> {
    pub(crate) line: Arc<Line<V>>,
    /// Where those meet who load one key.
    pub(crate) loads: Cache<Key, Fill<V>>,
    /// What they load.
    pub(crate) under_way: Arc<UnderWay>,
    pub(crate) terms: Terms<V>,
    pub(crate) keeper: AbortHandle,
}

impl<V> Drop for Near<V> {
    /// The task ends, and with it and the slot the connection.
    fn drop(&mut self) {
        self.keeper.abort();
        self.line.slot.send_replace(Slot::Down(Error::CutOff { cause: None }));
    }
}

impl<V> Near<V> {
    fn local(&self) -> &Local<V> {
        &self.line.local
    }

    fn lease(&self) -> &Lease {
        &self.line.local.lease
    }

    pub(crate) fn state(&self) -> State {
        let standing = self.lease().standing();
        if standing.is_fresh {
            return State::Fresh { age: standing.age };
        }
        State::CutOff { lasting: standing.cut_off_for, cause: self.cause() }
    }

    /// Why hits are not served, if that is known.
    fn cause(&self) -> Option<Error> {
        match &*self.line.slot.borrow() {
            Slot::Connecting(cause) => cause.clone(),
            Slot::Up(link, last) => match link.refusal() {
                Some(answer) => Some(Error::Refused { answer: answer.clone() }),
                None => last.clone(),
            },
            Slot::Down(error) => Some(error.clone()),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Near<V> {
    /// What a read would be served from here.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<V> {
        let now = self.lease().now();
        let is_served = self.lease().is_fresh(now)
            || matches!(self.terms.cut_off, CutOff::ServeStale(longer) if self.is_served_stale(longer, now));
        if is_served { self.local().peek(key, now).flatten() } else { None }
    }

    /// Whether what is old is served, for so long after the lease ran out.
    fn is_served_stale(&self, longer: Duration, now: Moment) -> bool {
        now < self.lease().stale_until(longer)
    }

    /// What is here, while there is no telling how old it is.
    fn when_cut_off(&self, key: &[u8], now: Moment) -> Result<Option<Option<V>>, Error> {
        match self.terms.cut_off {
            CutOff::Bypass => Ok(None),
            CutOff::Fail => Err(Error::CutOff { cause: self.cause().map(Box::new) }),
            CutOff::ServeStale(longer) => {
                let found =
                    if self.is_served_stale(longer, now) { self.local().find(key, now) } else { None };
                if found.is_some() {
                    count(&self.local().counts.stale);
                }
                Ok(found)
            }
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let local = self.local();
        let standing = self.lease().standing();
        let Counts { kept, unkept, invalidations, flushes, stale, .. } = &local.counts;
        // ORDERING: Relaxed; a count orders nothing.
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let unkept = count(unkept);
        Stats {
            hits: local.hits(),
            // So what was kept is the difference, which never falls.
            fills: count(kept) + unkept,
            unkept,
            invalidations: count(invalidations),
            flushes: count(flushes),
            stale: count(stale),
            cuts: standing.cuts,
            cut_off: standing.cut_off,
            lease_age: standing.age,
            entries: local.cache.entry_count() as u64,
        }
    }

    /// What is here by now, or what the server says.
    pub(crate) async fn ask(&self, key: &[u8], asked: Moment) -> Result<Option<V>, Error> {
        let (local, lease) = (self.local(), self.lease());
        loop {
            let now = lease.now();
            let fill = if lease.is_fresh(now) {
                if let Some(found) = local.find(key, now) {
                    return Ok(found);
                }
                local.clear_if_over(key, now);
                let fetch = async { self.lasting(self.fetch_one(key, true).await) };
                local.cache.get_with_ttl_async(key.into(), fetch).await
            } else {
                if let Some(found) = self.when_cut_off(key, now)? {
                    return Ok(found);
                }
                local.asks.get_with_async(key.into(), self.fetch_one(key, false)).await
            };
            if self.counts_for(asked, &fill) {
                return fill.answer.map_err(|error| *error);
            }
        }
    }

    /// Whether what came of a flight is new enough for who asked at that moment.
    pub(crate) fn counts_for(&self, asked: Moment, fill: &Fill<V>) -> bool {
        // The end is no earlier than the sending: so what he sends himself counts.
        let is_there = fill.ends.is_none_or(|end| end >= asked);
        is_there && fill.sent >= asked.before(self.lease().span())
    }

    /// Adds how long the core is to keep it. Whether it is served, the fill itself decides.
    fn lasting(&self, fill: Fill<V>) -> (Fill<V>, Duration) {
        let left = fill.until.since(self.lease().now());
        (fill, left)
    }

    pub(crate) async fn ask_many(&self, keys: Vec<Key>, asked: Moment) -> Result<Vec<Option<V>>, Error> {
        let (local, lease) = (self.local(), self.lease());
        let now = lease.now();
        let is_fresh = lease.is_fresh(now);
        let mut values = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let found = if is_fresh { local.find(key, now) } else { self.when_cut_off(key, now)? };
            if found.is_none() {
                local.clear_if_over(key, now);
                missing.push(place);
            }
            values.push(found.flatten());
        }
        if missing.is_empty() {
            return Ok(values);
        }
        let wanted = missing.iter().map(|&place| keys[place].clone());
        let cache = if is_fresh { &local.cache } else { &local.asks };
        let fetch = |keys: Vec<Key>| async move {
            let fills = self.fetch(&keys, is_fresh).await;
            keys.into_iter().zip(fills)
        };
        let fills = cache.get_many_with_async(wanted, fetch).await;
        for (place, fill) in missing.into_iter().zip(fills) {
            let key = &keys[place];
            values[place] = match fill {
                Some(fill) if self.counts_for(asked, &fill) => {
                    self.shorten(key, &fill);
                    fill.answer.map_err(|error| *error)?
                }
                _ => self.ask(key, asked).await?,
            };
        }
        Ok(values)
    }

    /// The core keeps what came for many keys at once for the maximal age. This has it leave memory sooner, if it ends sooner.
    fn shorten(&self, key: &[u8], fill: &Fill<V>) {
        let now = self.lease().now();
        if !fill.is_kept() {
            self.local().clear_if_over(key, now);
        } else if fill.until < fill.sent.after(self.terms.max_age) {
            self.local().cache.set_ttl(key, fill.until.since(now));
        }
    }

    async fn fetch_one(&self, key: &[u8], is_to_keep: bool) -> Fill<V> {
        let fills = self.fetch(&[key], is_to_keep).await;
        fills.into_iter().next().expect("as many as keys")
    }

    /// Asks the server. If the connection breaks meanwhile, once more over the next.
    async fn fetch(&self, keys: &[impl AsRef<[u8]>], is_to_keep: bool) -> Vec<Fill<V>> {
        let mut broken = None;
        loop {
            // Before the connection is had: see `keep`.
            let epoch = self.local().epoch();
            let link = match self.line.link(broken).await {
                Ok(link) => link,
                Err(error) => return self.failed(keys.len(), &error, epoch),
            };
            let sent = self.lease().now();
            let said = within(self.line.patience, async { Ok(link.read(keys, is_to_keep).await?) }).await;
            match said {
                Ok(said) => {
                    let both = keys.iter().zip(said);
                    return both.map(|(key, said)| self.fill(key.as_ref(), said, (sent, epoch))).collect();
                }
                Err(Error::Redis(error)) if broken.is_none() && error.is_unrecoverable_error() => {
                    broken = Some(link.number);
                }
                Err(error) => return self.failed(keys.len(), &error, epoch),
            }
        }
    }

    fn failed(&self, keys: usize, error: &Error, epoch: Epoch) -> Vec<Fill<V>> {
        let now = self.lease().now();
        (0..keys).map(|_| Fill::failed(error.clone(), now, epoch)).collect()
    }

    /// What becomes of what the server said.
    fn fill(&self, key: &[u8], said: Said, (sent, epoch): (Moment, Epoch)) -> Fill<V> {
        let Terms { codec, max_age, negative, .. } = &self.terms;
        let answer = said.value.and_then(|bytes| {
            let decoded = bytes.map(|bytes| codec.decode(&bytes)).transpose();
            decoded.map_err(|cause| Error::Decode { key: self.name(key), cause: cause.into() })
        });
        let most = if matches!(answer, Ok(None)) { (*negative).min(*max_age) } else { *max_age };
        // From the sending on: so it ends here no later than there.
        let left = said.left.map_or(most, |left| left.min(most));
        let is_kept = said.is_tracked && answer.is_ok() && !left.is_zero();
        let counts = &self.local().counts;
        // Once for each answer, when all is known of it: whoever exports the figures must not see one fall.
        count(if is_kept { &counts.kept } else { &counts.unkept });
        let until = if is_kept { sent.after(left) } else { Moment::NEVER };
        let ends = said.left.map(|left| sent.after(left));
        Fill { answer: answer.map_err(Box::new), sent, until, ends, epoch }
    }

    /// A key as Redis knows it.
    pub(crate) fn name(&self, key: &[u8]) -> Vec<u8> {
        [self.line.tracking.prefix(), key].concat()
    }

    pub(crate) fn set(&self, key: &[u8], value: &V, ttl: Option<Duration>) -> Result<Cmd, Error> {
        let name = self.name(key);
        let bytes = self.terms.codec.encode(value);
        let bytes = bytes.map_err(|cause| Error::Encode { key: name.clone(), cause: cause.into() })?;
        let mut command = redis::cmd("SET");
        command.arg(name).arg(bytes);
        if let Some(ttl) = ttl {
            let whole = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            if whole == 0 {
                return Err(Error::TimeToLive { ttl });
            }
            // A longer one is for ever, as `Duration::MAX` is everywhere.
            if whole <= LONGEST {
                command.arg("PX").arg(whole);
            }
        }
        Ok(command)
    }

    /// Writes a key. Its entry is removed before and after: before, so that calls that come meanwhile ask the server; after, so that a
    /// caller that knows of the write does not find the old value. If the call is dropped, what the server sends removes the entry.
    ///
    /// Loads of the key that began before are overtaken (see `under_way.rs`), and later calls join none of them.
    pub(crate) async fn write(&self, key: &[u8], command: &Cmd) -> Result<Value, Error> {
        let _forgets = Forgets::now_and_then(&self.line.local, key);
        let ahead = self.under_way.overtake(key);
        self.loads.invalidate(key);
        let ahead = async {
            ahead.over().await;
            Ok(())
        };
        within(self.line.patience, ahead).await?;
        self.line.send(command).await
    }

    /// Makes a value, and puts it where there is none; what is there then.
    pub(crate) async fn load<F, E>(&self, key: &[u8], load: impl FnOnce() -> F) -> Fill<V>
    where
        F: Future<Output = Result<(V, Option<Duration>), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (sent, epoch) = (self.lease().now(), self.local().epoch());
        let under_way = self.under_way.begin(key);
        let loaded = load().await.map_err(|error| Error::Load(error.into().into()));
        let (value, command) = match loaded.and_then(|(value, ttl)| Ok((self.set(key, &value, ttl)?, value)))
        {
            Ok((command, value)) => (value, command),
            Err(error) => return Fill::failed(error, sent, epoch),
        };
        let mut command = command;
        command.arg("NX");
        // Without an end: who asks after that is answered by Redis first, and so after this was put down.
        let own = Fill { answer: Ok(Some(value)), sent, until: Moment::NEVER, ends: None, epoch };
        match self.put_down(under_way, command).await {
            // Somebody else was there first.
            Ok(Value::Nil) => {
                let fill = self.fetch_one(key, false).await;
                if matches!(fill.answer, Ok(None)) { own } else { fill }
            }
            // That it could not be written down makes it no worse.
            Ok(_) | Err(_) => own,
        }
    }

    /// Puts down what was loaded; if a write has overtaken that, it is as if somebody else was there first. A task does it: a write of the key waits
    /// for the answer, and must not wait for whoever called the loader to be polled.
    async fn put_down(&self, load: Load, command: Cmd) -> Result<Value, Error> {
        if !load.may_be_put_down() {
            return Ok(Value::Nil);
        }
        let line = Arc::clone(&self.line);
        let task = async move {
            let load = load;
            let _forgets = Forgets::now_and_then(&line.local, load.key());
            line.send(&command).await
        };
        self.line.runtime.spawn(task).await.unwrap_or(Err(Error::CutOff { cause: None }))
    }
}
