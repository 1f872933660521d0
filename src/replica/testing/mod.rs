//! What the tests of this layer share: a small machine, and a disk that fails and loses its power.

mod memory_disk;

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::{io, str};

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload};
use serde_json::json;

use super::application::{Application, ApplicationError, SnapshotReader, SnapshotView, Swap};
use super::storage::raft_types::{Batch, Entry, LogId};
use crate::csv::{Column, RowWriter, Table};
use crate::platform::{Disk, Platform, SystemClock, TcpNetwork};
use crate::replica::BatchTime;

pub use memory_disk::{MemoryDisk, PowerLoss};

/// A command that no machine understands.
pub const NONSENSE: &[u8] = b"nonsense";

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

/// An entry that carries one command.
pub fn entry(term: u64, index: u64, command: &str) -> Entry {
    let time = BatchTime { group_ms: 1000 + index, ..BatchTime::default() };
    let batch = Batch { time, commands: vec![Bytes::from(command.to_owned())] };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

/// A machine to run on, with this disk.
pub fn platform(disk: impl Disk + 'static) -> Platform {
    Platform::simulated(Arc::new(TcpNetwork), Arc::new(SystemClock), Arc::new(disk))
}

/// A machine that remembers all commands in order: in one table that grows, and counted in one that changes.
#[derive(Default)]
pub struct Journal {
    lines: Arc<Mutex<Lines>>,
    /// Whether a restore waits, and how to have it go on.
    held: (Mutex<bool>, Condvar),
}

/// The commands, and in which generation of them.
#[derive(Clone, Default)]
struct Lines {
    lines: Vec<String>,
    generation: u64,
}

impl Journal {
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Has each restore wait until it is told to go on.
    pub fn hold(&self, is_held: bool) {
        *self.held.0.lock().unwrap() = is_held;
        self.held.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }
}

impl Application for Journal {
    fn check(&self, command: &Bytes) -> Result<(), ApplicationError> {
        if command == NONSENSE { Err(ApplicationError("nonsense".to_owned())) } else { Ok(()) }
    }

    fn apply(&self, _time: BatchTime, commands: &[Bytes]) -> Result<Vec<Bytes>, ApplicationError> {
        let mut journal = self.lock();
        let mut replies = Vec::new();
        for command in commands {
            self.check(command)?;
            journal.lines.push(str::from_utf8(command).unwrap().to_owned());
            replies.push(Bytes::from(journal.lines.len().to_string()));
        }
        Ok(replies)
    }

    fn unfinished(&self) -> Option<&'static str> {
        None
    }

    fn cut(&self) -> SnapshotView {
        let journal = self.lock();
        let count = vec![journal.lines.len().to_string()];
        let count = Lines { generation: journal.lines.len() as u64, lines: count };
        let tables: Vec<Box<dyn Table>> =
            vec![Box::new(View("journal", journal.clone())), Box::new(View("count", count))];
        SnapshotView { scalars: json!({ "commands": journal.lines.len() }), tables }
    }

    fn restore(&self, saved: SnapshotReader) -> Result<Swap, ApplicationError> {
        let names: Vec<&str> = saved.tables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["journal", "count"]);
        let rows = |(_, text): (String, Box<dyn io::Read + Send>)| -> Vec<String> {
            csv::Reader::from_reader(text).records().map(|row| row.unwrap()[0].to_owned()).collect()
        };
        let mut tables = saved.tables.into_iter().map(rows);
        let (lines, count) = (tables.next().unwrap(), tables.next().unwrap());
        assert_eq!(count, [lines.len().to_string()]);
        assert_eq!(saved.scalars, json!({ "commands": lines.len() }));
        drop(self.held.1.wait_while(self.held.0.lock().unwrap(), |is_held| *is_held).unwrap());
        let present = self.lines.clone();
        Ok(Box::new(move || {
            let mut journal = present.lock().unwrap();
            let generation = journal.generation + 1;
            Box::new(std::mem::replace(&mut *journal, Lines { lines, generation }))
        }))
    }
}

/// A table with one column.
struct View(&'static str, Lines);

impl Table for View {
    fn name(&self) -> &'static str {
        self.0
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::new("line")] }
    }

    fn generation(&self) -> u64 {
        self.1.generation
    }

    fn rows(&self) -> u64 {
        self.1.lines.len() as u64
    }

    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()> {
        for row in rows {
            out.text(&self.1.lines[row as usize])?.end_row()?;
        }
        Ok(())
    }
}
