//! Everything that a replica keeps on its disk, opened together: mark, log, snapshots, and the state restored from them.
//!
//! Each of them is checked by itself, and against the others: files that are right by themselves but do not belong
//! together would be taken for a memory that the replica does not have.

use std::path::Path;
use std::sync::Arc;

use super::guard::Own;
use super::log::{Log, LogError, LogLimits};
use super::machine::Machine;
use super::marker::{MARK_FILE, Marker};
use super::snapshot::SnapshotStore;
use super::start::StartError;
use super::state_machine::StateMachine;
use crate::platform::Platform;

/// What a replica has on its disk.
pub struct Storage {
    pub marker: Marker,
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
        machine: Arc<dyn Machine>,
    ) -> Result<Storage, StartError> {
        let marker = Marker::open(platform, folder, name).map_err(StartError::Io)?;
        let tables = machine.cut().tables.iter().map(|table| table.name()).collect();
        let snapshots =
            SnapshotStore::open(platform.disk.clone(), &folder.join("snapshot"), tables).map_err(StartError::Io)?;
        let covered = snapshots.current().and_then(|manifest| manifest.meta.last_log_id);
        if covered.is_some() && marker.cluster().is_none() {
            let what = "it is missing, and the snapshot beside it holds a history".to_owned();
            return Err(LogError::Lost { path: marker.path().to_owned(), what }.into());
        }
        let log =
            Log::open(platform, &folder.join("log"), own, limits, marker.clone(), snapshots.watch_covered()).await?;
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
                "the log and {MARK_FILE} are old copies: they reach to term {voted_term}, and the snapshot beside them to \
                 term {}",
                covered.leader_id.term
            );
            return Err(LogError::Lost { path: folder.join("log"), what }.into());
        }
        let state_machine = StateMachine::open(platform, machine, snapshots, log.durability()).await;
        let state_machine = state_machine.map_err(StartError::Snapshot)?;
        Ok(Storage { marker, log, state_machine })
    }
}

#[cfg(test)]
mod tests;
