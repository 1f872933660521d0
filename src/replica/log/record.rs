//! The bytes of the log: records, gathered into checksummed frames.
//!
//! A frame is what one fsync makes durable, `length ‖ crc32 ‖ records`, and the next frame is written
//! only after that fsync succeeded. Hence a damaged frame with nothing valid behind it was never
//! acknowledged, and a damaged frame *before* a valid one is damage to something that was.

use openraft::RaftLogId;
use serde::{Deserialize, Serialize};

use crate::replica::raft::{Entry, LogId, Vote};

/// The first bytes of every segment file.
pub const MAGIC: &[u8; 16] = b"bazar raft log 1";

/// Bytes of a frame before its records.
pub const FRAME_HEADER_BYTES: usize = 8;

/// The largest frame that is believed to be one, in bytes.
const MAX_FRAME_BYTES: usize = 1 << 30;

/// One step in the life of the log.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record {
    /// Begins each segment with all that is not entries, so that older segments can go.
    State(State),
    /// A vote that was cast, or a leader that was recognised.
    Vote(Vote),
    /// An entry was appended.
    Entry(Entry),
    /// This entry and those after it were removed.
    Truncate(LogId),
    /// This entry and those before it were removed; a snapshot covers them.
    Purge(LogId),
    /// Everything up to here is known to be committed. A hint: it may be behind.
    Committed(LogId),
}

/// What a log knows besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

/// Where an entry stands inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub log_id: LogId,
    /// Bytes from the start of the frame.
    pub offset: usize,
    pub length: usize,
}

/// A frame under construction.
#[derive(Default)]
pub struct Frame {
    bytes: Vec<u8>,
    entries: Vec<Placed>,
}

impl Frame {
    pub fn new() -> Self {
        Frame { bytes: vec![0; FRAME_HEADER_BYTES], entries: Vec::new() }
    }

    pub fn push(&mut self, record: &Record) {
        let offset = self.bytes.len();
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(record, bytes).expect("records hold nothing that postcard cannot write");
        if let Record::Entry(entry) = record {
            self.entries.push(Placed { log_id: *entry.get_log_id(), offset, length: self.bytes.len() - offset });
        }
    }

    /// The finished frame and where its entries stand in it.
    pub fn finish(mut self) -> (Vec<u8>, Vec<Placed>) {
        let (header, records) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        header[..4].copy_from_slice(&(records.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&crc32fast::hash(records).to_le_bytes());
        (self.bytes, self.entries)
    }
}

/// The records of the frame that starts `bytes`, if a whole and undamaged one does.
pub fn frame_at(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_at_checked(FRAME_HEADER_BYTES)?;
    let length = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(header[4..].try_into().ok()?);
    // No frame is empty, and zeros, which a file system may leave behind, must not look like one.
    if length == 0 || length > MAX_FRAME_BYTES {
        return None;
    }
    let records = rest.get(..length)?;
    (crc32fast::hash(records) == checksum).then_some(records)
}

/// Reads the record that starts `bytes` and returns what follows it.
pub fn read_record(bytes: &[u8]) -> Result<(Record, &[u8]), postcard::Error> {
    postcard::take_from_bytes(bytes)
}
