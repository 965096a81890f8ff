//! A row's place in one list.

/// In a link: marks a list; the other bits are its number. A link without it names a row.
pub(super) const LIST: u32 = 1 << 31;
/// In `Link::prev`: the row is in no list.
pub(super) const LOOSE: u32 = u32::MAX;

/// A row's place in one list: the neighbours before and after it.
///
/// A row carries one link for each kind of list that it can be in. It starts as [`Link::LOOSE`] and
/// is copied only while loose: a second stop of the same ring would break it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Link {
    /// The link of a row in no list.
    pub(crate) const LOOSE: Self = Self { prev: LOOSE, next: LOOSE };
    /// Returns whether this is a stop of some list.
    #[inline]
    pub(crate) const fn is_linked(&self) -> bool {
        self.prev != LOOSE
    }
}
