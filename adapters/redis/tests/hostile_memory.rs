//! How much memory a stored value from a stranger takes to be refused. What the process has asked the system for is counted, as it is told by Linux, so nothing
//! else is in this program.
#![cfg(target_os = "linux")]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hint::black_box;
use tidewheel_redis::{Codec, MessagePack};

#[derive(Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

#[derive(Debug, Serialize, Deserialize)]
struct Branching(BTreeMap<u8, Vec<Branching>>);

const MIB: u64 = 1 << 20;

/// The most that the process ever had of the system, used or not.
fn most() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// How much more than ever before it takes to run this.
fn taken<R>(run: impl FnOnce() -> R) -> (R, u64) {
    let before = most();
    let result = run();
    (result, most() - before)
}

fn is_refused_for_little<V: Debug + Serialize + for<'de> Deserialize<'de>>(bytes: &[u8]) {
    let (decoded, taken) = taken(|| Codec::<V>::decode(&MessagePack, bytes));
    assert!(decoded.is_err(), "{decoded:?}");
    assert!(taken <= 16 * MIB, "{taken} bytes for {}", bytes.len());
}

/// Each list of a thousand, one in the other, says that it has four billion elements, or as many as bytes follow. Each would be given memory for as many as serde
/// allows, a megabyte: a gigabyte for five kilobytes.
#[test]
fn lists_in_lists_that_lie_about_their_lengths_take_little() {
    let run = || {
        let list = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let map = [0xdf, 0xff, 0xff, 0xff, 0xff, 1, 0xdd, 0xff, 0xff, 0xff, 0xff];
        // Each level alone is worth its bytes.
        let half = [&[0xdc][..], &20_000u16.to_be_bytes()].concat();
        is_refused_for_little::<Nested>(&[half.repeat(1000), vec![0xc0; 20_000]].concat());
        is_refused_for_little::<Branching>(&map.repeat(400));
        is_refused_for_little::<Nested>(&list.repeat(1000));
        let honest = [&[0x91; 500][..], &[0x90]].concat();
        let mut decoded: Nested = MessagePack.decode(&honest).expect("one that is true is read");
        let mut depth = 0;
        while let Some(inner) = decoded.0.pop() {
            (decoded, depth) = (inner, depth + 1);
        }
        assert_eq!(depth, 500);
        let ((), taken) = taken(|| drop(black_box(Vec::<u8>::with_capacity(256 << 20))));
        assert!(taken >= 128 * MIB, "{taken}: memory is not counted");
    };
    // The lists are deep.
    std::thread::Builder::new().stack_size(32 << 20).spawn(run).unwrap().join().unwrap();
}
