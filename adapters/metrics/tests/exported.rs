//! What each exporter is told of one and the same cache.

use std::time::Duration;
use tidewheel::{Cache, ManualClock};
use tidewheel_metrics::{Caches, WatchError};

/// A cache in which each figure is another one.
fn used() -> Cache<u64, u32> {
    let clock = ManualClock::new();
    let builder = Cache::builder().name("pages").max_capacity(100).weigher(|_: &u64, weight: &u32| *weight);
    let cache = builder.shards(1).clock(clock.clone()).record_stats().build().unwrap();
    for key in 0..8 {
        cache.insert_with_ttl(key, 5, Duration::from_millis(900));
    }
    (0..3).for_each(|key| cache.insert_with_ttl(key, 5, Duration::from_millis(900)));
    for key in 0..12 {
        cache.get(&key);
    }
    cache.get(&0);
    cache.invalidate(&7);
    clock.advance(Duration::from_secs(1));
    cache.insert(20, 7);
    cache.insert(21, 200);
    for key in 30..33 {
        cache.insert(key, 40);
    }
    assert!(cache.stats().evicted > 0);
    cache
}

/// Names, labels and values of all that is counted or measured.
const FIGURES: [(&str, &str, f64); 12] = [
    ("tidewheel_requests", "hit", 9.0),
    ("tidewheel_requests", "miss", 4.0),
    ("tidewheel_writes", "insert", 12.0),
    ("tidewheel_writes", "replace", 3.0),
    ("tidewheel_writes", "refused", 1.0),
    ("tidewheel_removals", "expired", 7.0),
    ("tidewheel_removals", "explicit", 1.0),
    ("tidewheel_refreshes", "success", 0.0),
    ("tidewheel_refreshes", "failure", 0.0),
    ("tidewheel_capacity", "", 100.0),
    ("tidewheel_debris", "", 0.0),
    ("tidewheel_reaper_lag_seconds", "", 0.0),
];

/// What depends on whom the policy chose is asked of the cache.
fn all_figures(cache: &Cache<u64, u32>) -> Vec<(&'static str, &'static str, f64)> {
    let mut all = FIGURES.to_vec();
    all.push(("tidewheel_entries", "", cache.entry_count() as f64));
    all.push(("tidewheel_weight", "", cache.weighted_size() as f64));
    all.push(("tidewheel_removals", "size", cache.stats().evicted as f64));
    all.push(("tidewheel_evicted_weight", "", cache.stats().evicted_weight as f64));
    for figure in &mut all {
        match figure.0 {
            "tidewheel_debris" => figure.2 = cache.stats().debris as f64,
            "tidewheel_reaper_lag_seconds" => figure.2 = cache.stats().reaper_lag.as_secs_f64(),
            _ => {}
        }
    }
    all
}

#[test]
fn a_cache_needs_a_name_of_its_own_and_is_not_kept_alive() {
    let caches = Caches::new();
    let nameless: Cache<u64, u64> = Cache::new(10);
    assert_eq!(caches.watch(&nameless), Err(WatchError::NoName));
    let named = || Cache::<u64, u64>::builder().name("pages").build().unwrap();
    let first = named();
    caches.watch(&first).unwrap();
    let error = caches.watch(&named()).unwrap_err();
    assert_eq!(error, WatchError::NameTaken { name: "pages".into() });
    assert!(error.to_string().contains("'pages'"), "{error}");
    assert_eq!(format!("{caches:?}"), "{\"pages\"}");
    drop(first);
    caches.watch(&named()).unwrap();
}

#[cfg(feature = "prometheus-client")]
mod scraped {
    use super::{Cache, Caches, all_figures, used};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    fn page(caches: &Caches) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(caches.clone()));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn each_figure_is_on_the_page_once() {
        let (caches, cache) = (Caches::new(), used());
        caches.watch(&cache).unwrap();
        let page = page(&caches);
        let counters = ["requests", "writes", "removals", "refreshes", "evicted_weight"];
        for (name, label, value) in all_figures(&cache) {
            let is_counter = counters.iter().any(|counter| name.ends_with(counter));
            let name = if is_counter { format!("{name}_total") } else { name.to_owned() };
            let line = |line: &&str| {
                line.starts_with(&format!("{name}{{cache=\"pages\""))
                    && line.contains(&format!("=\"{label}\"")) != label.is_empty()
            };
            let lines: Vec<_> = page.lines().filter(line).collect();
            let [line] = lines.as_slice() else { panic!("{name} {label}: {lines:?} of {page}") };
            let told: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, value, "{line}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn lateness_is_a_histogram_with_its_sum() {
        let (caches, cache) = (Caches::new(), used());
        caches.watch(&cache).unwrap();
        let page = page(&caches);
        let of = "tidewheel_expiry_lateness_seconds";
        // Seven that were 100 ms late: in no bucket up to 64 ms, in each from 128 ms on.
        for (limit, count) in [("0.064", 0), ("0.128", 7), ("4.096", 7), ("+Inf", 7)] {
            let line = format!("{of}_bucket{{le=\"{limit}\",cache=\"pages\"}} {count}\n");
            assert!(page.contains(&line), "{line}: {page}");
        }
        assert!(page.contains(&format!("{of}_count{{cache=\"pages\"}} 7\n")), "{page}");
        assert!(page.contains(&format!("{of}_sum{{cache=\"pages\"}} 0.7\n")), "{page}");
    }

    #[test]
    fn a_cache_without_a_bound_has_no_capacity_and_one_that_is_dropped_no_figures() {
        let caches = Caches::new();
        let free = Cache::<u64, u64>::builder().name("free \"of\" bounds\n").build().unwrap();
        caches.watch(&free).unwrap();
        let before = page(&caches);
        assert!(!before.contains("tidewheel_capacity{"), "{before}");
        assert!(before.contains(r#"{cache="free \"of\" bounds\n"}"#), "{before}");
        drop(free);
        assert!(!page(&caches).contains("cache="), "{}", page(&caches));
    }
}

#[cfg(feature = "metrics")]
mod told {
    use super::{Caches, all_figures, used};
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    /// A recorder that remembers.
    #[derive(Default)]
    struct Remembers(Mutex<HashMap<Key, (Arc<AtomicU64>, bool)>>);

    impl Remembers {
        fn of(&self, key: &Key, is_gauge: bool) -> Arc<AtomicU64> {
            Arc::clone(
                &self.0.lock().unwrap().entry(key.clone()).or_insert_with(|| (Arc::default(), is_gauge)).0,
            )
        }
    }

    impl Recorder for Remembers {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key, false))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key, true))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("{key}")
        }
    }

    #[test]
    fn a_recorder_is_told_each_figure_once_however_often_it_is_told() {
        let (caches, cache, recorder) = (Caches::new(), used(), Remembers::default());
        caches.watch(&cache).unwrap();
        for _ in 0..3 {
            metrics::with_local_recorder(&recorder, || caches.record());
        }
        let told = recorder.0.lock().unwrap();
        let all = all_figures(&cache);
        assert_eq!(told.len(), all.len());
        for (name, label, value) in all {
            let is_it = |key: &Key| {
                let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
                let own = labels.get(1).copied().unwrap_or("");
                key.name().trim_end_matches("_total") == name && labels[0] == "pages" && own == label
            };
            let (_, (bits, is_gauge)) = told.iter().find(|(key, _)| is_it(key)).unwrap();
            let bits = bits.load(Ordering::Relaxed);
            let found = if *is_gauge { f64::from_bits(bits) } else { bits as f64 };
            assert_eq!(found, value, "{name} {label}");
        }
    }
}

#[cfg(feature = "opentelemetry")]
mod observed {
    use super::{Caches, all_figures, used};
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
    use std::collections::HashMap;

    #[test]
    fn a_reader_finds_each_figure_once() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        let (caches, cache) = (Caches::new(), used());
        caches.observe(&provider.meter("tidewheel"));
        // Later than the instruments.
        caches.watch(&cache).unwrap();
        provider.force_flush().unwrap();
        let finished = exporter.get_finished_metrics().unwrap();
        let mut found = HashMap::new();
        for metric in finished[0].scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut add = |value: f64, attributes: Vec<(String, String)>| {
                let own =
                    attributes.iter().find(|(key, _)| key != "cache").map_or("", |(_, value)| value.as_str());
                assert!(attributes.contains(&("cache".into(), "pages".into())), "{attributes:?}");
                assert!(found.insert((metric.name().to_owned(), own.to_owned()), value).is_none());
            };
            let texts = |key: &opentelemetry::KeyValue| (key.key.to_string(), key.value.to_string());
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    sum.data_points()
                        .for_each(|at| add(at.value() as f64, at.attributes().map(texts).collect()));
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    gauge.data_points().for_each(|at| add(at.value(), at.attributes().map(texts).collect()));
                }
                other => panic!("{}: {other:?}", metric.name()),
            }
        }
        let all = all_figures(&cache);
        assert_eq!(found.len(), all.len());
        for (name, label, value) in all {
            assert_eq!(found[&(name.to_owned(), label.to_owned())], value, "{name} {label}");
        }
    }
}
