//! Files that grow, are replaced, tear and rot.

use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::csv::Column;
use crate::csv::testing::{any_text, written_rows};
use crate::platform::{FolderLock, LocalDisk};

/// Rows of one text each.
#[derive(Clone)]
struct Lines {
    generation: u64,
    lines: Vec<String>,
}

impl Lines {
    fn new<const N: usize>(generation: u64, lines: [&str; N]) -> Self {
        Lines { generation, lines: lines.map(str::to_owned).to_vec() }
    }
}

fn read(prefix: &Prefix) -> Result<Vec<u8>, TableFileError> {
    let mut text = Vec::new();
    prefix.open(&LocalDisk)?.read_to_end(&mut text).unwrap();
    Ok(text)
}

const COLUMNS: &[Column] = &[Column::new("number"), Column::new("line")];

impl Table for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn rows(&self) -> u64 {
        self.lines.len() as u64
    }

    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()> {
        for row in rows {
            out.value(row)?.text(&self.lines[row as usize])?.end_row()?;
        }
        Ok(())
    }
}

/// A disk that counts what is appended and, told to fail, takes only half of it; or fails to sync.
#[derive(Default)]
struct FaultyDisk {
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    appends: AtomicU64,
    tear_appends: AtomicBool,
    fail_syncs: AtomicBool,
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl Disk for FaultyDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_folders(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        LocalDisk.list(folder)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        LocalDisk.exists(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile { file: LocalDisk.open(path)?, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        LocalDisk.sync_folder(folder)
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        LocalDisk.lock_folder(folder)
    }
}

impl DiskFile for FaultyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.faults.appends.fetch_add(1, Ordering::Relaxed);
        if self.faults.tear_appends.load(Ordering::Relaxed) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        unreachable!("tables are appended to")
    }

    fn sync(&self) -> io::Result<()> {
        match self.faults.fail_syncs.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the disk is broken")),
            false => self.file.sync(),
        }
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_into(offset, buffer)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}

/// A folder of its own for each test, on a disk that can fail.
struct Fixture {
    folder: tempfile::TempDir,
    disk: Arc<FaultyDisk>,
    file: TableFile,
}

impl Fixture {
    fn new() -> Self {
        let disk = Arc::new(FaultyDisk::default());
        Fixture { folder: tempfile::tempdir().unwrap(), file: TableFile::new(disk.clone(), Readers::Bazar), disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn update(&mut self, table: &Lines) -> Result<(), TableFileError> {
        let path = self.path("lines.csv");
        self.file.update(table, &path)
    }

    fn update_durably(&mut self, table: &Lines, name: &str) -> Result<Prefix, TableFileError> {
        let path = self.path(name);
        self.file.update_durably(table, &path)
    }

    fn appends(&self) -> u64 {
        self.disk.faults.appends.load(Ordering::Relaxed)
    }
}

#[test]
fn new_rows_are_appended_and_nothing_else_is_written() {
    let mut it = Fixture::new();
    it.update(&Lines::new(1, ["a"])).unwrap();
    fs::write(it.path("lines.csv"), "kept\n").unwrap();
    it.update(&Lines::new(1, ["a", "b"])).unwrap();
    assert_eq!(it.text("lines.csv"), "kept\n1,b\n");
}

#[test]
fn an_unchanged_table_is_not_written() {
    let mut it = Fixture::new();
    it.update(&Lines::new(1, ["a"])).unwrap();
    let before = it.appends();
    it.update(&Lines::new(1, ["a"])).unwrap();
    assert_eq!(it.appends(), before);
}

#[test]
fn a_new_generation_replaces_the_file_whole() {
    let mut it = Fixture::new();
    it.update(&Lines::new(1, ["a", "b"])).unwrap();
    let mut reader = fs::File::open(it.path("lines.csv")).unwrap();
    it.update(&Lines::new(2, ["c"])).unwrap();
    assert_eq!(it.text("lines.csv"), "number,line\n0,c\n");
    assert_eq!(io::read_to_string(&mut reader).unwrap(), "number,line\n0,a\n1,b\n");
    assert_eq!(it.disk.list(it.folder.path()).unwrap(), ["lines.csv"]);
}

#[test]
fn a_leftover_temporary_file_does_no_harm() {
    let mut it = Fixture::new();
    fs::write(it.path("lines.csv.tmp"), "what a crash left").unwrap();
    it.update(&Lines::new(1, ["a"])).unwrap();
    assert_eq!(it.text("lines.csv"), "number,line\n0,a\n");
}

#[test]
fn a_big_table_is_written_in_pieces() {
    let mut it = Fixture::new();
    it.update(&Lines { generation: 1, lines: vec!["x".repeat(1000); 1000] }).unwrap();
    assert!(it.appends() > 10, "{} pieces", it.appends());
}

#[test]
fn after_a_torn_append_the_file_is_written_anew() {
    let mut it = Fixture::new();
    it.update(&Lines::new(1, ["a"])).unwrap();
    it.disk.faults.tear_appends.store(true, Ordering::Relaxed);
    let error = it.update(&Lines::new(1, ["a", "b"])).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot write {}: ", it.path("lines.csv").display())));
    assert!(it.text("lines.csv").starts_with("number,line\n0,a\n1,"), "the test tears nothing");

    it.disk.faults.tear_appends.store(false, Ordering::Relaxed);
    it.update(&Lines::new(1, ["a", "b"])).unwrap();
    assert_eq!(it.text("lines.csv"), "number,line\n0,a\n1,b\n");
}

#[test]
fn a_torn_rewrite_leaves_the_old_file() {
    let mut it = Fixture::new();
    it.update(&Lines::new(1, ["a"])).unwrap();
    it.disk.faults.tear_appends.store(true, Ordering::Relaxed);
    it.update(&Lines::new(2, ["b"])).unwrap_err();
    assert_eq!(it.text("lines.csv"), "number,line\n0,a\n");
}

#[test]
fn a_prefix_outlives_appends_torn_appends_and_new_generations() {
    let mut it = Fixture::new();
    let first = it.update_durably(&Lines::new(1, ["a"]), "1.csv").unwrap();
    let grown = it.update_durably(&Lines::new(1, ["a", "b"]), "2.csv").unwrap();
    assert_eq!((&first.path, first.bytes), (&it.path("1.csv"), 16));
    assert_eq!((&grown.path, grown.bytes), (&it.path("1.csv"), 20));

    it.disk.faults.tear_appends.store(true, Ordering::Relaxed);
    it.update_durably(&Lines::new(1, ["a", "b", "c"]), "3.csv").unwrap_err();
    it.disk.faults.tear_appends.store(false, Ordering::Relaxed);
    let anew = it.update_durably(&Lines::new(1, ["a", "b", "c"]), "4.csv").unwrap();
    let changed = it.update_durably(&Lines::new(2, ["z"]), "5.csv").unwrap();

    for (prefix, name, text) in [
        (first, "1.csv", "number,line\n0,a\n"),
        (grown, "1.csv", "number,line\n0,a\n1,b\n"),
        (anew, "4.csv", "number,line\n0,a\n1,b\n2,c\n"),
        (changed, "5.csv", "number,line\n0,z\n"),
    ] {
        assert_eq!(prefix.path, it.path(name));
        assert_eq!(read(&prefix).unwrap(), text.as_bytes());
    }
}

#[test]
fn after_a_failed_sync_the_file_is_not_trusted() {
    let mut it = Fixture::new();
    it.disk.faults.fail_syncs.store(true, Ordering::Relaxed);
    it.update_durably(&Lines::new(1, ["a"]), "1.csv").unwrap_err();
    it.disk.faults.fail_syncs.store(false, Ordering::Relaxed);
    assert_eq!(it.update_durably(&Lines::new(1, ["a"]), "2.csv").unwrap().path, it.path("2.csv"));
}

#[test]
fn a_file_that_is_cut_off_or_changed_is_not_read() {
    let mut it = Fixture::new();
    let prefix = it.update_durably(&Lines::new(1, ["a"]), "1.csv").unwrap();
    let path = prefix.path.display();

    fs::write(&prefix.path, "number,line\n0,").unwrap();
    let error = read(&prefix).unwrap_err();
    assert_eq!(error.to_string(), format!("{path} is cut off: expected 16 bytes"));

    fs::write(&prefix.path, "number,line\n0,b\n").unwrap();
    let (expected, found) = (prefix.crc32, crc32fast::hash(b"number,line\n0,b\n"));
    assert_eq!(
        read(&prefix).unwrap_err().to_string(),
        format!("{path} is damaged: expected crc32 {expected:08x} of its first 16 bytes, found {found:08x}")
    );

    fs::remove_file(&prefix.path).unwrap();
    let error = read(&prefix).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot read {path}: ")), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_grown_in_steps_equals_one_written_at_once(
        lines in prop::collection::vec(any_text(), 0..20),
        cuts in prop::collection::vec(0..20usize, 0..5),
    ) {
        let mut it = Fixture::new();
        let table = Lines { generation: 1, lines };
        let expected = written_rows(table.columns(), |out| table.write(0..table.rows(), out));
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(table.lines.len())).collect();
        cuts.sort_unstable();
        for cut in cuts {
            it.update(&Lines { generation: 1, lines: table.lines[..cut].to_vec() }).unwrap();
        }
        let prefix = it.update_durably(&table, "lines.csv").unwrap();
        prop_assert_eq!(prefix.bytes, expected.len() as u64);
        prop_assert_eq!(read(&prefix).unwrap(), &expected[..]);
        prop_assert_eq!(it.text("lines.csv").into_bytes(), expected);
    }
}

/// What people and their editors do to a file.
const MEDDLING: [fn(&Path); 6] = [
    |path| fs::write(path, "edited").unwrap(),
    |path| {
        let other = path.with_extension("new");
        fs::write(&other, "replaced").unwrap();
        fs::rename(other, path).unwrap();
    },
    |path| fs::remove_file(path).unwrap(),
    |path| fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap(),
    |path| {
        let file = fs::File::options().append(true).open(path).unwrap();
        io::Write::write_all(&mut &file, b"more").unwrap();
    },
    |path| {
        let same_length = vec![b'x'; fs::metadata(path).unwrap().len() as usize];
        // The clock of files ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(path, same_length).unwrap();
    },
];

#[test]
fn whatever_is_done_to_a_file_the_next_update_undoes() {
    let folder = tempfile::tempdir().unwrap();
    for (number, meddle) in MEDDLING.iter().enumerate() {
        for grows in [false, true] {
            let path = folder.path().join(format!("{number}-{grows}.csv"));
            let mut file = TableFile::new(Arc::new(LocalDisk), Readers::People);
            file.update(&Lines::new(1, ["a", "b"]), &path).unwrap();
            meddle(&path);
            let lines = if grows { Lines::new(1, ["a", "b", "c"]) } else { Lines::new(1, ["a", "b"]) };
            file.update(&lines, &path).unwrap();
            let expected = written_rows(COLUMNS, |out| lines.write(0..lines.rows(), out));
            assert_eq!(fs::read(&path).unwrap(), expected, "{number}, grows: {grows}");
        }
    }
}
