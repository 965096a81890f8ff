//! No deadlock: every method of the cache, called from every place where the cache runs code of its user, for the key
//! that is at hand and for others. A watchdog ends the process, and says which combination it was, when one hangs.
//!
//! The one panic that is allowed is the documented one: while a call has a key's turn, the same thread asks for the
//! same key's turn.
//!
//! A new method is a line in `methods.rs`, which tests/house asks for; a new place is one in `places.rs`.

mod methods;
mod places;
mod sessions;
#[path = "../common/watchdog.rs"]
mod watchdog;
mod world;

use methods::METHODS;
use places::PLACES;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use tidewheel::Reaper;
use watchdog::Watchdog;
use world::{Kind, World, arm, disarm, serially};

/// For a combination, in seconds.
const PATIENCE: u64 = 20;

/// The key at hand; one that is there; one that is not; one that has expired.
const KEYS: [u64; 4] = [1, 2, 3, 4];

#[test]
fn every_method_in_every_place() {
    let _serial = serially();
    let mut panics = 0;
    for place in PLACES {
        for method in METHODS {
            for key in KEYS {
                if place.holds_up && method.takes_turn && key == KEYS[0] {
                    continue;
                }
                let what = format!("{} in {}, key {key}", method.name, place.name);
                let _watchdog = Watchdog::over(what.clone(), PATIENCE);
                let world = World::new(place.kind);
                let (cache, call) = (world.cache.downgrade(), method.call);
                let clock = world.clock.clone();
                arm(place.code, move || {
                    if let Some(cache) = cache.upgrade() {
                        call(&cache, &clock, key);
                    }
                });
                (place.set_off)(&world);
                let panicked = disarm().unwrap_or_else(|| panic!("{what}: it was never called"));
                match panicked {
                    None => {}
                    Some(message) => {
                        assert!(message.contains("would wait for itself"), "{what}: {message}");
                        assert!(place.has_turn && method.takes_turn && key == KEYS[0], "{what}: {message}");
                        panics += 1;
                    }
                }
                world.end(&what);
            }
        }
    }
    assert!(panics > 0, "the documented panic never came");
}

/// The same from the reaper's own thread, where it tells the listener of what has expired.
#[test]
fn every_method_on_the_reapers_thread() {
    let _serial = serially();
    for same_key in [true, false] {
        let _watchdog = Watchdog::over("a listener on the reaper's thread", PATIENCE);
        let (done, dones) = channel();
        let heard: Vec<_> = METHODS.iter().map(|_| AtomicBool::new(false)).collect();
        let world = World::build(Kind::Plain, |builder, clock| {
            builder.reaper(Reaper::dedicated()).eviction_listener(move |key, _, _| {
                // Each method's key comes with its place in the table.
                let Some(at) = key.number().checked_sub(1000).filter(|at| *at < METHODS.len() as u64) else {
                    return;
                };
                // Once: what a method puts there may expire, too.
                if heard[at as usize].swap(true, Ordering::Relaxed) {
                    return;
                }
                let Some(cache) = world::last_cache().and_then(|cache| cache.upgrade()) else { return };
                let method = &METHODS[at as usize];
                (method.call)(&cache, &clock, if same_key { key.number() } else { 2 });
                let _ = done.send(at);
            })
        });
        for at in 0..METHODS.len() as u64 {
            let ttl = Duration::from_millis(1);
            world.cache.insert_with_ttl(world::key(1000 + at), world::value(at), ttl);
        }
        let mut waited_for: Vec<_> = (0..METHODS.len() as u64).collect();
        while !waited_for.is_empty() {
            let at = dones.recv().expect("the listener is there");
            waited_for.retain(|other| *other != at);
        }
        world.cache.validate();
    }
}
