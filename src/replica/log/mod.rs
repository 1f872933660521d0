//! The durable log of one replica: what makes a write survive.
//!
//! The log is a folder of segment files, each a run of checksummed [frames](record). Every call that
//! changes something writes one frame and returns only after the disk has confirmed it; openraft makes
//! one such call at a time, so there is nothing to reorder and nothing to batch here: commands are
//! gathered into entries before they come to the log. A segment that reached its size is followed by a
//! new one, and segments whose entries are all purged are removed.
//!
//! The newest entries stay in memory, up to a limit in bytes; older ones are read back from disk for a
//! follower that needs them. The log knows nothing of what entries mean. Of snapshots it knows how far
//! they reach, because nothing is purged that no durable snapshot covers.

mod index;
mod record;
mod recovery;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use index::{Index, Place, Segment, Slot};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError};
use record::{Frame, MAGIC, MAX_FRAME_BYTES, Placed, Record, State};
pub use recovery::LogError;
use tokio::sync::watch;

use super::raft::{Entry, LogId, StorageError, TypeConfig, Vote};
use crate::platform::{Disk, DiskFile, Platform};

/// The most that one AppendEntries request carries, in bytes of log, unless a single entry is larger.
const MAX_APPEND_BYTES: u64 = 1 << 20;

/// How long a purge waits for the snapshot that covers it. Only a replica that is stuck takes as long.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(600);

/// How large the parts of the log may grow.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// A segment that has this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// The newest entries that are kept in memory, in bytes of log.
    pub cache_bytes: u64,
}

/// The writing end of a log. There is one, and openraft has it.
pub struct Log {
    shared: Shared,
    /// A committed position that the next frame takes along; it is not worth an fsync of its own.
    committed_hint: Option<LogId>,
    /// How far the newest durable snapshot reaches.
    snapshot: watch::Receiver<Option<LogId>>,
    /// Whether a write was begun that the disk has not confirmed: nobody knows what the log holds then.
    is_in_doubt: bool,
}

/// A reading end of a log.
#[derive(Clone)]
pub struct LogReader {
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    platform: Platform,
    folder: Arc<Path>,
    limits: LogLimits,
    index: Arc<Mutex<Index>>,
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

impl Log {
    /// Opens the log in `folder`, or starts one there. `snapshot` tells how far the newest durable snapshot
    /// reaches.
    ///
    /// # Errors
    /// If the disk fails, or entries that were acknowledged cannot be read back.
    pub async fn open(
        platform: &Platform,
        folder: &Path,
        limits: LogLimits,
        snapshot: watch::Receiver<Option<LogId>>,
    ) -> Result<Log, LogError> {
        let disk = platform.disk.clone();
        let path = folder.to_owned();
        let index = platform.blocking(move || open_index(&*disk, &path, limits)).await?;
        let (platform, folder) = (platform.clone(), folder.into());
        let shared = Shared { platform, folder, limits, index: Arc::new(Mutex::new(index)) };
        Ok(Log { shared, committed_hint: None, snapshot, is_in_doubt: false })
    }

    /// A reading end.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// Writes one frame and waits until it is durable. `change` then brings the index up to date.
    ///
    /// After a failure nothing more is written: behind a torn frame it would be lost.
    async fn write(&mut self, records: Vec<Record>, change: impl FnOnce(&mut Index, &[Slot])) -> io::Result<()> {
        if self.is_in_doubt {
            return Err(io::Error::other("an earlier write failed, so what the log holds is unknown"));
        }
        let committed = self.committed_hint.take();
        let mut frame = Frame::new();
        committed.map(Record::Committed).iter().chain(&records).for_each(|record| frame.push(record));
        if frame.bytes() > MAX_FRAME_BYTES {
            let what = format!("{} bytes are more than the log takes at once", frame.bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }

        self.is_in_doubt = true;
        let (number, file, start) = self.shared.active_segment().await?;
        let (bytes, placed) = frame.finish(number, start);
        let length = bytes.len() as u64;
        self.shared.platform.blocking(move || file.append(&bytes).and_then(|()| file.sync())).await?;
        self.is_in_doubt = false;

        let slots: Vec<Slot> = placed
            .into_iter()
            .map(|Placed { log_id, offset, length, crc32 }| {
                let place = Place { segment: number, offset: start + offset as u64, length: length as u32, crc32 };
                Slot { log_id, place }
            })
            .collect();
        let mut index = self.shared.index();
        index.written_bytes += length;
        if let Some(segment) = index.segments.get_mut(&number) {
            segment.bytes += length;
        }
        index.state.committed = committed.or(index.state.committed);
        change(&mut index, &slots);
        Ok(())
    }

    /// Waits until a durable snapshot covers `upto`.
    ///
    /// openraft purges the log as soon as it has handed a received snapshot over, which is before the
    /// snapshot is on disk; a crash in between must find the one or the other.
    async fn await_snapshot(&mut self, upto: LogId) -> io::Result<()> {
        let covered = tokio::time::timeout(SNAPSHOT_WAIT, self.snapshot.wait_for(|covered| *covered >= Some(upto)));
        match covered.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(io::Error::other("no snapshot covers what is to be purged")),
        }
    }
}

fn open_index(disk: &dyn Disk, folder: &Path, limits: LogLimits) -> Result<Index, LogError> {
    let at = |source| LogError::Io { path: folder.to_owned(), source };
    disk.create_folders(folder).map_err(at)?;
    let mut index = recovery::recover(disk, folder, limits.cache_bytes)?;
    if index.segments.is_empty() {
        let segment = new_segment(disk, folder, 1, index.state).map_err(at)?;
        index.segments.insert(1, segment);
    }
    index.written_bytes = index.segments.values().map(|segment| segment.bytes).sum();
    Ok(index)
}

/// The bytes that a segment begins with.
fn opening(number: u64, state: State) -> Vec<u8> {
    let mut frame = Frame::new();
    frame.push(&Record::State(state));
    let (frame, _) = frame.finish(number, MAGIC.len() as u64);
    [MAGIC, frame.as_slice()].concat()
}

/// Makes a segment durable, with its name and its opening state.
fn new_segment(disk: &dyn Disk, folder: &Path, number: u64, state: State) -> io::Result<Segment> {
    let file = disk.open(&segment_path(folder, number))?;
    let bytes = opening(number, state);
    file.append(&bytes)?;
    file.sync()?;
    disk.sync_folder(folder)?;
    Ok(Segment { file, bytes: bytes.len() as u64 })
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is changed by plain assignments that cannot panic half way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment to write to: its number, its file and its length.
    async fn active_segment(&self) -> io::Result<(u64, Arc<dyn DiskFile>, u64)> {
        let (number, state) = {
            let index = self.index();
            let (number, segment) = index.segments.last_key_value().expect("a log has a segment from its opening on");
            if segment.bytes < self.limits.segment_bytes {
                return Ok((*number, segment.file.clone(), segment.bytes));
            }
            (number + 1, index.state)
        };
        let (disk, folder) = (self.platform.disk.clone(), self.folder.clone());
        let segment = self.platform.blocking(move || new_segment(&*disk, &folder, number, state)).await?;
        let active = (number, segment.file.clone(), segment.bytes);
        self.index().segments.insert(number, segment);
        Ok(active)
    }

    /// Reads entries back from disk.
    async fn read(&self, places: Vec<(Arc<dyn DiskFile>, Place)>) -> io::Result<Vec<Entry>> {
        let read_one = |(file, place): &(Arc<dyn DiskFile>, Place)| {
            let bytes = file.read_at(place.offset, place.length as usize)?;
            match record::read_record(&bytes) {
                Ok((Record::Entry(entry), _)) if crc32fast::hash(&bytes) == place.crc32 => Ok(entry),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the entry at {place:?} is damaged"))),
            }
        };
        self.platform.blocking(move || places.iter().map(read_one).collect()).await
    }

    /// Removes the files of segments that hold no entry any more.
    async fn remove_unused_segments(&self) -> io::Result<()> {
        let unused: Vec<u64> = {
            let mut index = self.index();
            let active = index.segments.last_key_value().map_or(0, |(number, _)| *number);
            let first_used = index.slots.front().map_or(active, |slot| slot.place.segment);
            let used = index.segments.split_off(&first_used);
            std::mem::replace(&mut index.segments, used).into_keys().collect()
        };
        let (disk, folder) = (self.platform.disk.clone(), self.folder.clone());
        // One by one, oldest first: a crash must not leave a gap between those that remain.
        let remove_one = move |number| {
            disk.remove(&segment_path(&folder, number))?;
            disk.sync_folder(&folder)
        };
        self.platform.blocking(move || unused.into_iter().try_for_each(remove_one)).await
    }
}

impl LogReader {
    /// Bytes that the log had when it was opened, and all that were written since.
    pub fn written_bytes(&self) -> u64 {
        self.shared.index().written_bytes
    }

    async fn entries(&self, from: u64, to: u64, limit_bytes: u64) -> Result<Vec<Entry>, StorageError> {
        let (on_disk, cached) = {
            let index = self.shared.index();
            let Range { start, mut end } = index.positions(from, to);
            let mut bytes = 0;
            let fitting = index.slots.range(start..end).take_while(|slot| {
                bytes += u64::from(slot.place.length);
                bytes <= limit_bytes
            });
            end = end.min(start + fitting.count().max(1));
            let cached_from = index.slots.len() - index.cache.len();
            let on_disk: Vec<_> =
                index.slots.range(start..cached_from.clamp(start, end)).map(|slot| index.locate(slot)).collect();
            let cached = start.saturating_sub(cached_from)..end.saturating_sub(cached_from);
            (on_disk, index.cache.range(cached).cloned().collect::<Vec<_>>())
        };
        if on_disk.is_empty() {
            return Ok(cached);
        }
        let mut entries = self.shared.read(on_disk).await.map_err(|error| storage_error(ErrorVerb::Read, error))?;
        entries.extend(cached);
        Ok(entries)
    }
}

/// A log that fails stops its replica: openraft shuts down on any of these.
fn storage_error(verb: ErrorVerb, error: io::Error) -> StorageError {
    StorageError::IO { source: StorageIOError::new(ErrorSubject::Logs, verb, AnyError::new(&error)) }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, to) = half_open(&range);
        self.entries(from, to, u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.entries(start, end, MAX_APPEND_BYTES).await
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, to) = half_open(&range);
        self.reader().entries(from, to, u64::MAX).await
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let index = self.shared.index();
        let purged = index.state.purged;
        Ok(LogState { last_purged_log_id: purged, last_log_id: index.slots.back().map(|slot| slot.log_id).or(purged) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.write(vec![Record::Vote(vote)], |index, _| index.state.vote = Some(vote))
            .await
            .map_err(|error| storage_error(ErrorVerb::Write, error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.shared.index().state.vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.committed_hint = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.committed_hint.or(self.shared.index().state.committed))
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if entries.is_empty() {
            flushed.log_io_completed(Ok(()));
            return Ok(());
        }
        // Entries share their bytes with these copies.
        let records = entries.iter().cloned().map(Record::Entry).collect();
        let limit_bytes = self.shared.limits.cache_bytes;
        match self.write(records, |index, slots| index.append(entries, slots, limit_bytes)).await {
            Ok(()) => {
                flushed.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failure = storage_error(ErrorVerb::Write, io::Error::new(error.kind(), error.to_string()));
                flushed.log_io_completed(Err(error));
                Err(failure)
            }
        }
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.write(vec![Record::Truncate(since)], |index, _| index.truncate(since.index))
            .await
            .map_err(|error| storage_error(ErrorVerb::Delete, error))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let purged = async {
            self.await_snapshot(upto).await?;
            self.write(vec![Record::Purge(upto)], |index, _| index.purge(upto)).await?;
            self.shared.remove_unused_segments().await
        };
        purged.await.map_err(|error| storage_error(ErrorVerb::Delete, error))
    }
}
