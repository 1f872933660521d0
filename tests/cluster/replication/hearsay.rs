//! What somebody says of a replica is believed only if that replica says so itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::forging::{Stranger, append, append_behind, number, request_vote, varint, vote};
use crate::common::cluster::Cluster;
use crate::common::until;

/// A replica that no configuration names.
const NOBODY: u64 = 9;

fn term(cluster: &Cluster, id: &str) -> u64 {
    cluster.status(id).unwrap()["term"].as_u64().unwrap()
}

/// The third of three replicas.
fn third(cluster: &Cluster, one: &str, other: &str) -> String {
    cluster.group("catalog").find(|id| ![one, other].contains(id)).unwrap().to_owned()
}

#[test]
fn nobody_stands_leads_or_succeeds_because_a_stranger_says_so() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let third = third(&cluster, &leader, &follower);
    let known = term(&cluster, &leader);
    let mut stranger = Stranger::new(&cluster, &follower);
    for named in [number(&leader), number(&third), NOBODY] {
        stranger.post("raft/append", append(known + 7, named)).problem(409, "conflict");
        stranger.post("raft/vote-for-successor", request_vote(known + 7, named)).problem(409, "conflict");
    }
    // One that stands was not elected yet.
    let elected = [vote(known + 7, number(&third)), vec![0]].concat();
    stranger.post("raft/vote-for-successor", elected).problem(409, "conflict");
    let answer = stranger.post("raft/hand-over", varint(known)).expect(200);
    assert_eq!(answer.body[0], 1, "an error: {:?}", answer.body);
    // Of three two are enough, whatever one of them was told.
    cluster.kill9(&third);
    customer.post("/purchase/1").expect(201);
    assert_eq!((term(&cluster, &leader), term(&cluster, &follower)), (known, known));
    cluster.start(&third);
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("catalog");
    assert_eq!(cluster.audit().orders.len(), 3);
}

#[test]
fn a_replica_that_is_told_of_two_leaders_of_one_term_goes_on() {
    let cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let third = third(&cluster, &leader, &follower);
    let known = term(&cluster, &leader);
    for round in 1..=20 {
        thread::scope(|scope| {
            for named in [number(&leader), number(&third), NOBODY] {
                let mut stranger = Stranger::new(&cluster, &follower);
                let message = append(known + round, named);
                scope.spawn(move || stranger.post("raft/append", message).problem(409, "conflict"));
            }
        });
    }
    customer.post("/purchase/1").expect(201);
    assert_eq!(term(&cluster, &follower), known);
    cluster.agreed_tables("catalog");
}

#[test]
fn a_follower_that_missed_an_election_learns_its_leader_from_that_leader_only() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    let follower = cluster.follower("catalog");
    cluster.kill9(&follower);
    let deposed = cluster.leader("catalog");
    cluster.kill9(&deposed);
    cluster.start(&deposed);
    let elected = cluster.leader("catalog");
    let other = third(&cluster, &elected, &follower);
    let missed = term(&cluster, &elected);
    // Nobody tells the follower anything but the stranger.
    cluster.stop(&elected);
    cluster.stop(&other);
    cluster.start(&follower);
    until("the follower answers", || cluster.status(&follower).is_some());
    let mut stranger = Stranger::new(&cluster, &follower);
    stranger.post("raft/append", append(missed, number(&other))).problem(409, "conflict");
    cluster.cont(&elected);
    cluster.cont(&other);
    cluster.wait_ready();
    let leader = cluster.leader("catalog");
    let lost = cluster.group("catalog").find(|id| ![&leader, &follower].map(String::as_str).contains(id)).unwrap();
    let lost = lost.to_owned();
    cluster.kill9(&lost);
    customer.post("/purchase/1").expect(201);
    assert_eq!(cluster.audit().orders.len(), 1);
}

#[test]
fn what_a_follower_has_confirmed_stays_though_a_stranger_says_that_its_leader_has_something_else() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let third = third(&cluster, &leader, &follower);
    let known = term(&cluster, &leader);
    let followers = [follower, third];
    let last = |id: &str| cluster.status(id).unwrap()["last_log_index"].as_u64().unwrap();
    until("all hold the same", || followers.iter().all(|id| last(id) == last(&leader)));
    let confirmed = last(&leader);
    for id in &followers {
        let message = append_behind(known, number(&leader), 0, confirmed);
        Stranger::new(&cluster, id).post("raft/append", message).problem(409, "conflict");
        assert_eq!(last(id), confirmed);
    }
    cluster.kill9(&leader);
    customer.post("/purchase/1").expect(201);
    cluster.start(&leader);
    cluster.wait_ready();
    cluster.agreed_tables("catalog");
    assert_eq!(cluster.audit().orders.len(), 2);
}

#[test]
fn an_entry_that_arrives_while_a_strangers_message_is_looked_at_stays() {
    const PURCHASES: usize = 400;
    const CUSTOMERS: usize = 4;
    const STRANGERS: usize = 16;
    let mut cluster = Cluster::new(1, 3, 1).open();
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let followers = [third(&cluster, &leader, &follower), follower];
    let (known, leads) = (term(&cluster, &leader), number(&leader));
    let last = |id: &str| cluster.status(id).unwrap()["last_log_index"].as_u64().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for id in followers.iter().flat_map(|id| [id; STRANGERS]) {
            let (cluster, last, is_over) = (&cluster, &last, &is_over);
            scope.spawn(move || {
                let mut stranger = Stranger::new(cluster, id);
                let mut next = last(id) + 1;
                while !is_over.load(Ordering::Relaxed) {
                    // It is refused once the entry is there.
                    if stranger.post("raft/append", append_behind(known, leads, 0, next)).status != 200 {
                        next = last(id) + 1;
                    }
                }
            });
        }
        let customers: Vec<_> = (0..CUSTOMERS).map(|_| cluster.client("frontend-1")).collect();
        thread::scope(|scope| {
            for mut customer in customers {
                scope.spawn(move || {
                    (0..PURCHASES / CUSTOMERS).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
                });
            }
        });
        is_over.store(true, Ordering::Relaxed);
    });
    cluster.kill9(&leader);
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    cluster.start(&leader);
    cluster.wait_ready();
    cluster.agreed_tables("catalog");
    assert_eq!(cluster.audit().orders.len(), PURCHASES + 1);
}
