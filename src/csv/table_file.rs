//! One file on disk, kept equal to one table.
//!
//! A table that only grew is appended to its file; one that changed is written to a temporary file
//! that is then renamed, so that a reader sees the old table or the new. The text goes out in pieces
//! of bounded size, however big the table.
//!
//! After a failure nobody knows what the file holds, so it is not appended to again: the next update
//! writes anew. This module does not know what the files are for. Its two users differ in what they
//! ask for: tables for people to look at are updated under one name and never waited for; a
//! snapshot's are made durable, and are written anew under a new name each time, because a manifest
//! still refers to the first bytes of the old one.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;

use super::{Readers, RowWriter, Table};
use crate::platform::{Disk, DiskFile, FileStamp, with_suffix};

/// How much of a file is read at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Whether the disk is why a table cannot be read back, and not what stands in it.
pub fn is_unreadable(error: &io::Error) -> bool {
    let table_error = error.get_ref().and_then(|inner| inner.downcast_ref::<TableFileError>());
    matches!(table_error, Some(TableFileError::Read { .. }))
}

/// Why a file could not be brought up to its table, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum TableFileError {
    /// The disk did not take the text.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// The disk did not give the text.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("{} is cut off: expected {expected} bytes", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its least length in bytes.
        expected: u64,
    },
    /// The file is long enough, but not what was written.
    #[error("{} is damaged: expected crc32 {expected:08x} of its first {bytes} bytes, found {found:08x}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How much of it was read.
        bytes: u64,
        /// The checksum of what was written.
        expected: u32,
        /// The checksum of what was read.
        found: u32,
    },
}

/// The first bytes of a file, which stay as they are when the file grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The file.
    pub path: PathBuf,
    /// How many bytes.
    pub bytes: u64,
    /// Their CRC-32 (IEEE).
    pub crc32: u32,
}

impl Prefix {
    /// Checks these bytes, and brings what reads exactly them, whatever the file holds after them. It does not gather
    /// small reads.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is shorter, or has other bytes than these.
    pub fn open(&self, disk: &dyn Disk) -> Result<impl Read + Send + 'static, TableFileError> {
        let path = || self.path.clone();
        let unreadable = |source| TableFileError::Read { path: path(), source };
        if !disk.exists(&self.path).map_err(unreadable)? {
            return Err(unreadable(io::ErrorKind::NotFound.into()));
        }
        let file = disk.open(&self.path).map_err(unreadable)?;
        let reader = || PrefixReader { file: file.clone(), offset: 0, end: self.bytes };
        let mut checksum = Checksum(Hasher::new());
        let mut text = BufReader::with_capacity(READ_BYTES, reader());
        io::copy(&mut text, &mut checksum).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => TableFileError::CutOff { path: path(), expected: self.bytes },
            _ => unreadable(source),
        })?;
        match checksum.0.finalize() {
            crc32 if crc32 == self.crc32 => Ok(reader()),
            found => Err(TableFileError::Damaged { path: path(), bytes: self.bytes, expected: self.crc32, found }),
        }
    }
}

/// Reads the first bytes of a file.
struct PrefixReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
    end: u64,
}

impl Read for PrefixReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.end - self.offset).min(buffer.len() as u64) as usize;
        self.file.read_into(self.offset, &mut buffer[..length])?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// The checksum of what is written to it.
struct Checksum(Hasher);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps a file equal to a table.
pub struct TableFile {
    disk: Arc<dyn Disk>,
    readers: Readers,
    /// Taken out while the file is changed and put back when that went well.
    held: Option<Held>,
}

/// What a file is known to hold.
struct Held {
    path: PathBuf,
    generation: u64,
    rows: u64,
    content: Content,
    /// The file as it was left.
    stamp: FileStamp,
}

impl TableFile {
    /// Knows of no file yet: the first update writes one.
    pub fn new(disk: Arc<dyn Disk>, readers: Readers) -> Self {
        TableFile { disk, readers, held: None }
    }

    /// Makes the file equal to `table`: appends the new rows if the rest is in it already, and
    /// otherwise writes the whole table to `path`, replacing what is there. Neither is durable yet. A file that somebody
    /// else has changed, removed or replaced is written anew.
    ///
    /// # Errors
    ///
    /// [`TableFileError::Write`]; what the file then holds is unknown.
    pub fn update(&mut self, table: &dyn Table, path: &Path) -> Result<(), TableFileError> {
        self.held = self.held.take().filter(|held| self.disk.stamp(path).is_ok_and(|stamp| stamp == held.stamp));
        let mut held = self.bring_up(table, path)?;
        // Whoever has removed it meanwhile does so again later.
        held.stamp = self.disk.stamp(path).unwrap_or_default();
        self.held = Some(held);
        Ok(())
    }

    /// Like [`update`](Self::update), and durable once it returns what the table takes of which
    /// file. A path that no manifest refers to keeps every prefix returned before as it is.
    ///
    /// # Errors
    ///
    /// [`TableFileError::Write`]; prefixes returned before are untouched if `path` is none of theirs.
    pub fn update_durably(&mut self, table: &dyn Table, path: &Path) -> Result<Prefix, TableFileError> {
        let held = self.bring_up(table, path)?;
        let folder = held.path.parent().unwrap_or(Path::new("."));
        let durable = held.content.file.sync().and_then(|()| self.disk.sync_folder(folder));
        durable.map_err(|source| TableFileError::Write { path: held.path.clone(), source })?;
        let prefix = Prefix {
            path: held.path.clone(),
            bytes: held.content.bytes,
            crc32: held.content.checksum.clone().finalize(),
        };
        self.held = Some(held);
        Ok(prefix)
    }

    fn bring_up(&mut self, table: &dyn Table, path: &Path) -> Result<Held, TableFileError> {
        match self.held.take() {
            Some(held) if held.generation == table.generation() && held.rows <= table.rows() => {
                let path = held.path.clone();
                append(held, table, self.readers).map_err(|source| TableFileError::Write { path, source })
            }
            _ => rewrite(self.disk.as_ref(), table, path, self.readers)
                .map_err(|source| TableFileError::Write { path: path.to_owned(), source }),
        }
    }
}

/// Adds the rows that the file does not have.
fn append(mut held: Held, table: &dyn Table, readers: Readers) -> io::Result<Held> {
    if held.rows < table.rows() {
        let mut out = RowWriter::new(&mut held.content, readers);
        table.write(held.rows..table.rows(), &mut out)?;
        out.finish()?;
        held.rows = table.rows();
    }
    Ok(held)
}

/// Writes everything beside `path` and gives it that name.
fn rewrite(disk: &dyn Disk, table: &dyn Table, path: &Path, readers: Readers) -> io::Result<Held> {
    let temporary = with_suffix(path, ".tmp");
    let file = disk.open(&temporary)?;
    file.truncate(0)?;
    let mut content = Content { file, bytes: 0, checksum: Hasher::new() };
    let mut out = RowWriter::new(&mut content, readers);
    out.header(table.columns())?;
    table.write(0..table.rows(), &mut out)?;
    out.finish()?;
    disk.rename(&temporary, path)?;
    Ok(Held {
        path: path.to_owned(),
        generation: table.generation(),
        rows: table.rows(),
        content,
        stamp: FileStamp::default(),
    })
}

/// The text of a file, counted as it is written.
struct Content {
    file: Arc<dyn DiskFile>,
    bytes: u64,
    checksum: Hasher,
}

impl io::Write for Content {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.file.append(text)?;
        self.bytes += text.len() as u64;
        self.checksum.update(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
