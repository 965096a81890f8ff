//! The policy's queues and a map of what is in them, side by side: `src/policy/trial.rs`, which the property tests use too.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidewheel::fuzzed::policy(input));
