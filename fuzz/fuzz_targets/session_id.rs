//! Session ids from strangers: whatever the text, parsing does not panic; what it accepts is the one
//! canonical form; and every id is found again in its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewheel::SessionId;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<SessionId>() {
        Ok(id) => {
            let encoded = id.encode();
            assert_eq!(AsRef::<str>::as_ref(&encoded), text, "accepted, but not canonical");
            assert_eq!(encoded.parse::<SessionId>().ok().as_ref(), Some(&id));
            assert!(!format!("{id:?}").contains(text), "Debug prints the id");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            // Ids are secrets, and what is nearly one tells nearly all. (No error says so long a word.)
            let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            assert!(!word || text.len() < 16 || !said.contains(text), "the error prints the text: {said}");
        }
    }
});
