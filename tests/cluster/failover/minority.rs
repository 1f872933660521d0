//! One of three replicas dies or hangs while many customers buy and read.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::cluster::Cluster;
use crate::common::storm::Storm;
use crate::common::until;

const COPIES: u64 = 1_000_000;

/// How long customers may wait when a leader dies.
const RESUMES_WITHIN: Duration = Duration::from_secs(2);

/// Longer than an election takes, so that the others have gone on when a stopped leader wakes up.
const STOPPED_FOR: Duration = Duration::from_secs(3);

fn frontends(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.group("frontend").map(|id| cluster.address(id)).collect()
}

#[test]
fn no_customer_notices_that_a_leader_was_killed() {
    let mut cluster = Cluster::alone(2, 3, 3).with_copies(COPIES).open();
    let storm = Storm::start(&frontends(&cluster), COPIES, 8, 4);
    for role in ["catalog", "order"] {
        storm.wait_for_purchases(100);
        let leader = cluster.leader(role);
        storm.reset_silence();
        cluster.kill9(&leader);
        // More than were under way when the leader died.
        storm.wait_for_purchases(50);
        let silence = storm.longest_silence();
        assert!(silence < RESUMES_WITHIN, "purchases paused for {silence:?} when {leader} died");
        cluster.start(&leader);
        cluster.wait_ready();
    }
    storm.wait_for_purchases(100);
    let memory = storm.end();
    memory.assert_no_failures();
    memory.assert_agrees_with(&cluster.audit());
    memory.assert_cache_was_used();
}

#[test]
fn a_leader_that_hangs_and_wakes_up_tells_nobody_of_the_past() {
    let mut cluster = Cluster::new(2, 3, 3).with_copies(COPIES).open();
    let storm = Storm::start(&frontends(&cluster), COPIES, 8, 4);
    for role in ["catalog", "order"] {
        storm.wait_for_purchases(100);
        let leader = cluster.leader(role);
        let stopped = Instant::now();
        cluster.stop(&leader);
        cluster.leader(role);
        storm.wait_for_purchases(50);
        thread::sleep(STOPPED_FOR.saturating_sub(stopped.elapsed()));
        cluster.cont(&leader);
        storm.wait_for_purchases(100);
        cluster.wait_ready();
    }
    let memory = storm.end();
    memory.assert_no_failures();
    memory.assert_agrees_with(&cluster.audit());
    memory.assert_cache_was_used();
}

#[test]
fn followers_that_hang_and_wake_up_leave_their_leader_in_peace() {
    let cluster = Cluster::new(1, 3, 3).open();
    let mut customer = cluster.client("frontend-1");
    for role in ["catalog", "order"] {
        let leader = cluster.leader(role);
        let followers: Vec<String> = cluster.group(role).filter(|id| *id != leader).map(str::to_owned).collect();
        let term = |id: &str| cluster.status(id).unwrap()["term"].as_u64().unwrap();
        let first_term = term(&leader);
        // Of both at once each would think that the other hears nothing either.
        for hang in [&followers[..1], &followers[..]] {
            hang.iter().for_each(|id| cluster.signal(id, "STOP"));
            thread::sleep(STOPPED_FOR);
            hang.iter().for_each(|id| cluster.signal(id, "CONT"));
            cluster.wait_ready();
            customer.post("/purchase/1").expect(201);
            let terms: Vec<u64> = cluster.group(role).map(term).collect();
            assert_eq!(terms, [first_term; 3], "{hang:?} woke up");
        }
    }
}

#[test]
fn without_any_catalog_server_a_frontend_says_so() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    cluster.kill9_all(&["catalog-1", "catalog-2", "catalog-3"]);
    let mut customer = cluster.client("frontend-1");
    for path in ["/info/3", "/search/theory"] {
        let answer = customer.get(path);
        assert_eq!(answer.header("retry-after"), Some("1"));
        let problem = answer.problem(503, "unavailable");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("catalog-1, catalog-2, catalog-3"), "{detail}");
    }
    let not_ready = customer.get("/ready").problem(503, "unavailable");
    let detail = not_ready["detail"].as_str().unwrap();
    assert!(detail.contains("catalog-1: ") && !detail.contains("order-1"), "{detail}");
    customer.get("/health").expect(200);
    customer.get("/orders").expect(200);
    // Which searches show the book nobody can tell.
    assert_eq!(customer.post("/invalidate/3").expect(200).json(), json!({ "invalidated": "everything" }));

    cluster.start("catalog-1");
    cluster.start("catalog-3");
    cluster.wait_ready();
    customer.post("/purchase/3").expect(201);
}

#[test]
fn no_customer_of_a_shop_that_is_broken_is_told_where_its_servers_are() {
    for replicas in [2, 3] {
        let mut cluster = Cluster::new(1, replicas, replicas)
            .set("replication.commit_timeout_ms", 500)
            .set("reads.majority_wait_ms", 700)
            .set("balancer.attempt_timeout_ms", 400)
            .set("balancer.write_deadline_ms", 800)
            .open();
        let told = |cluster: &Cluster| {
            for node in ["catalog", "order", "frontend"].into_iter().flat_map(|role| cluster.running(role)) {
                let mut customer = cluster.client(node);
                for line in [
                    "DELETE /books/2",
                    "POST /purchase/1",
                    "GET /info/1",
                    "GET /orders",
                    "POST /invalidate/1",
                    "GET /ready",
                ] {
                    customer.ask(line).send().assert_discreet();
                }
            }
        };
        // All but one of each group, one after the other: as soon as it is dead or hangs, and when that is known.
        for role in ["catalog", "order"] {
            let (leader, follower) = (cluster.leader(role), cluster.follower(role));
            cluster.stop(&leader);
            told(&cluster);
            if replicas > 2 {
                cluster.kill9(&follower);
            }
            (0..2).for_each(|_| told(&cluster));
        }
        for id in ["catalog", "order"].map(|role| cluster.running(role).next().unwrap().to_owned()) {
            cluster.kill9(&id);
            (0..2).for_each(|_| told(&cluster));
        }
    }
}

#[test]
fn a_leader_tells_of_a_follower_that_is_gone_and_of_its_return() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let told = |cluster: &Cluster, what: &str| {
        let log = cluster.log(&leader);
        log.lines().filter(|line| line.contains(what) && line.contains(&follower)).count()
    };
    cluster.kill9(&follower);
    until("the leader tells of the death", || told(&cluster, "a follower does not answer") > 0);
    cluster.start(&follower);
    until("the leader tells of the return", || told(&cluster, "a follower answers again") > 0);
    assert_eq!(told(&cluster, "a follower does not answer"), 1);
}
