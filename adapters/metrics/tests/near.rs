//! What each exporter is told of a near cache: against a real server, where there is one.

#![cfg(all(
    feature = "redis",
    feature = "metrics",
    feature = "opentelemetry",
    feature = "prometheus-client"
))]

#[path = "../../redis/tests/near/server.rs"]
#[allow(dead_code, reason = "the tests of the near cache use more of it")]
mod server;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidewheel_metrics::NearCaches;
use tidewheel_redis::{Codec, CodecError, NearCache};

struct Text;

impl Codec<String> for Text {
    fn encode(&self, value: &String) -> Result<Vec<u8>, CodecError> {
        Ok(value.clone().into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        Ok(String::from_utf8(bytes.to_vec())?)
    }
}

/// With a lease that does not run out while the machine stands still.
async fn connected(server: &server::Server) -> NearCache<str, String> {
    let minute = Duration::from_secs(60);
    let builder = NearCache::<str, String>::builder().codec(Text).lease(minute).patience(minute);
    builder.connect(server.client()).await.expect("it connects")
}

/// A recorder that remembers what it is told under one name.
struct Remembers {
    name: &'static str,
    told: Arc<AtomicU64>,
}

impl Remembers {
    fn of(name: &'static str) -> Self {
        Self { name, told: Arc::default() }
    }

    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        if key.name() == self.name { Arc::clone(&self.told) } else { Arc::default() }
    }

    fn told(&self, near_caches: &NearCaches) -> u64 {
        near_caches.record_to(self);
        self.told.load(Ordering::Relaxed)
    }
}

impl Recorder for Remembers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("{key}")
    }
}

#[tokio::test]
async fn a_name_counts_on_when_another_near_cache_takes_it_and_no_gauge_of_the_first_stands() {
    let Some(server) = server::Server::start().await else { return };
    let near_caches = NearCaches::new();
    let hits = Remembers::of("tidewheel_near_hits_total");
    let mut in_all = 0;
    for is_replaced in [false, true, false] {
        let near = connected(&server).await;
        near.put("k", &"v".to_string(), None).await.expect("it is written");
        while near.stats().hits < 10 {
            near.get("k").await.expect("it answers");
        }
        // Once is enough.
        near_caches.watch("users", &near);
        near_caches.watch("users", &near.clone());
        assert_eq!(hits.told(&near_caches), in_all + near.stats().hits);
        in_all += near.stats().hits;
        let entries = Remembers::of("tidewheel_near_entries");
        assert_eq!(f64::from_bits(entries.told(&near_caches)), 1.0);
        if is_replaced {
            near_caches.watch("users", &connected(&server).await);
        } else {
            drop(near);
        }
        assert_eq!(f64::from_bits(entries.told(&near_caches)), 0.0);
        assert_eq!(hits.told(&near_caches), in_all);
    }
}

#[tokio::test]
async fn a_near_cache_that_gets_its_name_back_is_counted_once() {
    let Some(server) = server::Server::start().await else { return };
    let (first, second) = (connected(&server).await, connected(&server).await);
    first.put("k", &"v".to_string(), None).await.expect("it is written");
    let hit = async |near: &NearCache<str, String>, hits| {
        while near.stats().hits < hits {
            near.get("k").await.expect("it answers");
        }
    };
    hit(&first, 10).await;
    hit(&second, 5).await;
    let near_caches = NearCaches::new();
    let hits = Remembers::of("tidewheel_near_hits_total");
    near_caches.watch("users", &first);
    near_caches.watch("users", &second);
    assert_eq!(hits.told(&near_caches), 15);
    hit(&first, 12).await;
    assert_eq!(hits.told(&near_caches), 15, "it has not got the name");
    near_caches.watch("users", &first);
    assert_eq!(hits.told(&near_caches), 17);
    near_caches.watch("users", &second);
    assert_eq!(hits.told(&near_caches), 17);
    // One that is gone is counted on, whether or not it had the name.
    drop((first, second));
    hits.told(&near_caches);
    let third = connected(&server).await;
    near_caches.watch("users", &third);
    assert_eq!(hits.told(&near_caches), 17);
}

/// The age of the lease, in seconds, as a page tells it.
fn lease_age(page: &str) -> f64 {
    let name = "tidewheel_near_lease_age_seconds{cache=\"users\"} ";
    let told = page.lines().find_map(|line| line.strip_prefix(name));
    told.expect("it is told").parse().expect("a number")
}

#[tokio::test]
async fn each_exporter_is_told_of_a_near_cache() {
    let Some(server) = server::Server::start().await else { return };
    let made = Instant::now();
    let near = connected(&server).await;
    near.put("k", &"v".to_string(), None).await.expect("it is written");
    while near.stats().hits < 3 {
        near.get("k").await.expect("it answers");
    }
    near.get("nothing").await.expect("it answers");
    let near_caches = NearCaches::new();
    near_caches.watch("users", &near);
    let stats = near.stats();
    let kept = stats.fills - stats.unkept;
    assert!(kept >= 1 && stats.unkept >= 1, "{stats:?}");

    let mut registry = Registry::default();
    registry.register_collector(Box::new(near_caches.clone()));
    let page = || {
        let mut page = String::new();
        encode(&mut page, &registry).expect("it is text");
        page
    };
    let seen = page();
    for line in [
        format!("tidewheel_near_hits_total{{cache=\"users\"}} {}", stats.hits),
        format!("tidewheel_near_fills_total{{cache=\"users\",result=\"kept\"}} {kept}"),
        format!("tidewheel_near_fills_total{{cache=\"users\",result=\"unkept\"}} {}", stats.unkept),
        "tidewheel_near_cut_off_seconds_total{cache=\"users\"} 0.0".to_string(),
        "tidewheel_near_entries{cache=\"users\"} ".to_string(),
    ] {
        assert!(seen.contains(&line), "{line} is not in:\n{seen}");
    }
    let age = lease_age(&seen);
    assert!(0.0 < age && age <= made.elapsed().as_secs_f64(), "{age}");

    let exporter = InMemoryMetricExporter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    near_caches.observe(&provider.meter("test"));
    provider.force_flush().expect("it is exported");
    let told = exporter.get_finished_metrics().expect("it was exported");
    let hits = told.iter().flat_map(|all| all.scope_metrics()).flat_map(|scope| scope.metrics());
    let hits =
        hits.filter(|metric| metric.name() == "tidewheel_near_hits").find_map(|metric| match metric.data() {
            AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                sum.data_points().map(|point| point.value()).next()
            }
            _ => None,
        });
    assert_eq!(hits, Some(stats.hits as f64));

    near_caches.record_to(&metrics::NoopRecorder);
    drop(near);
    assert!(!page().contains("users"), "a near cache that is gone is exported no more");
}
