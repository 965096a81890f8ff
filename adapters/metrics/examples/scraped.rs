//! Serves `/metrics` for Prometheus, of a cache that is used meanwhile: `cargo run --features prometheus-client --example scraped [address]`.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;
use tidewheel::Cache;
use tidewheel_metrics::Caches;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Cache::builder().name("pages").max_capacity(10_000).time_to_live(Duration::from_secs(20));
    let pages: Cache<u64, u64> = builder.record_stats().build()?;
    let caches = Caches::new();
    caches.watch(&pages)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(caches));
    std::thread::spawn(move || use_it(&pages));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9091".into());
    let listener = TcpListener::bind(address)?;
    println!("http://{}/metrics", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        // The request's head: whatever is asked for, the figures are the answer.
        BufReader::new(&stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .for_each(drop);
        let mut page = String::new();
        encode(&mut page, &registry)?;
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let length = page.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
        )?;
    }
    Ok(())
}

/// Reads some pages often and many seldom.
fn use_it(pages: &Cache<u64, u64>) {
    for round in 0u64.. {
        let key = (round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % (1 + round % 40_000);
        pages.get_with(key, || round);
        if round % 500 == 0 {
            pages.invalidate(&key);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
