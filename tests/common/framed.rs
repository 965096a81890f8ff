//! Snapshots that nobody took: their entries as one likes, and every checksum right.

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = crc32fast::hash(&bytes);
    bytes.extend(check.to_le_bytes());
    bytes
}

/// A whole snapshot of one chunk.
pub(crate) fn framed(entries: &[Vec<u8>]) -> Vec<u8> {
    let (payload, count) = (entries.concat(), entries.len() as u32);
    let header = sealed([&b"\x89TIDE\r\n\n"[..], &1u32.to_le_bytes()].concat());
    let head = sealed([(payload.len() as u32).to_le_bytes(), count.to_le_bytes()].concat());
    let chunk = [header, head, sealed(payload)].concat();
    sealed([&chunk[..], &[0; 4], &u64::from(count).to_le_bytes()].concat())
}

/// An entry: flag and hits, five times, key and value as MessagePack.
pub(crate) fn entry(flag: u8, times: [u64; 5], key: &[u8], value: &[u8]) -> Vec<u8> {
    let times = times.iter().flat_map(|time| time.to_le_bytes());
    let lengths = [key.len() as u32, value.len() as u32].into_iter().flat_map(u32::to_le_bytes);
    [flag, 0]
        .into_iter()
        .chain(times)
        .chain(lengths)
        .chain(key.iter().copied())
        .chain(value.iter().copied())
        .collect()
}
