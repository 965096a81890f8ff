//! Rows: a slab addressed by small numbers.
//!
//! A row is a writer's bookkeeping of one entry. It is in a chunk that never moves, so growth
//! copies no row. Each chunk is twice as large as the one before, and its memory is allocated when
//! it is touched. The number of a row consists of its chunk and its place in the chunk. Other data
//! that is stored by these numbers, in chunks of the same sizes, is found without a search. This
//! file does not know what the fields of a row mean.
//!
//! A row keeps its number while its entry exists, however often the entry is replaced. New rows
//! take low vacant numbers, so that the higher chunks empty and their memory can be given back.
//!
//! | file | what |
//! |---|---|
//! | `ids.rs` | what a number says |
//! | `numbers.rs` | which numbers are taken |
//! | `slab.rs` | rows by number |
//! | `link.rs`, `lists.rs` | lists of rows |

mod ids;
mod link;
mod lists;
mod numbers;
mod slab;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;

pub(crate) use ids::{CHUNKS, RowId, chunk_size};
pub(crate) use link::Link;
pub(crate) use lists::{Chain, Linked, Lists};
pub(crate) use numbers::Numbers;
pub(crate) use slab::{Kept, Memory, Metadata, Queued, Row, Rows};
