//! What a log holds and where: one slot per entry, and the newest entries themselves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::record::State;
use crate::platform::DiskFile;
use crate::replica::storage::own_log::Own;
use crate::replica::storage::raft_types::{Entry, LogId, Vote};

/// What is where. At most the last write is not on disk yet, and its entries are in memory.
#[derive(Default)]
pub struct Index {
    pub state: State,
    /// One slot per entry, oldest first.
    pub slots: VecDeque<Slot>,
    /// A committed position that the next frame takes along; it is not worth an fsync of its own.
    pub committed_hint: Option<LogId>,
    /// The newest entries: the last of `slots`, as many as there are here.
    pub cache: VecDeque<Entry>,
    pub cache_bytes: u64,
    pub segments: BTreeMap<u64, Segment>,
    /// Bytes of the log when it was opened, and of all frames written since: how fast it grows.
    pub written_bytes: u64,
}

/// An entry and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub log_id: LogId,
    pub place: Place,
}

/// The bytes of one record on disk.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub segment: u64,
    /// Bytes from the start of the segment.
    pub offset: u64,
    pub length: u32,
    pub crc32: u32,
}

/// An open segment file.
pub struct Segment {
    pub file: Arc<dyn DiskFile>,
    /// Bytes of frames.
    pub bytes: u64,
    /// Bytes of the file: behind the frames come zeros.
    pub room: u64,
}

impl Index {
    /// Takes up entries; `limit_bytes` bounds those that stay in memory, these excepted: they may not be on disk yet.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>, slots: &[Slot], limit_bytes: u64) {
        self.slots.extend(slots);
        self.cache.extend(entries);
        self.cache_bytes += slots.iter().map(|slot| u64::from(slot.place.length)).sum::<u64>();
        while self.cache_bytes > limit_bytes && self.cache.len() > slots.len() {
            let oldest = self.slots[self.slots.len() - self.cache.len()];
            self.cache_bytes -= u64::from(oldest.place.length);
            self.cache.pop_front();
        }
    }

    /// The index of the last entry, or of what was purged if there is none.
    pub fn last_index(&self) -> Option<u64> {
        self.slots.back().map(|slot| slot.log_id).or(self.state.purged).map(|last| last.index)
    }

    /// Forgets the entries from `since` on.
    pub fn truncate(&mut self, since: u64) {
        while self.slots.back().is_some_and(|slot| slot.log_id.index >= since) {
            let length = self.slots.pop_back().map_or(0, |slot| u64::from(slot.place.length));
            if self.cache.pop_back().is_some() {
                self.cache_bytes -= length;
            }
        }
    }

    /// Forgets the entries up to `upto`, which a snapshot covers, and those after it that an earlier
    /// leader left behind: they do not follow on it.
    pub fn purge(&mut self, upto: LogId) {
        self.state.purged = Some(upto);
        let is_covered = |slot: &Slot| slot.log_id.index <= upto.index || slot.log_id < upto;
        while self.slots.front().is_some_and(is_covered) {
            if self.slots.len() == self.cache.len() {
                self.cache.pop_front();
                self.cache_bytes -= u64::from(self.slots[0].place.length);
            }
            self.slots.pop_front();
        }
    }

    /// Everything up to here is known to be committed.
    pub fn committed(&self) -> Option<LogId> {
        self.committed_hint.or(self.state.committed)
    }

    /// Where an entry is read from. The file stays readable even if its segment is removed meanwhile.
    pub fn locate(&self, slot: &Slot) -> (Arc<dyn DiskFile>, Place) {
        let segment = self.segments.get(&slot.place.segment).expect("a segment stays while it has an entry");
        (segment.file.clone(), slot.place)
    }

    /// The entries `from..to` as far as they exist: positions in `slots`.
    pub fn positions(&self, from: u64, to: u64) -> Range<usize> {
        let first = self.slots.front().map_or(0, |slot| slot.log_id.index);
        let position = |index: u64| (index.saturating_sub(first) as usize).min(self.slots.len());
        position(from)..position(to).max(position(from))
    }
}

impl Own for Index {
    fn vote(&self) -> Vote {
        self.state.vote.unwrap_or_default()
    }

    fn committed(&self) -> Option<LogId> {
        Index::committed(self).max(self.state.purged)
    }

    fn at(&self, index: u64) -> Option<LogId> {
        if let Some(purged) = self.state.purged.filter(|purged| purged.index >= index) {
            return Some(purged).filter(|purged| purged.index == index);
        }
        let first = self.slots.front()?.log_id.index;
        self.slots.get(index.checked_sub(first)? as usize).map(|slot| slot.log_id)
    }

    fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.log_id).max(self.state.purged)
    }
}
