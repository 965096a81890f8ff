//! Get, or load once: whatever the loader does, and becomes of it. One program for all of it, so that what the
//! files have in common is built once.
//!
//! | file | what |
//! |---|---|
//! | `threads.rs` | callers that are threads |
//! | `figures.rs` | how many loads are counted, as what, and for how long |
//! | `joined.rs` | which calls count as having joined another one's load |
//! | `detached.rs` | loads that go on without the calls that began them |
//! | `futures.rs` | callers that are futures, on several executors |
//! | `cancelled.rs` | futures that are dropped |
//! | `counted.rs` | what a call counts as in the statistics |
//! | `destructors.rs` | destructors that use the cache, or panic, where a call fails |
//! | `lasting.rs` | loaders that say how long their value lives |
//! | `looks.rs` | what a call that waited finds in its turn |
//! | `many.rs` | many keys at once |
//! | `many_turns.rs` | turns that come to a call for many keys while it waits |
//! | `numbers.rs` | the places of calls that wait, where turns and flights change hands |
//! | `invalidated.rs` | loaders that hang, and keys that are removed while they are loaded |
//! | `panics.rs` | keys, values and clones that panic while a load is told |
//! | `trouble.rs` | user code that panics or calls back, wherever it is run |

#[cfg(feature = "async")]
#[path = "../common/alone.rs"]
mod alone;
#[cfg(feature = "async")]
#[path = "../common/bare.rs"]
mod bare;
#[cfg(feature = "async")]
mod cancelled;
#[cfg(feature = "async")]
mod counted;
#[cfg(feature = "async")]
mod destructors;
#[cfg(feature = "async")]
mod detached;
#[cfg(feature = "async")]
mod figures;
#[cfg(feature = "async")]
mod futures;
#[cfg(feature = "async")]
mod invalidated;
#[cfg(feature = "async")]
mod joined;
#[cfg(feature = "async")]
mod lasting;
#[cfg(feature = "async")]
mod looks;
mod many;
#[cfg(feature = "async")]
mod many_turns;
#[cfg(feature = "async")]
mod numbers;
mod panics;
mod threads;
#[cfg(feature = "async")]
mod trouble;
#[path = "../common/waiting.rs"]
mod waiting;
#[path = "../common/watchdog.rs"]
mod watchdog;
