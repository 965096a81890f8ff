//! Looks for an order of calls on one key that explains what each answered.
//!
//! One call after the other is put in order: at any time, one of those that had begun before any of the rest ended. What a key can
//! hold after that, and which calls are in order already, is a *state of the search*; all that are possible are kept at once, so that nothing is tried twice
//! (as in Lowe, "Testing for linearizability", 2017, who remembers what was tried). A call that changes nothing goes first, where it can: whatever comes
//! later could come after it as well.

use super::calls::Call;
use super::history::Event;
use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

/// By what rules a value goes by itself.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// So long after it was written or touched, and so much later at most.
    pub(crate) ttl: Option<(Duration, Duration)>,
    /// At any time, to make room.
    pub(crate) vanishes: bool,
}

impl Rules {
    pub(crate) const PLAIN: Self = Self { ttl: None, vanishes: false };
}

/// What a key holds: a value, and the call that wrote or touched it last.
type Held = Option<(u64, usize)>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    /// No call from this one on is in order yet.
    next: usize,
    /// The calls before it that are not in order: one of each thread at most, for they were under way when the last one began that is.
    open: Vec<usize>,
    held: Held,
}

/// Whether there is an order; if not, what was seen where the search ended.
pub(crate) fn check(events: &[Event], rules: Rules) -> Result<(), String> {
    let mut states = HashSet::from([State { next: 0, open: Vec::new(), held: None }]);
    for _ in 0..events.len() {
        let mut next = HashSet::with_capacity(states.len());
        for state in &states {
            expand(events, rules, state, &mut next);
        }
        if next.is_empty() {
            return Err(window(events, &states));
        }
        states = next;
    }
    Ok(())
}

/// All states that one more call leads to.
fn expand(events: &[Event], rules: Rules, state: &State, next: &mut HashSet<State>) {
    let candidates = candidates(events, state);
    let after = |&at: &usize| Some((at, answer(events, rules, state.held, at)?));
    let possible: Vec<_> = candidates.iter().filter_map(after).collect();
    let harmless = possible.iter().find(|(_, held)| *held == state.held);
    let chosen = harmless.map_or(&possible[..], std::slice::from_ref);
    next.extend(chosen.iter().map(|&(at, held)| state.with(at, held)));
}

/// The calls that may be the next: those that began before any of the rest had ended.
fn candidates(events: &[Event], state: &State) -> Vec<usize> {
    let mut found = state.open.clone();
    let mut first_end = found.iter().map(|at| events[*at].to).min().unwrap_or(u64::MAX);
    for (at, event) in events.iter().enumerate().skip(state.next) {
        if event.from > first_end {
            break;
        }
        found.push(at);
        first_end = first_end.min(event.to);
    }
    found.retain(|at| events[*at].from <= first_end);
    found
}

impl State {
    fn with(&self, at: usize, held: Held) -> Self {
        let mut open = self.open.clone();
        let next = if at < self.next {
            open.retain(|other| *other != at);
            self.next
        } else {
            open.extend(self.next..at);
            at + 1
        };
        Self { next, open, held }
    }
}

/// What the key holds after this call, if it can have answered so.
fn answer(events: &[Event], rules: Rules, held: Held, at: usize) -> Option<Held> {
    let event = &events[at];
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
    // It may be found until its end as late as that can be, and be gone from the end on as early as that can be.
    let is_found = held.filter(|&(_, since)| {
        rules.ttl.is_none_or(|(ttl, late)| event.from <= events[since].to + nanos(ttl) + nanos(late))
    });
    let may_be_gone = held.is_none_or(|(_, since)| {
        rules.vanishes || rules.ttl.is_some_and(|(ttl, _)| event.to >= events[since].from + nanos(ttl))
    });
    let was = |value: u64| is_found.is_some_and(|(there, _)| there == value);
    let saw = |seen: Option<u64>| seen.map_or(may_be_gone, was);
    let there = |is_there: bool| if is_there { is_found.is_some() } else { may_be_gone };
    let mine = |value: u64| Some((value, at));
    let (is_possible, after) = match event.call {
        Call::Get(seen) => (saw(seen), if seen.is_some() { held } else { None }),
        Call::Insert(value) => (true, mine(value)),
        Call::TryInsert(value, done) => (there(!done), if done { mine(value) } else { held }),
        Call::Replace(value, done) => (there(done), if done { mine(value) } else { None }),
        Call::Swap(value, seen) | Call::Upsert(value, seen) => (saw(seen), mine(value)),
        Call::Update(value, seen) => (saw(seen), if seen.is_some() { mine(value) } else { None }),
        Call::Remove(seen) => (saw(seen), None),
        Call::Invalidate(done) => (there(done), None),
        Call::Touch(done) => (there(done), if done { held.map(|(value, _)| (value, at)) } else { None }),
    };
    is_possible.then_some(after)
}

/// Where no state of the search went on: the one that came furthest, and the calls around it.
fn window(events: &[Event], states: &HashSet<State>) -> String {
    let mut text = String::new();
    let Some(state) = states.iter().max_by_key(|state| state.next) else { return text };
    let _ = writeln!(text, "the key holds {:?} when none of these can be next", state.held);
    let first = state.open.first().map_or(state.next, |first| *first);
    let around = first.saturating_sub(6)..state.next + 6;
    for (at, Event { call, from, to }) in events.iter().enumerate().take(around.end).skip(around.start) {
        let mark = if at < state.next && !state.open.contains(&at) { "in order" } else { "" };
        let _ = writeln!(text, "{at:>8} {from:>12} to {to:>12} ns  {mark:<8}  {call:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: Call, from: u64, to: u64) -> Event {
        Event { call, from, to }
    }

    fn is_in_order(events: &[Event], rules: Rules) -> bool {
        check(events, rules).is_ok()
    }

    #[test]
    fn what_one_thread_sees_is_in_order_if_a_map_would_answer_so() {
        let calls = [
            Call::Get(None),
            Call::TryInsert(1, true),
            Call::TryInsert(2, false),
            Call::Replace(3, true),
            Call::Update(4, Some(3)),
            Call::Swap(5, Some(4)),
            Call::Touch(true),
            Call::Upsert(6, Some(5)),
            Call::Remove(Some(6)),
            Call::Touch(false),
            Call::Invalidate(false),
            Call::Update(7, None),
            Call::Replace(8, false),
            Call::Upsert(9, None),
            Call::Get(Some(9)),
        ];
        let events: Vec<_> = (0..).zip(calls).map(|(at, call)| event(call, 10 * at, 10 * at + 5)).collect();
        assert!(is_in_order(&events, Rules::PLAIN));
        // Any of them left out, and what comes after it was not so.
        for at in [1, 3, 4, 5, 7, 8, 13] {
            let mut less = events.clone();
            less.remove(at);
            assert!(!is_in_order(&less, Rules::PLAIN), "{:?}", events[at].call);
        }
    }

    #[test]
    fn calls_at_once_may_be_in_any_order_and_others_not() {
        let write = [event(Call::Insert(1), 0, 5), event(Call::Insert(2), 10, 20)];
        let read = |value, from, to| [&write[..], &[event(Call::Get(Some(value)), from, to)]].concat();
        assert!(is_in_order(&read(1, 12, 15), Rules::PLAIN));
        assert!(is_in_order(&read(2, 12, 15), Rules::PLAIN));
        assert!(!is_in_order(&read(1, 21, 25), Rules::PLAIN), "what was replaced before it began");
        assert!(!is_in_order(&read(2, 6, 9), Rules::PLAIN), "what was written after it ended");
        // One reader saw the new value, and another one after that the old.
        let back = [read(2, 12, 13).as_slice(), &[event(Call::Get(Some(1)), 14, 15)]].concat();
        assert!(!is_in_order(&back, Rules::PLAIN));
    }

    #[test]
    fn a_value_goes_when_its_time_is_over_and_at_no_other() {
        let (ttl, late) = (Duration::from_nanos(100), Duration::from_nanos(10));
        let rules = Rules { ttl: Some((ttl, late)), ..Rules::PLAIN };
        let seen = |value, from, to| [event(Call::Insert(1), 0, 5), event(Call::Get(value), from, to)];
        assert!(is_in_order(&seen(Some(1), 115, 120), rules));
        assert!(!is_in_order(&seen(Some(1), 116, 120), rules), "too late");
        assert!(is_in_order(&seen(None, 50, 100), rules));
        assert!(!is_in_order(&seen(None, 50, 99), rules), "too early");
        let touched = [event(Call::Insert(1), 0, 5), event(Call::Touch(true), 90, 92)];
        assert!(!is_in_order(&[&touched[..], &[event(Call::Get(None), 120, 130)]].concat(), rules));
        assert!(is_in_order(&[&touched[..], &[event(Call::Get(None), 120, 190)]].concat(), rules));
        // What has gone does not come back.
        let back = [seen(None, 50, 100).as_slice(), &[event(Call::Get(Some(1)), 101, 102)]].concat();
        assert!(!is_in_order(&back, rules));
    }

    #[test]
    fn a_value_may_vanish_to_make_room_and_stays_away() {
        let rules = Rules { vanishes: true, ..Rules::PLAIN };
        let gone = [event(Call::Insert(1), 0, 5), event(Call::Get(None), 6, 7)];
        assert!(is_in_order(&gone, rules));
        assert!(!is_in_order(&[&gone[..], &[event(Call::Get(Some(1)), 8, 9)]].concat(), rules));
    }
}
