//! The tables as people read them: CSV files that follow the state.
//!
//! After each applied batch the tables are brought up to date. One update runs at a time and covers every
//! batch that arrived meanwhile, and updates take at most a fifth of the time, from the start on, so that a big
//! table makes its file late, not the shop slow. Nor are they made more often than a person could see. These files
//! are for reading: bazar never reads them back, so an edit in a spreadsheet cannot harm the shop, and the next
//! update undoes it, whatever was done to the file or to its folder. What stands in an update's way and may be a person's
//! doing, or passes, is told and tried again; only a disk that is full or fails ends the replica.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::state_machine::StateMachine;
use crate::csv::{Readers, TableFile, TableFileError};
use crate::platform::{Disk, Platform, is_descriptor_shortage};
use crate::replica::application::SnapshotView;
use crate::telemetry::Trouble;

/// After an update, as many times its duration passes before the next.
const REST: u32 = 4;

/// The shortest time between two updates. Creating and renaming a file costs about as much as committing a write.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// The longest. A machine that stood still during an update must not keep people from the next for as long again.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Before an update that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the files in `folder` up to date until the state machine goes.
///
/// `written` is the applied index that the files show. Returns with an error if the disk fails.
pub async fn follow(
    platform: Platform,
    state_machine: StateMachine,
    folder: Arc<Path>,
    written: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut applied: watch::Receiver<u64> = state_machine.watch_applied();
    let mut files: BTreeMap<&'static str, TableFile> = BTreeMap::new();
    let mut trouble = Trouble::default();
    // What took so long to read takes about as long to write.
    tokio::time::sleep(rest_after(state_machine.restored_in())).await;
    loop {
        applied.borrow_and_update();
        let started = Instant::now();
        let (cut, position) = state_machine.cut();
        let (disk, folder) = (platform.disk.clone(), folder.clone());
        let update = move || {
            let updated = update(&disk, &folder, &cut, &mut files);
            (updated, files)
        };
        let updated;
        (updated, files) = platform.blocking(update).await;
        match updated {
            Ok(()) => {}
            Err(error) if passes(&error) => {
                if let Some(times) = trouble.met() {
                    tracing::warn!(%error, times, "the CSV tables cannot be written; trying again");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        if let Some(times) = trouble.gone() {
            tracing::info!(times, "the CSV tables are written again");
        }
        written.store(position.index(), Ordering::Release);
        tokio::time::sleep(rest_after(started.elapsed())).await;
        if applied.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// How long to rest after what took so long.
fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(REST).clamp(SHORTEST_REST, LONGEST_REST)
}

/// Brings all files up to `cut`.
fn update(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    cut: &SnapshotView,
    files: &mut BTreeMap<&'static str, TableFile>,
) -> Result<(), TableFileError> {
    for table in &cut.tables {
        let path = folder.join(format!("{}.csv", table.name()));
        let file = files.entry(table.name()).or_insert_with(|| TableFile::new(disk.clone(), Readers::People));
        match file.update(&**table, &path) {
            Err(TableFileError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let write = |source| TableFileError::Write { path: folder.to_owned(), source };
                disk.create_folders(folder).map_err(write)?;
                file.update(&**table, &path)?;
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Whether a failure is none of the disk's.
fn passes(error: &TableFileError) -> bool {
    use io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, PermissionDenied, ResourceBusy,
    };
    let TableFileError::Write { source, .. } = error else { return false };
    is_descriptor_shortage(source)
        || matches!(
            source.kind(),
            AlreadyExists
                | DirectoryNotEmpty
                | IsADirectory
                | NotADirectory
                | NotFound
                | PermissionDenied
                | ResourceBusy
        )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::platform::naming;

    #[test]
    fn updates_take_a_fifth_of_the_time_and_no_freeze_puts_off_the_next_for_long() {
        assert_eq!(rest_after(Duration::from_millis(1)), SHORTEST_REST);
        assert_eq!(rest_after(Duration::from_secs(2)), Duration::from_secs(8));
        assert_eq!(rest_after(Duration::from_secs(3600)), LONGEST_REST);
        assert_eq!(rest_after(Duration::MAX), LONGEST_REST);
    }

    #[test]
    fn a_shortage_of_descriptors_passes_and_a_full_disk_does_not() {
        let error = |error: Errno| {
            let source = naming(Path::new("catalog.csv"))(io::Error::from_raw_os_error(error.raw_os_error()));
            TableFileError::Write { path: "catalog.csv".into(), source }
        };
        assert!([Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::ISDIR].map(error).iter().all(passes));
        assert!(![Errno::NOSPC, Errno::IO, Errno::ROFS].map(error).iter().any(passes));
    }
}
