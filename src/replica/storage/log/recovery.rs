//! Reading the log back at start-up, and telling a torn tail from damage.
//!
//! A torn tail, which is what a crash in the middle of a write leaves, was never acknowledged: it is
//! cut off, as are the zeros that wait to be overwritten. Anything else that does not read back was
//! acknowledged once, so the replica refuses to start rather than to forget it.

use std::io;
use std::path::{Path, PathBuf};

use openraft::RaftLogId;

use super::index::{Index, Place, Segment, Slot};
use super::record::{ANY_MAGIC, FRAME_HEADER_BYTES, MAGIC, Record, frame_at, read_record};
use super::{opening, segment_path};
use crate::platform::Disk;
use crate::replica::storage::identity::Mark;

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
    /// Another version of bazar wrote it.
    #[error(
        "{path}: the log was written by another version of bazar, in its format {found}, and this executable knows \
         {known}. Start the version that wrote it; nothing was changed"
    )]
    OtherVersion {
        /// The segment file.
        path: PathBuf,
        /// The format's digit.
        found: char,
        /// The digit that was expected.
        known: char,
    },
    /// Something that was acknowledged is not there any more.
    #[error(
        "{path}: {what}. This replica may have forgotten what it acknowledged, so it does not start. Keep this folder \
         for inspection, then re-join the replica with an empty one (`--join`): the others bring it up to date"
    )]
    Lost {
        /// The file that is missing or too old.
        path: PathBuf,
        /// What is known of it.
        what: String,
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

/// Reads all segments in `folder`. There must be as much as `mark` says.
pub fn recover(disk: &dyn Disk, folder: &Path, cache_bytes: u64, mark: &Mark) -> Result<Index, LogError> {
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

    if numbers.last().copied().unwrap_or(0) < mark.newest_segment {
        let path = segment_path(folder, mark.newest_segment);
        return Err(LogError::Lost { path, what: "the newest file of the log is missing".to_owned() });
    }
    let mut replay = Replay { index: Index::default(), cache_bytes, previous: None, claimed: mark.newest_segment };
    let mut tails = Vec::new();
    for (position, &number) in numbers.iter().enumerate() {
        let path = segment_path(folder, number);
        let is_last = position + 1 == numbers.len();
        if number != numbers[0] + position as u64 {
            let what = "the segment before this one is missing".to_owned();
            return Err(LogError::Damaged { path, offset: 0, what });
        }
        let bytes = disk.read(&path).map_err(at(&path))?;
        let Some(valid) = replay.segment(&path, number, &bytes, is_last)? else {
            tails.push(Tail::Segment(path));
            continue;
        };
        if valid < bytes.len() {
            let torn = bytes[valid..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            tails.push(Tail::Bytes { number, from: valid as u64, torn });
        }
        let file = disk.open(&path).map_err(at(&path))?;
        replay.previous = Some((path, valid));
        let bytes = valid as u64;
        replay.index.segments.insert(number, Segment { file, bytes, room: bytes });
    }
    replay.check_continuity(folder)?;
    check_standing(&replay.index, folder, mark)?;
    check_length(&replay.index, folder, mark)?;
    // Nothing is changed before all was found sound: a folder that is refused is kept for inspection.
    for tail in tails {
        tail.cut(disk, folder, &replay.index)?;
    }
    if let Some((number, last)) = replay.index.segments.last_key_value() {
        // A killed process may have left a frame that is whole but not on disk yet. From here on it counts as written.
        last.file.sync().map_err(at(&segment_path(folder, *number)))?;
    }
    disk.sync_folder(folder).map_err(at(folder))?;
    Ok(replay.index)
}

/// What a crash left at the end, and what waited to be overwritten.
enum Tail {
    /// A segment that never held anything.
    Segment(PathBuf),
    /// The bytes of a segment from here on, of which the first `torn` are not zeros that wait.
    Bytes { number: u64, from: u64, torn: usize },
}

impl Tail {
    fn cut(self, disk: &dyn Disk, folder: &Path, index: &Index) -> Result<(), LogError> {
        match self {
            Tail::Segment(path) => disk.remove(&path).map_err(|source| LogError::Io { path, source }),
            Tail::Bytes { number, from, torn } => {
                let path = segment_path(folder, number);
                if torn > 0 {
                    tracing::warn!(
                        file = %path.display(), from, bytes = torn,
                        "cut a torn tail off the log: the last write before the crash was never acknowledged"
                    );
                }
                match index.segments.get(&number) {
                    Some(segment) => segment.file.truncate(from).map_err(|source| LogError::Io { path, source }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The log as far as it has been read.
struct Replay {
    index: Index,
    cache_bytes: u64,
    /// The segment before the one that is being read, and how many of its bytes are valid.
    previous: Option<(PathBuf, usize)>,
    /// Something was written to the segment of this number.
    claimed: u64,
}

impl Replay {
    /// Replays one segment and returns how many of its bytes are valid; nothing if the crash came while
    /// the segment was being made, so that it never held anything.
    fn segment(&mut self, path: &Path, number: u64, bytes: &[u8], is_last: bool) -> Result<Option<usize>, LogError> {
        let damaged = |offset, what: &str| LogError::Damaged { path: path.to_owned(), offset, what: what.to_owned() };
        // Only the first segment ever is made without one before it.
        let may_be_new = is_last && number > self.claimed && (number == 1 || self.previous.is_some());
        let previous_bytes = self.previous.as_ref().map(|(_, valid)| *valid as u64);
        let is_torn_opening = may_be_new && bytes.len() <= opening(number, self.index.state, previous_bytes).len();

        if frame_at(number, bytes, MAGIC.len()).is_none() && is_torn_opening {
            return Ok(None);
        }
        if let Some(&digit) = bytes.strip_prefix(ANY_MAGIC).and_then(<[u8]>::first)
            && digit.is_ascii_digit()
            && !bytes.starts_with(MAGIC)
        {
            let known = char::from(MAGIC[MAGIC.len() - 1]);
            return Err(LogError::OtherVersion { path: path.to_owned(), found: char::from(digit), known });
        }
        if !bytes.starts_with(MAGIC) || bytes.len() == MAGIC.len() {
            return Err(damaged(0, "it does not begin as a log segment does"));
        }
        let mut offset = MAGIC.len();
        let mut frames = 0;
        while offset < bytes.len() {
            let Some(mut records) = frame_at(number, bytes, offset) else {
                let is_end = is_room(&bytes[offset..]) || (is_last && !is_frame_behind(number, bytes, offset));
                if is_end && frames > 0 {
                    break;
                }
                return Err(damaged(offset, "the checksum does not match, and this was not the last write"));
            };
            let mut position = offset + FRAME_HEADER_BYTES;
            offset = position + records.len();
            frames += 1;
            while !records.is_empty() {
                let (record, rest) =
                    read_record(records).map_err(|error| damaged(position, &format!("unreadable record: {error}")))?;
                let length = records.len() - rest.len();
                let crc32 = crc32fast::hash(&records[..length]);
                let place = Place { segment: number, offset: position as u64, length: length as u32, crc32 };
                self.apply(record, place, path)?;
                position += length;
                records = rest;
            }
        }
        // The first frame is the segment's opening.
        if number == self.claimed && frames < 2 {
            let what = "nothing is left of what was written to it".to_owned();
            return Err(LogError::Lost { path: path.to_owned(), what });
        }
        Ok(Some(offset))
    }

    fn apply(&mut self, record: Record, place: Place, path: &Path) -> Result<(), LogError> {
        let index = &mut self.index;
        match record {
            Record::State(state) => index.state = state,
            Record::Follows { bytes } => return self.check_previous(bytes),
            Record::Boot(boot) => index.state.boot = Some(boot),
            Record::Vote(vote) => index.state.vote = Some(vote),
            Record::Committed(log_id) => index.state.committed = Some(log_id),
            Record::Truncate(since) => index.truncate(since.index),
            Record::Purge(upto) => index.purge(upto),
            Record::Entry(entry) => {
                let log_id = *entry.get_log_id();
                if let Some(last) = index.slots.back().filter(|last| last.log_id.index + 1 != log_id.index) {
                    let what = format!("entry {} follows entry {}", log_id.index, last.log_id.index);
                    return Err(LogError::Damaged { path: path.to_owned(), offset: place.offset as usize, what });
                }
                index.append([entry], &[Slot { log_id, place }], self.cache_bytes);
            }
        }
        Ok(())
    }

    /// The segment before this one must have had so many bytes, unless it was removed.
    fn check_previous(&self, bytes: u64) -> Result<(), LogError> {
        match &self.previous {
            Some((path, valid)) if *valid as u64 != bytes => Err(LogError::Damaged {
                path: path.clone(),
                offset: *valid,
                what: format!("it ends here, and had {bytes} bytes"),
            }),
            _ => Ok(()),
        }
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

/// A log may be ahead of the replica's mark, by what a crash kept from it; one that is behind was lost in part.
fn check_standing(index: &Index, folder: &Path, mark: &Mark) -> Result<(), LogError> {
    let lost = |what: String| Err(LogError::Lost { path: folder.to_owned(), what });
    match (index.state.boot, mark.cluster) {
        (Some(_), None) => {
            lost("the log holds a history, but `member.json`, which says of which group, is missing".into())
        }
        (Some(boot), Some(cluster)) if boot.cluster != cluster => {
            lost(format!("the log is that of the group {}, and `member.json` names {cluster}", boot.cluster))
        }
        (Some(boot), _) if mark.log.is_some_and(|log| log != boot.log) => {
            lost("the log is another replica's, or one that this replica had before it joined anew".into())
        }
        (boot, _) => match boot.map_or(0, |boot| boot.number) {
            number if number < mark.boots => lost(format!(
                "the log is an old copy: the replica wrote to it in {} starts, and this knows {number}",
                mark.boots
            )),
            _ => Ok(()),
        },
    }
}

/// The newest segment that the mark knows must have all that was written to it by then.
fn check_length(index: &Index, folder: &Path, mark: &Mark) -> Result<(), LogError> {
    let left = index.segments.get(&mark.newest_segment).map_or(mark.written_bytes, |segment| segment.bytes);
    match left < mark.written_bytes {
        true => Err(LogError::Lost {
            path: segment_path(folder, mark.newest_segment),
            what: format!(
                "it was cut or damaged, or is an older copy: of {} bytes that were written, {left} are left",
                mark.written_bytes
            ),
        }),
        false => Ok(()),
    }
}

/// Whether nothing was ever written here.
fn is_room(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether a valid frame starts anywhere behind `offset`.
pub fn is_frame_behind(segment: u64, bytes: &[u8], offset: usize) -> bool {
    (offset + 1..bytes.len()).any(|later| frame_at(segment, bytes, later).is_some())
}
