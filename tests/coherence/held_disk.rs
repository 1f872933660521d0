//! This machine's disk, which does not confirm what is written to a log, or take and give what is in a snapshot, while a
//! test holds it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bazar::platform::{Disk, DiskFile, FolderLock, LocalDisk};

/// A disk. Clones are the same.
#[derive(Clone)]
pub struct HeldDisk {
    disk: Arc<dyn Disk>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Default for HeldDisk {
    fn default() -> HeldDisk {
        HeldDisk::over(Arc::new(LocalDisk))
    }
}

#[derive(Default)]
struct State {
    is_held: bool,
    /// Writes to a log that are confirmed all the same.
    passes: usize,
    are_snapshots_held: bool,
    /// Writes to a log that wait to be confirmed.
    waiting: usize,
    /// Writes to a log that were confirmed.
    confirmed: usize,
}

impl HeldDisk {
    /// A disk that holds what is to be confirmed by another.
    pub fn over(disk: Arc<dyn Disk>) -> HeldDisk {
        HeldDisk { disk, state: Arc::default() }
    }

    /// Confirms nothing from now on.
    pub fn hold(&self) {
        self.hold_after(0);
    }

    /// Confirms so many more writes to a log, and nothing from then on.
    pub fn hold_after(&self, passes: usize) {
        let mut state = self.state.0.lock().unwrap();
        (state.is_held, state.passes) = (true, passes);
    }

    /// Takes and gives nothing of any snapshot from now on.
    pub fn hold_snapshots(&self) {
        self.state.0.lock().unwrap().are_snapshots_held = true;
    }

    /// Confirms and takes what waits, and all that comes.
    pub fn release(&self) {
        let mut state = self.state.0.lock().unwrap();
        (state.is_held, state.are_snapshots_held) = (false, false);
        drop(state);
        self.state.1.notify_all();
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.state.0.lock().unwrap().waiting
    }

    /// How many writes to a log were confirmed.
    pub fn confirmed(&self) -> usize {
        self.state.0.lock().unwrap().confirmed
    }

    fn reach_snapshot(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.waiting += 1;
        let mut state = self.state.1.wait_while(state, |state| state.are_snapshots_held).unwrap();
        state.waiting -= 1;
    }

    fn pass(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.waiting += 1;
        let mut state = self.state.1.wait_while(state, |state| state.is_held && state.passes == 0).unwrap();
        state.passes = state.passes.saturating_sub(1);
        state.waiting -= 1;
        state.confirmed += 1;
    }
}

impl Disk for HeldDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        self.disk.create_folders(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let is_snapshot = path.components().any(|folder| folder.as_os_str() == "snapshot");
        match is_log || is_snapshot {
            true => Ok(Arc::new(HeldFile { file, disk: self.clone(), is_log })),
            false => Ok(file),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        self.disk.lock_folder(folder)
    }
}

struct HeldFile {
    file: Arc<dyn DiskFile>,
    disk: HeldDisk,
    /// Or of a snapshot.
    is_log: bool,
}

impl DiskFile for HeldFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_log {
            self.disk.reach_snapshot();
        }
        self.file.append(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_log {
            self.disk.pass();
        }
        self.file.sync()
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if !self.is_log {
            self.disk.reach_snapshot();
        }
        self.file.read_into(offset, buffer)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}
