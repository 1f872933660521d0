//! A disk in memory that can be told to fail, and that loses what was not synced when its power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::platform::{Disk, DiskFile, FolderLock};

/// Files in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<Files>>,
}

/// What a disk writes at once or not at all. Real ones are larger, so frames share them less often.
const SECTOR_BYTES: usize = 16;

/// What a power failure leaves of the changes that were not synced.
#[derive(Clone, Copy, Debug)]
pub enum PowerLoss {
    Total,
    None,
    /// Some of the names; of what was overwritten, some of the [sectors](SECTOR_BYTES); and beginnings of what was
    /// added, of which the last may have become zeros. The number chooses which.
    Partial(u64),
}

impl PowerLoss {
    /// The ways that are tried after each step.
    pub fn ways() -> impl Iterator<Item = PowerLoss> {
        [PowerLoss::Total, PowerLoss::None].into_iter().chain((0..6).map(PowerLoss::Partial))
    }

    /// How much is left of `unsynced`.
    fn left(self, unsynced: usize, random: &mut fastrand::Rng) -> usize {
        match self {
            PowerLoss::Total => 0,
            PowerLoss::None => unsynced,
            PowerLoss::Partial(_) => random.usize(..=unsynced),
        }
    }
}

#[derive(Clone, Default)]
struct Files {
    /// The number of each file's content.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    contents: Vec<Content>,
    /// Changes since it was told to fail.
    changes: usize,
    fails_after: Option<usize>,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

struct MemoryFile {
    disk: MemoryDisk,
    content: usize,
}

impl MemoryDisk {
    /// Lets one change fail: the one after `changes` others. Of a write that fails half is done.
    pub fn fail_after(&self, changes: usize) {
        let mut files = self.lock();
        files.changes = 0;
        files.fails_after = Some(changes);
    }

    /// Whether the change that should fail has come.
    pub fn has_failed(&self) -> bool {
        let files = self.lock();
        files.fails_after.is_some_and(|fails_after| files.changes > fails_after)
    }

    /// The disk as the next process finds it when this one was killed: healthy, and nothing is lost yet.
    pub fn after_kill(&self) -> MemoryDisk {
        let files = Files { fails_after: None, ..self.lock().clone() };
        MemoryDisk { files: Arc::new(Mutex::new(files)) }
    }

    /// The disk, healthy, as it is after the power failed.
    pub fn after_power_loss(&self, loss: PowerLoss) -> MemoryDisk {
        let mut files = self.after_kill().lock().clone();
        let mut random = fastrand::Rng::with_seed(if let PowerLoss::Partial(seed) = loss { seed } else { 0 });
        let paths: BTreeSet<PathBuf> = files.names.keys().chain(files.synced_names.keys()).cloned().collect();
        for path in paths {
            let (new, old) = (files.names.get(&path).copied(), files.synced_names.get(&path).copied());
            if new != old && loss.left(1, &mut random) == 0 {
                match old {
                    Some(content) => files.names.insert(path, content),
                    None => files.names.remove(&path),
                };
            }
        }
        files.synced_names = files.names.clone();
        for content in &mut files.contents {
            if content.bytes.len() >= content.synced.len() {
                let (overwritten, added) = content.bytes.split_at_mut(content.synced.len());
                let sectors = overwritten.chunks_mut(SECTOR_BYTES).zip(content.synced.chunks(SECTOR_BYTES));
                for (new, old) in sectors.filter(|(new, old)| new != old) {
                    if loss.left(1, &mut random) == 0 {
                        new.copy_from_slice(old);
                    }
                }
                let left = loss.left(added.len(), &mut random);
                let written = loss.left(left, &mut random);
                added[written..].fill(0);
                content.bytes.truncate(content.synced.len() + left);
            } else if loss.left(1, &mut random) == 0 {
                content.bytes = content.synced.clone();
            }
            content.synced = content.bytes.clone();
        }
        MemoryDisk { files: Arc::new(Mutex::new(files)) }
    }

    /// Gives a file this content, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut files = self.lock();
        let content = files.contents.len();
        files.contents.push(Content { bytes: bytes.to_vec(), synced: bytes.to_vec() });
        files.names.insert(path.to_owned(), content);
        files.synced_names.insert(path.to_owned(), content);
    }

    /// Changes a byte of a file, under those who have it open.
    pub fn rot(&self, path: &Path, offset: usize) {
        let mut files = self.lock();
        let content = files.names[path];
        files.contents[content].bytes[offset] ^= 0x40;
    }

    /// Makes a change, unless it is the one that fails.
    fn change<T>(&self, change: impl FnOnce(&mut Files) -> io::Result<T>) -> io::Result<T> {
        let mut files = self.lock();
        files.changes += 1;
        match files.fails_after == Some(files.changes - 1) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => change(&mut files),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }
}

impl Disk for MemoryDisk {
    fn create_folders(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let files = self.lock();
        let here = files.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.lock();
        let content = files.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(files.contents[*content].bytes.clone())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lock().names.contains_key(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let known = self.lock().names.get(path).copied();
        let content = match known {
            Some(content) => content,
            None => self.change(|files| {
                files.contents.push(Content::default());
                files.names.insert(path.to_owned(), files.contents.len() - 1);
                Ok(files.contents.len() - 1)
            })?,
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|files| {
            let content = files.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.names.insert(to.to_owned(), content);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|files| files.names.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into()))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|files| {
            let is_here = |path: &Path| path.parent() == Some(folder);
            files.synced_names.retain(|path, _| !is_here(path));
            let here = files.names.iter().filter(|(path, _)| is_here(path));
            files.synced_names.extend(here.map(|(path, content)| (path.clone(), *content)));
            Ok(())
        })
    }

    fn lock_folder(&self, _folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        Ok(Box::new(Unlocked))
    }
}

struct Unlocked;

impl FolderLock for Unlocked {}

impl DiskFile for MemoryFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let end = self.disk.lock().contents[self.content].bytes.len();
        self.write_at(end as u64, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = self.disk.change(|_| Ok(()));
        let written = if change.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let (start, end) = (offset as usize, offset as usize + written.len());
        let content = &mut self.disk.lock().contents[self.content].bytes;
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(written);
        change
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|files| {
            let content = &mut files.contents[self.content];
            content.synced = content.bytes.clone();
            Ok(())
        })
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let files = self.disk.lock();
        let bytes = files.contents[self.content].bytes.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.change(|files| {
            files.contents[self.content].bytes.truncate(length as usize);
            Ok(())
        })
    }
}
