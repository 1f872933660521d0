//! Damage to what was acknowledged: never taken for a torn end.

use std::time::{Duration, Instant};

use super::*;

async fn damage_of(disk: &MemoryDisk) -> Option<(PathBuf, usize)> {
    match open(disk, SMALL).await {
        Ok(_) => None,
        Err(LogError::Damaged { path, offset, .. }) => Some((path, offset)),
        // The digit of the format may rot into another.
        Err(LogError::OtherVersion { path, .. }) => Some((path, 0)),
        Err(error) => panic!("{error}"),
    }
}

/// A log of several segments: its disk and how many bytes of frames each of them has.
async fn several_segments() -> (MemoryDisk, Vec<usize>) {
    let disk = MemoryDisk::default();
    let mut log = open(&disk, SMALL).await.unwrap();
    append_each(&mut log, 1, 0..22).await;
    let lengths: Vec<usize> = (1..=segments(&disk).len()).map(|number| frames(&disk, number as u64).len()).collect();
    assert!(lengths.len() >= 3, "{lengths:?}");
    (disk, lengths)
}

/// Where the frames of a segment begin.
fn frame_starts(number: u64, bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = MAGIC.len();
    while let Some(records) = record::frame_at(number, bytes, offset) {
        starts.push(offset);
        offset += record::FRAME_HEADER_BYTES + records.len();
    }
    assert_eq!(offset, bytes.len());
    starts
}

#[test]
fn every_damaged_byte_but_those_of_the_last_frame_is_noticed_and_located() {
    run(async {
        let (disk, lengths) = several_segments().await;
        for (position, length) in lengths.iter().enumerate() {
            let number = position as u64 + 1;
            let bytes = disk.read(&segment(number)).unwrap();
            let starts = frame_starts(number, &bytes[..*length]);
            let is_last = number as usize == lengths.len();
            let end = if is_last { *starts.last().unwrap() } else { *length };
            assert!(!is_last || starts.len() > 1);
            for offset in 0..end {
                let start = starts.iter().rev().find(|start| **start <= offset).copied().unwrap_or(0);
                for flip in [0x01, 0x80, 0xff] {
                    let disk = disk.after_kill();
                    let mut damaged = bytes.clone();
                    damaged[offset] ^= flip;
                    disk.put(&segment(number), &damaged);
                    assert_eq!(damage_of(&disk).await, Some((segment(number), start)), "byte {offset} of {number}");
                }
            }
        }
    });
}

#[test]
fn a_segment_that_is_not_the_last_must_be_whole() {
    run(async {
        let (disk, lengths) = several_segments().await;
        for length in 0..lengths[1] {
            let bytes = disk.read(&segment(2)).unwrap();
            // After a cut between two frames, the next segment tells that something is missing.
            for rest in [&[][..], &[0; 500]] {
                let damaged = disk.after_kill();
                damaged.put(&segment(2), &[&bytes[..length], rest].concat());
                let (path, _) = damage_of(&damaged).await.unwrap_or_else(|| panic!("{length}"));
                assert_eq!(path, segment(2));
                assert!(damaged.exists(&segment(2)).unwrap());
            }
        }
    });
}

#[test]
fn a_missing_segment_is_noticed() {
    run(async {
        let (disk, lengths) = several_segments().await;
        for number in 1..lengths.len() as u64 {
            let disk = disk.after_kill();
            disk.remove(&segment(number)).unwrap();
            let (path, offset) = damage_of(&disk).await.unwrap();
            assert_eq!(path, segment(number + 1));
            // That the first one is missing shows only in the entries.
            assert_eq!(offset == 0, number > 1);
        }
    });
}

#[test]
fn a_segment_under_the_name_of_another_is_noticed() {
    run(async {
        let (disk, _) = several_segments().await;
        disk.put(&segment(1), &disk.read(&segment(2)).unwrap());
        assert_eq!(damage_of(&disk).await, Some((segment(1), MAGIC.len())));
    });
}

#[test]
fn a_log_whose_only_segment_lost_its_content_is_not_taken_for_a_new_one() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..30).await;
        log.save_vote(&Vote::new(5, 1)).await.unwrap();
        log.purge(log_id(1, 29)).await.unwrap();
        let [name] = segments(&disk).try_into().unwrap();
        let path = folder().join(name);
        let length = disk.read(&path).unwrap().len();
        for content in [vec![], MAGIC.to_vec(), vec![0; length], vec![7; length]] {
            disk.put(&path, &content);
            assert_eq!(damage_of(&disk).await.unwrap().0, path);
        }
        // The first segment of all may have been under way, but not with so much in it.
        let disk = MemoryDisk::default();
        disk.put(&segment(1), &[0; 1000]);
        assert_eq!(damage_of(&disk).await, Some((segment(1), 0)));
    });
}

#[test]
fn a_frame_inside_an_entry_does_not_make_a_torn_end_look_like_damage() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, LARGE).await.unwrap();
        append_each(&mut log, 1, 0..2).await;
        let bytes = frames(&disk, 1);
        let batch = crate::replica::storage::raft_types::Batch {
            time: Default::default(),
            commands: vec![bytes[MAGIC.len()..].to_vec().into()],
        };
        let copy = Entry { log_id: log_id(1, 2), payload: openraft::EntryPayload::Normal(batch) };
        append(&mut log, [copy]).await.unwrap();
        let bytes = frames(&disk, 1);
        disk.put(&segment(1), &bytes[..bytes.len() - 1]);
        assert_eq!(reopened_view(&disk, LARGE).await.last, Some(log_id(1, 1)));
    });
}

#[test]
fn an_entry_that_rotted_since_the_log_was_opened_is_not_handed_out() {
    run(async {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, SMALL).await.unwrap();
        append_each(&mut log, 1, 0..10).await;
        let place = log.shared.index().slots[2].place;
        disk.rot(&segment(place.segment), place.offset as usize + place.length as usize - 1);
        log.try_get_log_entries(2..3).await.unwrap_err();
        assert_eq!(log.try_get_log_entries(3..5).await.unwrap().len(), 2);
    });
}

#[test]
fn a_large_segment_that_is_damaged_at_its_start_is_told_from_a_torn_one_quickly() {
    let mut random = fastrand::Rng::with_seed(1);
    let small_numbers: Vec<u8> = (0..16 << 20).map(|_| random.u8(0..3)).collect();
    let started = Instant::now();
    assert!(!recovery::is_frame_behind(1, &small_numbers, MAGIC.len()));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
