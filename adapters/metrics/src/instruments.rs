//! For OpenTelemetry: instruments that are observed when the meter's reader collects.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

impl Caches {
    /// Makes observable instruments of this meter for all figures, of caches that are watched later as well. Once for each meter.
    ///
    /// Counters have no `_total` in their names, which exporters to Prometheus add by themselves. The histogram of lateness is not
    /// there: OpenTelemetry has none that is observed.
    ///
    /// ```
    /// let caches = tidewheel_metrics::Caches::new();
    /// caches.observe(&opentelemetry::global::meter("tidewheel"));
    /// ```
    pub fn observe(&self, meter: &Meter) {
        for family in &COUNTERS {
            let caches = self.clone();
            meter
                .u64_observable_counter(family.name)
                .with_description(family.help)
                .with_callback(move |observer| {
                    for (name, seen) in caches.see() {
                        for point in (family.points)(&seen) {
                            let own = point.label.map(|(name, value)| KeyValue::new(name, value));
                            let cache = KeyValue::new("cache", name.to_string());
                            observer
                                .observe(point.value, &[cache].into_iter().chain(own).collect::<Vec<_>>());
                        }
                    }
                })
                .build();
        }
        for gauge in &GAUGES {
            let caches = self.clone();
            let builder = meter.f64_observable_gauge(gauge.name).with_description(gauge.help);
            let builder = if gauge.name.ends_with("_seconds") { builder.with_unit("s") } else { builder };
            builder
                .with_callback(move |observer| {
                    for (name, seen) in caches.see() {
                        if let Some(value) = (gauge.value)(&seen) {
                            observer.observe(value, &[KeyValue::new("cache", name.to_string())]);
                        }
                    }
                })
                .build();
        }
    }
}
