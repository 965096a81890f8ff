//! What a thread has in hand of a count: the part that it has added and will take away again.
//!
//! In the child of a fork, a count that is raised and lowered outside of a lock still has what other
//! threads had added to it, and nobody takes that away. So each thread notes its own part, and the
//! child keeps only the part of the forking thread.
//!
//! Knows counts as numbers, and not what is counted. Under loom and shuttle nothing is noted.

pub(crate) use imp::InHand;

#[cfg(not(any(tidewheel_loom, tidewheel_shuttle)))]
mod imp {
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::sync::thread_local;
    use std::cell::RefCell;

    static COUNTS: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        /// The counts of which this thread has something in hand, and how much. There are few.
        static OWN: RefCell<Vec<(InHand, isize)>> = const { RefCell::new(Vec::new()) };
    }

    /// A count, as its threads know it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct InHand(usize);

    impl InHand {
        pub(crate) fn new() -> Self {
            // ORDERING: Relaxed; the number is all there is.
            Self(COUNTS.fetch_add(1, Ordering::Relaxed))
        }

        /// Notes that this thread has so much more in hand, or less. Comes before any code of the
        /// user's that runs after the count was changed.
        pub(crate) fn note(self, more: isize) {
            // A thread that is about to end has no thread-local state any more, and forks no more.
            let _ = OWN.try_with(|own| {
                let mut own = own.borrow_mut();
                match own.iter().rposition(|(count, _)| *count == self) {
                    None => own.push((self, more)),
                    Some(at) => {
                        own[at].1 += more;
                        if own[at].1 == 0 {
                            own.swap_remove(at);
                        }
                    }
                }
            });
        }

        /// Returns how much this thread has in hand.
        pub(crate) fn own(self) -> isize {
            let find = |own: &RefCell<Vec<(Self, isize)>>| {
                own.borrow().iter().find(|(count, _)| *count == self).map(|(_, own)| *own)
            };
            OWN.try_with(find).ok().flatten().unwrap_or(0)
        }
    }
}

#[cfg(any(tidewheel_loom, tidewheel_shuttle))]
mod imp {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct InHand;

    impl InHand {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn note(self, _more: isize) {}

        pub(crate) fn own(self) -> isize {
            0
        }
    }
}

#[cfg(all(test, not(any(tidewheel_loom, tidewheel_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_part_of_each_count() {
        let [one, other] = [(); 2].map(|()| InHand::new());
        one.note(2);
        other.note(-1);
        std::thread::spawn(move || {
            assert_eq!((one.own(), other.own()), (0, 0));
            one.note(5);
        })
        .join()
        .unwrap();
        one.note(-1);
        assert_eq!((one.own(), other.own()), (1, -1));
        one.note(-1);
        other.note(1);
        assert_eq!((one.own(), other.own()), (0, 0));
    }
}
