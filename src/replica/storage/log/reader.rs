//! Reading entries: from memory, or back from disk for a follower that needs older ones.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::{ErrorVerb, OptionalSend, RaftLogReader};

use super::index::{Index, Place};
use super::record::{self, Record};
use super::{Log, Shared, storage_error};
use crate::platform::DiskFile;
use crate::replica::storage::raft_types::{Entry, StorageError, TypeConfig};

/// The most that one AppendEntries request carries, in bytes of log, unless a single entry is larger.
const MAX_APPEND_BYTES: u64 = 1 << 20;

/// A reading end of a log.
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Shared,
}

impl LogReader {
    /// Bytes that the log had when it was opened, and all that were written since.
    pub fn written_bytes(&self) -> u64 {
        self.shared.index().written_bytes
    }

    /// Has a message held against this log.
    pub fn examine<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.shared.index())
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

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, to) = half_open(&range);
        self.entries(from, to, u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.entries(start, end, MAX_APPEND_BYTES).await?;
        // Those behind what was purged are not what was asked for: to a follower they would be a log with a hole.
        match entries.first().map(|first| first.log_id.index) {
            Some(first) if first == start => Ok(entries),
            _ if start >= end => Ok(entries),
            _ => {
                let absent = io::Error::new(io::ErrorKind::NotFound, format!("entry {start} is not in the log"));
                Err(storage_error(ErrorVerb::Read, absent))
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader().try_get_log_entries(range).await
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

impl Shared {
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
}
