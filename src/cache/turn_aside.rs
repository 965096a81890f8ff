//! Turns, as in `turn.rs`, of calls that stand aside: those for many keys, and those whose load
//! goes on elsewhere.
//!
//! Such a call waits, and its caller runs code of the user's meanwhile: a closure for other keys,
//! or an executor. That code may ask for the same key. So the turn passes the call by
//! (`inflight/mod.rs`, F3).

use super::load::Origin;
use super::turn::{Beginning, Heard, Settled, Wait};
use crate::inflight::{Asked, Call, Leading, Outcome, Told, Wants, Who};
use crate::key_value::{Key, Value};
use crate::sync::catch;
use crate::table::Pin;
use std::hash::BuildHasher;

impl<'c, K, V, S> Wait<'c, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Whether it was told something. If not, it does not stand aside any more, and `who` is woken
    /// once it is told.
    pub(super) fn listen(&self, who: Who) -> bool {
        self.call.as_ref().is_none_or(|call| call.listen(who))
    }

    /// Stands aside until it listens again, unless it was told something: whether it was.
    pub(super) fn step_aside(&self) -> bool {
        self.call.as_ref().is_none_or(|call| call.step_aside())
    }

    /// Marks the turn, if it was told that it has it: what waits for that from this thread panics.
    pub(super) fn lead(&self) -> Option<Leading> {
        self.call.as_ref()?.turn().map(Leading::enter)
    }

    /// What it makes of what it was told. It may have to wait once more.
    pub(super) fn settle_told(mut self, wants: Wants) -> Result<Settled<'c, K, V, S>, Self> {
        match self.call.as_ref().and_then(|call| call.leave()) {
            Some(Told::Passed) => self.begin_again(wants),
            Some(told) => self.told(told).expect("it waits for no turn to compute").settle(wants),
            None => unreachable!("it was told something"),
        }
    }

    /// Begins anew, after the turn has passed it by.
    fn begin_again(mut self, wants: Wants) -> Result<Settled<'c, K, V, S>, Self> {
        let anew = self.call.as_ref().map(|call| Call::aside(call.key.clone())).expect("it was told");
        // It is in no queue any more, and has nothing to leave.
        let call = self.call.take();
        catch(|| drop(call));
        match self.cache.begin_load(Asked::Shared(anew), wants) {
            Beginning::Hit(value) => Ok(Ok((Outcome::Value(*value), Origin::There))),
            Beginning::Leads(turn) => Ok(Err(turn)),
            Beginning::Waits(wait) => Err(wait),
        }
    }
}

impl<'c, K, V, S> Wait<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Ends the wait of a call that the turn has passed by, and whose load was to go on elsewhere:
    /// the load is lost. Another call may have the turn now, and may need this very thread to go
    /// on. So this call does not wait, but looks once whether there is a value.
    #[cold]
    pub(super) fn find_instead(&mut self) -> Heard<'c, K, V, S> {
        // It is in no queue any more, and has nothing to leave.
        let call = self.call.take().expect("it was told");
        let pin = Pin::new();
        let found = self.cache.used_uncounted(&call.key, &pin).map(|node| node.value().clone());
        drop(pin);
        catch(|| drop(call));
        let value = found.unwrap_or_else(|| lost_load());
        Heard::Told(Outcome::Value(value), Origin::There)
    }
}

#[cold]
pub(super) fn lost_load() -> ! {
    panic!("a load that was to go on by itself has panicked, or its executor has dropped it")
}
