//! A load under way, as the statistics see it.
//!
//! A turn that is to bring a value carries one, from its beginning to its end. So each load is counted once, however it ends: a
//! panic and a dropped future count too. A turn that computes, that finds a value when it looks, or that has its value from the
//! start, carries none. Without statistics nothing is counted, and no clock is read. With the feature `tracing` a load has a
//! span.

use super::Cache;
use crate::time::Tick;
use crate::trace::Span;

/// A load, in one word because turns are moved around: whether it is counted, when it began, and whether user code runs for it. If
/// its turn is dropped while user code runs, that has panicked; otherwise the load was given up.
#[derive(Default)]
pub(super) struct Loading {
    word: u64,
    pub(super) span: Span,
}

const RUNS: u64 = 1;
const COUNTED: u64 = 2;
/// What is left are a tick's nanoseconds: 146 years of them.
const FLAGS: u32 = 2;

impl Loading {
    /// It begins on a thread that is about to run user code.
    fn begun(now: Tick) -> u64 {
        now.as_nanos() << FLAGS | COUNTED | RUNS
    }

    /// Whether there is one, and it is counted.
    #[inline]
    pub(super) fn is_counted(&self) -> bool {
        self.word & COUNTED != 0
    }

    /// When it began, unless there is none, or nobody counts it.
    #[inline]
    pub(super) fn began(&self) -> Option<Tick> {
        self.is_counted().then(|| Tick::from_nanos(self.word >> FLAGS))
    }

    /// As it is handed on with its turn, or is counted: none is left.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// From now on, user code runs for it, until it ends, or waits.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.word |= RUNS;
    }

    /// Whether user code runs for it.
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.word & RUNS != 0
    }

    /// It waits: for its executor, or for whatever its future does.
    #[inline]
    pub(super) fn leave(&mut self) {
        self.word &= !RUNS;
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// A load begins, for a turn that is to bring a value.
    #[inline]
    pub(super) fn begin_loading(&self) -> Loading {
        let word = if self.parts().loads.is_some() { self.begin_counted() } else { RUNS };
        Loading { word, span: Span::load(self.name()) }
    }

    #[inline(never)]
    fn begin_counted(&self) -> u64 {
        Loading::begun(self.parts().config.clock.now())
    }

    /// A call was told what another one's load came to.
    #[inline]
    pub(super) fn note_joined(&self) {
        if let Some(loads) = &self.parts().loads {
            loads.note_joined();
        }
    }
}

#[cfg(all(test, not(any(tidewheel_loom, tidewheel_shuttle))))]
mod tests {
    use crate::cache::Cache;
    use crate::reaper::Reaper;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Runs a call on another thread. What is returned hears with what message it panicked.
    fn hear(call: impl FnOnce() + Send + 'static) -> Receiver<Option<String>> {
        let (says, hears) = channel();
        std::thread::spawn(move || {
            let panic = catch_unwind(AssertUnwindSafe(call)).err();
            let message = panic.map(|panic| panic.downcast::<String>().map_or(String::new(), |text| *text));
            let _ = says.send(message);
        });
        hears
    }

    /// A load whose value finds no place panics. A call that waited for it loads for itself, and panics for
    /// itself. None waits for ever.
    #[test]
    fn a_load_that_a_full_shard_has_no_number_for_lets_nobody_wait() {
        let builder = Cache::<u64, u64>::builder().shards(1).reaper(Reaper::manual());
        let cache = builder.build().expect("nothing is refused");
        cache.insert(1, 1);
        let ((begins, has_begun), (go, may_go)) = (channel(), channel::<()>());
        let (of_leader, of_waiter) = (cache.clone(), cache.clone());
        let leader = hear(move || {
            of_leader.get_with(2, || {
                let _ = begins.send(());
                let _ = may_go.recv_timeout(PATIENCE);
                2
            });
        });
        assert_eq!(has_begun.recv_timeout(PATIENCE), Ok(()));
        let waiter = hear(move || {
            of_waiter.get_with(2, || 3);
        });
        // Should it not wait by then, this shows less, and fails nobody.
        std::thread::sleep(Duration::from_millis(300));
        cache.parts().shards[0].exhaust();
        let _ = go.send(());
        for (call, who) in [(leader, "the leader"), (waiter, "the waiter")] {
            let panic = call.recv_timeout(PATIENCE).expect(who);
            assert!(panic.is_some_and(|message| message.contains("2^27 - 64")), "{who}");
        }
        assert_eq!((cache.get(&1), cache.get(&2), cache.entry_count()), (Some(1), None, 1));
    }
}
