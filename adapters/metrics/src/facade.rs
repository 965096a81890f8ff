//! For recorders of the `metrics` facade, which are told and do not ask.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, Label};
use metrics::{KeyName, Level, Metadata, Recorder, SharedString, Unit};

impl Caches {
    /// Tells the recorder of this moment (`metrics::set_global_recorder`, or a local one) each figure. Call it before you render
    /// or push, on whatever thread does that.
    ///
    /// The histogram of lateness is not told: a recorder takes single values, and the cache has only counted them.
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
                    let key = key(total.clone().into(), name, point.label);
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
    }
}

fn key(name: KeyName, cache: &str, label: Option<Label>) -> metrics::Key {
    let own = label.map(|(name, value)| metrics::Label::new(name, value));
    let cache = metrics::Label::new("cache", SharedString::from(cache.to_owned()));
    metrics::Key::from_parts(name, [cache].into_iter().chain(own).collect::<Vec<_>>())
}
