//! Calls on a key and what they answered; and who can be called.

use tidewheel::Cache;

/// A call with its answer. A value is written once only, so it says who wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Get(Option<u64>),
    Insert(u64),
    /// Whether there was nothing.
    TryInsert(u64, bool),
    /// Whether there was something.
    Replace(u64, bool),
    /// What was there, and went.
    Swap(u64, Option<u64>),
    /// What was there; if anything was, this took its place.
    Update(u64, Option<u64>),
    /// What was there; in any case this took its place.
    Upsert(u64, Option<u64>),
    Remove(Option<u64>),
    /// Whether there was something.
    Invalidate(bool),
    /// Whether there was something, which lives on.
    Touch(bool),
}

/// Something like a map.
pub(crate) trait Subject: Sync {
    fn get(&self, key: u64) -> Option<u64>;
    fn insert(&self, key: u64, value: u64);
    fn try_insert(&self, key: u64, value: u64) -> bool;
    fn replace(&self, key: u64, value: u64) -> bool;
    fn swap(&self, key: u64, value: u64) -> Option<u64>;
    fn update(&self, key: u64, value: u64) -> Option<u64>;
    fn upsert(&self, key: u64, value: u64) -> Option<u64>;
    fn remove(&self, key: u64) -> Option<u64>;
    fn invalidate(&self, key: u64) -> bool;
    fn touch(&self, key: u64) -> bool;

    /// Makes the call that this number stands for.
    fn call(&self, number: u64, key: u64, value: u64) -> Call {
        match number % 20 {
            0..7 => Call::Get(self.get(key)),
            7 | 8 => {
                self.insert(key, value);
                Call::Insert(value)
            }
            9 | 10 => Call::TryInsert(value, self.try_insert(key, value)),
            11 | 12 => Call::Replace(value, self.replace(key, value)),
            13 => Call::Swap(value, self.swap(key, value)),
            14 | 15 => Call::Update(value, self.update(key, value)),
            16 => Call::Upsert(value, self.upsert(key, value)),
            17 => Call::Remove(self.remove(key)),
            18 => Call::Invalidate(self.invalidate(key)),
            _ => Call::Touch(self.touch(key)),
        }
    }
}

impl Subject for Cache<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn insert(&self, key: u64, value: u64) {
        Self::insert(self, key, value);
    }

    fn try_insert(&self, key: u64, value: u64) -> bool {
        Self::try_insert(self, key, value).is_ok()
    }

    fn replace(&self, key: u64, value: u64) -> bool {
        Self::replace(self, &key, value).is_ok()
    }

    fn swap(&self, key: u64, value: u64) -> Option<u64> {
        Self::swap(self, key, value)
    }

    fn update(&self, key: u64, value: u64) -> Option<u64> {
        self.update_with(&key, |old| (value, *old))
    }

    fn upsert(&self, key: u64, value: u64) -> Option<u64> {
        let mut seen = None;
        self.entry(key).and_upsert_with(|old| {
            seen = old.map(|old| *old.value());
            value
        });
        seen
    }

    fn remove(&self, key: u64) -> Option<u64> {
        Self::remove(self, &key)
    }

    fn invalidate(&self, key: u64) -> bool {
        Self::invalidate(self, &key)
    }

    fn touch(&self, key: u64) -> bool {
        Self::touch(self, &key)
    }
}
