//! The tables as people read them: CSV files that follow the state.
//!
//! After each applied batch the tables are brought up to date. One update runs at a time and covers every
//! batch that arrived meanwhile, and updates take at most a fifth of the time, from the start on, so that a big
//! table makes its file late, not the shop slow. Nor are they made more often than a person could see. These files
//! are for reading: bazar never reads them back, so an edit in a spreadsheet cannot harm the shop (and the next
//! update undoes it).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::state_machine::StateMachine;
use crate::platform::Platform;
use crate::store::TableFile;

/// After an update, as many times its duration passes before the next.
const REST: u32 = 4;

/// The shortest time between two updates. Creating and renaming a file costs about as much as committing a write.
const SHORTEST_REST: Duration = Duration::from_millis(20);

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
    {
        let (disk, folder) = (platform.disk.clone(), folder.clone());
        platform.blocking(move || disk.create_folders(&folder)).await?;
    }
    // What took so long to read takes about as long to write.
    tokio::time::sleep(state_machine.restored_in() * REST).await;
    loop {
        applied.borrow_and_update();
        let started = Instant::now();
        let (cut, position) = state_machine.cut();
        let (disk, folder) = (platform.disk.clone(), folder.clone());
        let update = move || {
            for table in &cut.tables {
                let path = folder.join(format!("{}.csv", table.name()));
                let file = files.entry(table.name()).or_insert_with(|| TableFile::new(disk.clone()));
                file.update(&**table, &path).map_err(io::Error::other)?;
            }
            io::Result::Ok(files)
        };
        files = platform.blocking(update).await?;
        written.store(position.index(), Ordering::Release);
        tokio::time::sleep((started.elapsed() * REST).max(SHORTEST_REST)).await;
        if applied.changed().await.is_err() {
            return Ok(());
        }
    }
}
