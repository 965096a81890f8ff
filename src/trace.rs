//! What is reported to `tracing`, behind the feature of that name. Without it, these are types of no size and functions without code.
//!
//! A subscriber is user code, so nothing here is called under a lock, and its panics are caught. (The exception is entering a span: a panic
//! there is the load's own, like one of its closure.) This is the only file that names `tracing`. It knows what is reported, but neither caches
//! nor threads.

#[cfg(feature = "tracing")]
pub(crate) use imp::HeldUp;
pub(crate) use imp::{Named, Span, listener_panicked, reaper_came};

#[cfg(not(feature = "tracing"))]
mod imp {
    use crate::time::Span as Time;

    /// The span of a load.
    #[derive(Default)]
    pub(crate) struct Span;

    impl Span {
        /// Whether anything is reported, so that user code runs.
        pub(crate) const IS_TOLD: bool = false;

        #[inline(always)]
        pub(crate) fn load(_: Option<&str>) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn within<R>(&self, run: impl FnOnce() -> R) -> R {
            run()
        }

        #[inline(always)]
        pub(crate) fn end(self, _: &'static str) {}
    }

    /// A cache's name, for who tells of it.
    pub(crate) struct Named;

    impl Named {
        pub(crate) fn new(_: Option<&str>) -> Self {
            Self
        }
    }

    #[inline(always)]
    pub(crate) fn reaper_came(_late: Time) {}

    #[inline(always)]
    pub(crate) fn listener_panicked(_: &Named, _: &'static str) {}
}

#[cfg(feature = "tracing")]
mod imp {
    use crate::sync::atomic::{AtomicU64, Ordering};
    use crate::sync::catch;
    use crate::time::{SECOND, Span as Time, Tick};
    use tracing::field::Empty;

    /// From this long after something was due, the reaper is reported as late: half of what is promised.
    const LATE: Time = Time::from_nanos(SECOND);
    /// Garbage that was held up for this long is reported. Garbage that nobody holds up is promised to go within this time.
    const LONG: Time = Time::from_nanos(2 * SECOND);

    /// The span of a load; `None` if nobody wants it, which is quickly found out. It is in a box, so that turns stay small.
    #[derive(Default)]
    pub(crate) struct Span(Option<Box<tracing::Span>>);

    impl Span {
        /// See above.
        pub(crate) const IS_TOLD: bool = true;

        #[inline]
        pub(crate) fn load(cache: Option<&str>) -> Self {
            if catch(|| tracing::enabled!(target: "tidewheel", tracing::Level::DEBUG)) == Some(true) {
                Self::wanted(cache)
            } else {
                Self(None)
            }
        }

        #[inline(never)]
        fn wanted(cache: Option<&str>) -> Self {
            let span = catch(|| tracing::debug_span!(target: "tidewheel", "load", cache, result = Empty));
            Self(span.filter(|span| !span.is_disabled()).map(Box::new))
        }

        #[inline]
        pub(crate) fn within<R>(&self, run: impl FnOnce() -> R) -> R {
            let _entered = self.0.as_ref().map(|span| span.enter());
            run()
        }

        /// Records what the load came to, and ends the span.
        #[inline]
        pub(crate) fn end(self, result: &'static str) {
            if let Some(span) = &self.0 {
                catch(|| span.record("result", result));
            }
        }
    }

    impl Drop for Span {
        #[inline]
        fn drop(&mut self) {
            if let Some(span) = self.0.take() {
                catch(|| drop(span));
            }
        }
    }

    /// A cache's name, for who tells of it.
    pub(crate) struct Named(Option<String>);

    impl Named {
        pub(crate) fn new(name: Option<&str>) -> Self {
            Self(name.map(str::to_owned))
        }
    }

    /// Reports that a round of the reaper came this late to something that was due, if it is `LATE` or more.
    pub(crate) fn reaper_came(late: Time) {
        if late >= LATE {
            let lag = late.as_duration().as_secs_f64();
            catch(|| tracing::warn!(target: "tidewheel", lag_seconds = lag, "the reaper is late"));
        }
    }

    /// Reports that a listener has panicked. `told` says what kind of thing it was told.
    pub(crate) fn listener_panicked(named: &Named, told: &'static str) {
        let cache = named.0.as_deref();
        catch(|| tracing::error!(target: "tidewheel", cache, told, "a listener has panicked"));
    }

    /// Since when garbage of a cache has been held up.
    #[derive(Debug)]
    pub(crate) struct HeldUp(AtomicU64);

    /// No garbage is held up.
    const NOT: u64 = u64::MAX;
    /// Garbage is held up, and that was reported.
    const TOLD: u64 = u64::MAX - 1;

    impl HeldUp {
        pub(crate) fn new() -> Self {
            Self(AtomicU64::new(NOT))
        }

        /// Notes whether a visit of the reaper has left garbage about which it could do nothing, and reports that once it has lasted.
        pub(crate) fn note(&self, is_stuck: bool, now: Tick, cache: Option<&str>) {
            if let Some(long) = self.judge(is_stuck, now) {
                let seconds = long.as_duration().as_secs_f64();
                catch(|| {
                    tracing::warn!(
                        target: "tidewheel",
                        cache,
                        seconds,
                        "values wait to be dropped: a read guard is held, or a closure that reads does not return"
                    );
                });
            }
        }

        /// Returns for how long garbage has been held up, if that is to be reported now: once each time it is held up.
        fn judge(&self, is_stuck: bool, now: Tick) -> Option<Time> {
            // ORDERING: Relaxed, all; the reaper's own notes.
            let since = self.0.load(Ordering::Relaxed);
            let next = match (is_stuck, since) {
                (false, NOT) | (true, TOLD) => return None,
                (false, _) => NOT,
                (true, NOT) => now.as_nanos(),
                (true, since) if now.since(Tick::from_nanos(since)) < LONG => return None,
                (true, _) => TOLD,
            };
            // ORDERING: Relaxed; as above.
            self.0.store(next, Ordering::Relaxed);
            (next == TOLD).then(|| now.since(Tick::from_nanos(since)))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_held_up_is_told_once_each_time() {
            let held = HeldUp::new();
            let at = |tenths| Tick::from_nanos(tenths * SECOND / 10);
            assert_eq!(held.judge(false, at(0)), None);
            assert_eq!(held.judge(true, at(10)), None);
            assert_eq!(held.judge(true, at(29)), None);
            assert_eq!(held.judge(true, at(31)), Some(Time::from_nanos(21 * SECOND / 10)));
            assert_eq!(held.judge(true, at(90)), None);
            assert_eq!(held.judge(false, at(91)), None);
            // Some garbage was dropped meanwhile, so this is a new hold-up.
            assert_eq!(held.judge(true, at(100)), None);
            assert_eq!(held.judge(false, at(110)), None);
            assert_eq!(held.judge(true, at(115)), None);
            assert_eq!(held.judge(true, at(125)), None);
            assert_eq!(held.judge(true, at(135)), Some(LONG));
        }
    }
}
