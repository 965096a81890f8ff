//! The wheel and a sorted list, side by side: `src/wheel/trial.rs`, which the property tests use too.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidewheel::fuzzed::wheel(input));
