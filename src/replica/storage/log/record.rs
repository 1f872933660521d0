//! The bytes of the log: records, gathered into checksummed frames.
//!
//! A frame is what one fsync makes durable, `length ‖ crc32 of the records ‖ crc32 of the header ‖ records`,
//! and the next frame is written only after that fsync succeeded. Hence a damaged frame *before* a valid one
//! is damage to something that was acknowledged, and one with nothing valid behind it is what a crash leaves.
//! (Had the last frame of all been acknowledged and then rotted, that could not be told from a crash.)
//!
//! The header's checksum takes in where the frame stands. So bytes inside an entry can never pass for a
//! frame, and to look for one at every offset of a segment costs a few bytes each, not the whole rest.

use openraft::RaftLogId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::replica::storage::identity::ClusterId;
use crate::replica::storage::raft_types::{Entry, LogId, Vote};

/// The first bytes of every segment file.
pub const MAGIC: &[u8; 16] = b"bazar raft log 4";

/// What [`MAGIC`] begins with in every version; one digit follows.
pub const ANY_MAGIC: &[u8] = MAGIC.split_at(MAGIC.len() - 1).0;

/// Bytes of a frame before its records.
pub const FRAME_HEADER_BYTES: usize = 12;

/// The most that one frame may hold, in bytes: twice what a replica takes in one request.
pub const MAX_FRAME_BYTES: usize = 128 << 20;

/// One step in the life of the log.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record {
    /// Begins each segment with all that is not entries, so that older segments can go.
    State(State),
    /// Says, in a segment's opening, how long the segment before it is: what is behind that was never written.
    Follows { bytes: u64 },
    /// A start of the replica, in the first frame that it wrote after it.
    Boot(Boot),
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
    /// The last start in which something was written. None: the log is blank.
    pub boot: Option<Boot>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

/// One start of the replica in which it wrote to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Counts up from 1. The [mark](crate::replica::storage::identity) counts the same.
    pub number: u64,
    /// The group whose log this is.
    pub cluster: ClusterId,
    /// Names this log, from its first record on: that of another replica of the group counts its starts alike.
    pub log: Uuid,
}

/// Where an entry stands inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub log_id: LogId,
    /// Bytes from the start of the frame.
    pub offset: usize,
    pub length: usize,
    pub crc32: u32,
}

/// A frame under construction.
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
            let written = &self.bytes[offset..];
            let (length, crc32) = (written.len(), crc32fast::hash(written));
            self.entries.push(Placed { log_id: *entry.get_log_id(), offset, length, crc32 });
        }
    }

    /// Its length so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The finished frame, which is to stand at `offset` of `segment`, and where its entries are in it.
    pub fn finish(mut self, segment: u64, offset: u64) -> (Vec<u8>, Vec<Placed>) {
        let (header, records) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        header[..4].copy_from_slice(&(records.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&crc32fast::hash(records).to_le_bytes());
        let checksum = header_checksum(segment, offset, &header[..8]);
        header[8..].copy_from_slice(&checksum.to_le_bytes());
        (self.bytes, self.entries)
    }
}

/// The records of the frame at `offset` of a segment, if a whole and undamaged one is there.
pub fn frame_at(segment: u64, bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let (header, rest) = bytes.get(offset..)?.split_at_checked(FRAME_HEADER_BYTES)?;
    let field = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    let (length, checksum) = (field(0)? as usize, field(4)?);
    // No frame is empty. To look at the length first makes most offsets that are none cheap.
    if length == 0 || length > rest.len() || header_checksum(segment, offset as u64, &header[..8]) != field(8)? {
        return None;
    }
    let records = &rest[..length];
    (crc32fast::hash(records) == checksum).then_some(records)
}

fn header_checksum(segment: u64, offset: u64, start: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(start);
    hasher.finalize()
}

/// Reads the record that starts `bytes` and returns what follows it.
pub fn read_record(bytes: &[u8]) -> Result<(Record, &[u8]), postcard::Error> {
    postcard::take_from_bytes(bytes)
}
