//! For prometheus-client: a collector, which looks at the caches when it is scraped.

use super::caches::Caches;
use super::families::{COUNTERS, GAUGES, HISTOGRAMS, Label};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

/// `Registry::register_collector(Box::new(caches))` exports the caches.
///
/// ```
/// use prometheus_client::encoding::text::encode;
/// use prometheus_client::registry::Registry;
/// use tidewheel::Cache;
///
/// let caches = tidewheel_metrics::Caches::new();
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(caches.clone()));
///
/// let pages: Cache<u64, String> = Cache::builder().name("pages").record_stats().build()?;
/// caches.watch(&pages)?;
/// pages.get(&1);
///
/// let mut page = String::new();
/// encode(&mut page, &registry)?;
/// assert!(page.contains("tidewheel_requests_total{cache=\"pages\",result=\"miss\"} 1"), "{page}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Collector for Caches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = self.see();
        all.retain(|told| told.now.is_some());
        for (number, family) in COUNTERS.iter().enumerate() {
            let mut metrics =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
            for told in &all {
                for point in &told.totals.counters[number] {
                    let labels = labels(&told.name, point.label);
                    metrics
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, f64>(&point.value, None)?;
                }
            }
        }
        for gauge in &GAUGES {
            let (name, unit) = without_unit(gauge.name);
            let mut metrics =
                encoder.encode_descriptor(name, gauge.help, unit.as_ref(), MetricType::Gauge)?;
            for told in &all {
                if let Some(value) = told.now.as_ref().and_then(gauge.value) {
                    metrics.encode_family(&labels(&told.name, None))?.encode_gauge(&value)?;
                }
            }
        }
        for (number, histogram) in HISTOGRAMS.iter().enumerate() {
            let (name, unit) = without_unit(histogram.name);
            let mut metrics =
                encoder.encode_descriptor(name, histogram.help, unit.as_ref(), MetricType::Histogram)?;
            for told in &all {
                let has = &told.totals.histograms[number];
                metrics.encode_family(&labels(&told.name, None))?.encode_histogram::<NoLabelSet>(
                    has.sum,
                    has.count(),
                    &has.counts,
                    None,
                )?;
            }
        }
        Ok(())
    }
}

/// The encoder adds the unit to the name.
fn without_unit(name: &'static str) -> (&'static str, Option<Unit>) {
    match name.strip_suffix("_seconds") {
        Some(name) => (name, Some(Unit::Seconds)),
        None => (name, None),
    }
}

fn labels(cache: &str, label: Option<Label>) -> Vec<(&'static str, String)> {
    let own = label.map(|(name, value)| (name, value.to_owned()));
    [("cache", cache.to_owned())].into_iter().chain(own).collect()
}
