//! What outlives the process that writes it: the version of its format stands in front.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They are of another version.
    #[error("it is written in version {found} of its format, and bazar {} knows version {known}", crate::VERSION)]
    Version {
        /// Theirs.
        found: u8,
        /// The one that was expected.
        known: u8,
    },
    /// They are not what they should be.
    #[error(transparent)]
    Unreadable(#[from] postcard::Error),
}

/// Writes a message in this version of its format.
pub fn encode<T: Serialize + ?Sized>(version: u8, message: &T) -> Bytes {
    super::encode(&(version, message))
}

/// The reverse of [`encode`].
///
/// # Errors
/// See [`ReadError`].
pub fn decode<T: DeserializeOwned>(known: u8, bytes: &[u8]) -> Result<T, ReadError> {
    let (&found, rest) = bytes.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    match found == known {
        true => Ok(super::decode(rest)?),
        false => Err(ReadError::Version { found, known }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_another_version_is_refused_by_its_number() {
        let bytes = encode(3, &(7_u64, "text"));
        assert_eq!(decode(3, &bytes), Ok((7_u64, "text".to_owned())));
        let refusal = decode::<(u64, String)>(2, &bytes).unwrap_err();
        assert_eq!(refusal, ReadError::Version { found: 3, known: 2 });
        assert_eq!(decode::<u64>(2, &[]), Err(postcard::Error::DeserializeUnexpectedEnd.into()));
    }
}
