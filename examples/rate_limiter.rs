//! A rate limiter: so many calls in a minute for each client, in a window that begins with the client's first call.
//!
//! The count of a client is an entry, and its window is the entry's life. Counting does not make it longer: the count is changed with
//! `Life::Keep`. When the window is over, no call finds the entry any more, and it leaves memory by itself within two
//! seconds. So clients that have gone need no sweep. `and_upsert_with` counts the calls of many threads one after the other.
//!
//! ```text
//! $ cargo run --release --example rate_limiter
//! three calls in 2 s, then once a second:
//!  0 s  ann: yes (1 of 3)
//!  0 s  ann: yes (2 of 3)
//!  0 s  ann: yes (3 of 3)
//!  0 s  ann: no, again in 2.0 s
//!  0 s  bob: yes (1 of 3)
//!  1 s  ann: no, again in 1.0 s
//!  2 s  ann: yes (1 of 3)
//! 4 threads, 400000 calls of one client within a minute, 1000 allowed: 1000 were
//! ```

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use tidewheel::{BuildError, Cache, Life};

/// Allows each client so many calls in a window.
struct Limiter {
    calls: Cache<&'static str, u32>,
    most: u32,
}

impl Limiter {
    fn new(most: u32, window: Duration) -> Result<Self, BuildError> {
        Ok(Self { calls: Cache::builder().time_to_live(window).build()?, most })
    }

    /// Which call of its window this is; or how long the client has to wait.
    fn call(&self, client: &'static str) -> Result<u32, Duration> {
        // Once the limit is reached, a read turns most calls away.
        let spent = self.calls.peek(&client).is_some_and(|calls| calls >= self.most);
        if !spent {
            let entry = self.calls.entry(client).with_life(Life::Keep);
            let count = entry.and_upsert_with(|calls| calls.map_or(0, |calls| calls.into_value()) + 1);
            if *count.value() <= self.most {
                return Ok(count.into_value());
            }
        }
        Err(self.calls.remaining_ttl(&client).unwrap_or_default())
    }
}

fn main() -> Result<(), BuildError> {
    println!("three calls in 2 s, then once a second:");
    let limiter = Limiter::new(3, Duration::from_secs(2))?;
    let say = |second, client| match limiter.call(client) {
        Ok(count) => println!("{second:2} s  {client}: yes ({count} of 3)"),
        Err(wait) => println!("{second:2} s  {client}: no, again in {:.1} s", wait.as_secs_f64()),
    };
    (0..4).for_each(|_| say(0, "ann"));
    say(0, "bob");
    for second in 1..3 {
        thread::sleep(Duration::from_secs(1));
        say(second, "ann");
    }

    let limiter = Limiter::new(1_000, Duration::from_secs(60))?;
    let allowed = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let count = (0..100_000).filter(|_| limiter.call("ann").is_ok()).count();
                allowed.fetch_add(count as u32, Ordering::Relaxed);
            });
        }
    });
    let allowed = allowed.into_inner();
    println!("4 threads, 400000 calls of one client within a minute, 1000 allowed: {allowed} were");
    assert_eq!(allowed, 1_000);
    Ok(())
}
