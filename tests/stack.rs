//! How much stack a call takes whose values are large.
//!
//! A call is made on threads whose stacks are smaller and smaller, in processes of their own, since an overflow ends the
//! process. What is told is the smallest stack with which it comes back, in sizes of a value.
//!
//! Each call has a figure of its own. `report` prints moka's beside ours. No test compares the two: one call of moka's took
//! 69, 78 and 108 tenths of a value in three builds, which differed in our code alone.

use std::env;
use std::process::{Command, Stdio};
use std::thread;

const KIB: usize = 1 << 10;
const SIZE: usize = 64 * KIB;

type Value = [u8; SIZE];
type Ours = tidewheel::Cache<u64, Value>;
type Moka = moka::sync::Cache<u64, Value>;

/// What a thread needs besides.
const BASE: usize = 24 * KIB;

#[inline(never)]
fn value(of: u8) -> Value {
    [std::hint::black_box(of); SIZE]
}

fn see<T>(seen: T) {
    std::hint::black_box(&seen);
}

struct Call {
    name: &'static str,
    ours: fn(&Ours),
    moka: Option<fn(&Moka)>,
    /// What ours may need, in tenths of a value's size. A compiler that lays out frames in another way may need another
    /// figure; `report` prints what each call needs.
    most: usize,
}

/// Key 1 is there, 2 is not.
const CALLS: &[Call] = &[
    Call { name: "get", ours: |c| see(c.get(&1)), moka: Some(|c| see(c.get(&1))), most: 8 },
    Call { name: "insert", ours: |c| c.insert(2, value(1)), moka: Some(|c| c.insert(2, value(1))), most: 18 },
    Call {
        name: "insert over",
        ours: |c| c.insert(1, value(1)),
        moka: Some(|c| c.insert(1, value(1))),
        most: 28,
    },
    Call {
        name: "insert_with_ttl",
        ours: |c| c.insert_with_ttl(2, value(1), std::time::Duration::from_secs(9)),
        moka: None,
        most: 28,
    },
    Call { name: "try_insert", ours: |c| see(c.try_insert(2, value(1)).is_ok()), moka: None, most: 18 },
    Call { name: "replace", ours: |c| see(c.replace(&1, value(1)).is_ok()), moka: None, most: 28 },
    Call { name: "update", ours: |c| see(c.update(&1, |old| value(old[0]))), moka: None, most: 28 },
    Call { name: "remove", ours: |c| see(c.remove(&1)), moka: Some(|c| see(c.remove(&1))), most: 18 },
    Call { name: "invalidate", ours: |c| see(c.invalidate(&1)), moka: Some(|c| c.invalidate(&1)), most: 8 },
    Call { name: "remove_if", ours: |c| see(c.remove_if(&1, |_| true)), moka: None, most: 18 },
    Call { name: "rename", ours: |c| see(c.rename(&1, 2)), moka: None, most: 38 },
    Call {
        name: "get_with, a hit",
        ours: |c| see(c.get_with(1, || value(1))),
        moka: Some(|c| see(c.get_with(1, || value(1)))),
        most: 18,
    },
    Call {
        name: "get_with",
        ours: |c| see(c.get_with(2, || value(1))),
        moka: Some(|c| see(c.get_with(2, || value(1)))),
        most: 78,
    },
    Call {
        name: "try_get_with",
        ours: |c| see(c.try_get_with(2, || Ok::<_, ()>(value(1))).is_ok()),
        moka: Some(|c| see(c.try_get_with(2, || Ok::<_, ()>(value(1))).is_ok())),
        most: 78,
    },
    Call {
        name: "optionally_get_with",
        ours: |c| see(c.optionally_get_with(2, || Some(value(1)))),
        moka: Some(|c| see(c.optionally_get_with(2, || Some(value(1))))),
        most: 88,
    },
    Call {
        name: "or_insert",
        ours: |c| see(c.entry(2).or_insert(value(1))),
        moka: Some(|c| see(c.entry(2).or_insert(value(1)))),
        most: 48,
    },
    Call {
        name: "or_insert_with",
        ours: |c| see(c.entry(2).or_insert_with(|| value(1))),
        moka: Some(|c| see(c.entry(2).or_insert_with(|| value(1)))),
        most: 78,
    },
    Call {
        name: "or_insert_with_if",
        ours: |c| see(c.entry(1).or_insert_with_if(|| value(1), |_| true)),
        moka: Some(|c| see(c.entry(1).or_insert_with_if(|| value(1), |_| true))),
        most: 88,
    },
    Call {
        name: "and_upsert_with",
        ours: |c| see(c.entry(1).and_upsert_with(|old| value(old.map_or(0, |old| old.value()[0])))),
        moka: Some(|c| see(c.entry(1).and_upsert_with(|old| value(old.map_or(0, |old| old.value()[0]))))),
        most: 78,
    },
    Call {
        name: "and_compute_with",
        ours: |c| {
            see(c
                .entry(1)
                .and_compute_with(|old| tidewheel::Op::Put(value(old.map_or(0, |old| old.value()[0])))));
        },
        moka: Some(|c| {
            see(c.entry(1).and_compute_with(|old| {
                moka::ops::compute::Op::Put(value(old.map_or(0, |old| old.value()[0])))
            }));
        }),
        most: 88,
    },
];

const CHILD: &str = "TIDEWHEEL_STACK_CHILD";

/// Makes one call on a small stack, in a child.
#[test]
fn child() {
    let Ok(job) = env::var(CHILD) else { return };
    let mut words = job.split('/');
    let (name, whose, bytes) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let call = CALLS.iter().find(|call| call.name == name).unwrap();
    let small = thread::Builder::new().stack_size(bytes.parse().unwrap());
    let large = thread::Builder::new().stack_size(64 * SIZE);
    if whose == "ours" {
        let cache = tidewheel::Cache::builder().shards(1).build().unwrap();
        let (filled, run) = (cache.clone(), call.ours);
        large.spawn(move || filled.insert(1, value(0))).unwrap().join().unwrap();
        small.spawn(move || run(&cache)).unwrap().join().unwrap();
    } else {
        let cache = Moka::builder().build();
        let (filled, run) = (cache.clone(), call.moka.unwrap());
        large.spawn(move || filled.insert(1, value(0))).unwrap().join().unwrap();
        small.spawn(move || run(&cache)).unwrap().join().unwrap();
    }
    std::process::exit(0);
}

fn comes_back(name: &str, whose: &str, bytes: usize) -> bool {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "child", "--nocapture"]).env(CHILD, format!("{name}/{whose}/{bytes}"));
    child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// In tenths of a value's size.
fn smallest(name: &str, whose: &str) -> usize {
    let (mut low, mut high) = (0, 400);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if comes_back(name, whose, middle * SIZE / 10 + BASE) { high = middle } else { low = middle }
    }
    high
}

/// A page more or less is no difference.
const SLACK: usize = 1;

/// A value of 256 KiB in a cache of them was more than a thread's usual two mebibytes could take.
#[test]
#[cfg_attr(debug_assertions, ignore = "about optimized code")]
fn no_call_takes_more_stack_than_it_should() {
    for call in CALLS {
        let bytes = (call.most + SLACK) * SIZE / 10 + BASE;
        assert!(comes_back(call.name, "ours", bytes), "{}: more than {} tenths", call.name, call.most);
        // And such a stack is no small one: else nothing was seen.
        assert!(!comes_back(call.name, "ours", BASE), "{}: none at all", call.name);
    }
}

/// Prints what each call needs.
#[test]
#[ignore = "a report, for people"]
fn report() {
    for call in CALLS {
        let ours = smallest(call.name, "ours");
        let moka = call.moka.map(|_| smallest(call.name, "moka"));
        let tenths = |n: usize| format!("{}.{}", n / 10, n % 10);
        println!("{:20} {:>6} {:>6}", call.name, tenths(ours), moka.map_or("-".into(), tenths));
    }
}
