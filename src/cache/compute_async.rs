//! Computing an entry from what is there, for callers that are futures.
//!
//! The same steps as in `compute.rs`, and turns of the same flights. The user's closures and futures are polled with the turn
//! in hand, and dropped after it if the call is dropped: their destructors may use the cache, this key included.

use super::Cache;
use super::compute::{Plan, TURN_ALONE};
use super::later::Later;
use super::load::STILL_THERE;
use super::load::served;
use super::rounds::Rounds;
use super::turn::{Beginning, Heard, Turn};
use crate::entry::{CompResult, Entry, Op};
use crate::inflight::Aim;
use crate::key_value::{Key, Value};
use crate::life::Life;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;

impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As `compute`.
    pub(crate) async fn compute_async<E, F>(
        &self,
        key: K,
        life: Life,
        mut closure: impl FnMut(Option<Entry<K, V>>) -> F,
    ) -> Result<CompResult<K, V>, E>
    where
        F: Future<Output = Result<Op<V>, E>>,
    {
        // Before the turn, so that it is dropped after it.
        let mut future = pin!(None);
        let later = Later::new(self);
        let mut turn = self.turn_async(key).await;
        let mut rounds = Rounds::new();
        let result = loop {
            let found = turn.view(Aim::Compute);
            let was_there = found.is_some();
            // With the turn in hand, as all of the closure's doings: the future of the last time goes here, too.
            turn.run(|| future.set(Some(closure(found))));
            let running = future.as_mut().as_pin_mut().expect("it was just put there");
            let mut plan = match turn.drive(running).await {
                Ok(op) => Plan::new(op),
                Err(error) => {
                    drop(turn);
                    break Err(error);
                }
            };
            match turn.act(&later, Some(was_there), &mut plan, life) {
                Ok(done) => break Ok(done.answer(&mut plan)),
                Err((stale, again)) => {
                    again.run(|| drop(plan));
                    rounds.count(stale.by_own);
                    turn = again;
                }
            }
        };
        drop(later);
        // As `served`.
        future.set(None);
        served(result, closure)
    }

    /// As `load_unless`.
    pub(crate) async fn load_unless_async(
        &self,
        key: K,
        life: Life,
        init: impl Future<Output = V>,
        mut is_out_of_date: impl FnMut(&V) -> bool,
    ) -> Entry<K, V> {
        // As in `compute_async`.
        let mut init = pin!(Some(init));
        let found;
        let mut turn = self.turn_async(key).await;
        found = turn.view(Aim::Load);
        let is_good = turn.run(|| found.as_ref().is_some_and(|found| !is_out_of_date(found.value())));
        let entry = match found {
            Some(found) if is_good => {
                drop(turn);
                found
            }
            old => {
                turn.run(|| drop(old));
                turn.begin_loading();
                let running = init.as_mut().as_pin_mut().expect(STILL_THERE);
                let mut plan = Plan::new(Op::Put(turn.drive(running).await));
                turn.complete_over(&mut plan, life)
            }
        };
        // As `served`.
        init.set(None);
        served(entry, is_out_of_date)
    }

    async fn turn_async(&self, key: K) -> Turn<'_, K, V, S> {
        match self.begin_turn(key) {
            Beginning::Leads(turn) => turn,
            Beginning::Waits(wait) => match wait.await {
                Heard::Leads(turn) => turn,
                Heard::Told(..) => unreachable!("{TURN_ALONE}"),
            },
            Beginning::Hit(_) => unreachable!("{TURN_ALONE}"),
        }
    }
}
