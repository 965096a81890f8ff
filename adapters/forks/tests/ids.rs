//! The ids that a process and its forked child give to new sessions. A generator of random numbers that lives in a thread's memory is
//! copied by a fork: both sides would draw the same ids then, and one side's session would be found by the other side's users.
#![cfg(unix)]

use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
use time::OffsetDateTime;
use tower_sessions_core::SessionStore;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::Result;

const CHILDREN: usize = 4;
/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The id of a new session. No call of the stores here waits.
fn new_session(store: &impl SessionStore) -> i128 {
    let expiry_date = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let mut record = Record { id: Id(0), data: HashMap::new(), expiry_date };
    match pin!(store.create(&mut record)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(created) => created.unwrap(),
        Poll::Pending => panic!("a store in memory waits"),
    }
    record.id.0
}

/// What `f` returns in a forked child.
fn in_a_child(f: impl FnOnce() -> i128) -> i128 {
    let (mut ours, mut childs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    // SAFETY: the child does not come back from here.
    let number = unsafe { libc::fork() };
    assert!(number >= 0, "no fork");
    if number == 0 {
        let told = catch_unwind(AssertUnwindSafe(|| childs.write_all(&f().to_le_bytes()).unwrap()));
        // SAFETY: it ends the process.
        unsafe { libc::_exit(if told.is_ok() { 0 } else { 77 }) };
    }
    drop(childs);
    let mut bytes = [0; 16];
    let told = ours.read_exact(&mut bytes);
    if told.is_err() {
        // SAFETY: a child of ours that nobody has waited for.
        unsafe { libc::kill(number, libc::SIGKILL) };
    }
    let mut status = 0;
    // SAFETY: a status is stored.
    let waited = unsafe { libc::waitpid(number, &raw mut status, 0) };
    told.expect("the child tells its session's id");
    assert_eq!((waited, status), (number, 0), "the child ended with {status:#x}");
    i128::from_le_bytes(bytes)
}

/// A process that has opened a session forks workers, as servers do; they and the process itself open one each.
fn all_get_ids_of_their_own(store: &impl SessionStore) {
    let first = new_session(store);
    let mut ids: Vec<_> = (0..CHILDREN).map(|_| in_a_child(|| new_session(store))).collect();
    ids.extend([first, new_session(store)]);
    let different: HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "users of different processes have one id: {ids:x?}");
}

#[test]
fn new_sessions_of_a_process_and_of_its_children_have_different_ids() {
    all_get_ids_of_their_own(&TidewheelStore::new());
}

/// A store that takes a new record under the id that it comes with, as those on databases do.
#[derive(Debug)]
struct Trusting;

#[async_trait]
impl SessionStore for Trusting {
    async fn create(&self, _: &mut Record) -> Result<()> {
        Ok(())
    }
    async fn save(&self, _: &Record) -> Result<()> {
        Ok(())
    }
    async fn load(&self, _: &Id) -> Result<Option<Record>> {
        Ok(None)
    }
    async fn delete(&self, _: &Id) -> Result<()> {
        Ok(())
    }
}

#[test]
fn so_have_those_of_a_store_behind() {
    all_get_ids_of_their_own(&ReadThroughStore::new(Trusting));
}
