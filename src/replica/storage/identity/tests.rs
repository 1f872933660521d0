use super::*;
use crate::replica::testing::{MemoryDisk, PowerLoss, platform};

fn folder() -> &'static Path {
    Path::new("/data")
}

fn open(disk: &MemoryDisk, member: &str) -> io::Result<Identity> {
    Identity::open(&platform(disk.clone()), folder(), member)
}

#[tokio::test]
async fn the_mark_is_there_after_a_restart() {
    let disk = MemoryDisk::default();
    let identity = open(&disk, "catalog-1").unwrap();
    assert_eq!(identity.cluster(), None);
    let cluster = Uuid::new_v4();
    identity.set(cluster).await.unwrap();
    assert_eq!(identity.clone().cluster(), Some(cluster));
    let disk = disk.after_power_loss(PowerLoss::Total);
    assert_eq!(open(&disk, "catalog-1").unwrap().cluster(), Some(cluster));
}

#[tokio::test]
async fn the_data_of_another_replica_is_refused() {
    let disk = MemoryDisk::default();
    open(&disk, "catalog-1").unwrap().set(Uuid::new_v4()).await.unwrap();
    let error = open(&disk, "catalog-2").map(drop).unwrap_err();
    assert!(error.to_string().contains("the data of catalog-1, not of catalog-2"), "{error}");
}

#[test]
fn a_mark_that_cannot_be_read_is_not_taken_for_none() {
    for content in ["", "{", "{\"cluster\": 1}"] {
        let disk = MemoryDisk::default();
        disk.put(&folder().join("member.json"), content.as_bytes());
        let error = open(&disk, "catalog-1").map(drop).unwrap_err();
        assert!(error.to_string().contains("member.json"), "{error}");
    }
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_old_mark_or_the_new() {
    let (old, new) = (Uuid::new_v4(), Uuid::new_v4());
    for fails_after in 0.. {
        let disk = MemoryDisk::default();
        let identity = open(&disk, "catalog-1").unwrap();
        identity.set(old).await.unwrap();
        disk.fail_after(fails_after);
        let set = identity.set(new).await;
        assert_eq!(set.is_err(), disk.has_failed());
        assert_eq!(identity.cluster(), Some(if set.is_ok() { new } else { old }));
        for loss in PowerLoss::ways() {
            let left = open(&disk.after_power_loss(loss), "catalog-1").unwrap().cluster();
            assert!(left == Some(new) || (set.is_err() && left == Some(old)), "after {fails_after}, {loss:?}");
        }
        // What a killed process left counts once it was opened, so the power may fail right after.
        let disk = disk.after_kill();
        let opened = open(&disk, "catalog-1").unwrap().cluster();
        let left = open(&disk.after_power_loss(PowerLoss::Total), "catalog-1").unwrap().cluster();
        assert_eq!(left, opened, "after {fails_after}");
        if set.is_ok() {
            return;
        }
    }
}
