//! The mark that a replica belongs to a group, and how much of that group's history it must hold.
//!
//! A replica votes and stores entries only for the group whose mark is on its disk. A replica that lost
//! its disk has lost the mark too, and so cannot take part with a memory that it no longer has: a vote
//! that it forgot, entries that it acknowledged.
//!
//! The log may be lost alone, or put back as it was some time ago. So the mark also says in how many starts the
//! replica wrote to its log, how that log is called, which of its segments it wrote to last, and how far at the least. The
//! log always [writes first](Identity::claim), and nothing that it wrote in a new start or segment is answered before the mark
//! says as much: after a crash the log may be ahead of the mark, and a log that is behind has been lost.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sealed::{self, Unreadable};
use crate::platform::{Disk, Platform, naming};

/// Names one group for ever.
pub type ClusterId = Uuid;

/// The name of the file, in the replica's folder.
pub const IDENTITY_FILE: &str = "member.json";

/// The first words of the file.
const FORMAT: &str = "bazar replica 3";

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    /// Whose data this is. The checksum leaves it out: a damaged name is no replica's, and a copy of the folder is
    /// made another replica's by hand.
    member: String,
    cluster: ClusterId,
    boots: u64,
    log: Option<Uuid>,
    newest_segment: u64,
    written_bytes: u64,
    crc32: u32,
}

/// What a replica's disk says of its past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// The group that it belongs to.
    pub cluster: Option<ClusterId>,
    /// The starts of this replica in which it wrote to its log. Zero: it has no history.
    pub boots: u64,
    /// The name of the log that it wrote to.
    pub log: Option<Uuid>,
    /// The newest segment of the log that something was written to.
    pub newest_segment: u64,
    /// So many bytes of it were written, or more.
    pub written_bytes: u64,
}

/// The mark of one replica, on disk and at hand. Clones are the same.
#[derive(Clone)]
pub struct Identity {
    platform: Platform,
    path: Arc<Path>,
    member: Arc<str>,
    current: Arc<Mutex<Mark>>,
    /// Held while the file is replaced.
    writing: Arc<Mutex<()>>,
}

impl Identity {
    /// Reads the mark in `folder`, if there is one.
    ///
    /// # Errors
    /// If the disk fails, or the mark is damaged or another replica's. The error names the file.
    pub fn open(platform: &Platform, folder: &Path, member: &str) -> io::Result<Identity> {
        let path = folder.join(IDENTITY_FILE);
        // A killed process may have left a mark whose name is not on disk yet. From here on it counts.
        platform.disk.sync_folder(folder).map_err(naming(folder))?;
        let current = read(&*platform.disk, &path, member)?;
        Ok(Identity {
            platform: platform.clone(),
            path: path.into(),
            member: member.into(),
            current: Arc::new(Mutex::new(current)),
            writing: Arc::default(),
        })
    }

    /// The group that this replica belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.mark().cluster
    }

    /// All that the mark says.
    pub fn mark(&self) -> Mark {
        *self.current.lock()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the mark of `cluster` on disk, and returns when it is durable.
    ///
    /// # Errors
    /// If the disk fails, or this replica has a history in another group.
    pub async fn set(&self, cluster: ClusterId) -> io::Result<()> {
        let identity = self.clone();
        let set = move |mark: &mut Mark| {
            if mark.boots > 0 && mark.cluster != Some(cluster) {
                return Err(io::Error::other("this replica has a history in another group"));
            }
            mark.cluster = Some(cluster);
            Ok(())
        };
        self.platform.blocking(move || identity.change(set)).await
    }

    /// Says that the log of this name was written to in start number `boots`, and that its newest segment is this one, with
    /// so many bytes. They must be on disk already. Returns when the mark is durable; blocks.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn claim(&self, boots: u64, log: Uuid, (newest_segment, written_bytes): (u64, u64)) -> io::Result<()> {
        self.change(|mark| {
            *mark = Mark { cluster: mark.cluster, boots, log: Some(log), newest_segment, written_bytes };
            Ok(())
        })
    }

    /// Says that the newest segment has grown to so many bytes, which must be on disk already, if it is still the newest.
    /// Returns when the mark is durable; blocks.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn extend(&self, segment: u64, written_bytes: u64) -> io::Result<()> {
        self.change(|mark| {
            if mark.newest_segment == segment {
                mark.written_bytes = mark.written_bytes.max(written_bytes);
            }
            Ok(())
        })
    }

    fn change(&self, change: impl FnOnce(&mut Mark) -> io::Result<()>) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock();
        let mut mark = self.mark();
        change(&mut mark)?;
        if mark == self.mark() {
            return Ok(());
        }
        let cluster = mark.cluster.ok_or_else(|| io::Error::other("this replica belongs to no group yet"))?;
        let content = Content {
            format: FORMAT.to_owned(),
            member: self.member.to_string(),
            cluster,
            boots: mark.boots,
            log: mark.log,
            newest_segment: mark.newest_segment,
            written_bytes: mark.written_bytes,
            crc32: sealed::checksum(&mark)?,
        };
        let text = serde_json::to_vec_pretty(&content)?;
        self.platform.disk.replace(&self.path, &text).map_err(naming(&self.path))?;
        *self.current.lock() = mark;
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path, member: &str) -> io::Result<Mark> {
    if !disk.exists(path).map_err(naming(path))? {
        return Ok(Mark::default());
    }
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()));
    let unreadable = |error: Unreadable| match error {
        Unreadable::OtherVersion { .. } => invalid(error.to_string()),
        Unreadable::Damaged(_) => invalid(format!(
            "{error}, so it is not known which group this replica belongs to. Keep this folder for inspection, then \
             start the replica with an empty one and `--join`: the others bring it up to date"
        )),
    };
    let bytes = disk.read(path).map_err(naming(path))?;
    let content: Content = sealed::read(&bytes, FORMAT).map_err(unreadable)?;
    let Content { cluster, boots, log, newest_segment, written_bytes, .. } = content;
    let mark = Mark { cluster: Some(cluster), boots, log, newest_segment, written_bytes };
    sealed::check(&mark, content.crc32).map_err(unreadable)?;
    if content.member != member {
        return Err(invalid(format!("says that this is the data of {}, not of {member}", content.member)));
    }
    Ok(mark)
}

#[cfg(test)]
mod tests;
