//! What `tracing` is told: each cut and each end of one, once.

use crate::proxy::Mode;
use crate::{Bed, LEASE, Near, builder, is_fresh};
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The messages of the near cache's events.
type Messages = Arc<Mutex<Vec<String>>>;

thread_local! {
    /// Of this thread, which is that of a test and all of its tasks.
    static OWN: RefCell<Option<Messages>> = const { RefCell::new(None) };
}

/// Writes each thread's events down, where the thread wants that. There is one for the whole process: with one for each thread it depends on which
/// thread comes by first whether an event is told at all.
struct Remembers;

impl Remembers {
    /// From now on, on this thread.
    fn here() -> Messages {
        static ALL: Once = Once::new();
        ALL.call_once(|| {
            tracing::subscriber::set_global_default(Remembers).expect("it is the only one");
            // Some other test's thread may have come by an event just before.
            tracing::callsite::rebuild_interest_cache();
        });
        let own = Messages::default();
        OWN.set(Some(own.clone()));
        own
    }
}

fn told(messages: &Messages) -> Vec<String> {
    messages.lock().expect("nobody panics with it").clone()
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
        OWN.with_borrow(|own| {
            if let Some(messages) = own {
                event.record(&mut Message(&mut messages.lock().expect("nobody panics with it")));
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// It is fresh, and was told so at first; each cut so far is told, and its end, and nothing else. (There may be more of them, on a machine
/// that has other things to do.)
async fn each_is_told_once(bed: &Bed, messages: &Messages) {
    let all = |cuts| [&["fresh"][..], &["cut off", "fresh"].repeat(cuts)].concat();
    let is_so = |near: &Near| is_fresh(near) && told(messages) == all(near.stats().cuts as usize);
    for _ in 0..5000 {
        if is_so(&bed.near) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} cuts, and told: {:?}", bed.near.stats().cuts, told(messages));
}

#[tokio::test]
async fn a_lease_that_runs_out_while_errors_come_is_told_once() {
    let messages = Remembers::here();
    let Some(bed) = Bed::new().await else { return };
    for _ in 0..2 {
        let before = bed.near.stats().cuts;
        bed.proxy.lie(b"+PONG\r\n", b"-MISCONF it cannot save\r\n");
        bed.until("it is cut off", |near| near.stats().cuts > before).await;
        tokio::time::sleep(LEASE * 2).await;
        bed.proxy.lie(b"+PONG\r\n", b"+PONG\r\n");
        each_is_told_once(&bed, &messages).await;
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_in_silence_is_told_at_once() {
    let messages = Remembers::here();
    let Some(bed) = Bed::with(builder().patience(Duration::from_secs(60))).await else { return };
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    // Long before it is out of patience.
    bed.until("it is told", |_| told(&messages).last().is_some_and(|last| last == "cut off")).await;
    bed.proxy.set(Mode::Pass);
    each_is_told_once(&bed, &messages).await;
}

#[tokio::test]
async fn a_connection_that_ends_is_told_once_whether_or_not_the_lease_had_run_out() {
    let messages = Remembers::here();
    let Some(bed) = Bed::new().await else { return };
    bed.proxy.cut();
    bed.until("it is cut off", |near| near.stats().cuts > 0).await;
    each_is_told_once(&bed, &messages).await;
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off again", |near| !is_fresh(near)).await;
    bed.proxy.cut();
    tokio::time::sleep(LEASE).await;
    bed.proxy.set(Mode::Pass);
    each_is_told_once(&bed, &messages).await;
}
