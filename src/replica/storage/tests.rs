//! Whatever becomes of a replica's files, it refuses to start or is right: it never votes with less than it had.

use std::collections::BTreeMap;
use std::path::PathBuf;

use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{EmptyNode, Membership, RaftLogReader, RaftSnapshotBuilder, Vote};
use uuid::Uuid;

use super::*;
use crate::platform::Disk;
use crate::replica::storage::identity_keeper::IdentityKeeper;
use crate::replica::storage::raft_types::{Entry, LogId};
use crate::replica::testing::{Journal, MemoryDisk, PowerLoss, entry, log_id, platform};

const LIMITS: LogLimits = LogLimits { segment_bytes: 200, cache_bytes: 100 };

/// A replica's files.
type Files = BTreeMap<PathBuf, Vec<u8>>;

async fn open(disk: &MemoryDisk) -> Result<(Storage, Arc<Journal>), StartError> {
    let journal = Arc::new(Journal::default());
    let opened = Storage::open(&platform(disk.clone()), "/".as_ref(), (9, "catalog-9"), LIMITS, journal.clone()).await;
    Ok((opened?, journal))
}

/// What a replica remembers.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    cluster: Option<Uuid>,
    vote: Option<super::super::storage::raft_types::Vote>,
    last: Option<LogId>,
    /// All commands, those of the snapshot first.
    commands: Vec<String>,
}

async fn memory((mut storage, journal): (Storage, Arc<Journal>)) -> Memory {
    let applied = storage.state_machine.applied().log_id;
    let state = storage.log.get_log_state().await.unwrap();
    let last = state.last_log_id.max(applied);
    let from = applied.map_or(0, |applied| applied.index + 1);
    let entries = storage.log.try_get_log_entries(from..).await.unwrap();
    storage.state_machine.apply(entries).await.unwrap();
    Memory {
        cluster: storage.identity.cluster(),
        vote: storage.log.read_vote().await.unwrap(),
        last,
        commands: journal.lines(),
    }
}

async fn remembered(files: &Files) -> Result<Memory, StartError> {
    Ok(memory(open(&disk_with(files)).await?).await)
}

fn disk_with(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::default();
    files.iter().for_each(|(path, bytes)| disk.put(path, bytes));
    disk
}

/// The log as someone who inspects it finds it: without the zeros that wait to be overwritten.
fn log_of(files: &Files) -> Files {
    let logs = files.iter().filter(|(path, _)| path.starts_with("/log"));
    logs.map(|(path, bytes)| {
        (path.clone(), bytes[..bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)].to_vec())
    })
    .collect()
}

fn files(disk: &MemoryDisk) -> Files {
    let folders = ["/", "/log", "/snapshot"].map(Path::new);
    let paths = folders.into_iter().flat_map(|folder| {
        let names = disk.list(folder).unwrap().into_iter().filter(|name| !name.starts_with("lock"));
        names.map(|name| folder.join(name)).collect::<Vec<_>>()
    });
    paths.map(|path| (path.clone(), disk.read(&path).unwrap())).collect()
}

fn membership(index: u64) -> Entry {
    let members: BTreeMap<u64, EmptyNode> = [1, 2, 9].map(|number| (number, EmptyNode {})).into();
    Entry::new_membership(log_id(1, index), Membership::new(vec![members.keys().copied().collect()], members))
}

/// A life of four starts. Brings the files as each of them left them, and all that was ever confirmed, oldest first.
async fn a_life(disk: &MemoryDisk) -> (Vec<Files>, Vec<Memory>) {
    let (mut generations, mut confirmed) = (Vec::new(), Vec::new());
    let cluster = Uuid::from_u128(7);
    for start in 1..=4 {
        let (mut storage, _) = open(disk).await.unwrap();
        storage.identity.set(cluster).await.unwrap();
        let mut next = storage.log.get_log_state().await.unwrap().last_log_id.map_or(0, |last| last.index + 1);
        let applied = storage.state_machine.applied().log_id.map_or(0, |applied| applied.index + 1);
        let missing = storage.log.try_get_log_entries(applied..).await.unwrap();
        storage.state_machine.apply(missing).await.unwrap();
        for step in 0..8 {
            if step == 0 {
                storage.log.save_vote(&Vote::new(start, 1)).await.unwrap();
            } else {
                let added = if next == 0 { membership(0) } else { entry(start, next, &format!("command {next}")) };
                storage.log.blocking_append([added.clone()]).await.unwrap();
                storage.log.durability().settled().await.unwrap();
                storage.state_machine.apply([added]).await.unwrap();
                next += 1;
            }
            confirmed.push(remembered(&files(&disk.after_power_loss(PowerLoss::Total))).await.unwrap());
        }
        // The last start leaves log behind its snapshot.
        if start < 4 {
            let built = storage.state_machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
            let covered = built.meta.last_log_id.unwrap();
            storage.log.purge(log_id(start, covered.index - 3)).await.unwrap();
        }
        generations.push(files(disk));
    }
    (generations, confirmed)
}

/// Expects a refusal that names what is wrong and leaves the log as it is, or nothing less than what was confirmed last.
async fn check(given: &Files, may_be_torn: bool, confirmed: &[Memory], what: &str) -> bool {
    let disk = disk_with(given);
    match open(&disk).await {
        Err(refusal) => {
            assert_eq!(log_of(&files(&disk)), log_of(given), "{what}");
            let told = refusal.to_string();
            let is_clear = ["--join", "another version", "not of catalog-9"].iter().any(|words| told.contains(words));
            assert!(is_clear, "{what}: {told}");
            true
        }
        Ok(opened) => {
            let memory = memory(opened).await;
            let whole = confirmed.last().unwrap();
            assert!(memory == *whole || (may_be_torn && confirmed.contains(&memory)), "{what}: {memory:?}");
            false
        }
    }
}

#[tokio::test]
async fn a_replica_whose_files_are_damaged_missing_or_old_refuses_or_is_right() {
    let disk = MemoryDisk::default();
    let (mut generations, confirmed) = a_life(&disk).await;
    let whole = generations.pop().unwrap();
    assert!(!check(&whole, false, &confirmed, "whole").await);
    let newest = whole.keys().filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap().clone();
    for (path, bytes) in &whole {
        let name = path.display();
        let mut without = whole.clone();
        without.remove(path);
        assert!(check(&without, false, &confirmed, &format!("{name} deleted")).await, "{name} deleted");
        let with = |bytes: Vec<u8>| {
            let mut files = whole.clone();
            files.insert(path.clone(), bytes);
            files
        };
        assert!(check(&with(Vec::new()), false, &confirmed, &format!("{name} emptied")).await, "{name} emptied");
        // Behind its last frame the log's newest file is room. What the last start wrote may end as a crash ends it.
        let is_newest = *path == newest;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for length in [used / 2, used - 1] {
            let what = format!("{name} cut after {length} bytes");
            let refused = check(&with(bytes[..length].to_vec()), is_newest, &confirmed, &what).await;
            assert!(refused || is_newest || path.ends_with("member.json"), "{what}");
        }
        for offset in 0..used {
            let mut flipped = bytes.clone();
            flipped[offset] ^= 1;
            let what = format!("byte {offset} of {name} flipped");
            check(&with(flipped), is_newest, &confirmed, &what).await;
        }
        for (age, generation) in generations.iter().enumerate() {
            if let Some(old) = generation.get(path).filter(|old| *old != bytes) {
                check(&with(old.clone()), false, &confirmed, &format!("{name} of generation {age}")).await;
            }
        }
    }
}

#[tokio::test]
async fn once_the_mark_has_caught_up_no_end_of_the_log_is_taken_for_torn() {
    let disk = MemoryDisk::default();
    let (_, mut confirmed) = a_life(&disk).await;
    let (mut storage, _) = open(&disk).await.unwrap();
    storage.log.save_vote(&Vote::new(5, 1)).await.unwrap();
    storage.log.save_vote(&Vote::new(6, 1)).await.unwrap();
    confirmed.push(remembered(&files(&disk)).await.unwrap());
    let before = files(&disk);
    let (identity, durability) = (storage.identity.clone(), storage.log.durability());
    let keeper = IdentityKeeper { platform: platform(disk.clone()), identity, durability };
    keeper.finish().await.unwrap();

    let whole = files(&disk.after_power_loss(PowerLoss::Total));
    assert!(!check(&whole, false, &confirmed, "whole").await);
    let (path, bytes) = whole.iter().rfind(|(path, _)| path.starts_with("/log")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for (offset, cut) in (0..used).flat_map(|offset| [(offset, true), (offset, false)]) {
        let mut damaged = bytes.clone();
        match cut {
            true => damaged.truncate(offset),
            false => damaged[offset] ^= 1,
        }
        let mut files = whole.clone();
        files.insert(path.clone(), damaged.clone());
        let what = format!("cut ({cut}) or flipped at {offset}");
        assert!(check(&files, false, &confirmed, &what).await, "{what}");
        // It is the mark that tells.
        let mut files = before.clone();
        files.insert(path.clone(), damaged);
        check(&files, true, &confirmed, &what).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_or_as_it_was_some_starts_ago_is_refused() {
    let disk = MemoryDisk::default();
    let (mut generations, confirmed) = a_life(&disk).await;
    let whole = generations.pop().unwrap();
    for folder in ["/log", "/snapshot"] {
        let is_inside = |path: &Path| path.parent() == Some(folder.as_ref());
        let mut files = whole.clone();
        files.retain(|path, _| !is_inside(path));
        assert!(check(&files, false, &confirmed, &format!("{folder} is missing")).await);
        for (age, generation) in generations.iter().enumerate() {
            let mut files = files.clone();
            files.extend(generation.iter().filter(|(path, _)| is_inside(path)).map(|(a, b)| (a.clone(), b.clone())));
            let what = format!("{folder} of generation {age}");
            let refused = check(&files, false, &confirmed, &what).await;
            // The log is not purged as far as the newest snapshot but one reaches.
            assert!(refused || (folder == "/snapshot" && age + 1 == generations.len()), "{what}");
        }
    }
}

#[tokio::test]
async fn a_mark_and_a_log_of_a_term_before_the_snapshots_are_refused() {
    let (generations, confirmed) = a_life(&MemoryDisk::default()).await;
    let newest = generations.last().unwrap();
    let is_snapshot = |path: &Path| path.parent() == Some("/snapshot".as_ref());
    // The snapshot is that of the last start but one.
    for (age, generation) in generations.iter().enumerate().take(2) {
        let mut files: Files =
            newest.iter().filter(|(path, _)| is_snapshot(path)).map(|(a, b)| (a.clone(), b.clone())).collect();
        files.extend(generation.iter().filter(|(path, _)| !is_snapshot(path)).map(|(a, b)| (a.clone(), b.clone())));
        assert!(check(&files, false, &confirmed, &format!("all but the snapshot of generation {age}")).await);
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_life_leaves_a_replica_that_starts_with_all_it_confirmed() {
    for fails_after in 0.. {
        let disk = MemoryDisk::default();
        let mut confirmed = Memory { cluster: None, vote: None, last: None, commands: Vec::new() };
        disk.fail_after(fails_after);
        let done = short_life(&disk, &mut confirmed).await;
        for loss in PowerLoss::ways() {
            let what = format!("after {fails_after} changes, {loss:?}");
            let opened = open(&disk.after_power_loss(loss)).await;
            let left = memory(opened.unwrap_or_else(|error| panic!("{what}: {error}"))).await;
            assert!(left.vote >= confirmed.vote && left.last >= confirmed.last, "{what}: {left:?}, {confirmed:?}");
            assert!(left.commands.starts_with(&confirmed.commands), "{what}");
        }
        if done.is_some() {
            assert!(fails_after > 40);
            return;
        }
    }
}

/// Two starts, in which the log gets a new segment. Notes what was confirmed last, and ends with the first failure.
async fn short_life(disk: &MemoryDisk, confirmed: &mut Memory) -> Option<()> {
    let mut next = 0;
    for start in 1..=2 {
        let (mut storage, _) = open(disk).await.ok()?;
        storage.identity.set(Uuid::from_u128(7)).await.ok()?;
        storage.log.save_vote(&Vote::new(start, 1)).await.ok()?;
        confirmed.vote = Some(Vote::new(start, 1));
        for _ in 0..5 {
            storage.log.blocking_append([entry(start, next, &format!("command {next}"))]).await.ok()?;
            storage.log.durability().settled().await.ok()?;
            confirmed.last = Some(log_id(start, next));
            confirmed.commands.push(format!("command {next}"));
            next += 1;
        }
    }
    Some(())
}

#[tokio::test]
async fn the_log_of_another_group_is_refused() {
    let (one, other) = (MemoryDisk::default(), MemoryDisk::default());
    a_life(&one).await;
    let (mut storage, _) = open(&other).await.unwrap();
    storage.identity.set(Uuid::from_u128(8)).await.unwrap();
    for start in 1..9 {
        storage.log.save_vote(&Vote::new(start, 1)).await.unwrap();
    }
    one.put("/member.json".as_ref(), &other.read("/member.json".as_ref()).unwrap());
    let told = open(&one).await.map(drop).unwrap_err().to_string();
    assert!(told.contains("the log is that of the group") && told.contains("--join"), "{told}");
}

#[tokio::test]
async fn files_of_another_version_are_told_apart_from_damaged_ones() {
    let disk = MemoryDisk::default();
    a_life(&disk).await;
    let newest = files(&disk).into_keys().filter(|path| path.parent() == Some("/log".as_ref())).max().unwrap();
    let changes = [
        (newest, "log 4", "log 5"),
        ("/member.json".into(), "replica 3", "replica 2"),
        ("/snapshot/manifest.json".into(), "snapshot 2", "snapshot 1"),
    ];
    for (path, old, new) in changes {
        let disk = disk.after_kill();
        let mut bytes = disk.read(&path).unwrap();
        let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
        disk.put(&path, &bytes);
        let told = open(&disk).await.map(drop).unwrap_err().to_string();
        assert!(told.contains("another version of bazar") && told.contains(path.to_str().unwrap()), "{told}");
        assert!(!told.contains("--join"), "{told}");
    }
}
