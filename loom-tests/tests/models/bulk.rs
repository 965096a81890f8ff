//! Models of many keys in one call.

use crate::common::cache::{HALF, Model, TTL, spawn};
use crate::common::explore;

/// A touch that succeeds while many inserts are under way, one of them over its entry, is not undone: that one goes by
/// a clock reading of its own, from after its freeze.
#[test]
fn touch_against_insert_many() {
    explore(|| {
        let model = Model::expiring();
        model.insert(1, 1);
        model.pass(HALF);
        let toucher = spawn(&model, |model| {
            model.pass(HALF / 2);
            model.cache.touch(&1)
        });
        model.cache.insert_many([(3, model.census.value(3)), (1, model.census.value(2))]);
        assert!(toucher.join().unwrap());
        assert!(model.cache.remaining_ttl(&1) >= Some(TTL));
        assert_eq!([1, 3].map(|key| model.see(key)), [Some(2), Some(3)]);
        model.end();
    });
}

/// What is looked up together is found as it is by look-ups one by one, while the table grows.
#[test]
fn get_many_while_the_table_grows() {
    explore(|| {
        let model = Model::growing();
        model.insert(1, 1);
        model.insert(3, 3);
        let reader = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            let found = guard.get_many(&[2, 3]);
            let numbers: Vec<_> = found.iter().map(|value| value.map(|value| value.number())).collect();
            assert!(matches!(numbers[..], [None | Some(2), Some(3)]), "{numbers:?}");
        });
        model.insert(2, 2);
        reader.join().unwrap();
        assert_eq!([1, 2, 3].map(|key| model.see(key)), [1, 2, 3].map(Some));
        model.end();
    });
}
