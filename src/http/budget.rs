//! How much memory may be held for others, all of them together: for bodies of which they have yet to send the rest, and for
//! answers that they have yet to take.
//!
//! What fits into one read, or one write, is not counted: connections bound that.

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;

/// What nodes have sent of bodies that come in pieces and are not dealt with yet, in bytes.
pub static UNSENT: Budget = Budget::new(256 << 20);

/// What customers have sent of bodies that come in pieces and are not dealt with yet, in bytes.
pub static UNSENT_BY_CUSTOMERS: Budget = Budget::new(256 << 20);

/// What customers have yet to take of large answers, in bytes.
pub static UNTAKEN: Budget = Budget::new(256 << 20);

/// What nodes have yet to take of large answers, in bytes.
pub static UNTAKEN_BY_NODES: Budget = Budget::new(256 << 20);

/// Answers up to this are not counted among those that are yet to be taken, in bytes.
const MAX_SMALL_BYTES: u64 = 64 << 10;

/// Whether an answer of so many bytes is not counted.
pub fn is_small(bytes: u64) -> bool {
    bytes <= MAX_SMALL_BYTES
}

/// Bytes are counted in so many, for a semaphore counts to less than a gigabyte on some machines.
pub const UNIT_BYTES: usize = 1 << 10;

/// A bound on what many may hold together.
pub struct Budget(Semaphore);

/// A part of a [`Budget`], until it is dropped.
pub struct Taken(#[expect(dead_code, reason = "it is held, and not looked at")] SemaphorePermit<'static>);

impl Budget {
    /// A budget of so many bytes.
    pub const fn new(bytes: usize) -> Budget {
        Budget(Semaphore::const_new(bytes / UNIT_BYTES))
    }

    /// Takes so many bytes of it.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if there are not as many left. Nobody waits for them: they may be held for long.
    pub fn take(&'static self, bytes: usize) -> Result<Taken, ApiError> {
        let overloaded = || ApiError::Overloaded("too much is under way on other connections".to_owned());
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| overloaded())?;
        self.0.try_acquire_many(units).map(Taken).map_err(|_| overloaded())
    }

    /// Keeps an answer's bytes, and takes as much of the budget until nobody holds them; nothing for a small answer.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn count(&'static self, answer: Bytes) -> Result<Bytes, ApiError> {
        match is_small(answer.len() as u64) {
            true => Ok(answer),
            false => Ok(self.take(answer.len())?.attach_to(answer)),
        }
    }
}

impl Taken {
    /// Keeps it as long as anybody holds `bytes`.
    pub fn attach_to(self, bytes: Bytes) -> Bytes {
        attach(vec![self], bytes)
    }
}

/// Keeps all of them as long as anybody holds `bytes`.
pub fn attach(taken: Vec<Taken>, bytes: Bytes) -> Bytes {
    match taken.is_empty() {
        true => bytes,
        false => Bytes::from_owner(Held { bytes, _taken: taken }),
    }
}

struct Held {
    bytes: Bytes,
    _taken: Vec<Taken>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_once_nobody_holds_it() {
        static BUDGET: Budget = Budget::new(10 * UNIT_BYTES);
        let first = BUDGET.take(6 * UNIT_BYTES).unwrap();
        assert!(matches!(BUDGET.take(5 * UNIT_BYTES), Err(ApiError::Overloaded(_))));
        let held = first.attach_to(Bytes::from_static(b"answer"));
        let part = held.slice(1..3);
        drop(held);
        assert!(BUDGET.take(5 * UNIT_BYTES).is_err());
        assert_eq!(part, "ns");
        drop(part);
        drop(BUDGET.take(10 * UNIT_BYTES - 1).unwrap());
        assert!(BUDGET.take(10 * UNIT_BYTES + 1).is_err());
    }
}
