//! The machine as openraft drives it: apply, build a snapshot, install one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, SnapshotMeta, StorageIOError,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::group_clock::MAX_GROUP_MS;
use super::log::Durability;
use super::raft_types::{Batch, Entry, LogId, Replies, StorageError, StoredMembership, TypeConfig};
use super::snapshot::{Manifest, SnapshotFiles, SnapshotStore, snapshot_id};
use crate::platform::Platform;
use crate::replica::application::{Application, ApplicationError, BatchTime, SnapshotView};

/// How far the state of this replica has come.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The last entry whose effect is in the state.
    pub log_id: Option<LogId>,
    /// The last membership among the applied entries.
    pub membership: StoredMembership,
    /// The group's time at the last applied batch, in milliseconds.
    pub group_ms: u64,
}

impl Applied {
    /// The index of the last applied entry; 0 before the first.
    pub fn index(&self) -> u64 {
        self.log_id.map_or(0, |log_id| log_id.index)
    }
}

/// A machine, how far it has come, and its snapshots.
#[derive(Clone)]
pub struct StateMachine {
    platform: Platform,
    application: Arc<dyn Application>,
    /// Locked while the machine changes, so that a cut and its position always belong together.
    applied: Arc<Mutex<Applied>>,
    announce: Arc<watch::Sender<u64>>,
    snapshots: Arc<Mutex<SnapshotStore>>,
    /// Of the log that entries come from.
    durability: Durability,
    restored_in: Duration,
}

impl StateMachine {
    /// Restores the machine from its newest snapshot, if it has one.
    ///
    /// # Errors
    /// If the snapshot is damaged.
    pub async fn open(
        platform: &Platform,
        application: Arc<dyn Application>,
        snapshots: SnapshotStore,
        durability: Durability,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let restored = application.clone();
        let (snapshots, applied) = platform
            .blocking(move || {
                let applied = match snapshots.current() {
                    None => Applied::default(),
                    Some(manifest) => {
                        restored.restore(snapshots.load(&manifest)?).map_err(io::Error::other)?();
                        applied_by(&manifest)
                    }
                };
                io::Result::Ok((snapshots, applied))
            })
            .await?;
        Ok(StateMachine {
            platform: platform.clone(),
            application,
            announce: Arc::new(watch::Sender::new(applied.index())),
            applied: Arc::new(Mutex::new(applied)),
            snapshots: Arc::new(Mutex::new(snapshots)),
            durability,
            restored_in: started.elapsed(),
        })
    }

    /// How far the state has come.
    pub fn applied(&self) -> Applied {
        self.lock_applied().clone()
    }

    /// How long it took to read the snapshot back.
    pub fn restored_in(&self) -> Duration {
        self.restored_in
    }

    /// Tells each new applied index.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.announce.subscribe()
    }

    /// The state and the position that it stands for.
    pub fn cut(&self) -> (SnapshotView, Applied) {
        let applied = self.lock_applied();
        (self.application.cut(), applied.clone())
    }

    /// Checks that the commands of a batch can be applied.
    ///
    /// # Errors
    /// If one cannot be understood.
    pub fn check(&self, batch: &Batch) -> Result<(), ApplicationError> {
        if batch.time.group_ms > MAX_GROUP_MS {
            return Err(ApplicationError("it comes from beyond all time".to_owned()));
        }
        batch.commands.iter().try_for_each(|command| self.application.check(command))
    }

    /// Reads back a snapshot that has arrived, to have the state at hand when it is installed. Blocks.
    ///
    /// # Errors
    /// If its tables are not what the manifest says, or cannot be understood.
    pub fn read_back(&self, received: &SnapshotFiles) -> io::Result<()> {
        let saved = self.snapshots.lock().load(&received.manifest)?;
        received.keep_read_back(self.application.restore(saved).map_err(io::Error::other)?);
        Ok(())
    }

    /// The folder of snapshots. Lock it only where blocking is allowed.
    pub fn snapshots(&self) -> Arc<Mutex<SnapshotStore>> {
        self.snapshots.clone()
    }

    fn lock_applied(&self) -> parking_lot::MutexGuard<'_, Applied> {
        self.applied.lock()
    }

    /// Runs `work` on the snapshot folder beside the asynchronous tasks.
    async fn on_snapshots<T: Send + 'static>(
        &self,
        verb: ErrorVerb,
        work: impl FnOnce(&mut SnapshotStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let snapshots = self.snapshots.clone();
        self.platform.blocking(move || work(&mut snapshots.lock())).await.map_err(|error| StorageError::IO {
            source: StorageIOError::new(ErrorSubject::Snapshot(None), verb, AnyError::new(&error)),
        })
    }
}

fn applied_by(manifest: &Manifest) -> Applied {
    let meta = &manifest.meta;
    Applied { log_id: meta.last_log_id, membership: meta.last_membership.clone(), group_ms: manifest.group_ms }
}

fn ready(files: SnapshotFiles) -> Snapshot<TypeConfig> {
    Snapshot { meta: files.manifest.meta.clone(), snapshot: Box::new(files) }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied();
        Ok((applied.log_id, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            self.durability.reached(last.log_id.index).await.map_err(|error| StorageError::IO {
                source: StorageIOError::new(ErrorSubject::Logs, ErrorVerb::Write, AnyError::new(&error)),
            })?;
        }
        let mut replies = Vec::with_capacity(entries.len());
        let mut applied = self.lock_applied();
        for entry in entries {
            let reply = match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
                EntryPayload::Normal(batch) => {
                    applied.group_ms = applied.group_ms.max(batch.time.group_ms);
                    let time = BatchTime { group_ms: applied.group_ms, ..batch.time };
                    self.application.apply(time, &batch.commands).map_err(|error| StorageError::IO {
                        source: StorageIOError::apply(entry.log_id, AnyError::new(&error)),
                    })?
                }
            };
            applied.log_id = Some(entry.log_id);
            replies.push(Replies(reply));
        }
        self.announce.send_replace(applied.index());
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (cut, applied) = self.cut();
        SnapshotBuilder { state_machine: self.clone(), taken: Some((cut, applied)) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFiles>, StorageError> {
        let meta = SnapshotMeta::default();
        let nothing = Manifest { meta, group_ms: 0, scalars: serde_json::Value::Null, tables: Vec::new() };
        Ok(Box::new(SnapshotFiles::new(Arc::new(nothing), Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<u64, openraft::EmptyNode>,
        snapshot: Box<SnapshotFiles>,
    ) -> Result<(), StorageError> {
        let application = self.application.clone();
        let applied = self.applied.clone();
        let announce = self.announce.clone();
        self.on_snapshots(ErrorVerb::Write, move |snapshots| {
            let swap = snapshots.adopt(&snapshot, |saved| match snapshot.take_read_back() {
                Some(swap) => Ok(swap),
                None => application.restore(saved).map_err(io::Error::other),
            })?;
            // Locked for this alone: asynchronous tasks take this lock.
            let mut applied = applied.lock();
            let before = swap();
            *applied = applied_by(&snapshot.manifest);
            announce.send_replace(applied.index());
            drop(applied);
            drop(before);
            Ok(())
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let files = self.on_snapshots(ErrorVerb::Read, |snapshots| snapshots.current_files()).await?;
        Ok(files.map(ready))
    }
}

/// A cut that waits to be written.
pub struct SnapshotBuilder {
    state_machine: StateMachine,
    taken: Option<(SnapshotView, Applied)>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let (cut, applied) = self.taken.take().unwrap_or_else(|| self.state_machine.cut());
        let meta = SnapshotMeta {
            snapshot_id: snapshot_id(applied.log_id),
            last_log_id: applied.log_id,
            last_membership: applied.membership,
        };
        let build = move |snapshots: &mut SnapshotStore| {
            snapshots.write(&cut, meta, applied.group_ms)?;
            snapshots.current_files()?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        self.state_machine.on_snapshots(ErrorVerb::Write, build).await.map(ready)
    }
}

#[cfg(test)]
mod tests;
