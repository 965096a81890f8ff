//! The user's code: keys, values and callbacks that panic or call the cache back where the fuzzer says so.
//!
//! Knows no operation: what calls back is given by the target. All of it runs on one thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic;
use std::sync::Once;
use std::thread;
use tidewheel::{Cache, RemovalCause, WeakCache};

pub(crate) type Store = Cache<Key, Value>;

/// The payload of a panic on purpose.
pub(crate) struct Planned;

/// What the documents say that a nested call panics with.
const DOCUMENTED: [&str; 2] = ["would wait for itself", "has written that same key itself"];
/// So many deeds for each operation: closures that are asked again would call back without end.
const DEEDS: u32 = 12;
/// A call from a callback may meet another callback, which may call.
const DEPTH: u32 = 3;

type Step = fn(&Store, [u8; 3]);

/// What is going on in this run.
#[derive(Default)]
pub(crate) struct World {
    /// What callbacks do, taken from the end.
    deeds: Vec<u8>,
    left: u32,
    depth: u32,
    cache: Option<WeakCache<Key, Value>>,
    step: Option<Step>,
    /// Each value that a listener has heard of.
    heard: HashSet<u64>,
    /// What must not happen, and would be swallowed as a panic.
    faults: Vec<String>,
    last_id: u64,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
    static ALIVE: Cell<i64> = const { Cell::new(0) };
}

/// Whether a panic is one of ours, or one that the documents announce.
pub(crate) fn is_allowed(payload: &dyn Any) -> bool {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    payload.is::<Planned>() || DOCUMENTED.iter().any(|part| text.contains(part))
}

/// Lets panics that are allowed unwind; all others end the process, as the fuzzer wants it.
pub(crate) fn hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ends = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_allowed(info.payload()) {
                ends(info);
            }
        }));
    });
}

/// A new run, with these deeds.
pub(crate) fn begin(deeds: &[u8], step: Step) {
    let world = World { deeds: deeds.to_vec(), step: Some(step), ..World::default() };
    WORLD.set(world);
    ALIVE.set(0);
}

/// The cache that callbacks call.
pub(crate) fn meets(cache: &Store) {
    WORLD.with_borrow_mut(|world| world.cache = Some(cache.downgrade()));
}

/// A new operation begins: its callbacks may do something again.
pub(crate) fn refill() {
    WORLD.with_borrow_mut(|world| world.left = DEEDS);
}

/// Nothing is done any more.
pub(crate) fn calm() {
    WORLD.with_borrow_mut(|world| world.left = 0);
}

/// How many values live.
pub(crate) fn alive() -> i64 {
    ALIVE.get()
}

pub(crate) fn was_heard(id: u64) -> bool {
    WORLD.with_borrow(|world| world.heard.contains(&id))
}

/// Fails if something happened that must not.
pub(crate) fn check() {
    WORLD.with_borrow(|world| assert!(world.faults.is_empty(), "{:?}", world.faults));
}

fn fault(text: String) {
    WORLD.with_borrow_mut(|world| world.faults.push(text));
}

/// A callback is running.
pub(crate) fn at(may_call: bool) {
    if thread::panicking() {
        return;
    }
    let deed = WORLD.with_borrow_mut(|world| {
        world.left = world.left.checked_sub(1)?;
        let kind = world.deeds.pop()?;
        match kind % 16 {
            0..10 => None,
            10 | 11 => Some(None),
            _ if !may_call || world.depth == DEPTH => None,
            _ => {
                let mut next = || world.deeds.pop().unwrap_or(0);
                let call = [next(), next(), next()];
                world.depth += 1;
                Some(Some((call, world.cache.clone(), world.step)))
            }
        }
    });
    match deed {
        None => {}
        Some(None) => panic::panic_any(Planned),
        Some(Some((call, cache, step))) => {
            /// Also when the call panics.
            struct Up;
            impl Drop for Up {
                fn drop(&mut self) {
                    WORLD.with_borrow_mut(|world| world.depth -= 1);
                }
            }
            let _up = Up;
            if let (Some(cache), Some(step)) = (cache.and_then(|cache| cache.upgrade()), step) {
                step(&cache, call);
            }
        }
    }
}

/// The listener's: each value is told of once.
pub(crate) fn hear(key: &Key, value: &Value, _: RemovalCause) {
    value.check();
    let is_first = WORLD.with_borrow_mut(|world| world.heard.insert(value.id));
    if !is_first {
        fault(format!("{} under {} is told of twice", value.id, key.id));
    }
    at(true);
    value.check();
}

pub(crate) struct Key {
    pub(crate) id: u8,
    /// Makes no trouble when it is dropped: it is the caller's.
    is_lent: bool,
}

impl Key {
    pub(crate) fn own(id: u8) -> Self {
        Self { id, is_lent: false }
    }

    pub(crate) fn lent(id: u8) -> Self {
        Self { id, is_lent: true }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        at(true);
        Self::own(self.id)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.is_lent {
            at(true);
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        at(false);
        self.id == other.id
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        at(false);
        state.write_u64(u64::from(self.id));
    }
}

/// A value that knows its key, so that whoever finds it under another one notices.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) id: u64,
    pub(crate) key: u8,
    pub(crate) weight: u8,
    canary: u64,
}

impl Value {
    pub(crate) fn new(key: u8, weight: u8) -> Self {
        ALIVE.set(ALIVE.get() + 1);
        let id = WORLD.with_borrow_mut(|world| {
            world.last_id += 1;
            world.last_id
        });
        Self { id, key, weight, canary: !id }
    }

    /// Another value, in place.
    pub(crate) fn renew(&mut self, weight: u8) {
        let mut other = Self::new(self.key, weight);
        std::mem::swap(self, &mut other);
    }

    pub(crate) fn check(&self) {
        if self.canary != !self.id {
            fault(format!("{} is shown, and is no more", self.id));
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check();
        at(true);
        self.check();
        ALIVE.set(ALIVE.get() + 1);
        Self { id: self.id, key: self.key, weight: self.weight, canary: self.canary }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.check();
        self.canary = 0;
        ALIVE.set(ALIVE.get() - 1);
        at(true);
    }
}
