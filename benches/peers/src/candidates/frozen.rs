//! A read-only `HashMap` behind `&`: the floor, which nothing that can be written to goes below.

use super::{Hasher, Reads, hasher};
use std::collections::HashMap;

pub(crate) struct Frozen(HashMap<u64, u64, Hasher>);

impl Reads for Frozen {
    const NAME: &'static str = "frozen map";

    fn filled(entries: u64) -> Self {
        let mut map = HashMap::with_hasher(hasher());
        map.extend((0..entries).map(|key| (key, key)));
        Self(map)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}
