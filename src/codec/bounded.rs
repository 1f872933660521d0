//! Lists in messages, no longer than they can be.
//!
//! Whoever sends a list says first how long it is, and a few bytes of it may become a hundred in memory. What is too long
//! is refused before its first item is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a list of at most `MOST` items.
///
/// # Errors
/// If it is longer; or as the items'.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MOST: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded::<T, MOST>(PhantomData))
}

struct Bounded<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Bounded<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let announced = items.size_hint().unwrap_or(0);
        if announced > MOST {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut list = Vec::with_capacity(announced);
        while let Some(item) = items.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            list.push(item);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Few(#[serde(deserialize_with = "list::<_, _, 3>")] Vec<u8>);

    #[test]
    fn a_list_that_is_too_long_is_refused_by_what_it_announces_and_by_what_it_has() {
        assert_eq!(postcard::from_bytes(&[3, 1, 2, 3]), Ok(Few(vec![1, 2, 3])));
        assert_eq!(postcard::from_bytes::<Few>(&[4, 1, 2, 3, 4]), Err(postcard::Error::SerdeDeCustom));
        // More than there are bytes.
        assert!(postcard::from_bytes::<Few>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3, 4]).is_err());
        assert!(serde_json::from_str::<Few>("[1, 2, 3, 4]").is_err());
    }
}
