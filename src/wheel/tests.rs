//! The wheel against a sorted list.
