//! Maps with one fault each: that no order is found for them, shows that the search for one can fail.

use super::calls::Subject;
use super::history::{Load, record};
use super::order::{Rules, check};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// An update reads, and writes later.
    LosesUpdates,
    /// A touch writes back what it has read before.
    TouchBringsBack,
    /// A read sees now and then what was there before the last write.
    ReadsTheOneBefore,
    /// A second `try_insert` that comes at the same time succeeds as well.
    TwoInsertTheSame,
    /// A removal says what it saw a moment before it removed.
    RemovesUnseen,
    /// A value is gone a moment before its time is over.
    Early,
    /// A value is found for a while after its time.
    Late,
}

struct Entry {
    value: u64,
    before: u64,
    written: Instant,
}

struct Broken {
    map: Mutex<HashMap<u64, Entry>>,
    ttl: Option<Duration>,
    fault: Fault,
}

impl Broken {
    fn new(fault: Fault, ttl: Option<Duration>) -> Self {
        Self { map: Mutex::default(), ttl, fault }
    }

    fn live<'m>(&self, map: &'m mut HashMap<u64, Entry>, key: u64) -> Option<&'m mut Entry> {
        let entry = map.get_mut(&key)?;
        let ttl = self.ttl.map(|ttl| match self.fault {
            Fault::Early => ttl * 3 / 4,
            Fault::Late => ttl * 2 + super::LATE,
            _ => ttl,
        });
        ttl.is_none_or(|ttl| entry.written.elapsed() < ttl).then_some(entry)
    }

    /// What is there is exchanged for what `make` makes of it, in one step; what was there.
    fn exchange(&self, key: u64, make: impl FnOnce(Option<u64>) -> Option<u64>) -> Option<u64> {
        let mut map = self.map.lock().unwrap();
        let old = self.live(&mut map, key).map(|entry| entry.value);
        match make(old) {
            None => drop(map.remove(&key)),
            Some(value) => {
                let before = old.unwrap_or(value);
                map.insert(key, Entry { value, before, written: Instant::now() });
            }
        }
        old
    }

    fn look(&self, key: u64) -> Option<u64> {
        self.live(&mut self.map.lock().unwrap(), key).map(|entry| entry.value)
    }

    /// Between a look and what is made of it: somebody else's turn.
    fn wait() {
        std::thread::yield_now();
    }
}

impl Subject for Broken {
    fn get(&self, key: u64) -> Option<u64> {
        let mut map = self.map.lock().unwrap();
        let entry = self.live(&mut map, key)?;
        let is_wrong = self.fault == Fault::ReadsTheOneBefore && entry.value % 7 == 0;
        Some(if is_wrong { entry.before } else { entry.value })
    }

    fn insert(&self, key: u64, value: u64) {
        self.exchange(key, |_| Some(value));
    }

    fn try_insert(&self, key: u64, value: u64) -> bool {
        if self.fault == Fault::TwoInsertTheSame {
            let is_there = self.look(key).is_some();
            Self::wait();
            if !is_there {
                self.insert(key, value);
            }
            return !is_there;
        }
        self.exchange(key, |old| old.or(Some(value))).is_none()
    }

    fn replace(&self, key: u64, value: u64) -> bool {
        self.exchange(key, |old| old.map(|_| value)).is_some()
    }

    fn swap(&self, key: u64, value: u64) -> Option<u64> {
        self.exchange(key, |_| Some(value))
    }

    fn update(&self, key: u64, value: u64) -> Option<u64> {
        if self.fault == Fault::LosesUpdates {
            let old = self.look(key)?;
            Self::wait();
            self.insert(key, value);
            return Some(old);
        }
        self.exchange(key, |old| old.map(|_| value))
    }

    fn upsert(&self, key: u64, value: u64) -> Option<u64> {
        self.swap(key, value)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        if self.fault == Fault::RemovesUnseen {
            let old = self.look(key);
            Self::wait();
            self.exchange(key, |_| None);
            return old;
        }
        self.exchange(key, |_| None)
    }

    fn invalidate(&self, key: u64) -> bool {
        self.exchange(key, |_| None).is_some()
    }

    fn touch(&self, key: u64) -> bool {
        if self.fault == Fault::TouchBringsBack {
            let old = self.look(key);
            Self::wait();
            old.into_iter().for_each(|old| self.insert(key, old));
            return old.is_some();
        }
        self.exchange(key, |old| old).is_some()
    }
}

fn is_found(fault: Fault, ttl: Option<Duration>) -> bool {
    let load = match ttl {
        None => Load { calls: 5000, keys: 3, others: 0, ..Load::USUAL },
        Some(_) => Load { calls: 1000, keys: 64, others: 0, pauses: true, ..Load::USUAL },
    };
    let rules = Rules { ttl: ttl.map(|ttl| (ttl, super::LATE)), ..Rules::PLAIN };
    let is_wrong =
        || record(&Broken::new(fault, ttl), load).iter().any(|events| check(events, rules).is_err());
    // An unlucky schedule does not decide.
    (0..8).any(|_| is_wrong())
}

#[test]
fn each_fault_is_found() {
    for fault in [
        Fault::LosesUpdates,
        Fault::TouchBringsBack,
        Fault::ReadsTheOneBefore,
        Fault::TwoInsertTheSame,
        Fault::RemovesUnseen,
    ] {
        assert!(is_found(fault, None), "{fault:?}");
    }
    for fault in [Fault::Early, Fault::Late] {
        assert!(is_found(fault, Some(Duration::from_millis(4))), "{fault:?}");
    }
}

#[test]
fn a_map_without_a_fault_is_in_order() {
    assert!(!is_found(Fault::None, None));
    assert!(!is_found(Fault::None, Some(Duration::from_millis(4))));
}
