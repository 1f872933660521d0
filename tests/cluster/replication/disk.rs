//! What a node finds on its disk when it starts, and what it says when that is not right.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::cluster::Cluster;
use crate::common::until;

/// The newest file of a node's log.
fn newest_segment(cluster: &Cluster, id: &str) -> PathBuf {
    let files = fs::read_dir(cluster.data(id).join("log")).unwrap();
    files.map(|file| file.unwrap().path()).max().unwrap()
}

/// How many bytes of a segment were written: behind them are zeros.
fn written_bytes(segment: &Path) -> usize {
    let bytes = fs::read(segment).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// Starts a node that must refuse to, and returns what it says.
fn refusal(cluster: &mut Cluster, id: &str, flags: &[&str]) -> String {
    let before = cluster.log(id).len();
    cluster.start_with(id, flags);
    assert_eq!(cluster.wait_exit(id).code(), Some(1), "{id} fails");
    cluster.log(id)[before..].to_owned()
}

#[test]
fn a_torn_tail_of_the_log_is_cut_and_the_replica_catches_up() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    (0..20).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    let follower = cluster.follower("catalog");
    cluster.agreed_tables("catalog");
    cluster.kill9(&follower);

    let segment = newest_segment(&cluster, &follower);
    let length = written_bytes(&segment) as u64;
    // The beginning of a frame that is no frame.
    OpenOptions::new().write(true).open(&segment).unwrap().write_all_at(b"torn", length).unwrap();
    customer.post("/purchase/1").expect(201);
    cluster.start(&follower);
    cluster.wait_ready();
    assert!(cluster.log(&follower).contains("cut a torn tail off the log"));
    assert_eq!(cluster.audit().orders.len(), 21);
}

#[test]
fn a_log_that_was_cut_while_its_replica_was_stopped_is_refused() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    (0..20).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    let follower = cluster.follower("catalog");
    cluster.agreed_tables("catalog");
    cluster.signal(&follower, "TERM");
    assert_eq!(cluster.wait_exit(&follower).code(), Some(0));

    let segment = newest_segment(&cluster, &follower);
    let length = written_bytes(&segment) as u64;
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 5).unwrap();
    let told = refusal(&mut cluster, &follower, &[]);
    assert!(told.contains("0000000001.log: it was cut or damaged, or is an older copy"), "{told}");
    assert!(told.contains("--join"), "{told}");
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_refused() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    (0..20).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    let follower = cluster.follower("catalog");
    cluster.agreed_tables("catalog");
    cluster.kill9(&follower);

    let segment = newest_segment(&cluster, &follower);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = written_bytes(&segment) / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let told = refusal(&mut cluster, &follower, &[]);
    let file = segment.file_name().unwrap().to_str().unwrap();
    for expected in ["the log is damaged at byte", file, "--join"] {
        assert!(told.contains(expected), "{expected} is missing: {told}");
    }

    // As it says.
    fs::rename(cluster.data(&follower), cluster.path("kept for inspection")).unwrap();
    cluster.start_with(&follower, &["--join"]);
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    assert_eq!(cluster.audit().orders.len(), 21);
}

#[test]
fn a_replica_whose_data_is_removed_while_it_runs_stops_and_joins_again() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let follower = cluster.follower("catalog");
    // It may be putting tables there meanwhile.
    until("its data is removed", || fs::remove_dir_all(cluster.data(&follower)).is_ok());
    // It must not confirm what nobody finds again.
    customer.post("/purchase/1").expect(201);
    assert_eq!(cluster.wait_exit(&follower).code(), Some(1));
    let log = cluster.log(&follower);
    assert!(log.contains("0000000001.log: the file was removed while it was written to"), "{log}");
    customer.post("/purchase/1").expect(201);
    cluster.start_with(&follower, &["--join"]);
    cluster.wait_ready();
    assert_eq!(cluster.audit().orders.len(), 3);
}

#[test]
fn a_pipe_in_the_place_of_a_file_or_a_folder_is_refused_and_not_waited_for() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let follower = cluster.follower("catalog");
    for name in ["lock", "snapshot", "log", "member.json"] {
        cluster.kill9(&follower);
        let path = cluster.data(&follower).join(name);
        let kept = path.with_extension("kept");
        fs::rename(&path, &kept).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let told = refusal(&mut cluster, &follower, &[]);
        assert!(told.contains(&format!("{follower}/{name}: this is no")), "{name}: {told}");
        fs::remove_file(&path).unwrap();
        fs::rename(&kept, &path).unwrap();
        cluster.start(&follower);
        cluster.wait_ready();
    }
}

#[test]
fn the_data_of_another_node_is_refused() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    cluster.kill9_all(&["catalog-1", "catalog-2"]);
    fs::rename(cluster.data("catalog-2"), cluster.path("elsewhere")).unwrap();
    fs::rename(cluster.data("catalog-1"), cluster.data("catalog-2")).unwrap();
    let told = refusal(&mut cluster, "catalog-2", &[]);
    assert!(told.contains("this is the data of catalog-1, not of catalog-2"), "{told}");
}

#[test]
fn a_folder_that_another_process_uses_is_refused() {
    let mut cluster = Cluster::new(1, 1, 1).open();
    // The same node at another port: else the port alone would keep it from starting.
    let config = fs::read_to_string(cluster.path("shop.toml")).unwrap();
    let address = format!("address = \"{}\"", cluster.address("catalog-1"));
    let listen = format!("{address}\nlisten = \"127.0.0.1:{}\"", cluster.free_port());
    fs::write(cluster.path("shop.toml"), config.replace(&address, &listen)).unwrap();

    let mut second = cluster.command("catalog-1", &[]).spawn().unwrap();
    until("the second process has ended", || second.try_wait().unwrap().is_some());
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let told = cluster.log("catalog-1");
    assert!(told.contains("in use by another process"), "{told}");
    cluster.client("frontend-1").post("/purchase/1").expect(201);
}
