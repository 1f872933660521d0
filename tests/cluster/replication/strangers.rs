//! Messages that no replica sends, from somebody who knows all names.

use std::time::{Duration, Instant};

use super::forging::{Stranger, append, number, varint, vote};
use crate::common::cluster::Cluster;
use crate::common::{until, until_some};

/// The version in which commands are written.
const VERSION: u8 = 1;

/// AppendEntries with one entry behind `last`, which holds one command and is committed already.
fn append_command(term: u64, leader: u64, last: u64, command: &[u8]) -> Vec<u8> {
    append_commands(term, leader, last, 0, &[command])
}

/// The same with several commands, at this time of the group.
fn append_commands(term: u64, leader: u64, last: u64, group_ms: u64, commands: &[&[u8]]) -> Vec<u8> {
    let position = |index| [varint(term), varint(index)].concat();
    let mut batch = [varint(0), varint(group_ms), varint(commands.len() as u64)].concat();
    commands.iter().for_each(|command| batch.extend([varint(command.len() as u64), command.to_vec()].concat()));
    let entry = [position(last + 1), vec![1], batch].concat();
    let (prev, committed) = ([vec![1], position(last)].concat(), [vec![1], position(last + 1)].concat());
    [vote(term, leader), prev, vec![1], entry, committed].concat()
}

/// A snapshot without bytes, under this manifest.
fn snapshot(term: u64, leader: u64, manifest: &str) -> Vec<u8> {
    let header = [vote(term, leader), varint(manifest.len() as u64), manifest.as_bytes().to_vec()].concat();
    [(header.len() as u32).to_le_bytes().to_vec(), header].concat()
}

/// A snapshot of the catalog in its leader's name, of which the first table is `text` and the others are empty.
fn forged_snapshot(cluster: &Cluster, leader: &str, text: &[u8], crc32: u32) -> Vec<u8> {
    let term = cluster.status(leader).unwrap()["term"].as_u64().unwrap();
    let meta = r#"{"last_log_id":{"leader_id":TERM,"index":900000},"last_membership":{"log_id":null,"membership":{"configs":[[1,2,3]],"nodes":{"1":{},"2":{},"3":{}}}},"snapshot_id":"TERM-900000"}"#;
    let meta = meta.replace("TERM", &term.to_string());
    let table = |name: &str, bytes: usize, crc32: u32| {
        format!(r#"{{"name":"{name}","file":"{name}.7.csv","bytes":{bytes},"crc32":{crc32}}}"#)
    };
    let tables = [table("catalog", text.len(), crc32), table("ledger", 0, 0), table("keyless", 0, 0)].join(",");
    let manifest = format!(r#"{{"meta":{meta},"group_ms":0,"scalars":null,"tables":[{tables}]}}"#);
    [snapshot(term, number(leader), &manifest), text.to_vec()].concat()
}

#[test]
fn a_snapshot_that_its_leader_does_not_send_is_refused_and_stops_nobody() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let message = forged_snapshot(&cluster, &leader, b"x", crc32fast::hash(b"x"));
    let told = Stranger::new(&cluster, &follower).post("raft/snapshot", message).problem(409, "conflict");
    assert!(told["detail"].as_str().unwrap().contains("it is not sending the snapshot"), "{told}");
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("catalog");
    cluster.kill9(&follower);
    cluster.start(&follower);
    cluster.wait_ready();
    assert_eq!(cluster.audit().orders.len(), 2);
}

#[test]
fn what_would_take_far_more_memory_than_it_has_bytes_is_refused_unread() {
    let cluster = Cluster::new(1, 3, 1).open();
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let term = cluster.status(&leader).unwrap()["term"].as_u64().unwrap();
    let entry = |payload: &[u8]| [varint(term), varint(900_000), payload.to_vec(), vec![0; 3 << 20]].concat();
    let mut stranger = Stranger::new(&cluster, &follower);
    // Two entries; one that changes the members.
    for (entries, entry) in [(2, entry(&[1])), (1, entry(&[2]))] {
        let message = [vote(term, number(&leader)), vec![0], varint(entries), entry].concat();
        stranger.post("raft/append", message).problem(400, "malformed");
    }
    cluster.client("frontend-1").post("/purchase/1").expect(201);
}

#[test]
fn snapshots_of_which_not_even_the_header_comes_keep_no_other_waiting() {
    let cluster = Cluster::new(1, 3, 1).open();
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let mut strangers: Vec<Stranger> = (0..8).map(|_| Stranger::new(&cluster, &follower)).collect();
    for stranger in &mut strangers {
        stranger.begin("raft/snapshot", 100_000, 2);
    }
    let begun_at = Instant::now();
    let message = forged_snapshot(&cluster, &leader, b"x", 0);
    Stranger::new(&cluster, &follower).post("raft/snapshot", message).problem(409, "conflict");
    // One piece of a body may take longer than that.
    assert!(begun_at.elapsed() < Duration::from_secs(5), "{:?}", begun_at.elapsed());
}

#[test]
fn a_command_that_no_machine_understands_is_refused_and_stops_nobody() {
    let mut cluster = Cluster::new(1, 3, 3).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    for group in ["catalog", "order"] {
        let (leader, follower) = (cluster.leader(group), cluster.follower(group));
        until_some("its log to stand still", || {
            let status = cluster.status(&follower)?;
            let (term, last) = (status["term"].as_u64()?, status["last_log_index"].as_u64()?);
            let message = append_command(term, number(&leader), last, &[VERSION, 0xff]);
            let answer = Stranger::new(&cluster, &follower).post("raft/append", message);
            answer.text().contains("cannot be understood").then_some(())?;
            let message = append_command(term, number(&leader), last, &[VERSION + 1]);
            let answer = Stranger::new(&cluster, &follower).post("raft/append", message);
            answer.text().contains("version 2 of its format").then_some(())
        });
        customer.post("/purchase/1").expect(201);
        cluster.agreed_tables(group);
        cluster.kill9(&follower);
        cluster.start(&follower);
        cluster.wait_ready();
    }
    assert_eq!(cluster.audit().orders.len(), 3);
}

#[test]
fn an_entry_from_beyond_all_time_or_of_more_commands_than_there_can_be_is_refused() {
    let cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    // Writes, and none of them.
    let harmless: &[u8] = &[VERSION, 1, 0];
    let many = vec![&[][..]; 70_000];
    for (group_ms, commands, refusal) in [(u64::MAX, &[harmless][..], "beyond all time"), (1, &many, "not a message")] {
        until_some("its log to stand still", || {
            let status = cluster.status(&follower)?;
            let (term, last) = (status["term"].as_u64()?, status["last_log_index"].as_u64()?);
            let message = append_commands(term, number(&leader), last, group_ms, commands);
            let answer = Stranger::new(&cluster, &follower).post("raft/append", message);
            answer.text().contains(refusal).then_some(())
        });
    }
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("catalog");
}

#[test]
fn no_single_message_kills_removes_or_deposes_a_replica_for_good() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let term = cluster.status(&leader).unwrap()["term"].as_u64().unwrap();
    let second = (1..=3).find(|candidate| ![number(&leader), number(&follower)].contains(candidate)).unwrap();
    for id in [&follower, &leader] {
        let mut stranger = Stranger::new(&cluster, id);
        stranger.post("raft/append", append(u64::MAX, second)).problem(409, "conflict");
        stranger.post("raft/append", append(term, second)).problem(409, "conflict");
        stranger.post("raft/append", append(term + 1, number(id))).problem(409, "conflict");
        let candidate = [vote(u64::MAX, second), vec![0]].concat();
        stranger.post("raft/vote", candidate).problem(409, "conflict");
        for path in ["raft/vote", "replica/origin", "replica/join", "replica/admit"] {
            stranger.post(path, vec![0; 70_000]).problem(413, "body-too-large");
        }
        // So many questions, or entries, would take gigabytes once decoded.
        stranger.post("replica/read-index", varint(1 << 40)).problem(400, "malformed");
        stranger.post("raft/append", [vote(term, second), vec![0], varint(1 << 40)].concat()).problem(400, "malformed");
        let meta = r#"{"last_log_id":{"leader_id":TERM,"index":900000},"last_membership":{"log_id":null,"membership":{"configs":[[1,2,3]],"nodes":{"1":{},"2":{},"3":{}}}},"snapshot_id":"TERM-900000"}"#;
        let meta = meta.replace("TERM", &term.to_string());
        let table = r#"{"name":"../../../elsewhere/pwned","file":"x","bytes":0,"crc32":0}"#;
        let manifest = format!(r#"{{"meta":{meta},"group_ms":0,"scalars":null,"tables":[{table}]}}"#);
        let told = stranger.post("raft/snapshot", snapshot(term, number(&leader), &manifest));
        let reason = if *id == leader { "it does not come from a leader" } else { "it is not sending the snapshot" };
        assert!(told.text().contains(reason), "{}", told.text());
        assert!(!cluster.path("elsewhere").exists());
    }
    // A healthy replica is not taken out because somebody says that it joins, and a stranger is not let in.
    for (path, number) in [("replica/join", number(&follower)), ("replica/join", 9), ("replica/admit", 9)] {
        let answer = Stranger::new(&cluster, &leader).post(path, varint(number)).expect(200);
        assert_eq!(answer.body[0], 1, "an error: {:?}", answer.body);
    }
    let mut other = Stranger::new(&cluster, &leader);
    other.to = follower.clone();
    other.post("raft/append", append(term, second)).problem(421, "misdirected");

    let status = cluster.status(&leader).unwrap();
    assert_eq!((status["term"].as_u64(), status["voters"].as_array().unwrap().len()), (Some(term), 3));
    assert!(status["refusals"].to_string().contains("a stranger"), "{status}");
    for _ in 0..3 {
        customer.post("/purchase/1").expect(201);
    }
    cluster.kill9_everything();
    cluster.start_all();
    cluster.wait_ready();
    assert_eq!(cluster.audit().orders.len(), 4);
}

#[test]
fn messages_that_come_only_half_are_bounded_together_and_stop_nobody() {
    let cluster = Cluster::alone(1, 3, 1).open();
    let follower = cluster.follower("catalog");
    // Of each the rest is missing; each alone is shorter than a message may be.
    let mut strangers: Vec<Stranger> = (0..12).map(|_| Stranger::new(&cluster, &follower)).collect();
    for stranger in &mut strangers {
        stranger.begin("raft/append", 31 << 20, 30 << 20);
    }
    let refusal = strangers.last_mut().unwrap().client.read_raw("POST /internal/v1/raft/append").unwrap();
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    assert!(refusal.text().contains("too much is under way on other connections"), "{}", refusal.text());
    // It goes on following.
    cluster.client("frontend-1").put("/update/1/price", &serde_json::json!({ "price": 3 })).expect(200);
    until("the follower has it", || cluster.client(&follower).get("/info/1").json()["price"].as_f64() == Some(3.0));
    assert_eq!(cluster.client(&follower).get("/health").status, 200);
}
