//! Whether the lengths in a key's or value's bytes can be true: what they promise fits into the
//! bytes that follow.
//!
//! A list that states its length gets memory for it before its elements come (serde allows 1 MiB for
//! each list). In nested lists with false lengths, each of a thousand levels gets as much.
//! So the lengths of all levels are added up first. This file knows MessagePack's markers
//! (<https://github.com/msgpack/msgpack/blob/master/spec.md>), and no types.

/// Returns whether `bytes` begin with a whole value. Each value takes a byte at least, so there can
/// be no more values, at all levels together, than bytes.
pub(super) fn begins_with_a_value(bytes: &[u8]) -> bool {
    let (mut rest, mut owed) = (bytes, 1u64);
    while owed > 0 {
        let Some(Item { after, values }) = item(rest) else { return false };
        rest = after;
        owed = owed - 1 + values;
        if owed > rest.len() as u64 {
            return false;
        }
    }
    true
}

/// What is behind a marker: the bytes after its own, and how many values are to follow.
struct Item<'b> {
    after: &'b [u8],
    values: u64,
}

fn item(bytes: &[u8]) -> Option<Item<'_>> {
    let (&marker, after) = bytes.split_first()?;
    // A number of so many bytes, the highest first.
    let number = |count: usize| {
        let digits = after.get(..count)?;
        Some(digits.iter().fold(0, |number, &digit| number << 8 | u64::from(digit)))
    };
    let low = |bits: u32| u64::from(marker) & ((1 << bits) - 1);
    // How long the length is, how many bytes follow it, and how many values.
    let (length, skipped, values) = match marker {
        0x80..=0x8f => (0, 0, 2 * low(4)),
        0x90..=0x9f => (0, 0, low(4)),
        0xa0..=0xbf => (0, low(5), 0),
        0xc4 | 0xd9 => (1, number(1)?, 0),
        0xc5 | 0xda => (2, number(2)?, 0),
        0xc6 | 0xdb => (4, number(4)?, 0),
        // With a byte for what it is.
        0xc7 => (1, number(1)? + 1, 0),
        0xc8 => (2, number(2)? + 1, 0),
        0xc9 => (4, number(4)? + 1, 0),
        0xd4..=0xd8 => (0, (1 << (marker - 0xd4)) + 1, 0),
        0xcc | 0xd0 => (0, 1, 0),
        0xcd | 0xd1 => (0, 2, 0),
        0xca | 0xce | 0xd2 => (0, 4, 0),
        0xcb | 0xcf | 0xd3 => (0, 8, 0),
        0xdc => (2, 0, number(2)?),
        0xdd => (4, 0, number(4)?),
        0xde => (2, 0, 2 * number(2)?),
        0xdf => (4, 0, 2 * number(4)?),
        // Small numbers, true, false and nothing; and a marker that does not exist.
        _ => (0, 0, 0),
    };
    let after = after.get(length..)?.get(usize::try_from(skipped).ok()?..)?;
    Some(Item { after, values })
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use serde::{Serialize, Serializer};
    use std::collections::BTreeMap;

    struct Bytes(Vec<u8>);

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    #[derive(Serialize)]
    #[serde(rename = "_ExtStruct")]
    struct Extension((i8, Bytes));

    fn written(value: &impl Serialize) -> Vec<u8> {
        rmp_serde::to_vec(value).expect("memory does not fail")
    }

    /// Whatever is written begins with a whole value, and no part of it does.
    #[test]
    fn what_is_written_is_whole_and_its_parts_are_not() {
        let text = |length: usize| "x".repeat(length);
        let map = |length: u32| (0..length).map(|key| (key, ())).collect::<BTreeMap<_, _>>();
        let mut all = vec![
            written(&(0u8, 200u8, 60_000u16, 1u32 << 20, 1u64 << 40)),
            written(&(-1i8, -100i8, -30_000i16, -(1i32 << 20), -(1i64 << 40))),
            written(&(1.5f32, 1.5f64, true, false, None::<u8>, Some(3u8), 'x')),
        ];
        for length in [0, 1, 2, 4, 8, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            all.push(written(&text(length)));
            all.push(written(&Bytes(vec![7; length])));
            all.push(written(&vec![(); length]));
            all.push(written(&map(length as u32)));
            all.push(written(&Extension((7, Bytes(vec![7; length])))));
        }
        for bytes in all {
            assert!(begins_with_a_value(&bytes), "{:?}..", &bytes[..bytes.len().min(9)]);
            assert!(begins_with_a_value(&[&bytes[..], &[1, 2, 3]].concat()));
            for end in (0..bytes.len()).step_by(bytes.len().div_ceil(100)).chain([bytes.len() - 1]) {
                assert!(!begins_with_a_value(&bytes[..end]), "{end} of {:?}..", &bytes[..end.min(9)]);
            }
        }
    }
}
