//! Belady's OPT: what the best policy that knows the future would miss, where all entries weigh the same (L. A. Belady,
//! "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems Journal 5(2), 1966).

use crate::traces::Trace;
use std::collections::BinaryHeap;

/// Not again.
const NEVER: u32 = u32::MAX;

/// The miss ratio in percent: on a miss in a full cache, what is used again last goes.
pub(crate) fn misses(trace: &Trace, capacity: usize) -> f64 {
    let mut next_use = vec![NEVER; trace.keys.len()];
    let mut seen = vec![NEVER; trace.unique];
    for (at, &key) in trace.keys.iter().enumerate().rev() {
        next_use[at] = std::mem::replace(&mut seen[key as usize], at as u32);
    }
    // Of each key in the cache, when it is used next. What the heap says otherwise is out of date.
    let mut kept: Vec<Option<u32>> = vec![None; trace.unique];
    let mut furthest = BinaryHeap::new();
    let (mut len, mut misses) = (0, 0u64);
    for (&key, &next) in trace.keys.iter().zip(&next_use) {
        if kept[key as usize].is_none() {
            misses += 1;
            len += 1;
            while len > capacity {
                let Some((next, key)) = furthest.pop() else { break };
                if kept[key as usize] == Some(next) {
                    kept[key as usize] = None;
                    len -= 1;
                }
            }
        }
        kept[key as usize] = Some(next);
        furthest.push((next, key));
    }
    100.0 * misses as f64 / trace.keys.len() as f64
}
