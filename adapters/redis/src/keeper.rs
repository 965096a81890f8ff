//! The task that keeps the connection: it connects, asks to be told of changes, sends a PING every quarter of the lease, renews the lease with
//! its answer, and begins anew when the connection is over or silent.
//!
//! ```text
//!               tracking is on             first PONG (in broadcasting mode: the second)
//!   connecting ───────────────► new epoch ──────────────────────────────────────────────► fresh ◄─┐ PONG
//!       ▲  ▲                                                                                │ └───┘
//!       │  └── connection is over, or silent for longer than our patience ──────────────────┤
//!       │                                                                                   │ lease runs out without a PONG
//!       │   tracking is refused                                                             ▼
//!       └── after a second ◄── cut off, the connection serves reads ◄─────────────────── cut off ──► PONG: fresh again
//! ```
//!
//! A lease that runs out while the connection holds empties nothing: the wire has kept its order, and what comes late, comes before the
//! PONG that makes it fresh again. A new connection knows nothing of what was changed before it: so there is a new epoch, which begins before anything is
//! read over it, and what was asked over an older one belongs to an older epoch, however late it comes.
//!
//! Knows neither values nor those who ask.

use crate::error::Error;
use crate::events;
use crate::lease::{LinkNumber, Moment, Renewal};
use crate::link::{Link, Tracking, within};
use crate::local::{Local, Sweep};
use redis::{Client, Cmd, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The first pause before it connects again; each one is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What there is to ask over.
#[derive(Clone)]
pub(crate) enum Slot {
    /// It will be known in a moment.
    Connecting(Option<Error>),
    /// A connection, and the error that the last PING was answered with, if it was one.
    Up(Link, Option<Error>),
    /// It has been tried, and is being tried again.
    Down(Error),
}

/// Where a connection is made to, and how.
pub(crate) struct Line<V> {
    pub(crate) local: Arc<Local<V>>,
    pub(crate) client: Client,
    pub(crate) tracking: Tracking,
    pub(crate) patience: Duration,
    pub(crate) slot: watch::Sender<Slot>,
    /// Where the task runs that reads the connection.
    pub(crate) runtime: Handle,
    /// It is fresh again.
    pub(crate) renewed: Notify,
}

impl<V: Clone + Send + Sync + 'static> Line<V> {
    pub(crate) async fn open(&self, number: LinkNumber) -> Result<Link, Error> {
        let local = Arc::clone(&self.local);
        let hear = move |link, push: &_| local.hear(link, push);
        Link::open(&self.client, &self.tracking, (number, self.patience), hear).await
    }

    /// From now on questions go over that connection.
    pub(crate) fn put_up(&self, link: &Link) {
        if link.refusal().is_none() {
            self.local.lease.begin(link.number);
        }
        self.slot.send_replace(Slot::Up(link.clone(), None));
    }

    /// A PING was answered, with an error or without. Nobody who waits for a connection needs to know.
    fn answered(&self, error: Option<Error>) {
        self.slot.send_if_modified(|slot| {
            if let Slot::Up(_, last) = slot {
                *last = error;
            }
            false
        });
    }

    /// What the last PING was answered with, if that was an error.
    fn last_error(&self) -> Option<Error> {
        match &*self.slot.borrow() {
            Slot::Up(_, error) => error.clone(),
            Slot::Connecting(_) | Slot::Down(_) => None,
        }
    }

    /// Tells that it is cut off, if it is and that was not told yet.
    fn tell_cut(&self, cause: Option<&Error>) {
        if self.local.lease.note_cut() {
            events::cut_off(cause);
        }
    }

    /// The connection that questions go over, or the reason why there is none. Never the connection `but`, which is over.
    pub(crate) async fn link(&self, but: Option<LinkNumber>) -> Result<Link, Error> {
        let is_known = |slot: &Slot| match slot {
            Slot::Up(link, _) => but != Some(link.number),
            Slot::Down(_) => true,
            Slot::Connecting(_) => false,
        };
        let now = self.slot.borrow().clone();
        let slot = if is_known(&now) {
            now
        } else {
            let mut slots = self.slot.subscribe();
            within(self.patience, async { Ok(slots.wait_for(is_known).await.map(|slot| slot.clone())) })
                .await?
                .unwrap_or(Slot::Down(Error::CutOff { cause: None }))
        };
        match slot {
            Slot::Up(link, _) => Ok(link),
            Slot::Down(error) => Err(error),
            Slot::Connecting(cause) => Err(Error::CutOff { cause: cause.map(Box::new) }),
        }
    }

    /// Sends a command over what there is, once, and returns its answer.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        let link = self.link(None).await?;
        within(self.patience, link.send(command)).await
    }

    /// Has a thread that may take its time sweep out what is over, if there is anything, and no other sweep is due already.
    fn sweep_soon(&self) {
        if let Some(sweep) = Sweep::if_due(&self.local) {
            self.runtime.spawn_blocking(move || sweep.run());
        }
    }

    /// Waits until hits are served.
    pub(crate) async fn fresh(&self) {
        loop {
            let renewed = self.renewed.notified();
            if self.local.lease.is_fresh(self.local.lease.now()) {
                return;
            }
            renewed.await;
        }
    }
}

/// Keeps the connection for as long as the task is let run.
pub(crate) async fn keep<V: Clone + Send + Sync + 'static>(line: Arc<Line<V>>, first: Link) {
    let mut link = first;
    let mut number = link.number;
    loop {
        let cause = tokio::select! {
            cause = tend(&line, &link) => cause,
            never = tell_ends(&line) => match never {},
        };
        line.local.lease.end(link.number);
        line.tell_cut(cause.as_ref());
        line.slot.send_replace(Slot::Connecting(cause));
        drop(link);
        link = open_again(&line, &mut number).await;
        // First the epoch, then the connection: whoever has this has the new epoch, or an older one in whose name nothing is kept.
        line.local.flush();
        line.put_up(&link);
    }
}

/// Tells when the lease runs out, for as long as it is let run.
async fn tell_ends<V: Clone + Send + Sync + 'static>(line: &Line<V>) -> Infallible {
    loop {
        if let Some(left) = line.local.lease.left() {
            sleep(left).await;
        } else {
            let cause = line.last_error();
            line.tell_cut(cause.as_ref());
            line.fresh().await;
        }
    }
}

/// Sees to a connection until it is over. The reason, if there is one.
async fn tend<V: Clone + Send + Sync + 'static>(line: &Line<V>, link: &Link) -> Option<Error> {
    if let Some(refusal) = link.refusal() {
        // It serves questions, and later we ask again.
        events::refused(refusal);
        tokio::select! {
            () = link.over() => {}
            () = tokio::time::sleep(LONGEST_PAUSE) => {}
        }
        return Some(Error::Refused { answer: refusal.clone() });
    }
    let lease = &line.local.lease;
    let mut before = None;
    loop {
        let (sent, then) = (lease.now(), Instant::now());
        let answer = async { Ok(link.ping().await?) };
        let answer = tokio::select! {
            answer = within(line.patience, answer) => answer,
            () = link.over() => return None,
        };
        match answer {
            Ok(None) => {
                line.answered(None);
                before = renew(line, link, (before, sent));
                if !lease.is_fresh(lease.now()) && then.elapsed() < lease.span() {
                    // In broadcasting mode one answer is not enough.
                    continue;
                }
            }
            // It is there, and says that it cannot.
            Ok(error) => line.answered(error),
            Err(error) => return Some(error),
        }
        pause(line, link, then + lease.span() / 4).await;
    }
}

/// Renews the lease after an answer (`lease.rs` says what it proves). Returns when the answered PING was sent, for the next renewal.
fn renew<V: Clone + Send + Sync + 'static>(
    line: &Line<V>,
    link: &Link,
    (before, sent): (Option<Moment>, Moment),
) -> Option<Moment> {
    let lease = &line.local.lease;
    let proven = match line.tracking {
        Tracking::OptIn => Some(sent),
        Tracking::Broadcast(_) => before,
    };
    let renewal = proven.map_or(Renewal::Same, |proven| lease.renew(link.number, proven));
    if let Renewal::Fresh { untold } = renewal {
        if untold {
            events::cut_off(None);
        }
        events::fresh();
        line.renewed.notify_waiters();
    }
    Some(sent)
}

/// Waits until the next PING is due. Then has what is over swept out, if there is anything. There is no hurry: reads do not find it anyway.
/// A sweep takes time in proportion to the entries, and the PING does not wait for it.
async fn pause<V: Clone + Send + Sync + 'static>(line: &Line<V>, link: &Link, until: Instant) {
    tokio::select! {
        () = sleep_until(until) => {
            line.sweep_soon();
        }
        () = link.over() => {}
    }
}

/// Connects, with as many attempts as it takes. Each has a number of its own: so the end of an older connection is not taken for this one's.
async fn open_again<V: Clone + Send + Sync + 'static>(line: &Line<V>, number: &mut LinkNumber) -> Link {
    let mut pause = FIRST_PAUSE;
    loop {
        *number = number.next();
        match line.open(*number).await {
            Ok(link) => return link,
            Err(error) => {
                line.slot.send_replace(Slot::Down(error));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Lease;
    use crate::local::Fill;
    use std::sync::mpsc;
    use std::time::Instant;
    use tidewheel::Cache;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn line(runtime: Handle) -> Line<u32> {
        let cache = || Cache::builder().build().unwrap();
        let local = Local::new(cache(), cache(), Lease::new(PATIENCE), Box::default());
        Line {
            local: Arc::new(local),
            client: Client::open("redis://127.0.0.1:1/").unwrap(),
            tracking: Tracking::OptIn,
            patience: PATIENCE,
            slot: watch::Sender::new(Slot::Connecting(None)),
            runtime,
            renewed: Notify::new(),
        }
    }

    /// While no thread has time to sweep, one sweep waits for that, and not one more for each quarter of a lease.
    #[test]
    fn one_sweep_waits_for_a_thread_and_then_the_next_may() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let line = line(runtime.handle().clone());
        for round in 0..3 {
            let (go_on, is_let) = mpsc::channel::<()>();
            runtime.spawn_blocking(move || is_let.recv());
            let (sent, epoch) = (line.local.lease.now(), line.local.epoch());
            let fill = Fill { answer: Ok(Some(1)), sent, until: sent.after(PATIENCE), ends: None, epoch };
            line.local.cache.insert((*b"k").into(), fill);
            line.local.flush();
            for _ in 0..100 {
                line.sweep_soon();
            }
            let holders = Arc::strong_count(&line.local);
            assert_eq!(holders, 2, "the line and one sweep, in round {round}");
            drop(go_on);
            let begun = Instant::now();
            while line.local.cache.entry_count() > 0 || Arc::strong_count(&line.local) > 1 {
                assert!(begun.elapsed() < PATIENCE, "never swept, in round {round}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
