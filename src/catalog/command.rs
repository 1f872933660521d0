//! What the catalog's log says.

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::bounded;
use crate::codec::versioned::{self, ReadError};
use crate::model::Book;
use crate::protocol::cache::ProcessId;
use crate::protocol::catalog::{MAX_WRITES, Write};

/// One command of the catalog's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Fills an empty shop, bit by bit; ignored by one that was filled to the end before.
    Seed(SeedPart),
    /// What clients asked for at the same time, in this order. Answered with a [`Reply`](crate::protocol::catalog::Reply) for each.
    Writes(#[serde(deserialize_with = "bounded::list::<_, _, MAX_WRITES>")] Vec<Write>),
    /// Notes which process of a frontend may have a lease from now on, or that none has.
    LeaseHolder {
        /// The frontend's name.
        frontend: String,
        /// The process; nothing if no lease is left.
        holder: Option<LeaseHolder>,
    },
}

/// A process that may answer from its cache. The next leader must reach it, or wait until its lease is surely over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// Which one.
    pub process: ProcessId,
    /// Where it is reached, as `host:port`, by the configuration of the leader that grants the lease.
    pub address: String,
    /// After how many milliseconds by a leader's clock a lease is surely over, up to [`MAX_SURELY_OVER_MS`].
    #[serde(deserialize_with = "surely_over_ms")]
    pub surely_over_ms: u64,
}

/// The longest lease that a configuration allows, by a clock that runs as fast as it allows, is over sooner. Each new leader may
/// have to wait for so long.
pub const MAX_SURELY_OVER_MS: u64 = 2 * 60 * 1000;

fn surely_over_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let milliseconds = u64::deserialize(deserializer)?;
    match milliseconds <= MAX_SURELY_OVER_MS {
        true => Ok(milliseconds),
        false => Err(D::Error::custom(format!("no lease lasts {milliseconds} ms"))),
    }
}

/// Books of one part of a seed, at most.
const MAX_SEED_PART_BOOKS: usize = 4096;

/// The version in which commands are written.
const VERSION: u8 = 1;

impl Command {
    /// The command as it stands in the log.
    pub fn encode(&self) -> Bytes {
        versioned::encode(VERSION, self)
    }

    /// The reverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// If these bytes are no command, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Command, ReadError> {
        versioned::decode(VERSION, bytes)
    }

    /// The writes in it.
    pub fn writes(&self) -> &[Write] {
        match self {
            Command::Seed(_) | Command::LeaseHolder { .. } => &[],
            Command::Writes(writes) => writes,
        }
    }
}

/// Some of the books of a new shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPart {
    /// The books.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SEED_PART_BOOKS>")]
    pub books: Vec<Book>,
    /// Whether the filling begins with these: what a leader before did not bring to its end is taken out.
    pub is_first: bool,
    /// Whether it ends with these.
    pub is_last: bool,
}
