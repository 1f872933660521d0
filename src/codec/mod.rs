//! How nodes write what they say to each other, and what they propose: with postcard.

pub mod bounded;
pub mod versioned;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer messages are worth copying for the room that they leave, in bytes.
const MAX_SMALL_BYTES: usize = 64 << 10;

/// Writes a message.
pub fn encode<T: Serialize + ?Sized>(message: &T) -> Bytes {
    let mut bytes = postcard::to_stdvec(message).expect("messages are plain data, which postcard can write");
    // Growing doubles it. Large answers are counted by their length while nobody takes them.
    if bytes.len() > MAX_SMALL_BYTES {
        bytes.shrink_to_fit();
    }
    bytes.into()
}

/// The reverse of [`encode`].
///
/// # Errors
/// If these bytes are no such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_takes_no_more_room_than_its_length() {
        let message = vec![7_u32; (1 << 20) + 1];
        let encoded = encode(&message);
        assert_eq!(decode(&encoded), Ok(message));
        let length = encoded.len();
        assert_eq!(encoded.try_into_mut().unwrap().capacity(), length);
    }
}
