//! For OpenTelemetry: instruments that are observed when the meter's reader collects.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, HISTOGRAMS};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

impl Caches {
    /// Makes observable instruments of this meter for all figures, of caches that are watched later as well. Once for each meter.
    ///
    /// The counts of caches that are gone are still observed, as they were: a reader that works with differences would forget them otherwise.
    ///
    /// Counters have no `_total` in their names, which exporters to Prometheus add by themselves. OpenTelemetry has no observable
    /// histogram. So each one has the form that Prometheus makes of a histogram, which `histogram_quantile` can read: counters
    /// `.._bucket`, each with its limit in the attribute `le`, `.._count` and `.._sum`.
    ///
    /// ```
    /// let caches = tidewheel_metrics::Caches::new();
    /// caches.observe(&opentelemetry::global::meter("tidewheel"));
    /// ```
    pub fn observe(&self, meter: &Meter) {
        for (number, family) in COUNTERS.iter().enumerate() {
            let caches = self.clone();
            meter
                .u64_observable_counter(family.name)
                .with_description(family.help)
                .with_callback(move |observer| {
                    for told in caches.see() {
                        for point in &told.totals.counters[number] {
                            let own = point.label.map(|(name, value)| KeyValue::new(name, value));
                            let cache = KeyValue::new("cache", told.name.to_string());
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
                    for told in caches.see() {
                        if let Some(value) = told.now.as_ref().and_then(gauge.value) {
                            observer.observe(value, &[KeyValue::new("cache", told.name.to_string())]);
                        }
                    }
                })
                .build();
        }
        for number in 0..HISTOGRAMS.len() {
            self.observe_parts(meter, number);
        }
    }

    /// The buckets, count and sum of the histogram of that number.
    fn observe_parts(&self, meter: &Meter, number: usize) {
        let histogram = &HISTOGRAMS[number];
        let cache = |name: &str| KeyValue::new("cache", name.to_owned());
        let caches = self.clone();
        meter
            .u64_observable_counter(format!("{}_bucket", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for told in caches.see() {
                    for (limit, below) in told.totals.histograms[number].cumulative() {
                        observer.observe(below, &[cache(&told.name), KeyValue::new("le", limit)]);
                    }
                }
            })
            .build();
        let caches = self.clone();
        meter
            .u64_observable_counter(format!("{}_count", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for told in caches.see() {
                    observer.observe(told.totals.histograms[number].count(), &[cache(&told.name)]);
                }
            })
            .build();
        let caches = self.clone();
        meter
            .f64_observable_counter(format!("{}_sum", histogram.name))
            .with_description(histogram.help)
            .with_callback(move |observer| {
                for told in caches.see() {
                    observer.observe(told.totals.histograms[number].sum, &[cache(&told.name)]);
                }
            })
            .build();
    }
}
