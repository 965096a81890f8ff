//! Random numbers from the operating system, for ids. Knows no sessions.
//!
//! `Id::default` of tower-sessions takes them from a generator in the thread's memory. A fork copies that: parent and child would give the
//! same ids to different users.

/// 128 random bits.
pub(crate) fn id() -> Result<i128, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no session id could be minted: {error}"))?;
    Ok(i128::from_le_bytes(bytes))
}
