//! The log and the state machine as openraft uses them, and as they come back.

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EmptyNode, Membership, Vote};
use tempfile::TempDir;

use super::*;
use crate::replica::storage::Storage;
use crate::replica::storage::identity::{ClusterId, Identity};
use crate::replica::storage::log::{Log, LogLimits};
use crate::replica::testing::{Journal, MemoryDisk, NONSENSE, PowerLoss, entry, log_id, platform};

const LIMITS: LogLimits = LogLimits { segment_bytes: 200, cache_bytes: 100 };

const CLUSTER: ClusterId = ClusterId::from_u128(7);

/// A state machine that receives each snapshot as if from another folder.
struct Distant(StateMachine);

impl RaftStateMachine<TypeConfig> for Distant {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        self.0.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.0.get_snapshot_builder().await
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFiles>, StorageError> {
        self.0.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, EmptyNode>,
        snapshot: Box<SnapshotFiles>,
    ) -> Result<(), StorageError> {
        let received = receive(&self.0, &snapshot);
        self.0.install_snapshot(meta, Box::new(received)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        self.0.get_current_snapshot().await
    }
}

/// Copies a snapshot into the folder of `receiver`.
fn receive(receiver: &StateMachine, sent: &SnapshotFiles) -> SnapshotFiles {
    let received = receiver.snapshots().lock().begin_receiving(&sent.manifest).unwrap();
    for ((table, from), to) in sent.manifest.tables.iter().zip(&sent.files).zip(&received.files) {
        to.append(&from.read_at(0, table.bytes as usize).unwrap()).unwrap();
    }
    received
}

struct OnRealDisk;

impl StoreBuilder<TypeConfig, Log, Distant, TempDir> for OnRealDisk {
    async fn build(&self) -> Result<(TempDir, Log, Distant), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let platform = Platform::system();
        let journal = Arc::new(Journal::default());
        let identity = Identity::open(&platform, folder.path(), "catalog-9").unwrap();
        identity.set(CLUSTER).await.unwrap();
        // As if a snapshot covered all that may be purged.
        let everything = watch::Sender::new(Some(log_id(u64::MAX, u64::MAX))).subscribe();
        let mut log = Log::open(&platform, &folder.path().join("log"), 9, LIMITS, identity, everything).await.unwrap();
        log.has_holes = true;
        let tables = vec!["journal", "count"];
        let snapshots = SnapshotStore::open(platform.disk.clone(), &folder.path().join("snapshot"), tables).unwrap();
        let state_machine = StateMachine::open(&platform, journal, snapshots, log.durability()).await.unwrap();
        Ok((folder, log, Distant(state_machine)))
    }
}

#[test]
fn log_and_state_machine_are_what_openraft_expects() {
    Suite::test_all(OnRealDisk).unwrap();
}

/// A replica's storage on `disk`, as [`replica::open`](crate::replica::open) puts it together. It follows a leader.
async fn open(disk: &MemoryDisk) -> (Log, StateMachine, Arc<Journal>) {
    let platform = platform(disk.clone());
    let journal = Arc::new(Journal::default());
    let opened = Storage::open(&platform, "/".as_ref(), (9, "catalog-9"), LIMITS, journal.clone()).await.unwrap();
    let Storage { identity, mut log, state_machine } = opened;
    identity.set(CLUSTER).await.unwrap();
    if log.read_vote().await.unwrap().is_none() {
        log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    }
    (log, state_machine, journal)
}

/// The members of a group, and eight commands.
fn nine_entries() -> Vec<Entry> {
    std::iter::once(membership(0)).chain((1..9).map(|index| entry(1, index, "a"))).collect()
}

fn membership(index: u64) -> Entry {
    let membership = Membership::new(vec![[1, 2, 3].into()], None);
    Entry { log_id: log_id(1, index), payload: EntryPayload::Membership(membership) }
}

#[tokio::test]
async fn each_command_has_its_reply_and_time_never_goes_back() {
    let (_, mut state_machine, _) = open(&MemoryDisk::default()).await;
    let mut announced = state_machine.watch_applied();
    let mut late = entry(1, 2, "a");
    let EntryPayload::Normal(batch) = &mut late.payload else { panic!() };
    batch.commands.push(Bytes::from_static(b"b"));
    batch.time.group_ms = 5000;
    let blank = Entry { log_id: log_id(1, 0), payload: EntryPayload::Blank };
    let replies = state_machine.apply([blank, membership(1), late, entry(1, 3, "c")]).await.unwrap();
    let replies: Vec<Vec<Bytes>> = replies.into_iter().map(|replies| replies.0).collect();
    assert_eq!(replies, [vec![], vec![], vec!["1".into(), "2".into()], vec!["3".into()]] as [Vec<Bytes>; 4]);

    let applied = state_machine.applied();
    assert_eq!((applied.index(), applied.group_ms), (3, 5000));
    assert_eq!(*applied.membership.log_id(), Some(log_id(1, 1)));
    assert_eq!(*announced.borrow_and_update(), 3);
}

#[tokio::test]
async fn a_command_that_is_not_understood_is_an_error() {
    let (_, mut state_machine, _) = open(&MemoryDisk::default()).await;
    let nonsense = std::str::from_utf8(NONSENSE).unwrap();
    state_machine.apply([entry(1, 0, "a"), entry(1, 1, nonsense)]).await.unwrap_err();
    assert_eq!(state_machine.applied().log_id, Some(log_id(1, 0)));
}

#[tokio::test]
async fn a_restart_goes_on_from_the_newest_snapshot() {
    let disk = MemoryDisk::default();
    let (_, mut state_machine, journal) = open(&disk).await;
    state_machine.apply([membership(0), entry(1, 1, "a"), entry(1, 2, "b")]).await.unwrap();
    let before = state_machine.applied();
    state_machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let lines = journal.lines();
    state_machine.apply([entry(1, 3, "c")]).await.unwrap();

    let (_, state_machine, journal) = open(&disk.after_power_loss(PowerLoss::Total)).await;
    assert_eq!(journal.lines(), lines);
    let after = state_machine.applied();
    assert_eq!((after.log_id, after.membership, after.group_ms), (before.log_id, before.membership, before.group_ms));
    assert_eq!(*state_machine.watch_applied().borrow(), 2);
}

#[tokio::test]
async fn a_snapshot_holds_the_state_of_the_moment_at_which_it_was_taken() {
    let (_, mut state_machine, _) = open(&MemoryDisk::default()).await;
    state_machine.apply([entry(1, 0, "a")]).await.unwrap();
    let mut builder = state_machine.get_snapshot_builder().await;
    state_machine.apply([entry(1, 1, "b")]).await.unwrap();
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 0)));
    let saved = state_machine.snapshots().lock().load(&snapshot.snapshot.manifest).unwrap();
    let restored = Journal::default();
    restored.restore(saved).unwrap()();
    assert_eq!(restored.lines(), ["a"]);
}

#[tokio::test]
async fn a_snapshot_that_is_built_while_another_is_installed_does_not_undo_it() {
    let (_, mut leader, _) = open(&MemoryDisk::default()).await;
    leader.apply(nine_entries()).await.unwrap();
    let sent = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();

    let disk = MemoryDisk::default();
    let (_, mut follower, journal) = open(&disk).await;
    follower.apply([entry(1, 0, "a")]).await.unwrap();
    let mut builder = follower.get_snapshot_builder().await;
    let received = receive(&follower, &sent.snapshot);
    follower.install_snapshot(&sent.meta, Box::new(received)).await.unwrap();
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(1, 8)));
    assert_eq!((follower.applied().index(), journal.lines().len()), (8, 8));
    let (_, follower, journal) = open(&disk).await;
    assert_eq!((follower.applied().index(), journal.lines().len()), (8, 8));
}

#[tokio::test]
async fn a_crash_while_a_snapshot_is_installed_and_the_log_purged_leaves_no_gap_between_them() {
    let (_, mut leader, _) = open(&MemoryDisk::default()).await;
    leader.apply(nine_entries()).await.unwrap();
    let sent = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();

    for fails_after in 0.. {
        let disk = MemoryDisk::default();
        let (mut log, mut follower, _) = open(&disk).await;
        log.blocking_append((0..5).map(|index| entry(1, index, "a"))).await.unwrap();
        follower.apply([entry(1, 0, "a"), entry(1, 1, "a")]).await.unwrap();
        let received = receive(&follower, &sent.snapshot);
        disk.fail_after(fails_after);
        // openraft begins the purge first if the state machine is slow.
        let purge = log.purge(log_id(1, 8));
        let install = follower.install_snapshot(&sent.meta, Box::new(received));
        let (purged, installed) = tokio::join!(purge, install);
        assert_eq!(purged.is_err() || installed.is_err(), disk.has_failed());
        for loss in PowerLoss::ways() {
            let (mut log, state_machine, _) = open(&disk.after_power_loss(loss)).await;
            let purged = log.get_log_state().await.unwrap().last_purged_log_id;
            assert!(purged <= state_machine.applied().log_id, "after {fails_after}, {loss:?}");
        }
        if !disk.has_failed() {
            assert!(fails_after > 5);
            return;
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_a_state_that_is_being_read_back() {
    let (_, mut leader, _) = open(&MemoryDisk::default()).await;
    leader.apply(nine_entries()).await.unwrap();
    let sent = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();

    let (_, mut follower, journal) = open(&MemoryDisk::default()).await;
    let disk = follower.platform.disk.clone();
    follower.platform = Platform::system();
    follower.platform.disk = disk;
    follower.apply([membership(0)]).await.unwrap();
    let received = receive(&follower, &sent.snapshot);
    journal.hold(true);
    let looking = follower.clone();
    let meta = sent.meta.clone();
    let installing = tokio::spawn(async move { follower.install_snapshot(&meta, Box::new(received)).await });
    // On a thread of its own, so that the test fails and does not hang.
    let looks = tokio::task::spawn_blocking(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (cut, applied) = looking.cut();
        (looking.applied().index(), applied.index(), cut.tables[0].rows())
    });
    let seen = tokio::time::timeout(std::time::Duration::from_secs(5), looks).await;
    journal.hold(false);
    assert_eq!(seen.expect("the state is seen while another is read back").unwrap(), (0, 0, 0));
    installing.await.unwrap().unwrap();
    assert_eq!(journal.lines().len(), 8);
}
