//! What `tracing` is told: each cut and each end of one, once.

use crate::proxy::Mode;
use crate::{Bed, LEASE, Near, builder, is_fresh};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// Remembers the messages of the near cache's events.
#[derive(Clone, Default)]
struct Remembers(Arc<Mutex<Vec<String>>>);

impl Remembers {
    /// On this thread, which is that of a test and all of its tasks.
    fn here() -> (Self, DefaultGuard) {
        let remembers = Self::default();
        let guard = tracing::subscriber::set_default(remembers.clone());
        (remembers, guard)
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

struct Message<'m>(&'m mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Remembers {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tidewheel_redis"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&mut self.0.lock().expect("nobody panics with it")));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// It is fresh, and was told so at first; each cut so far is told, and its end, and nothing else. (There may be more of them, on a machine
/// that has other things to do.)
async fn each_is_told_once(bed: &Bed, remembers: &Remembers) {
    let all = |cuts| [&["fresh"][..], &["cut off", "fresh"].repeat(cuts)].concat();
    let is_so = |near: &Near| is_fresh(near) && remembers.told() == all(near.stats().cuts as usize);
    for _ in 0..5000 {
        if is_so(&bed.near) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} cuts, and told: {:?}", bed.near.stats().cuts, remembers.told());
}

#[tokio::test]
async fn a_lease_that_runs_out_while_errors_come_is_told_once() {
    let (remembers, _guard) = Remembers::here();
    let Some(bed) = Bed::new().await else { return };
    for _ in 0..2 {
        let before = bed.near.stats().cuts;
        bed.proxy.lie(b"+PONG\r\n", b"-MISCONF it cannot save\r\n");
        bed.until("it is cut off", |near| near.stats().cuts > before).await;
        tokio::time::sleep(LEASE * 2).await;
        bed.proxy.lie(b"+PONG\r\n", b"+PONG\r\n");
        each_is_told_once(&bed, &remembers).await;
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_in_silence_is_told_at_once() {
    let (remembers, _guard) = Remembers::here();
    let Some(bed) = Bed::with(builder().patience(Duration::from_secs(20))).await else { return };
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    tokio::time::sleep(LEASE / 2).await;
    let told = remembers.told();
    assert_eq!(
        told.last().map(String::as_str),
        Some("cut off"),
        "long before it is out of patience: {told:?}"
    );
    bed.proxy.set(Mode::Pass);
    each_is_told_once(&bed, &remembers).await;
}

#[tokio::test]
async fn a_connection_that_ends_is_told_once_whether_or_not_the_lease_had_run_out() {
    let (remembers, _guard) = Remembers::here();
    let Some(bed) = Bed::new().await else { return };
    bed.proxy.cut();
    bed.until("it is cut off", |near| near.stats().cuts > 0).await;
    each_is_told_once(&bed, &remembers).await;
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off again", |near| !is_fresh(near)).await;
    bed.proxy.cut();
    tokio::time::sleep(LEASE).await;
    bed.proxy.set(Mode::Pass);
    each_is_told_once(&bed, &remembers).await;
}
