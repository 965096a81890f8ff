//! For recorders of the `metrics` facade, which are told and do not ask.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, HISTOGRAMS};
use metrics::{KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};

impl Caches {
    /// Tells the recorder of this moment (`metrics::set_global_recorder`, or a local one) each figure. Call it before you render
    /// or push, on whatever thread does that.
    ///
    /// A recorder's histogram takes single values, and the cache has only counted them. So a histogram is told as what Prometheus makes of
    /// one, from which `histogram_quantile` finds what it looks for: counters `.._bucket`, each with its limit in the label `le`; a
    /// counter `.._count`; and the sum as a gauge `.._sum`, since a counter has no fractions.
    ///
    /// ```
    /// let caches = tidewheel_metrics::Caches::new();
    /// caches.record();
    /// ```
    pub fn record(&self) {
        metrics::with_recorder(|recorder| self.record_to(recorder));
    }

    /// Tells this recorder each figure.
    ///
    /// ```
    /// # use metrics::NoopRecorder;
    /// let caches = tidewheel_metrics::Caches::new();
    /// caches.record_to(&NoopRecorder);
    /// ```
    pub fn record_to(&self, recorder: &dyn Recorder) {
        let metadata = Metadata::new(module_path!(), Level::INFO, None);
        let all = self.see();
        for family in &COUNTERS {
            let total = format!("{}_total", family.name);
            recorder.describe_counter(total.clone().into(), None, family.help.into());
            for (name, seen) in &all {
                for point in (family.points)(seen) {
                    let own = point.label.map(|(name, value)| Label::new(name, value));
                    let key = key(total.clone().into(), name, own);
                    recorder.register_counter(&key, &metadata).absolute(point.value);
                }
            }
        }
        for gauge in &GAUGES {
            let unit = gauge.name.ends_with("_seconds").then_some(Unit::Seconds);
            recorder.describe_gauge(gauge.name.into(), unit, gauge.help.into());
            for (name, seen) in &all {
                if let Some(value) = (gauge.value)(seen) {
                    recorder.register_gauge(&key(gauge.name.into(), name, None), &metadata).set(value);
                }
            }
        }
        for histogram in &HISTOGRAMS {
            let part = |part: &str| format!("{}_{part}", histogram.name);
            let [bucket, count, sum] = ["bucket", "count", "sum"].map(part);
            recorder.describe_counter(bucket.clone().into(), None, histogram.help.into());
            recorder.describe_counter(count.clone().into(), None, histogram.help.into());
            recorder.describe_gauge(sum.clone().into(), Some(Unit::Seconds), histogram.help.into());
            for (name, seen) in &all {
                let has = (histogram.look)(seen);
                for (limit, below) in has.cumulative() {
                    let key = key(bucket.clone().into(), name, Some(Label::new("le", limit)));
                    recorder.register_counter(&key, &metadata).absolute(below);
                }
                let of = |part: &String| key(part.clone().into(), name, None);
                recorder.register_counter(&of(&count), &metadata).absolute(has.count());
                recorder.register_gauge(&of(&sum), &metadata).set(has.sum);
            }
        }
    }
}

fn key(name: KeyName, cache: &str, own: Option<Label>) -> metrics::Key {
    let cache = Label::new("cache", SharedString::from(cache.to_owned()));
    metrics::Key::from_parts(name, [cache].into_iter().chain(own).collect::<Vec<_>>())
}
