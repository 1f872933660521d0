//! Small JSON files that are believed at start-up: each says its format, and carries a checksum over what it holds.
//!
//! A file of another format was written by another version of bazar and is no damage; the two ask for
//! different things of whoever runs the shop, so they are told apart.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why such a file is not what it should be. Its reader names the file before it.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Another version of bazar wrote it.
    #[error(
        "was written by another version of bazar: its format is {found:?}, and this executable knows {known:?}. Start \
         the version that wrote it; nothing was changed"
    )]
    OtherVersion {
        /// Its format.
        found: String,
        /// The format that was expected.
        known: &'static str,
    },
    /// It is not what was written.
    #[error("is damaged ({0})")]
    Damaged(String),
}

/// The CRC-32 of what a file holds, as compact JSON.
pub fn checksum<T: Serialize>(content: &T) -> Result<u32, serde_json::Error> {
    serde_json::to_vec(content).map(|text| crc32fast::hash(&text))
}

/// Reads a file whose key `format` says `known`. What it holds is for the reader to check.
///
/// # Errors
/// See [`Unreadable`].
pub fn read<T: DeserializeOwned>(bytes: &[u8], known: &'static str) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Header {
        format: String,
    }
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    let Header { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
    if found != known {
        return Err(Unreadable::OtherVersion { found, known });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// Compares what a file holds with the checksum in it.
///
/// # Errors
/// If they do not agree.
pub fn check<T: Serialize>(content: &T, crc32: u32) -> Result<(), Unreadable> {
    match checksum(content) {
        Ok(found) if found == crc32 => Ok(()),
        _ => Err(Unreadable::Damaged("the checksum does not match".to_owned())),
    }
}
