//! Snapshots that are written, grown, received, damaged and interrupted.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::Membership;

use super::*;
use crate::replica::application::Application;
use crate::replica::storage::raft_types::StoredMembership;
use crate::replica::testing::{Journal, MemoryDisk, PowerLoss, log_id};

/// The tables of a [`Journal`].
const TABLES: [&str; 2] = ["journal", "count"];

fn folder() -> &'static Path {
    Path::new("/snapshot")
}

fn open(disk: &MemoryDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), folder(), TABLES.to_vec()).unwrap()
}

fn apply(journal: &Journal, commands: &[&str]) {
    let commands: Vec<Bytes> = commands.iter().map(|command| Bytes::from(command.to_string())).collect();
    journal.apply(crate::replica::BatchTime::default(), &commands).unwrap();
}

fn meta(index: u64) -> SnapshotMeta {
    let last_membership = StoredMembership::new(Some(log_id(1, 0)), Membership::new(vec![[1, 2, 3].into()], None));
    SnapshotMeta { last_log_id: Some(log_id(1, index)), snapshot_id: format!("1-{index}"), last_membership }
}

fn write(store: &mut SnapshotStore, journal: &Journal, index: u64) -> io::Result<Arc<Manifest>> {
    store.write(&journal.cut(), meta(index), 1000 + index)
}

/// The position of the newest snapshot and the commands in it.
fn content(store: &SnapshotStore) -> Option<(u64, Vec<String>)> {
    let manifest = store.current()?;
    let index = manifest.meta.last_log_id.unwrap().index;
    assert_eq!(manifest.group_ms, 1000 + index);
    Some((index, commands(store.load(&manifest).unwrap())))
}

fn commands(saved: SnapshotReader) -> Vec<String> {
    let journal = Journal::default();
    journal.restore(saved).unwrap()();
    journal.lines()
}

/// The content as a store sees it that is opened anew on this disk.
fn reopened_content(disk: &MemoryDisk) -> Option<(u64, Vec<String>)> {
    content(&open(disk))
}

fn files(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list(folder()).unwrap();
    names.into_iter().map(|name| (name.clone(), disk.read(&folder().join(name)).unwrap())).collect()
}

/// Sends the snapshot of `sender` to `receiver` as far as `begin_receiving` and the bytes.
fn send(sender: &SnapshotStore, receiver: &mut SnapshotStore) -> io::Result<SnapshotFiles> {
    let sent = sender.current_files()?.unwrap();
    let received = receiver.begin_receiving(&sent.manifest)?;
    for ((table, from), to) in sent.manifest.tables.iter().zip(&sent.files).zip(&received.files) {
        to.append(&from.read_at(0, table.bytes as usize)?)?;
    }
    Ok(received)
}

/// A store with a snapshot of these commands at `index`.
fn sender(commands: &[&str], index: u64) -> SnapshotStore {
    let journal = Journal::default();
    apply(&journal, commands);
    let mut store = open(&MemoryDisk::default());
    write(&mut store, &journal, index).unwrap();
    store
}

#[test]
fn a_snapshot_is_there_after_a_restart() {
    let disk = MemoryDisk::default();
    let journal = Journal::default();
    let mut store = open(&disk);
    assert!(store.current().is_none());
    assert!(store.current_files().unwrap().is_none());
    apply(&journal, &["a", "b, \"quoted\"", ""]);
    write(&mut store, &journal, 7).unwrap();
    let expected = Some((7, journal.lines()));
    assert_eq!(content(&store), expected);
    assert_eq!(reopened_content(&disk.after_power_loss(PowerLoss::Total)), expected);
}

#[test]
fn a_table_that_grew_is_appended_to_and_what_an_earlier_manifest_names_stays() {
    let disk = MemoryDisk::default();
    let journal = Journal::default();
    let mut store = open(&disk);
    apply(&journal, &["a", "b"]);
    let earlier = write(&mut store, &journal, 1).unwrap();
    let earlier_file = disk.read(&folder().join(MANIFEST)).unwrap();
    apply(&journal, &["c"]);
    let later = write(&mut store, &journal, 2).unwrap();
    assert_eq!(earlier.tables[0].file, later.tables[0].file);
    assert_ne!(earlier.tables[1].file, later.tables[1].file);
    assert!(earlier.tables[0].bytes < later.tables[0].bytes);

    // As a crash before the later manifest would have left it.
    let disk = disk.after_kill();
    disk.put(&folder().join(MANIFEST), &earlier_file);
    disk.put(&folder().join(&earlier.tables[1].file), b"line\n2\n");
    assert_eq!(reopened_content(&disk), Some((1, vec!["a".to_owned(), "b".to_owned()])));
}

#[test]
fn what_is_being_sent_stays_readable_while_newer_snapshots_are_written() {
    let journal = Journal::default();
    let mut store = open(&MemoryDisk::default());
    apply(&journal, &["a"]);
    write(&mut store, &journal, 1).unwrap();
    let sent = store.current_files().unwrap().unwrap();
    for index in 2..5 {
        apply(&journal, &["more"]);
        write(&mut store, &journal, index).unwrap();
    }
    for (table, file) in sent.manifest.tables.iter().zip(&sent.files) {
        let bytes = file.read_at(0, table.bytes as usize).unwrap();
        assert_eq!(crc32fast::hash(&bytes), table.crc32);
    }
}

#[test]
fn only_what_the_newest_manifest_names_is_kept() {
    let disk = MemoryDisk::default();
    let journal = Journal::default();
    let mut store = open(&disk);
    for index in 1..5 {
        apply(&journal, &["a"]);
        write(&mut store, &journal, index).unwrap();
        assert_eq!(files(&disk).len(), 3, "{:?}", files(&disk).keys());
    }
    for leftover in ["journal.99.csv", "journal.100.csv.tmp", "manifest.json.tmp"] {
        disk.put(&folder().join(leftover), b"torn");
    }
    let mut store = open(&disk);
    assert_eq!(files(&disk).len(), 3, "{:?}", files(&disk).keys());
    let manifest = write(&mut store, &journal, 9).unwrap();
    assert_eq!(manifest.tables[0].file, "journal.100.csv");
    assert_eq!(files(&disk).len(), 3, "{:?}", files(&disk).keys());
}

#[test]
fn a_snapshot_that_was_received_replaces_the_own_one() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    apply(&journal, &["old"]);
    write(&mut store, &journal, 1).unwrap();

    let received = send(&sender(&["x", "y"], 20), &mut store).unwrap();
    assert_eq!(content(&store), Some((1, vec!["old".to_owned()])));
    let saved = store.adopt(&received, Ok).unwrap();
    let expected = Some((20, vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(Some((20, commands(saved))), expected);
    assert_eq!(content(&store), expected);
    assert_eq!(reopened_content(&disk.after_power_loss(PowerLoss::Total)), expected);
    assert_eq!(files(&disk).len(), 3, "{:?}", files(&disk).keys());

    journal.restore(store.load(&store.current().unwrap()).unwrap()).unwrap()();
    apply(&journal, &["z"]);
    write(&mut store, &journal, 21).unwrap();
    assert_eq!(reopened_content(&disk.after_kill()), Some((21, vec!["x".to_owned(), "y".to_owned(), "z".to_owned()])));
}

#[test]
fn files_that_an_adopted_snapshot_replaced_are_not_grown_any_more() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    apply(&journal, &["a"]);
    write(&mut store, &journal, 1).unwrap();
    let received = send(&sender(&["x"], 20), &mut store).unwrap();
    store.adopt(&received, Ok).unwrap();
    apply(&journal, &["b"]);
    write(&mut store, &journal, 21).unwrap();
    assert_eq!(reopened_content(&disk), Some((21, journal.lines())));
}

#[test]
fn a_snapshot_taken_before_another_was_adopted_does_not_replace_it() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    apply(&journal, &["old"]);
    let cut = journal.cut();
    let received = send(&sender(&["x", "y"], 20), &mut store).unwrap();
    store.adopt(&received, Ok).unwrap();

    let manifest = store.write(&cut, meta(10), 1010).unwrap();
    assert_eq!(manifest.meta.last_log_id, Some(log_id(1, 20)));
    assert_eq!(reopened_content(&disk).unwrap().0, 20);
}

#[test]
fn a_snapshot_being_received_survives_the_writing_of_another() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    let received = send(&sender(&["x", "y"], 20), &mut store).unwrap();
    apply(&journal, &["own"]);
    write(&mut store, &journal, 5).unwrap();
    store.adopt(&received, Ok).unwrap();
    assert_eq!(reopened_content(&disk).unwrap().0, 20);
}

#[test]
fn a_received_snapshot_that_cannot_be_read_back_is_not_published_and_nobody_waits_for_it() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let covered = store.watch_covered();
    let received = send(&sender(&["x", "y"], 20), &mut store).unwrap();
    let read_back = |_| Err::<(), _>(std::io::Error::other("no such table"));
    assert!(store.adopt(&received, read_back).is_err());
    // Whoever waits for the snapshot to cover the log hears that it never will.
    assert!(covered.has_changed().is_err() && covered.borrow().is_none());
    assert!(open(&disk).current().is_none());
}

#[test]
fn what_broke_off_while_being_received_does_not_fill_the_disk() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let sender = sender(&["x", "y"], 20);
    for _ in 0..5 {
        drop(send(&sender, &mut store).unwrap());
    }
    assert_eq!(files(&disk).len(), 2, "{:?}", files(&disk).keys());
}

#[test]
fn a_received_snapshot_with_any_damaged_byte_is_refused_and_the_old_one_kept() {
    let sender = sender(&["x", "y"], 20);
    let lengths: Vec<u64> = sender.current().unwrap().tables.iter().map(|table| table.bytes).collect();
    for (table, length) in lengths.into_iter().enumerate() {
        for offset in 0..=length {
            let disk = MemoryDisk::default();
            let mut store = open(&disk);
            let journal = Journal::default();
            apply(&journal, &["old"]);
            write(&mut store, &journal, 1).unwrap();
            let received = send(&sender, &mut store).unwrap();
            match offset == length {
                true => received.files[table].truncate(length - 1).unwrap(),
                false => disk.rot(&folder().join(&received.manifest.tables[table].file), offset as usize),
            }
            assert!(store.adopt(&received, Ok).is_err());
            let old = Some((1, vec!["old".to_owned()]));
            assert_eq!(content(&store), old);
            assert_eq!(reopened_content(&disk.after_kill()), old);
        }
    }
}

#[test]
fn a_damaged_snapshot_is_not_loaded() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    apply(&journal, &["a", "b"]);
    let manifest = write(&mut store, &journal, 1).unwrap();
    disk.rot(&folder().join(&manifest.tables[0].file), 6);
    let error = store.load(&manifest).map(drop).unwrap_err();
    assert!(error.to_string().contains(&manifest.tables[0].file), "{error}");

    disk.rot(&folder().join(MANIFEST), 0);
    let error = SnapshotStore::open(Arc::new(disk), folder(), TABLES.to_vec()).map(drop).unwrap_err();
    assert!(error.to_string().contains(MANIFEST), "{error}");
}

#[test]
fn a_manifest_that_is_whole_but_of_no_snapshot_of_this_machine_is_refused_by_name() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    apply(&journal, &["a"]);
    let sound = write(&mut store, &journal, 7).unwrap();
    type Change = dyn Fn(&mut Manifest);
    let refusal = |change: &Change| {
        let mut manifest = (*sound).clone();
        change(&mut manifest);
        let crc32 = sealed::checksum(&manifest).unwrap();
        let stored = Stored { format: FORMAT.to_owned(), crc32, manifest };
        disk.put(&folder().join(MANIFEST), &serde_json::to_vec(&stored).unwrap());
        SnapshotStore::open(Arc::new(disk.clone()), folder(), TABLES.to_vec())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(refusal(&|_| {}), Ok(()));
    let changes: [(&str, &Change); 8] = [
        ("the tables []", &|manifest| manifest.tables.clear()),
        (r#"the tables ["journal"]"#, &|manifest| manifest.tables.truncate(1)),
        (r#"the tables ["count", "journal"]"#, &|manifest| manifest.tables.reverse()),
        (r#"the tables ["orders", "count"]"#, &|manifest| manifest.tables[0].name = "orders".to_owned()),
        ("the file of table count", &|manifest| manifest.tables[1].file = "../count.1.csv".to_owned()),
        (r#"the snapshot is "1-8", and must be "1-7""#, &|manifest| manifest.meta.snapshot_id = "1-8".to_owned()),
        (r#"the snapshot is "1-7", and must be "2-7""#, &|manifest| manifest.meta.last_log_id = Some(log_id(2, 7))),
        ("its members cannot be", &|manifest| manifest.meta.last_membership = StoredMembership::default()),
    ];
    for (expected, change) in changes {
        let refused = refusal(change).unwrap_err();
        assert!(refused.contains(expected) && refused.contains("/snapshot/manifest.json"), "{refused}");
        assert!(refused.contains("--join"), "{refused}");
    }
    // What was refused was not cleared away: whoever inspects the folder finds the tables.
    assert_eq!(files(&disk).len(), 3, "{:?}", files(&disk).keys());
}

#[test]
fn how_far_the_newest_snapshot_reaches_is_told_once_it_is_durable() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let journal = Journal::default();
    let covered = store.watch_covered();
    assert_eq!(*covered.borrow(), None);
    write(&mut store, &journal, 3).unwrap();
    assert_eq!(*covered.borrow(), Some(log_id(1, 3)));
    assert_eq!(*open(&disk).watch_covered().borrow(), Some(log_id(1, 3)));
    let received = send(&sender(&["x"], 20), &mut store).unwrap();
    store.adopt(&received, Ok).unwrap();
    assert_eq!(*covered.borrow(), Some(log_id(1, 20)));

    disk.fail_after(0);
    write(&mut store, &journal, 21).unwrap_err();
    assert!(covered.has_changed().is_err());
    assert!(store.watch_covered().has_changed().is_err());
}

/// Writes and receives snapshots, and notes what was confirmed last. Goes on after a failure.
fn exercise(disk: &MemoryDisk, confirmed: &mut Option<(u64, Vec<String>)>) -> io::Result<()> {
    let mut store = SnapshotStore::open(Arc::new(disk.clone()), folder(), TABLES.to_vec())?;
    let journal = Journal::default();
    let sender = sender(&["x", "y"], 20);
    let mut last_error = Ok(());
    for step in 1..10 {
        let done = match step {
            4 => send(&sender, &mut store).and_then(|received| store.adopt(&received, Ok)).map(|saved| {
                journal.restore(saved).unwrap()();
                20
            }),
            _ => {
                apply(&journal, &["a", "b"]);
                let index = if step < 4 { step } else { 20 + step };
                write(&mut store, &journal, index).map(|_| index)
            }
        };
        match done {
            Ok(index) => *confirmed = Some((index, journal.lines())),
            Err(error) => last_error = Err(error),
        }
    }
    last_error
}

#[test]
fn a_crash_or_a_failing_disk_at_any_step_leaves_the_old_snapshot_or_the_new() {
    for fails_after in 0.. {
        let disk = MemoryDisk::default();
        disk.fail_after(fails_after);
        let mut confirmed = None;
        let done = exercise(&disk, &mut confirmed);
        assert_eq!(done.is_err(), disk.has_failed(), "after {fails_after} changes");
        for loss in PowerLoss::ways() {
            let disk = disk.after_power_loss(loss);
            let left = reopened_content(&disk);
            let index = |content: &Option<(u64, Vec<String>)>| content.as_ref().map(|(index, _)| *index);
            let what = format!("after {fails_after} changes, {loss:?}");
            assert!(index(&left) >= index(&confirmed), "{what}");
            assert!(index(&left) > index(&confirmed) || left == confirmed, "{what}");

            let mut store = open(&disk);
            let journal = Journal::default();
            apply(&journal, &["and on"]);
            write(&mut store, &journal, 99).unwrap();
            assert_eq!(reopened_content(&disk), Some((99, vec!["and on".to_owned()])), "{what}");
        }
        // What a killed process left counts once it was opened, so the power may fail right after.
        let disk = disk.after_kill();
        let opened = reopened_content(&disk);
        assert_eq!(reopened_content(&disk.after_power_loss(PowerLoss::Total)), opened, "after {fails_after} changes");
        if done.is_ok() {
            assert!(fails_after > 60);
            return;
        }
    }
}
