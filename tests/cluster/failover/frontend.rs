//! A frontend hangs or dies, and its cache with it.

use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::{until, until_some};

fn sold(customer: &mut Client, book: u64) -> u64 {
    1000 - customer.get(&format!("/info/{book}")).expect(200).json()["quantity"].as_u64().unwrap()
}

#[test]
fn a_frontend_that_hung_while_books_were_sold_wakes_up_without_the_old_stock() {
    let mut cluster = Cluster::new(2, 3, 3).open();
    let (mut awake, mut hung) = (cluster.client("frontend-1"), cluster.client("frontend-2"));
    for book in 1..=7 {
        until(&format!("book {book} is cached"), || hung.get(&format!("/info/{book}")).is_hit());
    }
    cluster.stop("frontend-2");
    for book in 1..=7 {
        awake.post(&format!("/purchase/{book}")).expect(201);
    }
    cluster.cont("frontend-2");
    let seen: Vec<u64> = (1..=7).map(|book| sold(&mut hung, book)).collect();
    assert_eq!(seen, [1; 7], "what each book's reader saw after one copy of each was sold");
}

#[test]
fn books_are_sold_at_one_frontend_while_another_is_dead() {
    let mut cluster = Cluster::new(2, 3, 3).open();
    let (mut alive, mut dead) = (cluster.client("frontend-1"), cluster.client("frontend-2"));
    until("book 1 is cached", || dead.get("/info/1").is_hit());
    cluster.kill9("frontend-2");
    for copies in 1..=5 {
        alive.post("/purchase/1").expect(201);
        assert_eq!(sold(&mut alive, 1), copies);
    }
    cluster.start("frontend-2");
    let seen = until_some("it is back", || {
        let answer = cluster.client("frontend-2").ask("GET /info/1").try_send().ok()?;
        (answer.status == 200).then(|| answer.json()["quantity"].clone())
    });
    assert_eq!(seen, 995);
}

#[test]
fn the_second_read_after_a_frontend_is_ready_is_a_hit() {
    let mut cluster = Cluster::new(1, 3, 3).open();
    let assert_caches = |cluster: &Cluster, when: &str| {
        let mut customer = cluster.client("frontend-1");
        for path in ["/info/1", "/search/theory"] {
            customer.get(path).expect(200);
            assert!(customer.get(path).expect(200).is_hit(), "{path} is not cached {when}");
        }
    };
    assert_caches(&cluster, "in a new shop");
    cluster.kill9("frontend-1");
    cluster.start("frontend-1");
    cluster.wait_ready();
    assert_caches(&cluster, "after a restart");
}

#[test]
fn the_cache_is_back_as_soon_as_a_new_leader_is_ready() {
    let mut cluster = Cluster::new(1, 3, 3).open();
    let mut customer = cluster.client("frontend-1");
    until("book 1 is cached", || customer.get("/info/1").is_hit());
    let leader = cluster.leader("catalog");
    cluster.kill9(&leader);
    until("a new leader is ready", || {
        customer.put("/update/2/stock", &serde_json::json!({ "quantity_change": 1 })).status == 200
    });
    let leader_ready = Instant::now();
    until("book 1 is cached again", || customer.get("/info/1").is_hit());
    // It takes some 10 ms. Without asking anew at once it took half a lease.
    let late = leader_ready.elapsed();
    assert!(late < Duration::from_millis(250), "cached {late:?} after the leader was ready");
}
