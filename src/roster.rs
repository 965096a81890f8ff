//! A roster: members to visit, each with the number that it got when it was added.
//!
//! Members are added and removed in constant time, in any order. They are stored without gaps, so
//! that a visit to all of them takes as long as there are members. The roster does not know what a
//! member is, or who visits it.

use std::fmt;

/// Ends the chain of free numbers.
const NONE: usize = usize::MAX;

pub(crate) struct Roster<T> {
    /// The members in no particular order, each with its number.
    members: Vec<(usize, T)>,
    /// By number: the place of its member. For a free number: the next free number.
    places: Vec<usize>,
    /// The first free number.
    free: usize,
    /// How many members were removed since the free numbers were put in order.
    removed: usize,
}

impl<T> Roster<T> {
    pub(crate) const fn new() -> Self {
        Self { members: Vec::new(), places: Vec::new(), free: NONE, removed: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|(_, member)| member)
    }

    /// Adds a member, and returns its number.
    ///
    /// # Complexity
    ///
    /// O(1), amortized.
    pub(crate) fn add(&mut self, member: T) -> usize {
        let place = self.members.len();
        let number = match self.places.get_mut(self.free) {
            Some(next) => {
                let number = self.free;
                self.free = std::mem::replace(next, place);
                number
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        self.members.push((number, member));
        number
    }

    /// Removes a member, and returns it. Must be called once for each number that `add` returned.
    ///
    /// # Complexity
    ///
    /// O(1), amortized: the last member takes the place of the removed one. The list shrinks when
    /// it is three quarters empty.
    pub(crate) fn remove(&mut self, number: usize) -> T {
        let place = std::mem::replace(&mut self.places[number], self.free);
        self.free = number;
        self.removed += 1;
        let (found, member) = self.members.swap_remove(place);
        assert_eq!(found, number, "a number that was struck off already");
        if let Some((moved, _)) = self.members.get(place) {
            self.places[*moved] = place;
        }
        if self.members.is_empty() {
            *self = Self::new();
        } else if self.members.len() < self.members.capacity() / 4 {
            self.shrink();
        }
        member
    }

    /// Gives back the memory of removed members. Also that of the numbers (a word each) beyond the
    /// highest one in use, if that is worth a walk over all numbers: if it is at least half of
    /// them, or if as many members as that were removed since the last walk.
    #[cold]
    fn shrink(&mut self) {
        self.members.shrink_to(2 * self.members.len());
        let highest = self.members.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let half = self.places.len() / 2;
        if highest + 1 > half && self.removed < half {
            return;
        }
        self.removed = 0;
        self.places.clear();
        self.places.resize(highest + 1, NONE);
        self.places.shrink_to_fit();
        for (place, (number, _)) in self.members.iter().enumerate() {
            self.places[*number] = place;
        }
        // The other numbers are free, the lowest first, so that high ones go out of use.
        self.free = NONE;
        for number in (0..highest).rev() {
            if self.places[number] == NONE {
                self.places[number] = std::mem::replace(&mut self.free, number);
            }
        }
    }
}

impl<T> fmt::Debug for Roster<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_name_their_members_whoever_else_comes_and_goes() {
        let (mut roster, mut model) = (Roster::new(), BTreeMap::new());
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        for step in 0..20_000u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The number of members rises and falls in waves, and is 0 now and then.
            let grows = (step / 500) % 2 == 0;
            if random % 4 != 0 && grows || model.is_empty() {
                assert_eq!(model.insert(roster.add(step), step), None, "a number that is taken");
            } else {
                let nth = (random >> 32) as usize % model.len();
                let number = *model.keys().nth(nth).unwrap();
                assert_eq!(Some(roster.remove(number)), model.remove(&number));
            }
            let (count, sum) = roster.iter().fold((0, 0), |(count, sum), member| (count + 1, sum + member));
            assert_eq!((count, sum), (model.len(), model.values().sum::<u64>()));
            assert_eq!(roster.is_empty(), model.is_empty());
            assert!(roster.places.len() <= 500, "numbers are used again");
        }
    }

    /// Of many members only the last has stayed, so that there are many free numbers below it. They
    /// are put in order once in thousands of removals. As long as they are not, what was freed last
    /// leads to what was freed before it.
    #[test]
    fn numbers_are_seldom_put_in_order() {
        const MANY: usize = 10_000;
        let mut roster = Roster::new();
        let numbers: Vec<_> = (0..MANY).map(|member| roster.add(member)).collect();
        numbers[..MANY - 1].iter().for_each(|number| _ = roster.remove(*number));
        let was_put_in_order = |_: &usize| {
            let few: [usize; 8] = std::array::from_fn(|member| roster.add(member));
            few.iter().for_each(|number| _ = roster.remove(*number));
            few.windows(2).any(|pair| roster.places[pair[1]] != pair[0])
        };
        let rounds = (0..MANY / 10).filter(was_put_in_order).count();
        assert!(rounds <= 2, "in {rounds} rounds");
    }

    #[test]
    fn who_has_gone_takes_no_memory() {
        let mut roster = Roster::new();
        let numbers: Vec<_> = (0..10_000).map(|member| roster.add(member)).collect();
        for number in numbers[10..].iter().rev() {
            roster.remove(*number);
        }
        assert!(roster.members.capacity() <= 80 && roster.places.capacity() <= 80);
        assert_eq!(roster.iter().sum::<usize>(), 45);
        for number in &numbers[..10] {
            roster.remove(*number);
        }
        assert_eq!((roster.members.capacity(), roster.places.capacity()), (0, 0));
    }
}
