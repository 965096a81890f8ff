//! How much memory a snapshot from a stranger takes, all in all: it is counted at the allocator, so
//! nothing else is in this program. Other input of that kind: `hostile.rs`.
#![cfg(feature = "serde")]

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/framed.rs"]
mod framed;

use allocator::most_asked_while;
use framed::{entry, framed};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidewheel::{Cache, RestoreError, SnapshotPart};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Branching(std::collections::BTreeMap<u8, Vec<Branching>>);

/// Restores an entry with this value. Returns what came of it, and the most memory that was held meanwhile.
fn restored<V>(value: &[u8]) -> (Result<u64, RestoreError>, i64)
where
    V: Clone + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static,
{
    let cache: Cache<u64, V> = Cache::builder().build().unwrap();
    let bytes = framed(&[entry(0, [u64::MAX, u64::MAX, u64::MAX, 0, 0], &[1], value)]);
    most_asked_while(|| cache.restore(&bytes[..], Duration::ZERO))
}

/// Each list of a thousand, one in the other, says that it has four billion elements. Each was given
/// memory for as many as serde allows, a megabyte: a gigabyte for five kilobytes.
#[test]
fn lists_in_lists_that_lie_about_their_lengths_take_what_their_bytes_are_worth() {
    let run = || {
        let list = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let map = [0xdf, 0xff, 0xff, 0xff, 0xff, 1, 0xdd, 0xff, 0xff, 0xff, 0xff];
        // Each level alone is worth its bytes.
        let half = |_: usize| [&[0xdc][..], &2_000u16.to_be_bytes()].concat();
        let cases = [
            restored::<Nested>(&list.repeat(1000)),
            restored::<Branching>(&map.repeat(400)),
            restored::<Nested>(&(0..1000).map(half).collect::<Vec<_>>().concat()),
        ];
        for (outcome, most) in cases {
            assert!(
                matches!(outcome, Err(RestoreError::Deserialize { part: SnapshotPart::Value, .. })),
                "{outcome:?}"
            );
            assert!(most <= 2 << 20, "{most} bytes");
        }
        let (outcome, _) = restored::<Nested>(&[&[0x91; 500][..], &[0x90]].concat());
        assert_eq!(outcome.unwrap(), 1, "one that is true is restored");
    };
    // The lists are deep.
    std::thread::Builder::new().stack_size(32 << 20).spawn(run).unwrap().join().unwrap();
}
