//! Changes that their closure may decline: `optionally_update_with` and `optionally_rename_with`.

use std::time::Duration;
use tidewheel::{Cache, ManualClock};

const TTL: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

fn cache() -> (ManualClock, Cache<&'static str, u32>) {
    let clock = ManualClock::new();
    let cache = Cache::builder().time_to_live(TTL).clock(clock.clone()).build().unwrap();
    cache.insert("k", 1);
    clock.advance(SECOND);
    (clock, cache)
}

#[test]
fn a_change_that_is_declined_leaves_value_and_time_as_they_are() {
    let (_clock, cache) = cache();
    assert_eq!(cache.optionally_update_with("k", |_| None::<(u32, ())>), None);
    assert_eq!(cache.optionally_rename_with("k", "new", |_| None::<(u32, ())>), None);
    assert_eq!((cache.get("k"), cache.get("new")), (Some(1), None));
    assert_eq!(cache.remaining_ttl("k"), Some(TTL - SECOND));
    assert_eq!(cache.optionally_update_with("k", |n| Some((n + 1, *n))), Some(1));
    assert_eq!((cache.get("k"), cache.remaining_ttl("k")), (Some(2), Some(TTL)));
    assert_eq!(cache.optionally_rename_with("k", "new", |n| Some((n + 1, *n))), Some(2));
    assert_eq!((cache.get("k"), cache.get("new")), (None, Some(3)));
    assert_eq!(cache.optionally_update_with("k", |n| Some((*n, ()))), None, "there is none");
    cache.validate();
}

/// It is decided about the value that is changed, not about one that was there before.
#[test]
fn what_was_wanted_before_may_be_declined_when_another_write_comes_between() {
    type Change = fn(&Cache<&'static str, u32>, &mut dyn FnMut(&u32) -> Option<(u32, ())>) -> Option<()>;
    let changes: [Change; 2] = [
        |cache, decide| cache.optionally_update_with("k", |n| decide(n)),
        |cache, decide| cache.optionally_rename_with("k", "new", |n| decide(n)),
    ];
    for change in changes {
        let (_clock, cache) = cache();
        let mut asked = Vec::new();
        let answer = change(&cache, &mut |&n| {
            asked.push(n);
            if n == 1 {
                cache.insert("k", 7);
            }
            (n == 1).then_some((100, ()))
        });
        assert_eq!((answer, asked), (None, vec![1, 7]));
        assert_eq!((cache.get("k"), cache.get("new")), (Some(7), None));
        cache.validate();
    }
}
