//! The disk: the few operations on files that durability rests on.
//!
//! Calls block; asynchronous code makes them through [`Platform::blocking`](super::Platform::blocking).
//! Nothing is durable before a `sync`: a file's bytes after [`DiskFile::sync`], its name after
//! [`Disk::sync_folder`] of the folder that holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it, where they do not exist, and makes their names durable.
    fn create_folders(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether a file is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file to write to and read from, and makes an empty one where none is.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// What changes with a file whoever writes to it, removes it or puts another in its place. A disk that only bazar
    /// writes to may always tell the same.
    ///
    /// # Errors
    /// If there is no such file.
    fn stamp(&self, _path: &Path) -> io::Result<FileStamp> {
        Ok(FileStamp::default())
    }

    /// Gives a file another name, replacing what had that name, at once and whole.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes a folder for this process alone, until the lock is dropped or the process ends.
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] if another has it.
    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>>;

    /// Writes a whole file so that it is durable under its name and a crash leaves either the old
    /// content or the new.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = with_suffix(path, ".tmp");
        let file = self.open(&temporary)?;
        file.truncate(0)?;
        file.append(content)?;
        file.sync()?;
        self.rename(&temporary, path)?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}

/// Which file it is, and how it was last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at the end, for one caller at a time.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes all bytes from `offset` on, over what is there and beyond the end.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// If the disk fails, or the file was removed: without a name nobody finds it again.
    fn sync(&self) -> io::Result<()>;

    /// Fills `buffer` with what stands from `offset` on.
    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads exactly `length` bytes from `offset`.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Cuts the file after `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// Keeps a folder locked while it lives.
pub trait FolderLock: Send + Sync {}

/// An error with the name of what it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(super) struct Named {
    path: PathBuf,
    pub(super) source: io::Error,
}

/// Adds the name of what an error is about, for those who read only its text.
pub fn naming(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |source| io::Error::new(source.kind(), Named { path: path.to_owned(), source })
}

/// `path` with `suffix` added to its last part.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// To open a pipe may take for ever.
fn must_be_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no file")),
    }
}

/// See [`must_be_file`].
fn must_be_folder(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotADirectory, "this is no folder")),
    }
}

/// The operating system's file system.
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        if fs::exists(path)? {
            return must_be_folder(path);
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.create_folders(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_folder(parent),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        must_be_file(path)?;
        fs::read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?))
    }

    fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        let file = fs::symlink_metadata(path)?;
        let changed = (file.ctime(), file.ctime_nsec());
        Ok(FileStamp { device: file.dev(), inode: file.ino(), bytes: file.len(), changed })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        must_be_folder(folder)?;
        File::open(folder)?.sync_all()
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        let path = folder.join("lock");
        if fs::exists(&path)? {
            must_be_file(&path).map_err(naming(&path))?;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.seek(SeekFrom::End(0))?;
        file.write_all(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        match count_names(self)? {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was written to")),
            _ => Ok(()),
        }
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// How many names a file has. To ask for no more spares a log some 150 µs with each write: once somebody has seen its
/// times, Linux (since 6.13) notes the time of the next write exactly, and ext4 then syncs that, too.
#[cfg(target_os = "linux")]
fn count_names(file: &File) -> io::Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    Ok(statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?.stx_nlink.into())
}

/// How many names a file has.
#[cfg(not(target_os = "linux"))]
fn count_names(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.nlink())
}

impl FolderLock for File {}
