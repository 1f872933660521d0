//! Everything that a replica keeps on its disk, opened together: mark, log, snapshots, and the state restored from them.
//!
//! Each of them is checked by itself, and against the others: files that are right by themselves but do not belong
//! together would be taken for a memory that the replica does not have.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`log`] | what makes a write durable |
//! | [`identity`], [`identity_keeper`] | which group's history there must be, and how much of it |
//! | [`snapshot`] | the tables with the log position that they stand for |
//! | [`state_machine`] | apply, snapshot, restore |
//! | [`csv_export`] | the CSV files that people read |
//! | [`own_log`] | what a replica knows for itself of its vote and its log |
//! | [`sealed`] | small files with a format and a checksum |
//! | [`group_clock`] | how long ago something was |
//! | [`raft_types`] | openraft's types as they are used here |

pub mod csv_export;
pub mod group_clock;
pub mod identity;
pub mod identity_keeper;
pub mod log;
pub mod own_log;
pub mod raft_types;
pub mod sealed;
pub mod snapshot;
pub mod state_machine;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::identity::{IDENTITY_FILE, Identity};
use self::log::{Log, LogError, LogLimits};
use self::own_log::Own;
use self::snapshot::SnapshotStore;
use self::state_machine::StateMachine;
use super::application::Application;
use crate::platform::Platform;

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the folder.
    #[error("{0} is in use by another process: is this replica running already?")]
    InUse(PathBuf),
    /// The disk failed, or holds something that is not this replica's.
    #[error(transparent)]
    Io(io::Error),
    /// The state cannot be restored.
    #[error(
        "{0}. It belongs to the snapshot that this replica starts from. If that is no passing fault, keep this folder \
         for inspection, then re-join the replica with an empty one (`--join`): the others bring it up to date"
    )]
    Snapshot(io::Error),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// openraft did not start.
    #[error("replication did not start: {0}")]
    Raft(String),
}

/// What a replica has on its disk.
pub struct Storage {
    pub identity: Identity,
    pub log: Log,
    pub state_machine: StateMachine,
}

impl Storage {
    /// Opens `folder` for the replica `own`, which is called `name`, and restores `machine` from it.
    ///
    /// # Errors
    /// If the disk fails, something is damaged, or something that was acknowledged is missing.
    pub async fn open(
        platform: &Platform,
        folder: &Path,
        (own, name): (u64, &str),
        limits: LogLimits,
        application: Arc<dyn Application>,
    ) -> Result<Storage, StartError> {
        let identity = Identity::open(platform, folder, name).map_err(StartError::Io)?;
        let tables = application.cut().tables.iter().map(|table| table.name()).collect();
        let snapshots =
            SnapshotStore::open(platform.disk.clone(), &folder.join("snapshot"), tables).map_err(StartError::Io)?;
        let covered = snapshots.current().and_then(|manifest| manifest.meta.last_log_id);
        if covered.is_some() && identity.cluster().is_none() {
            let what = "it is missing, and the snapshot beside it holds a history".to_owned();
            return Err(LogError::Lost { path: identity.path().to_owned(), what }.into());
        }
        let log =
            Log::open(platform, &folder.join("log"), own, limits, identity.clone(), snapshots.watch_covered()).await?;
        if let Some(purged) = log.purged().filter(|purged| covered < Some(*purged)) {
            let what = match covered {
                Some(covered) => format!("the snapshot is an old copy: it reaches to entry {}", covered.index),
                None => "the snapshot is missing".to_owned(),
            };
            let what = format!("{what}, and the log begins behind entry {}", purged.index);
            return Err(LogError::Lost { path: snapshots.manifest_path(), what }.into());
        }
        // Whoever leads in a term is voted for, or recognised, before anything of that term is stored.
        let voted_term = log.reader().examine(Own::vote).leader_id().term;
        if let Some(covered) = covered.filter(|covered| covered.leader_id.term > voted_term) {
            let what = format!(
                "the log and {IDENTITY_FILE} are old copies: they reach to term {voted_term}, and the snapshot beside them to \
                 term {}",
                covered.leader_id.term
            );
            return Err(LogError::Lost { path: folder.join("log"), what }.into());
        }
        let state_machine = StateMachine::open(platform, application, snapshots, log.durability()).await;
        let state_machine = state_machine.map_err(StartError::Snapshot)?;
        Ok(Storage { identity, log, state_machine })
    }
}

#[cfg(test)]
mod tests;
