//! The durable log of one replica: what makes a write survive.
//!
//! The log is a folder of segment files, each a run of checksummed [frames](record). Every call that
//! changes something writes one frame, and begins only after the disk has confirmed the one before; openraft
//! makes one such call at a time, so there is nothing to reorder and nothing to batch here: commands are
//! gathered into entries before they come to the log. A segment that reached its size is followed by a
//! new one, and segments whose entries are all purged are removed. Appending returns while the disk still
//! writes: [`durability`] says why, and who waits for it.
//!
//! A file grows by [`ROOM_BYTES`] of zeros at a time, which frames then overwrite. A write that changes neither a
//! file's length nor where its blocks are is confirmed by the disk alone, without the file system's journal.
//!
//! The newest entries stay in memory, up to a limit in bytes; older ones are read back from disk for a
//! follower that needs them. The log knows nothing of what entries mean. Of snapshots it knows how far
//! they reach, because nothing is purged that no durable snapshot covers.

mod durability;
mod index;
mod reader;
mod record;
mod recovery;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use durability::Durability;
use index::{Index, Place, Segment, Slot};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, StorageIOError};
use parking_lot::{Mutex, MutexGuard};
pub use reader::LogReader;
use record::{Boot, Frame, MAGIC, MAX_FRAME_BYTES, Placed, Record, State};
pub use recovery::LogError;
use tokio::sync::watch;
use uuid::Uuid;

use super::identity::{Identity, Mark};
use super::raft_types::{Entry, LogId, StorageError, TypeConfig, Vote};
use crate::platform::{Disk, Platform, naming};

/// By how many bytes a segment's file grows at a time.
const ROOM_BYTES: u64 = 256 << 10;

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
    durability: Durability,
    /// The replica that the log belongs to.
    own: u64,
    /// Says how far the log must have come. It follows the log: see [`Log::begin`].
    identity: Identity,
    /// This start, once something was written in it.
    boot: Option<Boot>,
    /// The segment that the mark names as the newest, as of this start.
    claimed_segment: Option<u64>,
    /// How far the newest durable snapshot reaches.
    snapshot: watch::Receiver<Option<LogId>>,
    /// openraft's own tests append entries that do not follow.
    #[cfg(test)]
    pub has_holes: bool,
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
    /// Opens the log in `folder`, of the replica `own`, or starts one there. `snapshot` tells how far the newest
    /// durable snapshot reaches, and `marker` how much there must be.
    ///
    /// # Errors
    /// If the disk fails, or something that was acknowledged is not there or cannot be read back.
    pub async fn open(
        platform: &Platform,
        folder: &Path,
        own: u64,
        limits: LogLimits,
        identity: Identity,
        snapshot: watch::Receiver<Option<LogId>>,
    ) -> Result<Log, LogError> {
        let (disk, mark) = (platform.disk.clone(), identity.mark());
        let path = folder.to_owned();
        let index = platform.blocking(move || open_index(&*disk, &path, limits, &mark)).await?;
        let durability = Durability::opened(index.last_index());
        let (platform, folder) = (platform.clone(), folder.into());
        let shared = Shared { platform, folder, limits, index: Arc::new(Mutex::new(index)) };
        let (boot, claimed_segment) = (None, None);
        Ok(Log {
            shared,
            durability,
            own,
            identity,
            boot,
            claimed_segment,
            snapshot,
            #[cfg(test)]
            has_holes: false,
        })
    }

    /// The last entry that was removed because a snapshot covers it.
    pub fn purged(&self) -> Option<LogId> {
        self.shared.index().state.purged
    }

    /// A reading end.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// Tells how far this log is on disk.
    pub fn durability(&self) -> Durability {
        self.durability.clone()
    }

    /// Begins to write one frame, once the one before is durable, and brings the index up to date by `change`.
    ///
    /// After a failure nothing more is written: behind a torn frame it would be lost. The first frame after a start
    /// says so, and a frame counts as durable only once the [mark](super::identity) names this start and the segment
    /// that it stands in: so nothing is answered that could later be missed without anybody's noticing.
    async fn begin(&mut self, records: Vec<Record>, change: impl FnOnce(&mut Index, &[Slot])) -> io::Result<()> {
        self.durability.settled().await?;
        let boot = match self.boot {
            Some(boot) => boot,
            None => self.next_boot()?,
        };
        let is_first = self.boot.is_none().then_some(Record::Boot(boot));
        let committed = self.shared.index().committed_hint.take();
        let mut frame = Frame::new();
        let hint = committed.map(Record::Committed);
        is_first.iter().chain(&hint).chain(&records).for_each(|record| frame.push(record));
        if frame.bytes() > MAX_FRAME_BYTES {
            let what = format!("{} bytes are more than the log takes at once", frame.bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }

        if let Err(error) = self.shared.make_active_segment().await {
            self.durability.fail(&error);
            return Err(error);
        }
        let mut index = self.shared.index();
        let (&number, segment) = index.segments.iter_mut().next_back().expect("one was just made active");
        let (file, start) = (segment.file.clone(), segment.bytes);
        let (mut bytes, placed) = frame.finish(number, start);
        let length = bytes.len() as u64;
        segment.bytes += length;
        if segment.bytes > segment.room {
            segment.room = segment.bytes.next_multiple_of(ROOM_BYTES);
            bytes.resize((segment.room - start) as usize, 0);
        }
        let slots: Vec<Slot> = placed
            .into_iter()
            .map(|Placed { log_id, offset, length, crc32 }| {
                let place = Place { segment: number, offset: start + offset as u64, length: length as u32, crc32 };
                Slot { log_id, place }
            })
            .collect();
        index.written_bytes += length;
        index.state.committed = committed.or(index.state.committed);
        index.state.boot = Some(boot);
        change(&mut index, &slots);
        let last_index = index.last_index();
        drop(index);

        self.boot = Some(boot);
        let claims = self.claimed_segment.replace(number) != Some(number);
        let identity = claims.then(|| self.identity.clone());
        self.durability.begin();
        let (durability, folder) = (self.durability.clone(), self.shared.folder.clone());
        self.shared.platform.begin_blocking(move || {
            let written = file.write_at(start, &bytes).and_then(|()| file.sync());
            let written = written.map_err(|error| naming(&segment_path(&folder, number))(error));
            let end = start + length;
            let claim = |identity: Identity| identity.claim(boot.number, boot.log, (number, end));
            durability.end(last_index, (number, end), written.and_then(|()| identity.map_or(Ok(()), claim)));
        });
        Ok(())
    }

    /// Entries must follow on what is there and on each other: a log with a hole in it cannot be read back.
    fn must_follow(&self, entries: &[Entry]) -> io::Result<()> {
        #[cfg(test)]
        if self.has_holes {
            return Ok(());
        }
        let next = self.shared.index().last_index().map_or(0, |last| last + 1);
        match (next..).zip(entries).find(|(expected, entry)| entry.log_id.index != *expected) {
            None => Ok(()),
            Some((expected, entry)) => {
                let what = format!("entry {} was appended where {expected} must follow", entry.log_id.index);
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }

    fn next_boot(&self) -> io::Result<Boot> {
        let last = self.shared.index().state.boot;
        let cluster =
            self.identity.cluster().ok_or_else(|| io::Error::other("this replica belongs to no group yet"))?;
        let log = last.map_or_else(Uuid::new_v4, |boot| boot.log);
        Ok(Boot { number: last.map_or(0, |boot| boot.number) + 1, cluster, log })
    }

    /// Writes one frame and waits until it is durable.
    async fn write(&mut self, record: Record, change: impl FnOnce(&mut Index)) -> io::Result<()> {
        self.begin(vec![record], |index, _| change(index)).await?;
        self.durability.settled().await
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

fn open_index(disk: &dyn Disk, folder: &Path, limits: LogLimits, mark: &Mark) -> Result<Index, LogError> {
    let at = |source| LogError::Io { path: folder.to_owned(), source };
    disk.create_folders(folder).map_err(at)?;
    let mut index = recovery::recover(disk, folder, limits.cache_bytes, mark)?;
    if index.segments.is_empty() {
        let segment = new_segment(disk, folder, 1, &opening(1, index.state, None)).map_err(at)?;
        index.segments.insert(1, segment);
    }
    index.written_bytes = index.segments.values().map(|segment| segment.bytes).sum();
    Ok(index)
}

/// The bytes that a segment begins with. `previous_bytes` is how long the segment before it has become.
fn opening(number: u64, state: State, previous_bytes: Option<u64>) -> Vec<u8> {
    let mut frame = Frame::new();
    frame.push(&Record::State(state));
    previous_bytes.iter().for_each(|bytes| frame.push(&Record::Follows { bytes: *bytes }));
    let (frame, _) = frame.finish(number, MAGIC.len() as u64);
    [MAGIC, frame.as_slice()].concat()
}

/// Makes a segment durable, with its name and its opening.
fn new_segment(disk: &dyn Disk, folder: &Path, number: u64, opening: &[u8]) -> io::Result<Segment> {
    let file = disk.open(&segment_path(folder, number))?;
    file.write_at(0, opening)?;
    file.sync()?;
    disk.sync_folder(folder)?;
    let bytes = opening.len() as u64;
    Ok(Segment { file, bytes, room: bytes })
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is changed by plain assignments that cannot panic half way.
        self.index.lock()
    }

    /// Sees to it that the last segment is not full.
    async fn make_active_segment(&self) -> io::Result<()> {
        let (number, opening) = {
            let index = self.index();
            let (number, segment) = index.segments.last_key_value().expect("a log has a segment from its opening on");
            if segment.bytes < self.limits.segment_bytes {
                return Ok(());
            }
            (number + 1, opening(number + 1, index.state, Some(segment.bytes)))
        };
        let (disk, folder) = (self.platform.disk.clone(), self.folder.clone());
        let segment = self.platform.blocking(move || new_segment(&*disk, &folder, number, &opening)).await?;
        self.index().segments.insert(number, segment);
        Ok(())
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

/// A log that fails stops its replica: openraft shuts down on any of these.
fn storage_error(verb: ErrorVerb, error: io::Error) -> StorageError {
    StorageError::IO { source: StorageIOError::new(ErrorSubject::Logs, verb, AnyError::new(&error)) }
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
        let saved = self.write(Record::Vote(vote), |index| index.state.vote = Some(vote)).await;
        saved.map_err(|error| storage_error(ErrorVerb::Write, error))
    }

    /// The last vote. openraft asks for it when it starts, and would lead on in the term in which this replica led
    /// before. A leader may have sent entries that its crash took from its own disk, so it must not go on in that
    /// term, in which it would write others in their place: it finds itself a candidate that was not elected.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.shared.index().state.vote;
        Ok(vote.map(|vote| match vote.leader_id.voted_for() == Some(self.own) {
            true => Vote::new(vote.leader_id.term, self.own),
            false => vote,
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.shared.index().committed_hint = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.shared.index().committed())
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
        if let Err(error) = self.must_follow(&entries) {
            flushed.log_io_completed(Err(io::Error::new(error.kind(), error.to_string())));
            return Err(storage_error(ErrorVerb::Write, error));
        }
        // Entries share their bytes with these copies.
        let records = entries.iter().cloned().map(Record::Entry).collect();
        let limit_bytes = self.shared.limits.cache_bytes;
        match self.begin(records, |index, slots| index.append(entries, slots, limit_bytes)).await {
            Ok(()) => {
                // They are not yet: see `durability`.
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
        let truncated = self.write(Record::Truncate(since), |index| index.truncate(since.index)).await;
        truncated.map_err(|error| storage_error(ErrorVerb::Delete, error))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let purged = async {
            self.await_snapshot(upto).await?;
            self.write(Record::Purge(upto), |index| index.purge(upto)).await?;
            self.shared.remove_unused_segments().await
        };
        purged.await.map_err(|error| storage_error(ErrorVerb::Delete, error))
    }
}
