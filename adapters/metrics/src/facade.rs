//! For recorders of the `metrics` facade, which are told and do not ask.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, HISTOGRAMS};
use metrics::{KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};

impl Caches {
    /// Gives each figure to the current recorder (`metrics::set_global_recorder`, or a local one). Call it before you render
    /// or push, on whatever thread does that.
    ///
    /// A recorder's histogram takes single values, and the cache has only counted them. So a histogram is given in the form that Prometheus
    /// makes of one, which `histogram_quantile` can read: counters `.._bucket`, each with its limit in the label `le`; a
    /// counter `.._count`; and the sum as a gauge `.._sum`, since a counter has no fractions.
    ///
    /// A recorder keeps a gauge until it gets another value. So the first call after a cache is gone sets its gauges to zero; later calls say nothing
    /// of that cache. If you use several recorders in turn, the others keep the last values that they got.
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
        let mut all = self.see_to_record();
        all.retain(|(told, last)| told.now.is_some() || last.is_some());
        for (number, family) in COUNTERS.iter().enumerate() {
            let total = format!("{}_total", family.name);
            recorder.describe_counter(total.clone().into(), None, family.help.into());
            for (told, _) in &all {
                for point in &told.totals.counters[number] {
                    let own = point.label.map(|(name, value)| Label::new(name, value));
                    let key = key(total.clone().into(), &told.name, own);
                    recorder.register_counter(&key, &metadata).absolute(point.value);
                }
            }
        }
        for gauge in &GAUGES {
            let unit = gauge.name.ends_with("_seconds").then_some(Unit::Seconds);
            recorder.describe_gauge(gauge.name.into(), unit, gauge.help.into());
            for (told, last) in &all {
                let [now, last] = [&told.now, last].map(|seen| seen.as_ref().and_then(gauge.value));
                if let Some(value) = now.or(last.map(|_| 0.0)) {
                    let key = key(gauge.name.into(), &told.name, None);
                    recorder.register_gauge(&key, &metadata).set(value);
                }
            }
        }
        for (number, histogram) in HISTOGRAMS.iter().enumerate() {
            let part = |part: &str| format!("{}_{part}", histogram.name);
            let [bucket, count, sum] = ["bucket", "count", "sum"].map(part);
            recorder.describe_counter(bucket.clone().into(), None, histogram.help.into());
            recorder.describe_counter(count.clone().into(), None, histogram.help.into());
            recorder.describe_gauge(sum.clone().into(), Some(Unit::Seconds), histogram.help.into());
            for (told, _) in &all {
                let has = &told.totals.histograms[number];
                for (limit, below) in has.cumulative() {
                    let key = key(bucket.clone().into(), &told.name, Some(Label::new("le", limit)));
                    recorder.register_counter(&key, &metadata).absolute(below);
                }
                let of = |part: &String| key(part.clone().into(), &told.name, None);
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
