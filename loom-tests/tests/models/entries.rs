//! Models of one entry: readers, touches, replacements, removals and the reaper, two at a time.

use crate::common::cache::{Fixed, HALF, Model, TTL, Value, spawn};
use crate::common::explore;
use loom::thread;
use tidewheel::ReadGuard;

const KEY: u64 = 1;

/// A node is swapped, retired and freed while a reader looks at it: the reader sees the old value or the
/// new one, whole.
#[test]
fn swap_under_a_reader() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| model.see(KEY));
        model.insert(KEY, 2);
        model.reap_after(TTL);
        let seen = reader.join().unwrap();
        assert!(seen == Some(1) || seen == Some(2), "{seen:?}");
        assert_eq!(model.see(KEY), Some(2));
        model.end();
    });
}

/// Many swaps: what is unlinked while an older batch of garbage is already reclaimable, waits all the same.
#[test]
fn swaps_under_a_reader() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        model.insert(KEY, 2);
        model.insert(KEY, 3);
        let reader = spawn(&model, |model| model.see(KEY));
        model.insert(KEY, 4);
        model.reap_after(TTL);
        assert!(matches!(reader.join().unwrap(), Some(3 | 4)));
        model.end();
    });
}

/// A slot that is cleared and filled again: a reader who has seen the new entry does not miss it afterwards.
#[test]
fn remove_and_insert_against_get() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| (model.see(KEY), model.see(KEY)));
        assert!(model.cache.invalidate(&KEY));
        model.insert(KEY, 2);
        let (first, second) = reader.join().unwrap();
        assert!(first != Some(2) || second == Some(2), "{first:?}, then {second:?}");
        assert!(first.is_some() || second != Some(1), "{first:?}, then {second:?}");
        model.end();
    });
}

/// A removal under a reader, who may see the entry or not, and never half of it.
#[test]
fn remove_under_a_reader() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| model.see(KEY));
        assert!(model.cache.invalidate(&KEY));
        model.reap_after(TTL);
        assert!(matches!(reader.join().unwrap(), None | Some(1)));
        assert_eq!(model.see(KEY), None);
        model.end();
    });
}

/// One thread inserts an entry and then removes another. Whoever finds the removed one gone finds the new one, though both are
/// found by themselves.
#[test]
fn an_insert_before_the_removal_of_another_entry() {
    const OTHER: u64 = 2;
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| model.see_both([KEY, OTHER]));
        model.insert(OTHER, 2);
        assert!(model.cache.invalidate(&KEY));
        let (removed, inserted) = reader.join().unwrap();
        assert!(removed.is_some() || inserted.is_some(), "one was gone before the other was there");
        model.end();
    });
}

/// What a guard lends stays good.
fn looks_twice(guard: &ReadGuard<'_, u64, Value, Fixed>) {
    let value = guard.get(&KEY);
    let first = value.map(|value| value.number());
    let again = value.map(|value| value.number());
    assert_eq!(first, again);
}

/// A guard held over a removal: what it lent stays good.
#[test]
fn remove_under_a_guard() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            looks_twice(&guard);
        });
        assert!(model.cache.invalidate(&KEY));
        model.reap_after(TTL);
        reader.join().unwrap();
        model.end();
    });
}

/// A guard that is made within a read, and outlasts it: what it lends stays.
#[test]
fn remove_under_a_guard_made_within_a_read() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| {
            // So that the thread has what a brief read needs.
            let _ = model.see(KEY);
            let Some(guard) = model.cache.read(&KEY, |_| model.cache.read_guard()) else { return };
            looks_twice(&guard);
        });
        assert!(model.cache.invalidate(&KEY));
        model.reap_after(TTL);
        reader.join().unwrap();
        model.end();
    });
}

/// A touch that succeeds keeps the entry, whatever the reaper was about to do; one that fails finds it gone.
#[test]
fn touch_against_reap() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        model.reap_after(HALF);
        let touched = toucher.join().unwrap();
        assert_eq!(model.see(KEY).is_some(), touched);
        assert_eq!(model.cache.entry_count(), usize::from(touched));
        model.end();
    });
}

/// A touch that succeeds while a replacement is under way is not lost to it, although time passes between
/// the replacement's clock reading and its publication.
#[test]
fn touch_against_replace() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| {
            model.pass(HALF / 2);
            model.cache.touch(&KEY)
        });
        assert!(model.replace(KEY, 2));
        assert!(toucher.join().unwrap());
        // Three quarters of its time to live have passed since the insert; the touch was just now.
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        assert_eq!(model.see(KEY), Some(2));
        model.end();
    });
}

/// Two touches, of which the second may come when the replacement has seen the first, and begins anew.
#[test]
fn two_touches_against_replace() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| {
            model.pass(HALF / 4);
            assert!(model.cache.touch(&KEY));
            model.pass(HALF / 4);
            model.cache.touch(&KEY)
        });
        assert!(model.replace(KEY, 2));
        assert!(toucher.join().unwrap());
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        model.end();
    });
}

/// The same with an insert over the entry.
#[test]
fn touch_against_insert() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| {
            model.pass(HALF / 2);
            model.cache.touch(&KEY)
        });
        model.insert(KEY, 2);
        assert!(toucher.join().unwrap());
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        model.end();
    });
}

/// A touch that finds an entry with a time to live of its own goes by that one, although so far all had the
/// cache's.
#[test]
fn touch_against_insert_with_ttl() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        model.cache.insert_with_ttl(KEY, model.census.value(2), HALF);
        assert!(toucher.join().unwrap());
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// The same with a shorter time to live given to the entry that is there.
#[test]
fn touch_against_set_ttl() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert!(toucher.join().unwrap());
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// The same where the new time to live happens to give the deadline that was there before, so that a
/// comparison cannot tell.
#[test]
fn touch_against_set_ttl_to_the_same_deadline() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert!(toucher.join().unwrap());
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// And where the new time to live gives another deadline at first, and the next one the old deadline again.
#[test]
fn touch_against_set_ttl_there_and_back() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        assert!(model.cache.set_ttl(&KEY, 2 * TTL));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert!(toucher.join().unwrap());
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// And stays so though another touch comes to the very same deadline: that one has not moved.
#[test]
fn touch_against_set_ttl_and_touch_to_the_same_deadline() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert!(model.cache.touch(&KEY));
        assert!(toucher.join().unwrap());
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// An update that succeeds keeps the entry with the new value; one that fails finds it gone.
#[test]
fn update_against_reap() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let updater = spawn(&model, |model| model.update(KEY));
        model.reap_after(HALF);
        let updated = updater.join().unwrap();
        assert_eq!(model.see(KEY), updated.then_some(2));
        model.end();
    });
}

/// An entry that was removed is not revived by an update under way, and no update that succeeded is lost
/// to the one who removes: he gets its value.
#[test]
fn update_against_remove() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let updater = spawn(&model, |model| model.update(KEY));
        let removed = model.cache.remove(&KEY).map(|value| value.number());
        let updated = updater.join().unwrap();
        assert_eq!(removed, Some(if updated { 2 } else { 1 }));
        assert_eq!(model.see(KEY), None);
        model.end();
    });
}

/// Two updates: neither is lost.
#[test]
fn update_against_update() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let updater = spawn(&model, |model| assert!(model.update(KEY)));
        assert!(model.update(KEY));
        updater.join().unwrap();
        assert_eq!(model.see(KEY), Some(3));
        model.end();
    });
}

/// Of two who insert only if there is nothing, one succeeds.
#[test]
fn try_insert_against_try_insert() {
    explore(|| {
        let model = Model::lasting();
        let other = spawn(&model, |model| model.cache.try_insert(KEY, model.census.value(1)).is_ok());
        let mine = model.cache.try_insert(KEY, model.census.value(2)).is_ok();
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        assert_eq!(model.see(KEY), Some(if mine { 2 } else { 1 }));
        model.end();
    });
}

/// A reader has seen the entry expired: a touch that read its clock before does not bring it back, and does
/// not claim to have done so.
#[test]
fn an_expiry_that_was_seen_against_touch() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF);
            model.see(KEY).is_some()
        });
        let touched = model.cache.touch(&KEY);
        let seen = reader.join().unwrap();
        assert_eq!(touched, seen);
        assert_eq!(model.see(KEY).is_some(), seen);
        model.end();
    });
}

/// The same where it was a look at the entry's times that saw its end.
#[test]
fn an_end_that_a_guard_was_shown_against_touch() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let looker = spawn(&model, |model| {
            model.pass(HALF);
            model.cache.read_guard().entry(&KEY).is_some()
        });
        let touched = model.cache.touch(&KEY);
        let seen = looker.join().unwrap();
        assert_eq!(touched, seen);
        assert_eq!(model.see(KEY).is_some(), seen);
        model.end();
    });
}

/// The same with an update.
#[test]
fn an_expiry_that_was_seen_against_update() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF);
            model.see(KEY).is_some()
        });
        let updated = model.update(KEY);
        let seen = reader.join().unwrap();
        assert_eq!(updated, seen);
        assert_eq!(model.see(KEY), updated.then_some(2));
        model.end();
    });
}

/// The same with a swap: what it hands out was there until the new value came.
#[test]
fn an_expiry_that_was_seen_against_swap() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF);
            model.see(KEY)
        });
        let old = model.cache.swap(KEY, model.census.value(2)).map(|value| value.number());
        let seen = reader.join().unwrap();
        assert!(seen.is_some() || old.is_none(), "{seen:?} was seen, and {old:?} was swapped out");
        assert_eq!(model.see(KEY), Some(2));
        model.end();
    });
}

/// The same where a touch comes before it, so that the deadline is frozen first: what somebody has seen gone does not come back, though the
/// replacement's own reading of the clock is later than the touch's.
#[test]
fn an_expiry_after_a_touch_against_replace() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let other = spawn(&model, |model| {
            model.pass(HALF / 4);
            let _ = model.cache.touch(&KEY);
            model.pass(HALF / 4);
            model.pass(TTL - HALF / 4);
            model.see(KEY).is_some()
        });
        let _ = model.replace(KEY, 2);
        let seen = other.join().unwrap();
        assert!(seen || model.see(KEY).is_none(), "it came back");
        model.end();
    });
}

/// The same with a new time to live.
#[test]
fn an_expiry_that_was_seen_against_set_ttl() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF);
            model.see(KEY).is_some()
        });
        let set = model.cache.set_ttl(&KEY, TTL);
        let seen = reader.join().unwrap();
        assert_eq!(set, seen);
        assert_eq!(model.see(KEY).is_some(), seen);
        model.end();
    });
}

/// A reader that found a node before it was replaced, and looks at its deadline when that has passed: the
/// entry lives on, so the reader finds the new node.
#[test]
fn insert_and_time_against_get() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| model.see(KEY));
        model.insert(KEY, 2);
        model.pass(HALF);
        assert!(matches!(reader.join().unwrap(), Some(1 | 2)), "missed between two nodes");
        model.end();
    });
}

/// The same for an update.
#[test]
fn insert_and_time_against_update() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let updater = spawn(&model, |model| model.update(KEY));
        model.insert(KEY, 2);
        model.pass(HALF);
        assert!(updater.join().unwrap(), "missed between two nodes");
        model.end();
    });
}

/// Whoever takes an expired entry out of the table, the listener is told of it once.
#[test]
fn an_expiry_is_told_once_remove_against_reap() {
    explore(|| {
        let (model, told) = Model::listened();
        model.insert(KEY, 1);
        model.pass(HALF);
        let remover = spawn(&model, |model| {
            model.pass(HALF);
            model.cache.invalidate(&KEY)
        });
        model.reap_after(HALF);
        assert!(!remover.join().unwrap(), "it was over");
        model.reap_after(TTL);
        assert_eq!(told.count(), 1);
        model.end();
    });
}

/// Two rotations of one session: one wins, the other finds it gone, and there is one session afterwards.
#[test]
fn rotate_against_rotate() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let other = spawn(&model, |model| model.cache.rename(&KEY, 2));
        let mine = model.cache.rename(&KEY, 3);
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        let seen = [KEY, 2, 3].map(|key| model.see(key));
        assert_eq!(seen, [None, theirs.then_some(1), mine.then_some(1)]);
        model.end();
    });
}

/// An update that succeeds goes along with a rotation; one that comes too late says so.
#[test]
fn rotate_against_update() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let updater = spawn(&model, |model| model.update(KEY));
        assert!(model.cache.rename(&KEY, 2));
        let updated = updater.join().unwrap();
        assert_eq!(model.see(KEY), None);
        assert_eq!(model.see(2), Some(if updated { 2 } else { 1 }));
        model.end();
    });
}

/// A login: a session's data and its id change in one step. Who knows the old id never finds the new data under it, and
/// finds nothing under it once the new data can be found at all.
#[test]
fn a_login_and_who_knows_the_old_id() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let attacker = spawn(&model, |model| {
            let before = model.see(KEY);
            // What is found under the new key, and then under the old one.
            let (new, old) = (model.see(2), model.see(KEY));
            (before, new, old)
        });
        assert!(model.login(KEY, 2));
        let (before, new, old) = attacker.join().unwrap();
        assert!(matches!(before, None | Some(1)) && matches!(new, None | Some(2)), "{before:?}, {new:?}");
        assert!(
            old.is_none() || old == Some(1) && before == Some(1) && new.is_none(),
            "{new:?}, then {old:?}"
        );
        assert_eq!((model.see(KEY), model.see(2)), (None, Some(2)));
        model.end();
    });
}

/// Two logins of one session: one wins, the other finds it gone, and there is one session afterwards.
#[test]
fn login_against_login() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let other = spawn(&model, |model| model.login(KEY, 2));
        let mine = model.login(KEY, 3);
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        let seen = [KEY, 2, 3].map(|key| model.see(key));
        assert_eq!(seen, [None, theirs.then_some(2), mine.then_some(2)]);
        model.end();
    });
}

/// An update that succeeds is what a login is made from; one that comes too late says so.
#[test]
fn login_against_update() {
    explore(|| {
        let model = Model::lasting();
        model.insert(KEY, 1);
        let updater = spawn(&model, |model| model.update(KEY));
        assert!(model.login(KEY, 2));
        let updated = updater.join().unwrap();
        assert_eq!(model.see(KEY), None);
        assert_eq!(model.see(2), Some(if updated { 3 } else { 2 }));
        model.end();
    });
}

/// The last handle goes while a sweep is under way: every value goes once.
#[test]
fn last_drop_against_a_sweep() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        let (clock, census) = (model.clock.clone(), model.census.clone());
        let sweeper = thread::spawn(move || clock.advance(TTL));
        // Loom does not see std's reference counts, and would not try a sweep before the drop at all. So
        // the sweep goes first, and this look meets it at every step.
        thread::yield_now();
        model.see(KEY);
        drop(model);
        sweeper.join().unwrap();
        assert_eq!(census.count(), 0);
    });
}
