//! Reading the log back at start-up, and telling a torn tail from damage.
//!
//! A torn tail, which is what a crash in the middle of a write leaves, was never acknowledged: it is
//! cut off. Anything else that does not read back was acknowledged once, so the replica refuses to
//! start rather than to forget it.

use std::io;
use std::path::{Path, PathBuf};

use openraft::RaftLogId;

use super::index::{Index, Place, Segment, Slot};
use super::record::{FRAME_HEADER_BYTES, MAGIC, Record, frame_at, read_record};
use super::segment_path;
use crate::platform::Disk;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk did not do what it was asked to.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Acknowledged entries cannot be read back.
    #[error(
        "{path}: the log is damaged at byte {offset}: {what}. Entries that were acknowledged may be lost on this \
         replica, so it does not start. Keep this folder for inspection, then re-join the replica with an empty \
         one (`--join`): the others bring it up to date"
    )]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Where the damage begins.
        offset: usize,
        /// What is wrong there.
        what: String,
    },
}

/// Reads all segments in `folder`.
pub(super) fn recover(disk: &dyn Disk, folder: &Path, cache_bytes: u64) -> Result<Index, LogError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Io { path, source }
    };
    let mut numbers: Vec<u64> = disk
        .list(folder)
        .map_err(at(folder))?
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();

    let mut replay = Replay { index: Index::default(), cache_bytes };
    for (position, &number) in numbers.iter().enumerate() {
        let path = segment_path(folder, number);
        let is_last = position + 1 == numbers.len();
        if number != numbers[0] + position as u64 {
            let what = "the segment before this one is missing".to_owned();
            return Err(LogError::Damaged { path, offset: 0, what });
        }
        let bytes = disk.read(&path).map_err(at(&path))?;
        let valid = replay.segment(&path, number, &bytes, is_last)?;
        if valid == 0 {
            // The crash came while this segment was being made: it never held anything.
            disk.remove(&path).map_err(at(&path))?;
            continue;
        }
        let file = disk.open(&path).map_err(at(&path))?;
        if valid < bytes.len() {
            tracing::warn!(
                file = %path.display(), from = valid, bytes = bytes.len() - valid,
                "cut a torn tail off the log: the last write before the crash was never acknowledged"
            );
            file.truncate(valid as u64).and_then(|()| file.sync()).map_err(at(&path))?;
        }
        replay.index.segments.insert(number, Segment { file, bytes: valid as u64 });
    }
    replay.check_continuity(folder)?;
    Ok(replay.index)
}

/// The log as far as it has been read.
struct Replay {
    index: Index,
    cache_bytes: u64,
}

impl Replay {
    /// Replays one segment and returns how many of its bytes are valid.
    fn segment(&mut self, path: &Path, number: u64, bytes: &[u8], is_last: bool) -> Result<usize, LogError> {
        let damaged = |offset, what: String| LogError::Damaged { path: path.to_owned(), offset, what };
        if bytes.len() < MAGIC.len() || !bytes.starts_with(MAGIC) {
            let is_torn = MAGIC.starts_with(bytes) || bytes.iter().all(|byte| *byte == 0);
            return match is_torn && is_last {
                true => Ok(0),
                false => Err(damaged(0, "it does not begin as a log segment does".to_owned())),
            };
        }
        let mut offset = MAGIC.len();
        while offset < bytes.len() {
            let Some(mut records) = frame_at(&bytes[offset..]) else {
                if is_last && !is_frame_behind(&bytes[offset..]) {
                    // Without its first frame a segment says nothing: as good as never made.
                    return Ok(if offset == MAGIC.len() { 0 } else { offset });
                }
                return Err(damaged(offset, "the checksum does not match, and later writes follow".to_owned()));
            };
            let mut position = offset + FRAME_HEADER_BYTES;
            offset = position + records.len();
            while !records.is_empty() {
                let (record, rest) =
                    read_record(records).map_err(|error| damaged(position, format!("unreadable record: {error}")))?;
                let length = records.len() - rest.len();
                let place = Place { segment: number, offset: position as u64, length: length as u32 };
                self.apply(record, place).map_err(|what| damaged(position, what))?;
                position += length;
                records = rest;
            }
        }
        Ok(if offset == MAGIC.len() { 0 } else { offset })
    }

    fn apply(&mut self, record: Record, place: Place) -> Result<(), String> {
        let index = &mut self.index;
        match record {
            Record::State(state) => index.state = state,
            Record::Vote(vote) => index.state.vote = Some(vote),
            Record::Committed(log_id) => index.state.committed = Some(log_id),
            Record::Truncate(since) => index.truncate(since.index),
            Record::Purge(upto) => index.purge(upto),
            Record::Entry(entry) => {
                let log_id = *entry.get_log_id();
                if let Some(last) = index.slots.back().filter(|last| last.log_id.index + 1 != log_id.index) {
                    return Err(format!("entry {} follows entry {}", log_id.index, last.log_id.index));
                }
                index.append([entry], &[Slot { log_id, place }], self.cache_bytes);
            }
        }
        Ok(())
    }

    /// The entries must follow on what was purged.
    fn check_continuity(&self, folder: &Path) -> Result<(), LogError> {
        let expected = self.index.state.purged.map_or(0, |purged| purged.index + 1);
        match self.index.slots.front() {
            Some(first) if first.log_id.index != expected => Err(LogError::Damaged {
                path: segment_path(folder, first.place.segment),
                offset: first.place.offset as usize,
                what: format!("the first entry is {}, but {expected} was expected", first.log_id.index),
            }),
            _ => Ok(()),
        }
    }
}

/// Whether a valid frame starts anywhere in `bytes`.
fn is_frame_behind(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|offset| frame_at(&bytes[offset..]).is_some())
}
