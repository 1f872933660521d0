//! This machine's disk, from which a loss of power takes what was not synced: some of it, for the rest got there by
//! chance. Nothing is synced to the machine's own disk, which keeps its power.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use bazar::platform::{Disk, DiskFile, FolderLock, LocalDisk};

/// How long a sync takes at most: whoever does not wait for it has time to do harm.
const SYNC_TIME: Duration = Duration::from_millis(20);

/// A disk. Clones are the same.
#[derive(Clone, Default)]
pub struct LossyDisk {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    power: Power,
    /// How to take back what was not synced, in the order of the changes.
    unsynced: Vec<Change>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Power {
    #[default]
    On,
    /// Whoever wants something of the disk waits.
    Lost,
    /// Nobody who waited is to go on.
    Off,
}

enum Change {
    /// A file's bytes, or its length.
    Content { inode: u64, file: File, offset: u64, before: Vec<u8>, length: u64 },
    /// A name in a folder; what it stood for before, if anything.
    Name { path: PathBuf, before: Option<PathBuf> },
}

impl LossyDisk {
    /// Loses its power: what was not synced is lost, but for what `survives` by chance.
    pub fn lose_power(&self, mut survives: impl FnMut() -> bool) {
        let mut state = self.state.0.lock().unwrap();
        state.power = Power::Lost;
        for change in std::mem::take(&mut state.unsynced).into_iter().rev().filter(|_| !survives()) {
            match change {
                Change::Content { file, offset, before, length, .. } => {
                    file.write_all_at(&before, offset).unwrap();
                    file.set_len(length).unwrap();
                }
                Change::Name { path, before: Some(before) } => fs::rename(before, path).unwrap(),
                Change::Name { path, before: None } => fs::remove_file(path).unwrap(),
            }
        }
    }

    /// Ends the waits of those who found no power.
    pub fn give_up(&self) {
        let mut state = self.state.0.lock().unwrap();
        if state.power == Power::Lost {
            state.power = Power::Off;
            self.state.1.notify_all();
        }
    }

    /// Has its power back.
    pub fn power_on(&self) {
        self.state.0.lock().unwrap().power = Power::On;
    }

    /// The state, as soon as there is power.
    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.0.lock().unwrap();
        let state = self.state.1.wait_while(state, |state| state.power == Power::Lost).unwrap();
        match state.power {
            Power::On => Ok(state),
            _ => Err(io::Error::other("there is no power")),
        }
    }
}

/// Another name for a file that is about to lose its own.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let kept = path.with_file_name(format!("..kept-{}", fastrand::u64(..)));
    fs::hard_link(path, &kept)?;
    Ok(kept)
}

impl Disk for LossyDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        drop(self.powered()?);
        LocalDisk.create_folders(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        drop(self.powered()?);
        let mut names = LocalDisk.list(folder)?;
        names.retain(|name| !name.starts_with("..kept-"));
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        drop(self.powered()?);
        LocalDisk.read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        drop(self.powered()?);
        LocalDisk.exists(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.powered()?;
        let is_new = !fs::exists(path)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if is_new {
            state.unsynced.push(Change::Name { path: path.to_owned(), before: None });
        }
        Ok(Arc::new(LossyFile { inode: file.metadata()?.ino(), file, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        let before = if fs::exists(to)? { Some(keep(to)?) } else { None };
        LocalDisk.rename(from, to)?;
        // The old name does not come back: whoever finds a temporary file takes it for one.
        state.unsynced.retain(|change| !matches!(change, Change::Name { path, .. } if path == from));
        state.unsynced.push(Change::Name { path: to.to_owned(), before });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        let before = Some(keep(path)?);
        LocalDisk.remove(path)?;
        state.unsynced.push(Change::Name { path: path.to_owned(), before });
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        state.unsynced.retain(|change| match change {
            Change::Name { path, before } if path.parent() == Some(folder) => {
                before.iter().for_each(|kept| drop(fs::remove_file(kept)));
                false
            }
            _ => true,
        });
        Ok(())
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        drop(self.powered()?);
        LocalDisk.lock_folder(folder)
    }
}

struct LossyFile {
    inode: u64,
    file: File,
    disk: LossyDisk,
}

impl LossyFile {
    fn change(&self, offset: u64, overwritten: u64, change: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.disk.powered()?;
        let length = self.file.metadata()?.len();
        let mut before = vec![0; overwritten.min(length.saturating_sub(offset)) as usize];
        self.file.read_exact_at(&mut before, offset)?;
        let file = self.file.try_clone()?;
        state.unsynced.push(Change::Content { inode: self.inode, file, offset, before, length });
        change(&self.file)
    }
}

impl DiskFile for LossyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        self.change(end, 0, |file| file.write_all_at(bytes, end))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(offset, bytes.len() as u64, |file| file.write_all_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        thread::sleep(SYNC_TIME.mul_f64(fastrand::f64()));
        let mut state = self.disk.powered()?;
        state.unsynced.retain(|change| !matches!(change, Change::Content { inode, .. } if *inode == self.inode));
        Ok(())
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        drop(self.disk.powered()?);
        self.file.read_exact_at(buffer, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let now = self.file.metadata()?.len();
        self.change(length, now.saturating_sub(length), |file| file.set_len(length))
    }
}
