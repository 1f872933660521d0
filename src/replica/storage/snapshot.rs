//! Snapshots: the tables as CSV files, with the log position that they stand for.
//!
//! A snapshot is a manifest that names the table files, how many bytes of each belong to it and their
//! checksum. Replacing the manifest is the one atomic step: files are only ever added beside it or grown
//! behind the bytes that it names, and they are durable before it is. Files that neither it nor a snapshot
//! being received names are removed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::group_clock::MAX_GROUP_MS;
use super::raft_types::{LogId, SnapshotMeta};
use super::sealed::{self, Unreadable};
use crate::csv::{Prefix, Readers, TableFile};
use crate::platform::{Disk, DiskFile, naming};
use crate::replica::application::{SnapshotReader, SnapshotView, Swap};

const MANIFEST: &str = "manifest.json";

/// The key `format` of the manifest's file.
const FORMAT: &str = "bazar snapshot 2";

/// The file of a manifest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<M> {
    format: String,
    crc32: u32,
    manifest: M,
}

/// Everything about a snapshot but the bytes of its tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The log position and the membership at it.
    pub meta: SnapshotMeta,
    /// The group's time at the last applied batch, in milliseconds.
    pub group_ms: u64,
    /// The machine's scalars.
    pub scalars: serde_json::Value,
    /// Its tables.
    pub tables: Vec<ManifestTable>,
}

/// One table of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestTable {
    /// The table's name.
    pub name: String,
    /// Its file in the snapshot folder.
    pub file: String,
    /// How many of the file's first bytes are the table.
    pub bytes: u64,
    /// The CRC-32 of these bytes.
    pub crc32: u32,
}

impl Manifest {
    /// Checks what must hold of the manifest of any snapshot of a machine that has `tables`.
    ///
    /// # Errors
    /// Why it is none.
    fn check(&self, tables: &[&str]) -> Result<(), String> {
        if !self.tables.iter().map(|table| table.name.as_str()).eq(tables.iter().copied()) {
            let named: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            return Err(format!("it names the tables {named:?}, and there must be {tables:?}"));
        }
        let is_own_file = |table: &ManifestTable| {
            let number = table.file.strip_prefix(table.name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            let number = number.and_then(|rest| rest.strip_suffix(".csv"));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if let Some(table) = self.tables.iter().find(|table| !is_own_file(table)) {
            return Err(format!("the file of table {} cannot be {:?}", table.name, table.file));
        }
        let expected = snapshot_id(self.meta.last_log_id);
        if self.meta.last_log_id.is_none() || self.meta.snapshot_id != expected {
            return Err(format!("the snapshot is {:?}, and must be {expected:?}", self.meta.snapshot_id));
        }
        if self.group_ms > MAX_GROUP_MS {
            return Err("it comes from beyond all time".to_owned());
        }
        let membership = &self.meta.last_membership;
        if membership.voter_ids().next().is_none() || *membership.log_id() > self.meta.last_log_id {
            return Err("its members cannot be".to_owned());
        }
        Ok(())
    }
}

/// What the snapshot that reaches so far is called.
pub fn snapshot_id(last: Option<LogId>) -> String {
    format!("{}-{}", last.map_or(0, |last| last.leader_id.term), last.map_or(0, |last| last.index))
}

/// A snapshot whose files are at hand: one to send, or one that was received.
#[derive(Clone)]
pub struct SnapshotFiles {
    /// What the files are.
    pub manifest: Arc<Manifest>,
    /// The table files, open, in the manifest's order.
    pub files: Vec<Arc<dyn DiskFile>>,
    /// What puts its state in the place of the present one, of a snapshot that was received and read back.
    read_back: Arc<Mutex<Option<Swap>>>,
}

impl SnapshotFiles {
    /// A snapshot of which nothing was read back yet.
    pub fn new(manifest: Arc<Manifest>, files: Vec<Arc<dyn DiskFile>>) -> SnapshotFiles {
        SnapshotFiles { manifest, files, read_back: Arc::default() }
    }

    /// Keeps what was read back of it.
    pub fn keep_read_back(&self, swap: Swap) {
        *self.read_back.lock() = Some(swap);
    }

    /// What was read back of it, once.
    pub fn take_read_back(&self) -> Option<Swap> {
        self.read_back.lock().take()
    }
}

impl fmt::Debug for SnapshotFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {}", self.manifest.meta.snapshot_id)
    }
}

/// The snapshot folder of one replica. Its calls block.
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The machine's, in their order.
    tables: Vec<&'static str>,
    current: Option<Arc<Manifest>>,
    /// Files that this process wrote and may grow, by table.
    growing: BTreeMap<&'static str, TableFile>,
    /// Snapshots that are being received, as long as somebody holds them.
    receiving: Vec<Weak<Manifest>>,
    next_file_number: u64,
    /// How far the newest snapshot reaches; dropped when one could not be stored.
    covered: Option<watch::Sender<Option<LogId>>>,
}

impl SnapshotStore {
    /// Opens the folder of the snapshots of a machine that has these tables, or makes it.
    ///
    /// # Errors
    /// If the disk fails or the manifest is not such a machine's. The error names the file.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, tables: Vec<&'static str>) -> io::Result<SnapshotStore> {
        disk.create_folders(folder).map_err(naming(folder))?;
        // A killed process may have left a manifest whose name is not on disk yet. From here on it counts.
        disk.sync_folder(folder).map_err(naming(folder))?;
        let path = folder.join(MANIFEST);
        let current: Option<Arc<Manifest>> = match disk.exists(&path).map_err(naming(&path))? {
            true => Some(Arc::new(read_manifest(&*disk, &path, &tables)?)),
            false => None,
        };
        let next_file_number = disk
            .list(folder)
            .map_err(naming(folder))?
            .iter()
            .filter_map(|name| name.rsplit('.').nth(1)?.parse::<u64>().ok())
            .max()
            .unwrap_or(0)
            + 1;
        let covered = watch::Sender::new(current.as_ref().and_then(|manifest| manifest.meta.last_log_id));
        let mut store = SnapshotStore {
            disk,
            folder: folder.to_owned(),
            tables,
            current,
            growing: BTreeMap::new(),
            receiving: Vec::new(),
            next_file_number,
            covered: Some(covered),
        };
        store.remove_unnamed()?;
        Ok(store)
    }

    /// Tells how far the newest snapshot reaches once it is durable. Closes if one cannot be stored.
    pub fn watch_covered(&self) -> watch::Receiver<Option<LogId>> {
        let closed = || watch::Sender::new(None).subscribe();
        self.covered.as_ref().map_or_else(closed, watch::Sender::subscribe)
    }

    /// The file that names the newest snapshot.
    pub fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    /// The newest snapshot.
    pub fn current(&self) -> Option<Arc<Manifest>> {
        self.current.clone()
    }

    /// The newest snapshot, ready to be sent.
    pub fn current_files(&self) -> io::Result<Option<SnapshotFiles>> {
        let Some(manifest) = self.current.clone() else { return Ok(None) };
        let open = |table: &ManifestTable| self.disk.open(&self.folder.join(&table.file));
        let files = manifest.tables.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Some(SnapshotFiles::new(manifest, files)))
    }

    /// Checks a snapshot's tables, and brings what reads them back.
    ///
    /// # Errors
    /// If a file is not what the manifest says.
    pub fn load(&self, manifest: &Manifest) -> io::Result<SnapshotReader> {
        let read = |table: &ManifestTable| {
            let prefix = Prefix { path: self.folder.join(&table.file), bytes: table.bytes, crc32: table.crc32 };
            let text = prefix.open(&*self.disk).map_err(io::Error::other)?;
            Ok((table.name.clone(), Box::new(text) as Box<dyn io::Read + Send>))
        };
        let tables = manifest.tables.iter().map(read).collect::<io::Result<_>>()?;
        Ok(SnapshotReader { scalars: manifest.scalars.clone(), tables })
    }

    /// Makes `cut` the newest snapshot, unless one that reaches further was adopted since it was taken. Only
    /// what is new since the last one is written.
    ///
    /// # Errors
    /// If the disk fails. Nothing more is stored then.
    pub fn write(&mut self, cut: &SnapshotView, meta: SnapshotMeta, group_ms: u64) -> io::Result<Arc<Manifest>> {
        self.unless_failed(|store| store.try_write(cut, meta, group_ms))
    }

    fn try_write(&mut self, cut: &SnapshotView, meta: SnapshotMeta, group_ms: u64) -> io::Result<Arc<Manifest>> {
        // The log may be purged as far as the newest snapshot reaches: there is no way back behind it.
        if let Some(newer) = self.current.as_ref().filter(|current| current.meta.last_log_id > meta.last_log_id) {
            return Ok(newer.clone());
        }
        let mut tables = Vec::with_capacity(cut.tables.len());
        for table in &cut.tables {
            // Taken only if the table has to be written anew.
            let name = self.new_file_name(table.name());
            let path = self.folder.join(name);
            let file =
                self.growing.entry(table.name()).or_insert_with(|| TableFile::new(self.disk.clone(), Readers::Bazar));
            let prefix = file.update_durably(&**table, &path).map_err(io::Error::other)?;
            tables.push(ManifestTable {
                name: table.name().to_owned(),
                file: file_name(&prefix.path),
                bytes: prefix.bytes,
                crc32: prefix.crc32,
            });
        }
        self.publish(Manifest { meta, group_ms, scalars: cut.scalars.clone(), tables })
    }

    /// Why a snapshot with this manifest is not received, if it is not.
    pub fn objection(&self, sent: &Manifest) -> Option<String> {
        sent.check(&self.tables).err()
    }

    /// Prepares to receive a snapshot to which there is no [objection](Self::objection): its files, empty, under
    /// names of their own.
    pub fn begin_receiving(&mut self, sent: &Manifest) -> io::Result<SnapshotFiles> {
        self.check()?;
        // What broke off earlier must not fill the disk.
        self.remove_unnamed()?;
        let mut manifest = sent.clone();
        let mut files = Vec::with_capacity(manifest.tables.len());
        for table in &mut manifest.tables {
            table.file = self.new_file_name(&table.name);
            files.push(self.disk.open(&self.folder.join(&table.file))?);
        }
        let manifest = Arc::new(manifest);
        self.receiving.push(Arc::downgrade(&manifest));
        Ok(SnapshotFiles::new(manifest, files))
    }

    /// Makes a snapshot that was received the newest one, and brings what `read_back` makes of it. What cannot be read back
    /// is never what this replica starts from.
    ///
    /// # Errors
    /// If the disk fails, or what was received is not what was sent, or cannot be read back. The newest snapshot is still
    /// the one before, and nothing more is stored.
    pub fn adopt<T>(
        &mut self,
        received: &SnapshotFiles,
        read_back: impl FnOnce(SnapshotReader) -> io::Result<T>,
    ) -> io::Result<T> {
        self.unless_failed(|store| store.try_adopt(received, read_back))
    }

    fn try_adopt<T>(
        &mut self,
        received: &SnapshotFiles,
        read_back: impl FnOnce(SnapshotReader) -> io::Result<T>,
    ) -> io::Result<T> {
        let read = read_back(self.load(&received.manifest)?)?;
        received.files.iter().try_for_each(|file| file.sync())?;
        self.disk.sync_folder(&self.folder)?;
        self.growing.clear();
        self.publish((*received.manifest).clone())?;
        Ok(read)
    }

    /// Stores something, unless that failed before: the manifest on disk may then be the old or the new one,
    /// so no file may be grown or removed any more.
    fn unless_failed<T>(&mut self, store: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.check()?;
        let stored = store(self);
        if stored.is_err() {
            self.covered = None;
        }
        stored
    }

    fn check(&self) -> io::Result<()> {
        match self.covered {
            Some(_) => Ok(()),
            None => Err(io::Error::other("an earlier snapshot could not be stored")),
        }
    }

    fn new_file_name(&mut self, table: &str) -> String {
        let number = self.next_file_number;
        self.next_file_number += 1;
        format!("{table}.{number}.csv")
    }

    fn publish(&mut self, manifest: Manifest) -> io::Result<Arc<Manifest>> {
        let stored = Stored { format: FORMAT.to_owned(), crc32: sealed::checksum(&manifest)?, manifest: &manifest };
        let path = self.manifest_path();
        self.disk.replace(&path, &serde_json::to_vec_pretty(&stored)?).map_err(naming(&path))?;
        let manifest = Arc::new(manifest);
        self.current = Some(manifest.clone());
        if let Some(covered) = &self.covered {
            covered.send_replace(manifest.meta.last_log_id);
        }
        self.remove_unnamed()?;
        Ok(manifest)
    }

    fn remove_unnamed(&mut self) -> io::Result<()> {
        self.receiving.retain(|manifest| manifest.strong_count() > 0);
        let needed: Vec<Arc<Manifest>> =
            self.receiving.iter().filter_map(Weak::upgrade).chain(self.current.clone()).collect();
        let is_named =
            |name: &str| needed.iter().any(|manifest| manifest.tables.iter().any(|table| table.file == name));
        for name in self.disk.list(&self.folder)? {
            if name != MANIFEST && !is_named(&name) {
                self.disk.remove(&self.folder.join(&name))?;
            }
        }
        Ok(())
    }
}

fn read_manifest(disk: &dyn Disk, path: &Path, tables: &[&str]) -> io::Result<Manifest> {
    let unreadable = |error: Unreadable| {
        let advice = match error {
            Unreadable::OtherVersion { .. } => "",
            Unreadable::Damaged(_) => {
                ". Keep this folder for inspection, then re-join the replica with an empty one (`--join`): the others \
                 bring it up to date"
            }
        };
        io::Error::new(io::ErrorKind::InvalidData, format!("{} {error}{advice}", path.display()))
    };
    let bytes = disk.read(path).map_err(naming(path))?;
    let Stored::<Manifest> { crc32, manifest, .. } = sealed::read(&bytes, FORMAT).map_err(unreadable)?;
    sealed::check(&manifest, crc32).map_err(unreadable)?;
    manifest.check(tables).map_err(|what| unreadable(Unreadable::Damaged(what)))?;
    Ok(manifest)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
