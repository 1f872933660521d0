//! The mark that a replica belongs to a group.
//!
//! A replica votes and stores entries only for the group whose mark is on its disk. A replica that lost
//! its disk has lost the mark too, and so cannot take part with a memory that it no longer has: a vote
//! that it forgot, entries that it acknowledged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::platform::{Disk, Platform};

/// Names one group for ever.
pub type ClusterId = Uuid;

#[derive(Serialize, Deserialize)]
struct Content {
    cluster: ClusterId,
    member: String,
}

/// The mark of one replica, on disk and at hand.
#[derive(Clone)]
pub struct Marker {
    platform: Platform,
    path: PathBuf,
    member: String,
    current: Arc<Mutex<Option<ClusterId>>>,
}

impl Marker {
    /// Reads the mark in `folder`, if there is one.
    ///
    /// # Errors
    /// If the disk fails, or the mark is another replica's.
    pub fn open(platform: &Platform, folder: &Path, member: &str) -> io::Result<Marker> {
        let path = folder.join("member.json");
        // A killed process may have left a mark whose name is not on disk yet. From here on it counts.
        platform.disk.sync_folder(folder)?;
        let current = read(&*platform.disk, &path, member)?;
        Ok(Marker {
            platform: platform.clone(),
            path,
            member: member.to_owned(),
            current: Arc::new(Mutex::new(current)),
        })
    }

    /// The group that this replica belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the mark on disk, and returns when it is durable.
    pub async fn set(&self, cluster: ClusterId) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&Content { cluster, member: self.member.clone() })?;
        let (disk, path) = (self.platform.disk.clone(), self.path.clone());
        self.platform.blocking(move || disk.replace(&path, &text)).await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path, member: &str) -> io::Result<Option<ClusterId>> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()));
    let content: Content = serde_json::from_slice(&disk.read(path)?).map_err(|error| {
        invalid(format!(
            "is damaged ({error}), so it is not known which group this replica belongs to. Start it with an empty \
             folder and `--join`: the others bring it up to date"
        ))
    })?;
    if content.member != member {
        return Err(invalid(format!("says that this is the data of {}, not of {member}", content.member)));
    }
    Ok(Some(content.cluster))
}

#[cfg(test)]
mod tests;
