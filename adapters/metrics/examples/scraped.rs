//! Serves `/metrics` for Prometheus, of a cache that is used meanwhile: `cargo run --features prometheus-client --example scraped [address]`.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;
use tidewheel::Cache;
use tidewheel_metrics::Caches;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Cache::builder().name("pages").max_capacity(10_000).time_to_live(Duration::from_secs(5));
    let builder = builder.refresh_after_write(Duration::from_secs(3));
    let pages: Cache<u64, u64> = builder.record_stats().build()?;
    let caches = Caches::new();
    caches.watch(&pages)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(caches));
    // In step, so that they ask for the same keys at about the same time.
    for _ in 0..2 {
        let pages = pages.clone();
        std::thread::spawn(move || use_it(&pages));
    }
    drop(pages);

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

/// Reads some pages often and many seldom, from a source that takes some milliseconds, finds nothing at times, and fails at others.
fn use_it(pages: &Cache<u64, u64>) {
    for round in 0u64.. {
        let random = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let key = random % (1 + round % 40_000);
        let slow = || std::thread::sleep(Duration::from_micros(random % 8_000));
        let page = match round % 97 {
            0 => pages.try_get_with(key, || (slow(), Err::<u64, _>("no connection")).1).ok(),
            1 => pages.optionally_get_with(key, || Some(round).filter(|_| random % 2 == 0)),
            2 => Some(pages.get_with(key, || (slow(), round).1)),
            _ => Some(pages.get_with(key, || round)),
        };
        std::hint::black_box(page);
        if round % 500 == 0 {
            pages.invalidate(&key);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
