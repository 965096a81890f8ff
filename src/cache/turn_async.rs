//! Turns, as in `turn.rs`, of calls that are futures: they wait without a thread.

use super::load::Origin;
use super::turn::{Beginning, Heard, Settled, Turn, Wait};
use crate::inflight::{Outcome, Wants, Who};
use crate::key_value::{Key, Value};
use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

impl<'c, K, V, S> Future for Wait<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    type Output = Heard<'c, K, V, S>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.call.is_some(), "a future is not polled once it is ready");
        self.hear(|| Who::Task(context.waker().clone())).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<K, V, S> Turn<'_, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As `run`, with the call's future, however often it is polled, and on whatever threads.
    pub(crate) async fn drive<R>(&mut self, future: impl Future<Output = R>) -> R {
        let mut future = pin!(future);
        poll_fn(|context| {
            let polled = self.call(|| future.as_mut().poll(context));
            if polled.is_pending() {
                self.loading.leave();
            }
            polled
        })
        .await
    }
}

impl<'c, K, V, S> Beginning<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As `settle`.
    pub(super) async fn settle_async(self, wants: Wants) -> Settled<'c, K, V, S> {
        let mut wait = match self {
            Self::Hit(value) => return Ok((Outcome::Value(*value), Origin::There)),
            Self::Leads(turn) => return Err(turn),
            Self::Waits(wait) => wait,
        };
        loop {
            match wait.await.settle(wants) {
                Ok(settled) => return settled,
                Err(again) => wait = again,
            }
        }
    }
}
