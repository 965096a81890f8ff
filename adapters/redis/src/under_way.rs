//! Loads that are under way, and the writes of this process that overtake them.
//!
//! A loader reads its source, and what it made is put into Redis where there is nothing. A write that begins meanwhile is newer than that. So a
//! write overtakes every load of its key that began before it, and what such a load made is not put down. If it is being put down just then, the
//! write is sent once the server has answered that. So the write comes later at the server, too.
//!
//! Who waits for what was loaded may stop polling. So a task puts it down (`near.rs`), and a write waits for nobody but that task.
//!
//! Knows no connection and no value.

use crate::local::Key;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a load is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Its loader runs.
    Loading,
    /// A write of its key began meanwhile.
    Overtaken,
    /// What it made is on its way to the server.
    PuttingDown,
    Over,
}

/// The loads of each key. There is more than one where a write has parted them.
type Book = HashMap<Key, Vec<Arc<watch::Sender<Stage>>>>;

#[derive(Default)]
pub(crate) struct UnderWay(Mutex<Book>);

impl UnderWay {
    /// A load of that key begins. To be called before its loader is.
    pub(crate) fn begin(self: &Arc<Self>, key: &[u8]) -> Load {
        let stage = Arc::new(watch::Sender::new(Stage::Loading));
        self.book().entry(key.into()).or_default().push(Arc::clone(&stage));
        Load { under_way: Arc::clone(self), key: key.into(), stage }
    }

    /// A write of that key begins. What it has to be sent after.
    pub(crate) fn overtake(&self, key: &[u8]) -> Ahead {
        let book = self.book();
        let loads = book.get(key).into_iter().flatten();
        Ahead(loads.filter_map(|stage| overtake(stage)).collect())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever is to be waited for, if the load is being put down.
fn overtake(stage: &watch::Sender<Stage>) -> Option<watch::Receiver<Stage>> {
    stage.send_if_modified(|stage| {
        let is_loading = *stage == Stage::Loading;
        if is_loading {
            *stage = Stage::Overtaken;
        }
        is_loading
    });
    (*stage.borrow() == Stage::PuttingDown).then(|| stage.subscribe())
}

/// One load. It is over when this is dropped.
pub(crate) struct Load {
    under_way: Arc<UnderWay>,
    key: Key,
    stage: Arc<watch::Sender<Stage>>,
}

impl Load {
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether what it made may be put down. Writes that begin from now on are sent after that.
    pub(crate) fn may_be_put_down(&self) -> bool {
        self.stage.send_if_modified(|stage| {
            let is_loading = *stage == Stage::Loading;
            if is_loading {
                *stage = Stage::PuttingDown;
            }
            is_loading
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Over);
        let mut book = self.under_way.book();
        if let Some(loads) = book.get_mut(&self.key) {
            loads.retain(|stage| !Arc::ptr_eq(stage, &self.stage));
            if loads.is_empty() {
                book.remove(&self.key);
            }
        }
    }
}

/// What a write has to be sent after.
pub(crate) struct Ahead(Vec<watch::Receiver<Stage>>);

impl Ahead {
    /// Waits until it was put down, or was not.
    pub(crate) async fn over(self) {
        for mut stage in self.0 {
            // If nobody can say so any more, it is.
            let _ = stage.wait_for(|stage| *stage == Stage::Over).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_write_overtakes_what_began_before_it() {
        let under_way = Arc::new(UnderWay::default());
        let (first, second) = (under_way.begin(b"k"), under_way.begin(b"k"));
        let other = under_way.begin(b"other");
        assert!(is_ready(under_way.overtake(b"k").over()));
        let later = under_way.begin(b"k");
        assert!(!first.may_be_put_down());
        assert!(!second.may_be_put_down());
        assert!(later.may_be_put_down());
        assert!(other.may_be_put_down());
        drop((first, second, later, other));
        assert!(under_way.book().is_empty());
    }

    #[test]
    fn a_write_waits_for_what_is_being_put_down() {
        let under_way = Arc::new(UnderWay::default());
        let load = under_way.begin(b"k");
        assert!(load.may_be_put_down());
        let (early, late) = (under_way.overtake(b"k"), under_way.overtake(b"k"));
        assert!(!is_ready(early.over()));
        drop(load);
        assert!(is_ready(late.over()));
        assert!(is_ready(under_way.overtake(b"k").over()));
    }
}
