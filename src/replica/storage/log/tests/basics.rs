//! The log on a healthy disk.

use futures_util::FutureExt;

use super::*;

#[test]
fn everything_is_there_after_a_restart() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..20).await;
        log.save_vote(&Vote::new_committed(2, 3)).await.unwrap();
        log.truncate(log_id(1, 15)).await.unwrap();
        log.purge(log_id(1, 4)).await.unwrap();
        append_each(&mut log, 2, 15..18).await;
        log.save_committed(Some(log_id(2, 16))).await.unwrap();
        append(&mut log, (18..25).map(|index| entry(2, index, "together"))).await.unwrap();

        let expected = view(&mut log).await;
        assert_eq!(expected.vote, Some(Vote::new_committed(2, 3)));
        assert_eq!(expected.committed, Some(log_id(2, 16)));
        assert_eq!((expected.purged, expected.last), (Some(log_id(1, 4)), Some(log_id(2, 24))));
        let ids: Vec<LogId> = expected.entries.iter().map(|entry| entry.log_id).collect();
        assert_eq!(ids, (5..15).map(|i| log_id(1, i)).chain((15..25).map(|i| log_id(2, i))).collect::<Vec<_>>());
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, expected);
        assert_eq!(reopened_view(&disk.after_kill(), LARGE).await, expected);
    });
}

#[test]
fn a_committed_position_is_known_at_once_and_durable_with_the_next_write() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        append_each(&mut log, 1, 0..3).await;
        log.save_committed(Some(log_id(1, 1))).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 1)));
        assert_eq!(reopened_view(&disk.after_kill(), LARGE).await.committed, None);
        append_each(&mut log, 1, 3..4).await;
        assert_eq!(reopened_view(&disk.after_kill(), LARGE).await.committed, Some(log_id(1, 1)));
    });
}

#[test]
fn a_full_segment_is_followed_by_a_new_one_and_unused_ones_are_removed() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..40).await;
        let full = segments(&disk);
        assert!(full.len() > 4, "{full:?}");
        for name in &full[..full.len() - 1] {
            assert!(disk.read(&folder().join(name)).unwrap().len() as u64 >= SMALL.segment_bytes);
        }

        log.purge(log_id(1, 20)).await.unwrap();
        let left = segments(&disk);
        assert!(left.len() < full.len() && left.len() > 1, "{left:?}");
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, view(&mut log).await);

        log.purge(log_id(1, 39)).await.unwrap();
        assert_eq!(segments(&disk).len(), 1);
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, view(&mut log).await);
    });
}

#[test]
fn what_left_memory_is_read_back_from_disk() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..30).await;
        assert!(log.shared.index().cache.len() < 8);
        for (from, to) in [(0, 30), (0, 5), (24, 30), (29, 30), (28, 99), (7, 8), (30, 40), (9, 9)] {
            let entries = log.try_get_log_entries(from..to).await.unwrap();
            let expected: Vec<Entry> =
                (from..to.min(30)).map(|index| entry(1, index, &format!("command {index}"))).collect();
            assert_eq!(entries, expected, "{from}..{to}");
        }
    });
}

#[test]
fn memory_is_bounded_after_a_restart_too() {
    run(async {
        let disk = MemoryDisk::default();
        append_each(&mut open(&disk, LARGE).await.unwrap(), 1, 0..30).await;
        let log = open(&disk, SMALL).await.unwrap();
        let index = log.shared.index();
        assert_eq!(index.slots.len(), 30);
        assert!(index.cache_bytes <= SMALL.cache_bytes && !index.cache.is_empty());
    });
}

#[test]
fn one_append_entries_request_is_bounded_in_bytes_but_never_empty() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        let sizes = [400_000, 400_000, 400_000, 3_000_000, 10];
        for (index, size) in sizes.into_iter().enumerate() {
            append(&mut log, [entry(1, index as u64, &"x".repeat(size))]).await.unwrap();
        }
        let mut reader = log.reader();
        let mut indexes = async |from, to| {
            let entries = reader.limited_get_log_entries(from, to).await.unwrap();
            entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(0, 5).await, [0, 1]);
        assert_eq!(indexes(2, 5).await, [2]);
        assert_eq!(indexes(3, 5).await, [3]);
        assert_eq!(indexes(4, 5).await, [4]);
        assert_eq!(indexes(0, 1).await, [0]);
        assert_eq!(indexes(3, 3).await, [0; 0]);
    });
}

#[test]
fn a_snapshot_beyond_the_last_entry_leaves_an_empty_log_that_goes_on_behind_it() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..5).await;
        log.purge(log_id(2, 50)).await.unwrap();
        assert_eq!(view(&mut log).await.last, Some(log_id(2, 50)));
        append_each(&mut log, 2, 51..60).await;
        let seen = view(&mut log).await;
        assert_eq!(seen.entries.len(), 9);
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, seen);
    });
}

#[test]
fn entries_that_an_earlier_leader_left_behind_a_snapshot_go_with_it() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..10).await;
        log.purge(log_id(3, 5)).await.unwrap();
        assert_eq!(view(&mut log).await.last, Some(log_id(3, 5)));
        append_each(&mut log, 3, 6..9).await;
        let seen = view(&mut log).await;
        assert_eq!(seen.entries.len(), 3);
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, seen);
    });
}

#[test]
fn entries_that_are_not_in_memory_can_be_truncated() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..30).await;
        log.truncate(log_id(1, 10)).await.unwrap();
        assert_eq!(log.shared.index().cache_bytes, 0);
        append_each(&mut log, 2, 10..13).await;
        let seen = view(&mut log).await;
        assert_eq!(seen.last, Some(log_id(2, 12)));
        assert_eq!(seen.entries.len(), 13);
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, seen);
    });
}

#[test]
fn nothing_is_purged_before_a_durable_snapshot_covers_it() {
    run(async {
        let disk = MemoryDisk::default();
        let covered = watch::Sender::new(Some(log_id(1, 3)));
        let (application, identity) = (platform(disk.clone()), identity(&disk).await.unwrap());
        let mut log = Log::open(&application, folder(), OWN, SMALL, identity, covered.subscribe()).await.unwrap();
        append_each(&mut log, 1, 0..9).await;
        log.purge(log_id(1, 3)).await.unwrap();
        {
            let mut purge = std::pin::pin!(log.purge(log_id(1, 6)));
            assert!(purge.as_mut().now_or_never().is_none());
            assert_eq!(reopened_view(&disk.after_kill(), SMALL).await.purged, Some(log_id(1, 3)));
            covered.send_replace(Some(log_id(1, 7)));
            purge.await.unwrap();
        }
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await.purged, Some(log_id(1, 6)));

        drop(covered);
        log.purge(log_id(1, 7)).await.unwrap();
        log.purge(log_id(1, 8)).await.unwrap_err();
    });
}

#[test]
fn appending_nothing_writes_nothing() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        append(&mut log, []).await.unwrap();
        append_each(&mut log, 1, 0..2).await;
        let seen = view(&mut log).await;
        assert_eq!(reopened_view(&disk.after_kill(), LARGE).await, seen);
    });
}

#[test]
fn a_write_that_is_too_large_is_refused_and_leaves_no_trace() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        append(&mut log, [entry(1, 0, &"x".repeat(MAX_FRAME_BYTES))]).await.unwrap_err();
        append_each(&mut log, 1, 0..2).await;
        let seen = view(&mut log).await;
        assert_eq!(reopened_view(&disk.after_kill(), LARGE).await, seen);
    });
}

#[test]
fn a_leader_that_restarts_finds_itself_not_elected() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        log.save_vote(&Vote::new_committed(3, OWN)).await.unwrap();
        let mut log = open(&disk.after_kill(), SMALL).await.unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, OWN)));

        log.save_vote(&Vote::new_committed(4, OWN + 1)).await.unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(4, OWN + 1)));
    });
}

#[test]
fn entries_that_were_purged_are_an_error_and_never_others_in_their_place() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..10).await;
        log.purge(log_id(1, 5)).await.unwrap();
        log.reader().limited_get_log_entries(5, 8).await.unwrap_err();
        assert_eq!(log.reader().limited_get_log_entries(6, 8).await.unwrap().len(), 2);
    });
}

#[test]
fn an_entry_that_does_not_follow_is_not_appended() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..3).await;
        for index in [0, 2, 4] {
            append(&mut log, [entry(1, index, "elsewhere")]).await.unwrap_err();
        }
        append(&mut log, [entry(1, 3, "next"), entry(1, 5, "after a hole")]).await.unwrap_err();
        let seen = view(&mut log).await;
        assert_eq!(seen.last, Some(log_id(1, 2)));
        assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, seen);
    });
}
