//! What the log promises: kept over a restart, over a crash, over a failing disk; never quietly less.

mod basics;
mod crashes;
mod damage;
mod model;

use std::path::{Path, PathBuf};

use openraft::storage::RaftLogStorageExt;
use openraft::{RaftLogReader, Vote};
use tokio::sync::watch;

use super::*;
use crate::replica::testing::{MemoryDisk, entry, log_id, platform};

/// Segments of a few frames, and a cache of a few entries.
const SMALL: LogLimits = LogLimits { segment_bytes: 300, cache_bytes: 100 };

/// One segment, all in memory.
const LARGE: LogLimits = LogLimits { segment_bytes: 1 << 20, cache_bytes: 1 << 20 };

/// The replica whose log it is.
const OWN: u64 = 9;

fn folder() -> &'static Path {
    Path::new("/log")
}

fn segment(number: u64) -> PathBuf {
    segment_path(folder(), number)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Opens the log on `disk`, as if a snapshot covered all that may be purged.
async fn open(disk: &MemoryDisk, limits: LogLimits) -> Result<Log, LogError> {
    let everything = watch::Sender::new(Some(log_id(u64::MAX, u64::MAX))).subscribe();
    // The last value stays after its sender is gone.
    let identity = identity(disk).await?;
    Log::open(&platform(disk.clone()), folder(), OWN, limits, identity, everything).await
}

/// The mark of the replica on `disk`, which belongs to a group from its first start on.
async fn identity(disk: &MemoryDisk) -> Result<Identity, LogError> {
    let at = |source| LogError::Io { path: folder().to_owned(), source };
    let identity = Identity::open(&platform(disk.clone()), Path::new("/"), "catalog-9").map_err(at)?;
    if identity.cluster().is_none() {
        identity.set(uuid::Uuid::from_u128(7)).await.map_err(at)?;
    }
    Ok(identity)
}

/// All that can be seen of a log.
#[derive(Clone, Debug, PartialEq)]
struct View {
    vote: Option<super::Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    entries: Vec<Entry>,
}

async fn view(log: &mut Log) -> View {
    let state = log.get_log_state().await.unwrap();
    View {
        vote: log.read_vote().await.unwrap(),
        committed: log.read_committed().await.unwrap(),
        purged: state.last_purged_log_id,
        last: state.last_log_id,
        entries: log.try_get_log_entries(..).await.unwrap(),
    }
}

async fn reopened_view(disk: &MemoryDisk, limits: LogLimits) -> View {
    view(&mut open(disk, limits).await.unwrap()).await
}

/// Appends, and waits until it is durable.
async fn append(
    log: &mut Log,
    entries: impl IntoIterator<Item = Entry, IntoIter: Send> + Send,
) -> Result<(), StorageError> {
    log.blocking_append(entries).await?;
    log.durability().settled().await.map_err(|error| storage_error(ErrorVerb::Write, error))
}

/// Entries `indexes`, of 20 bytes or so, each in a frame of its own.
async fn append_each(log: &mut Log, term: u64, indexes: impl IntoIterator<Item = u64>) {
    for index in indexes {
        append(log, [entry(term, index, &format!("command {index}"))]).await.unwrap();
    }
}

/// The bytes of a segment up to the end of its last frame: without the zeros behind.
fn frames(disk: &MemoryDisk, number: u64) -> Vec<u8> {
    let mut bytes = disk.read(&segment(number)).unwrap();
    let mut end = MAGIC.len();
    while let Some(records) = record::frame_at(number, &bytes, end) {
        end += record::FRAME_HEADER_BYTES + records.len();
    }
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
    bytes.truncate(end);
    bytes
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.list(folder()).unwrap()
}
