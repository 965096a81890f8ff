//! What a near cache makes of bytes from a server that is broken or hostile: values that do not decode, and messages that are none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use tidewheel_redis::{Codec, Json, MessagePack};

/// Nested, so that a decoder may be led as deep as it can be.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
enum Tree {
    Leaf(u64),
    Text(String),
    Twigs(Vec<Tree>),
    Pair { left: Box<Tree>, right: Option<Box<Tree>> },
}

fn decode(codec: &impl Codec<Tree>, bytes: &[u8]) {
    if let Ok(tree) = codec.decode(bytes) {
        let again = codec.encode(&tree).expect("what was read can be written");
        assert_eq!(codec.decode(&again).expect("what was written can be read"), tree);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind % 4 {
        0 => decode(&Json, rest),
        1 => decode(&MessagePack, rest),
        2 => tidewheel_redis::fuzzed::hear(b"", rest),
        _ => tidewheel_redis::fuzzed::hear(b"p:", rest),
    }
});
