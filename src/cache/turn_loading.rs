//! Turns, as in `turn.rs`, whose load is counted, and has a span.
//!
//! A span goes to a subscriber, which is user code and may ask for the key: so the turn is marked
//! while one is told. What a load is, and when it runs: `loading.rs`.

use super::turn::Turn;
use crate::inflight::{Leading, Outcome};
use crate::stats::LoadEnd;
use crate::time::Tick;
use crate::trace::Span;

/// The result of a span whose turn was given back before the call's closure ran: no load.
const UNUSED: &str = "unused";

impl<K, V, S> Turn<'_, K, V, S> {
    /// The turn is to bring a value from now on.
    #[inline]
    pub(super) fn begin_loading(&mut self) {
        let _leading = self.lead_while_told();
        self.loading = self.cache.begin_loading();
    }

    /// The load has ended. Comes before anybody is told.
    #[inline]
    pub(super) fn end_loading(&mut self, end: LoadEnd) {
        let _leading = self.lead_while_told();
        let loading = self.loading.take();
        if let Some(began) = loading.began() {
            self.count(began, end);
        }
        loading.span.end(end.name());
    }

    /// The turn is given back before the call's closure ran. So it is no load, and is not counted.
    pub(super) fn forgo_loading(&mut self) {
        let _leading = self.lead_while_told();
        self.loading.take().span.end(UNUSED);
    }

    /// As `lead`, where a span is told: a subscriber is user code, which may ask for the key.
    #[inline(always)]
    pub(super) fn lead_while_told(&self) -> Option<Leading> {
        if Span::IS_TOLD { self.lead() } else { None }
    }

    #[inline(never)]
    fn count(&self, began: Tick, end: LoadEnd) {
        let parts = self.cache.parts();
        if let Some(loads) = &parts.loads {
            loads.note(end, parts.config.clock.now().since(began).as_duration());
        }
    }

    /// The turn ends with nothing said.
    #[inline]
    pub(super) fn abandon_loading(&mut self) {
        let is_running = self.loading.is_running();
        self.end_loading(if is_running { LoadEnd::Panic } else { LoadEnd::Cancelled });
    }

    /// The load has come to something that is not stored.
    #[inline]
    pub(super) fn end_loading_without<T>(&mut self, outcome: &Outcome<T>) {
        self.end_loading(match outcome {
            Outcome::Value(_) => LoadEnd::Success,
            Outcome::Error(_) => LoadEnd::Failure,
            Outcome::Nothing => LoadEnd::Absent,
        });
    }
}
