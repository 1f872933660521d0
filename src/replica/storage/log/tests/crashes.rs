//! Crashes, which leave torn ends, and disks that fail.

use super::*;
use crate::replica::testing::PowerLoss;

/// A log of four frames besides its opening, and after how many bytes each of them ends.
async fn four_frames(disk: &MemoryDisk) -> Vec<usize> {
    let mut log = open(disk, LARGE).await.unwrap();
    let length = || frames(disk, 1).len();
    let mut ends = vec![length()];
    append_each(&mut log, 1, 0..1).await;
    ends.push(length());
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    ends.push(length());
    append(&mut log, [entry(2, 1, "a"), entry(2, 2, "b")]).await.unwrap();
    ends.push(length());
    append_each(&mut log, 2, 3..4).await;
    ends.push(length());
    ends
}

/// How many entries, and whether the vote, are in the first `frames` of them.
fn content(frames: usize) -> (usize, bool) {
    ([0, 1, 1, 3, 4][frames], frames >= 2)
}

/// Opens the log with this content of its only segment, expects its first `frames` frames, and that
/// it can go on from there.
async fn check_torn(bytes: &[u8], frames: usize, what: &str) {
    let disk = MemoryDisk::default();
    disk.put(&segment(1), bytes);
    let mut log = open(&disk, LARGE).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let seen = view(&mut log).await;
    assert_eq!((seen.entries.len(), seen.vote.is_some()), content(frames), "{what}");
    let next = seen.last.map_or(0, |last| last.index + 1);
    append_each(&mut log, 3, next..next + 2).await;
    let seen = view(&mut log).await;
    assert_eq!(reopened_view(&disk.after_power_loss(PowerLoss::Total), LARGE).await, seen, "{what}");
}

#[test]
fn a_log_cut_anywhere_holds_the_frames_that_are_whole() {
    run(async {
        let disk = MemoryDisk::default();
        let ends = four_frames(&disk).await;
        let bytes = frames(&disk, 1);
        for cut in 0..=bytes.len() {
            let frames = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            check_torn(&bytes[..cut], frames, &format!("cut at {cut}")).await;
            if cut >= ends[0] {
                let mut with_room = [&bytes[..], &[0; 50]].concat();
                with_room[cut..].fill(0);
                // A frame may end in zeros itself.
                let frames = ends.iter().filter(|end| with_room[..**end] == bytes[..**end]).count() - 1;
                check_torn(&with_room, frames, &format!("zeros from {cut}")).await;
            }
        }
    });
}

#[test]
fn a_last_frame_that_ends_in_zeros_or_garbage_is_cut_off() {
    run(async {
        let disk = MemoryDisk::default();
        let ends = four_frames(&disk).await;
        let bytes = frames(&disk, 1);
        let mut random = fastrand::Rng::with_seed(1);
        for from in ends[3]..bytes.len() {
            let mut torn = bytes.clone();
            torn[from..].fill(0);
            check_torn(&torn, 3, &format!("zeros from {from}")).await;
            torn[from..].fill_with(|| random.u8(..));
            check_torn(&torn, 3, &format!("garbage from {from}")).await;
        }
    });
}

#[test]
fn a_segment_that_was_being_made_is_made_anew() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        let mut next = 0;
        let mark = Path::new("/member.json");
        let mut mark_before = Vec::new();
        while segments(&disk).len() < 3 {
            mark_before = disk.read(mark).unwrap();
            append_each(&mut log, 1, next..next + 1).await;
            next += 1;
        }
        let bytes = frames(&disk, 3);
        let opening_bytes = MAGIC.len() + record::FRAME_HEADER_BYTES + {
            let header = &bytes[MAGIC.len()..];
            u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize
        };
        for length in 0..=opening_bytes {
            let zeros = vec![0; length];
            for opening in [&bytes[..length], &zeros] {
                let disk = disk.after_kill();
                disk.put(&segment(3), opening);
                disk.put(mark, &mark_before);
                let mut log = open(&disk, SMALL).await.unwrap();
                append_each(&mut log, 1, next - 1..next + 2).await;
                let seen = view(&mut log).await;
                assert_eq!(seen.entries.len() as u64, next + 2);
                assert_eq!(reopened_view(&disk.after_kill(), SMALL).await, seen);
            }
        }
    });
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_before_it_counts() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        append_each(&mut log, 1, 0..3).await;
        // The append succeeds, its sync does not come any more.
        disk.fail_after(1);
        log.save_vote(&Vote::new(7, 1)).await.unwrap_err();

        let disk = disk.after_kill();
        let seen = reopened_view(&disk, LARGE).await;
        assert_eq!(seen.vote, Some(Vote::new(7, 1)));
        assert_eq!(reopened_view(&disk.after_power_loss(PowerLoss::Total), LARGE).await, seen);
    });
}

/// Does everything that a log can do, with segments rolling and being removed, and adds the view after
/// each step to `confirmed`. Goes on after the first error to see that nothing succeeds any more.
async fn exercise(disk: &MemoryDisk, confirmed: &mut Vec<View>) -> bool {
    let Ok(mut log) = open(disk, SMALL).await else { return false };
    confirmed.push(view(&mut log).await);
    let mut is_broken = false;
    let mut term = 1;
    let mut next = 0;
    for step in 0..60 {
        let done = match step % 12 {
            3 => {
                term += 1;
                log.save_vote(&Vote::new(term, 1)).await
            }
            6 if next > 5 => {
                next -= 2;
                log.truncate(log_id(term, next)).await
            }
            10 if next > 8 => log.purge(log_id(term - 1, next - 6)).await,
            _ => {
                next += 1;
                log.save_committed(Some(log_id(1, 0))).await.unwrap();
                append(&mut log, [entry(term, next - 1, "some command or other")]).await
            }
        };
        match done {
            Ok(()) if is_broken => panic!("step {step} succeeded on a log whose content is in doubt"),
            Ok(()) => confirmed.push(view(&mut log).await),
            // The purge itself may be done, and only an old file remain.
            Err(_) if step % 12 == 10 && !is_broken => return false,
            Err(_) => is_broken = true,
        }
    }
    !is_broken
}

#[test]
fn a_write_that_the_disk_did_not_confirm_fails_and_nothing_confirmed_is_ever_lost() {
    run(async {
        let mut fails_after = 0;
        loop {
            let disk = MemoryDisk::default();
            disk.fail_after(fails_after);
            let mut confirmed = Vec::new();
            let is_done = exercise(&disk, &mut confirmed).await;
            assert_eq!(is_done, !disk.has_failed(), "after {fails_after} changes");
            for loss in PowerLoss::ways() {
                let seen = reopened_view(&disk.after_power_loss(loss), SMALL).await;
                check_kept(confirmed.last(), &seen, &format!("after {fails_after} changes, {loss:?}"));
            }
            if is_done {
                assert!(fails_after > 150);
                return;
            }
            fails_after += 1;
        }
    });
}

/// `seen` may have one write more than `confirmed`: the one that failed.
fn check_kept(confirmed: Option<&View>, seen: &View, what: &str) {
    let Some(confirmed) = confirmed else { return };
    assert!(seen.vote >= confirmed.vote, "{what}");
    assert!(seen.purged >= confirmed.purged, "{what}");
    let first = seen.entries.first().map_or(0, |entry| entry.log_id.index);
    let kept: Vec<&Entry> = confirmed.entries.iter().filter(|entry| entry.log_id.index >= first).collect();
    let common = kept.iter().zip(&seen.entries).take_while(|(kept, seen)| **kept == *seen).count();
    // Only the truncation of two entries may be the write that failed.
    assert!(common == kept.len() || (common == seen.entries.len() && common + 2 == kept.len()), "{what}");
}

#[test]
fn a_disk_that_fails_while_the_log_is_opened_loses_nothing() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..20).await;
        let confirmed = view(&mut log).await;
        disk.fail_after(0);
        append(&mut log, [entry(1, 20, "torn")]).await.unwrap_err();
        for fails_after in 0.. {
            let disk = disk.after_kill();
            disk.fail_after(fails_after);
            let opened = open(&disk, SMALL).await;
            assert_eq!(opened.is_err(), disk.has_failed());
            assert_eq!(reopened_view(&disk.after_power_loss(PowerLoss::None), SMALL).await, confirmed);
            if opened.is_ok() {
                return;
            }
        }
    });
}
