//! Who leads which flight, and on which thread.

use crate::sync::{Arc, thread_local};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem::{ManuallyDrop, take};
use std::ops::Range;

/// Identifies a flight: by the key's hash, a number, and the address of the ledger, because a
/// thread may lead flights in several ledgers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket {
    pub(super) hash: u64,
    pub(super) number: u64,
    pub(super) ledger: usize,
}

/// The place of a waiting call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The flight that the call joined.
    pub(super) ticket: Ticket,
    /// The number of the call, in that flight's queue and in any other to which it moves on.
    pub(super) number: u64,
}

impl Spot {
    /// Returns whether the closure of that flight runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        self.ticket.leads_here()
    }

    /// Returns whether the call has this number. One that waits has the number of the call that
    /// leads, if both are the same caller's (`Flights::accompany`).
    pub(crate) fn is_of(self, number: u64) -> bool {
        self.number == number
    }
}

/// Up to this many marks, a search through a list is faster than one in a map.
const FEW: usize = 16;

/// The marks of a thread. Mostly there is one. A call for many keys has one for each key. Writes
/// look for them under a shard's lock, so the time of a look hardly depends on their number.
struct Marks {
    /// At most `limit`, in no particular order.
    few: Vec<Ticket>,
    /// `FEW` as long as `Leave` is going to free the memory. Otherwise 0, and then no memory is left
    /// when there are no marks.
    limit: usize,
    /// All other marks, and how many there are of each. No memory is left of those that are gone.
    many: BTreeMap<Ticket, usize>,
    /// Flights that are marked together, each group in order. There are as many groups as there are
    /// polls within polls.
    groups: Vec<Arc<[Ticket]>>,
}

impl Marks {
    const fn new() -> Self {
        Self { few: Vec::new(), limit: 0, many: BTreeMap::new(), groups: Vec::new() }
    }

    #[inline]
    fn contains(&self, ticket: &Ticket) -> bool {
        self.few.contains(ticket)
            || self.many.contains_key(ticket)
            || self.groups.iter().any(|group| group.binary_search(ticket).is_ok())
    }

    fn add(&mut self, ticket: Ticket) {
        if self.few.len() < self.limit {
            self.few.push(ticket);
        } else {
            self.add_otherwise(ticket);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_otherwise(&mut self, ticket: Ticket) {
        if self.keeps_memory() && self.few.is_empty() {
            self.few.push(ticket);
        } else {
            *self.many.entry(ticket).or_insert(0) += 1;
        }
    }

    /// Returns whether the memory is freed when the thread ends, and sees to it that it is.
    fn keeps_memory(&mut self) -> bool {
        if self.limit == 0 && LEAVE.try_with(|_| {}).is_ok() {
            self.limit = FEW;
        }
        self.limit > 0
    }

    /// Removes one mark, if there is one. All marks of a flight are alike.
    #[inline]
    fn remove(&mut self, ticket: Ticket) {
        // Mostly the last one.
        if self.few.last() == Some(&ticket) {
            self.few.pop();
        } else {
            self.remove_any(ticket);
        }
    }

    #[inline(never)]
    fn remove_any(&mut self, ticket: Ticket) {
        match self.few.iter().rposition(|mark| *mark == ticket) {
            Some(place) => _ = self.few.swap_remove(place),
            None => self.remove_from_many(ticket),
        }
    }

    #[cold]
    #[inline(never)]
    fn remove_from_many(&mut self, ticket: Ticket) {
        if let Entry::Occupied(mut marks) = self.many.entry(ticket) {
            *marks.get_mut() -= 1;
            if *marks.get() == 0 {
                marks.remove();
            }
        }
        if self.many.is_empty() {
            self.many = BTreeMap::new();
        }
    }

    #[cfg(feature = "async")]
    fn add_group(&mut self, group: &Arc<[Ticket]>) {
        self.keeps_memory();
        self.groups.push(Arc::clone(group));
    }

    #[cfg(feature = "async")]
    fn remove_group(&mut self, group: &Arc<[Ticket]>) {
        if let Some(place) = self.groups.iter().rposition(|other| Arc::ptr_eq(other, group)) {
            self.groups.swap_remove(place);
        }
        if self.limit == 0 && self.groups.is_empty() {
            self.groups = Vec::new();
        }
    }

    /// Called when the thread ends: from now on, only marks that exist take memory.
    fn leave(&mut self) {
        self.limit = 0;
        for ticket in take(&mut self.few) {
            *self.many.entry(ticket).or_insert(0) += 1;
        }
        if self.groups.is_empty() {
            self.groups = Vec::new();
        }
    }
}

/// The marks of a thread, without a destructor.
struct OfThread(RefCell<ManuallyDrop<Marks>>);

/// Under loom and shuttle, a thread's locals are all destroyed at once.
#[cfg(any(tidewheel_loom, tidewheel_shuttle))]
impl Drop for OfThread {
    fn drop(&mut self) {
        drop(ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(Marks::new()))));
    }
}

/// Frees the marks' memory when the thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| leading.0.borrow_mut().leave());
    }
}

thread_local! {
    /// The flights whose leaders' closures run on this thread, and the watches that are set for
    /// other closures. It has no destructor, so that destructors of other thread-locals, which may
    /// run later, find what leads there. (Only under loom and shuttle can an access fail. `try_with`
    /// is used all the same: it is inlined, and `with` is a call.)
    static LEADING: OfThread = const { OfThread(RefCell::new(ManuallyDrop::new(Marks::new()))) };
}
thread_local! {
    static LEAVE: Leave = const { Leave };
}

/// Marks, until it is dropped, that a flight's closure runs on this thread. The thread would wait
/// for itself if it waited for that flight. Marks may be dropped in any order.
#[derive(Debug)]
pub(crate) struct Leading(Ticket);

impl Leading {
    pub(crate) fn enter(ticket: Ticket) -> Self {
        let _ = LEADING.try_with(|leading| leading.0.borrow_mut().add(ticket));
        Self(ticket)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| leading.0.borrow_mut().remove(self.0));
    }
}

/// Flights that one future leads, which is polled again and again. They are marked in one step,
/// however many they are.
#[cfg(feature = "async")]
#[derive(Debug)]
pub(crate) struct Group(Arc<[Ticket]>);

#[cfg(feature = "async")]
impl Group {
    pub(crate) fn of(tickets: impl Iterator<Item = Ticket>) -> Self {
        let mut tickets: Vec<_> = tickets.collect();
        tickets.sort_unstable();
        Self(tickets.into())
    }

    /// Marks all of the flights, as `Leading` marks one.
    pub(crate) fn enter(&self) -> LeadingAll<'_> {
        let _ = LEADING.try_with(|leading| leading.0.borrow_mut().add_group(&self.0));
        LeadingAll(self)
    }
}

/// Marks, until it is dropped, that the closures of a group of flights run on this thread.
#[cfg(feature = "async")]
#[derive(Debug)]
pub(crate) struct LeadingAll<'g>(&'g Group);

#[cfg(feature = "async")]
impl Drop for LeadingAll<'_> {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| leading.0.borrow_mut().remove_group(&self.0.0));
    }
}

impl Ticket {
    /// Returns the range of the tickets that have this hash.
    pub(super) fn all_of(hash: u64) -> Range<Self> {
        let [first, last] = [0, u64::MAX].map(|number| Self { hash, number, ledger: 0 });
        first..last
    }

    /// Returns whether the flight's closure runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        LEADING.try_with(|leading| leading.0.borrow().contains(&self)).unwrap_or(false)
    }
}

#[cfg(all(test, not(tidewheel_loom), not(tidewheel_shuttle)))]
mod tests {
    use super::*;

    fn ticket(number: u64) -> Ticket {
        Ticket { hash: number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number, ledger: 0 }
    }

    /// Runs a check on the marks of this thread.
    fn on_this_thread<R>(check: impl FnOnce(&Marks) -> R) -> R {
        LEADING.with(|leading| check(&leading.0.borrow()))
    }

    #[test]
    fn however_many_there_are_a_few_of_them_are_looked_through() {
        let marks: Vec<_> = (0..10_000).map(|number| Leading::enter(ticket(number))).collect();
        assert!(on_this_thread(|marks| marks.few.len()) <= FEW);
        assert!((0..10_000).all(|number| ticket(number).leads_here()));
        assert!(!ticket(10_000).leads_here());
        drop(marks);
        assert!(!(0..10_000).any(|number| ticket(number).leads_here()));
        assert!(on_this_thread(|marks| marks.few.is_empty() && marks.many.is_empty()));
    }

    #[cfg(feature = "async")]
    #[test]
    fn a_group_is_led_as_long_as_it_is_marked() {
        let group = Group::of([3, 1, 2].map(ticket).into_iter());
        let led = || (0..5).filter(|number| ticket(*number).leads_here()).collect::<Vec<_>>();
        let (all, one) = (group.enter(), Leading::enter(ticket(2)));
        let again = group.enter();
        assert_eq!(led(), [1, 2, 3]);
        drop(all);
        assert_eq!(led(), [1, 2, 3]);
        drop(again);
        assert_eq!(led(), [2]);
        drop(one);
        assert_eq!(led(), []);
    }

    /// What a destructor of a thread-local finds that comes after all of the crate's own.
    struct Late {
        before: Vec<Leading>,
        said: std::sync::mpsc::Sender<(bool, usize, usize)>,
    }

    impl Drop for Late {
        fn drop(&mut self) {
            let led =
                |range: std::ops::Range<u64>| range.filter(|number| ticket(*number).leads_here()).count();
            let marks: Vec<_> = (50..100).map(|number| Leading::enter(ticket(number))).collect();
            let all_are_led = led(0..1000) == self.before.len() + marks.len();
            drop(marks);
            let still_led = led(0..1000) == self.before.len();
            self.before.clear();
            let left =
                on_this_thread(|marks| (marks.few.capacity() + marks.groups.capacity(), marks.many.len()));
            let _ = self.said.send((all_are_led && still_led && led(0..1000) == 0, left.0, left.1));
        }
    }

    #[test]
    fn while_a_thread_ends_its_flights_are_led_as_ever_and_leave_no_memory() {
        thread_local! {
            static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
        }
        let (said, hears) = std::sync::mpsc::channel();
        let run = move || {
            // The destructor of `LAST` is registered before the thread's first mark.
            LAST.set(None);
            let before = (0..30).map(|number| Leading::enter(ticket(number))).collect();
            assert_eq!(on_this_thread(|marks| marks.few.len()), FEW);
            LAST.set(Some(Late { before, said }));
        };
        std::thread::spawn(run).join().unwrap();
        assert_eq!(hears.recv(), Ok((true, 0, 0)));
    }

    /// Marks of the same few flights come and go in any order, beside a simple count of each.
    #[test]
    fn a_flight_is_led_until_its_last_mark_is_gone() {
        const FLIGHTS: usize = 3 * FEW;
        let (mut marks, mut counts) = (Vec::new(), [0; FLIGHTS]);
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        for step in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The number of marks rises and falls in waves.
            let grows = (step / 200) % 2 == 0;
            if marks.is_empty() || grows == (random % 4 != 0) {
                let number = (random >> 32) as usize % FLIGHTS;
                counts[number] += 1;
                marks.push((number, Leading::enter(ticket(number as u64))));
            } else {
                let place = (random >> 32) as usize % marks.len();
                counts[marks.swap_remove(place).0] -= 1;
            }
            for (number, count) in counts.iter().enumerate() {
                assert_eq!(ticket(number as u64).leads_here(), *count > 0, "in step {step}");
            }
        }
    }
}
