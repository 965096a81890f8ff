//! A cache in front of something slow, for tasks: each key is fetched once, however many tasks ask for it, and a task that
//! gives up while it fetches leaves nobody waiting.
//!
//! ```sh
//! cargo run --release --features async --example read_through_async
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidewheel::Cache;
use tokio::sync::Semaphore;

/// What answers once it is allowed to.
struct Remote {
    answers: Semaphore,
    questions: AtomicUsize,
}

impl Remote {
    async fn name_of(&self, id: u32) -> String {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.expect("it is never closed").forget();
        format!("user {id}")
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// Until so many have been asked.
    async fn asked(&self, questions: usize) {
        while self.questions() < questions {
            tokio::task::yield_now().await;
        }
    }
}

/// Clones are handles to the same cache and the same remote.
#[derive(Clone)]
struct Users {
    remote: Arc<Remote>,
    cache: Cache<u32, String>,
}

impl Users {
    async fn name_of(&self, id: u32) -> String {
        self.cache.get_with_async(id, self.remote.name_of(id)).await
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let users = Users {
        remote: Arc::new(Remote { answers: Semaphore::new(0), questions: AtomicUsize::new(0) }),
        cache: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build()?,
    };
    tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
        let ask = |id| {
            let users = users.clone();
            tokio::spawn(async move { users.name_of(id).await })
        };

        // A hundred tasks ask at once: one question. They wait without a thread each.
        let tasks: Vec<_> = (0..100).map(|_| ask(1)).collect();
        users.remote.asked(1).await;
        users.remote.answers.add_permits(1);
        for task in tasks {
            assert_eq!(task.await?, "user 1");
        }
        println!("100 tasks, {} question", users.remote.questions());

        // The one that fetches gives up: another one fetches for those who wait.
        let gives_up = ask(2);
        users.remote.asked(2).await;
        let waits = ask(2);
        gives_up.abort();
        users.remote.asked(3).await;
        users.remote.answers.add_permits(1);
        println!("who waited got {}, after {} questions", waits.await?, users.remote.questions());
        Ok(())
    })
}
