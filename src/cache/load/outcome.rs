//! What a loader comes to, and what its call makes of that.

use crate::inflight::{Asker, Failure, Outcome, Wants};
use crate::life::Life;
use crate::sync::Arc;
use std::any::TypeId;

/// What a call's own closure came to.
pub(crate) struct Made<V> {
    pub(in crate::cache) outcome: Outcome<V>,
    /// What it said of how long the value lives.
    pub(in crate::cache) life: Life,
}

impl<V> Made<V> {
    /// That lives as long as values of the cache do.
    #[inline]
    pub(crate) fn plain(outcome: Outcome<V>) -> Self {
        Self { outcome, life: Life::Restart }
    }

    pub(crate) fn value(value: V) -> Self {
        Self::plain(Outcome::Value(value))
    }

    /// Another life for it, in its place.
    #[inline]
    pub(crate) fn set_life(&mut self, life: Life) {
        self.life = life;
    }

    /// The same, with another life.
    #[inline]
    pub(crate) fn with_life(self, life: Life) -> Self {
        Self { life, ..self }
    }
}

/// Where a call has its outcome from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// It made it itself, and it is stored.
    Stored,
    /// It made it itself, and it is not stored: the key was written or removed meanwhile, or it is too heavy.
    Unstored,
    /// It is there, or another one made it.
    There,
    /// Another one made it, and the key was written or removed meanwhile.
    Invalidated,
}

impl Origin {
    /// Whether it is what this call made, and stored.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self == Self::Stored
    }
}

/// What a call returns, once its arguments are gone that it had no use for: a destructor that panicked later would leak it.
#[inline]
pub(crate) fn served<V, A>(value: V, arguments: A) -> V {
    drop(arguments);
    value
}

pub(in crate::cache) const NO_ALARM: &str = "an alarm that was never set does not go off";

pub(crate) fn wants_value() -> Wants {
    Wants::value(None, false)
}

/// A call that has its value already, and stores it if there is none.
pub(crate) fn wants_place() -> Wants {
    Wants::Value { error: None, nothing: false, asker: Asker::Ready }
}

pub(crate) fn wants_result<E: 'static>() -> Wants {
    Wants::value(Some(TypeId::of::<E>()), false)
}

pub(crate) fn wants_option() -> Wants {
    Wants::value(None, true)
}

pub(crate) fn fallible<V, E: Send + Sync + 'static>(result: Result<V, E>) -> Made<V> {
    result.map_or_else(failed, Made::value)
}

pub(in crate::cache) fn failed<V, E: Send + Sync + 'static>(error: E) -> Made<V> {
    Made::plain(Outcome::Error(Arc::new(error) as Failure))
}

pub(crate) fn optional<V>(option: Option<V>) -> Made<V> {
    Made::plain(option.map_or(Outcome::Nothing, Outcome::Value))
}

pub(in crate::cache) const NOT_ASKED: &str = "a call is told only what it asked for";

pub(crate) fn value<V>(outcome: Outcome<V>) -> V {
    match outcome {
        Outcome::Value(value) => value,
        Outcome::Nothing | Outcome::Error(_) => unreachable!("{NOT_ASKED}"),
    }
}

pub(crate) fn option<V>(outcome: Outcome<V>) -> Option<V> {
    match outcome {
        Outcome::Value(value) => Some(value),
        Outcome::Nothing | Outcome::Error(_) => None,
    }
}

pub(crate) fn result<V, E: Send + Sync + 'static>(outcome: Outcome<V>) -> Result<V, Arc<E>> {
    match outcome {
        Outcome::Value(value) => Ok(value),
        Outcome::Error(error) => Err(error.downcast().expect(NOT_ASKED)),
        Outcome::Nothing => unreachable!("{NOT_ASKED}"),
    }
}
