//! The loom models, all in one program, so that what they have in common is compiled once.
//!
//! Tests run in the order of their names, on two threads or more: the ones that take longest come first.

mod among_three;
mod bounded;
mod bulk;
mod clearing;
mod common;
mod computing;
mod detached;
mod entries;
mod graces;
mod growth;
mod helping;
mod idle;
mod loading;
mod many;
mod owners;
mod places;
mod reaper;
mod shrinking;
mod timekeeper;
mod turns;
mod walks;
