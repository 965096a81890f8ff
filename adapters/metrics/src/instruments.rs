//! For OpenTelemetry: instruments that are observed when the meter's reader collects.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, HISTOGRAMS, Histogram};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

impl Caches {
    /// Makes observable instruments of this meter for all figures, of caches that are watched later as well. Once for each meter.
    ///
    /// Counters have no `_total` in their names, which exporters to Prometheus add by themselves. OpenTelemetry has no histogram that is
    /// observed. So each is there as what Prometheus makes of one, from which `histogram_quantile` finds what it looks for: counters
    /// `.._bucket`, each with its limit in the attribute `le`, `.._count` and `.._sum`.
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
        for histogram in &HISTOGRAMS {
            self.observe_parts(meter, histogram);
        }
    }

    /// A histogram's buckets, count and sum.
    fn observe_parts(&self, meter: &Meter, histogram: &'static Histogram) {
        let cache = |name: &str| KeyValue::new("cache", name.to_owned());
        let caches = self.clone();
        meter
            .u64_observable_counter(format!("{}_bucket", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for (name, seen) in caches.see() {
                    for (limit, below) in (histogram.look)(&seen).cumulative() {
                        observer.observe(below, &[cache(&name), KeyValue::new("le", limit)]);
                    }
                }
            })
            .build();
        let caches = self.clone();
        meter
            .u64_observable_counter(format!("{}_count", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for (name, seen) in caches.see() {
                    observer.observe((histogram.look)(&seen).count(), &[cache(&name)]);
                }
            })
            .build();
        let caches = self.clone();
        meter
            .f64_observable_counter(format!("{}_sum", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for (name, seen) in caches.see() {
                    observer.observe((histogram.look)(&seen).sum, &[cache(&name)]);
                }
            })
            .build();
    }
}
