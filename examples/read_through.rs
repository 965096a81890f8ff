//! A cache in front of something slow: each key is fetched once, however many ask for it, failures are told to all who
//! waited and are not kept, and what changes meanwhile is not overwritten with something stale.
//!
//! ```sh
//! cargo run --release --example read_through
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::Cache;

/// What the database has to say, after a while.
struct Database {
    rows: Mutex<HashMap<u32, String>>,
    queries: AtomicUsize,
}

#[derive(Debug)]
struct NoSuchUser(u32);

impl fmt::Display for NoSuchUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no user {}", self.0)
    }
}

impl Database {
    fn user(&self, id: u32) -> Result<String, NoSuchUser> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let name = self.rows.lock().unwrap().get(&id).cloned();
        thread::sleep(Duration::from_millis(50));
        name.ok_or(NoSuchUser(id))
    }

    fn rename(&self, id: u32, name: &str) {
        self.rows.lock().unwrap().insert(id, name.to_string());
    }

    fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Users {
    database: Arc<Database>,
    cache: Cache<u32, String>,
}

impl Users {
    /// All calls that waited share one error, so it is in an `Arc`. Here only its message is wanted.
    fn get(&self, id: u32) -> Result<String, String> {
        self.cache.try_get_with(id, || self.database.user(id)).map_err(|error| error.to_string())
    }

    fn rename(&self, id: u32, name: &str) {
        self.database.rename(id, name);
        // After the write: a fetch that is under way may have read the old row, and is not kept.
        self.cache.invalidate(&id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = HashMap::from([(1, "Ada".to_string()), (2, "Grace".to_string())]);
    let users = Users {
        database: Arc::new(Database { rows: Mutex::new(rows), queries: AtomicUsize::new(0) }),
        cache: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build()?,
    };

    // A hundred ask at once: one query.
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(users.get(1).unwrap(), "Ada"));
        }
    });
    println!("100 readers, {} query", users.database.queries());

    // An error is reported and not kept: the next call asks again.
    println!("{}", users.get(3).unwrap_err());
    users.rename(3, "Barbara");
    println!("user 3 is {}", users.get(3)?);

    // A change while somebody fetches: the reader is told what it asked for, and nobody after it.
    let before = users.database.queries();
    let reader = thread::spawn({
        let users = users.clone();
        move || users.get(2)
    });
    while users.database.queries() == before {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(10));
    users.rename(2, "Grace Hopper");
    println!("who had asked before got {}; now it is {}", reader.join().unwrap()?, users.get(2)?);
    Ok(())
}
