//! Replicas that are cut off, slow or behind, and leave their leader in peace; and groups that need everybody.

use std::time::Duration;

use bazar::http::client::Request;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::shop::{PATIENCE, Shop, until};
use crate::switchboard::Hold;

const CATALOGS: [&str; 3] = ["catalog-1", "catalog-2", "catalog-3"];

/// Of whoever has the shortest election in this file's shops, long enough for several.
const MANY_ELECTIONS: Duration = Duration::from_millis(1500);

/// More entries than a log keeps behind its snapshot, and so more than a replica may miss without needing one.
const MISSED: u64 = 1_200;

const QUICK: &str = "
    [cache]\nlease_ms = 100
    [replication]\nheartbeat_ms = 50\nelection_timeout_min_ms = 200\nelection_timeout_max_ms = 300
    [reads]\nmajority_wait_ms = 1000
";

fn shop(catalogs: &[&str], settings: &str) -> Shop {
    let mut shop = Shop::new(&[catalogs, &["frontend-1", "order-1"]].concat(), settings);
    catalogs.iter().for_each(|id| shop.start(id));
    shop
}

async fn number(shop: &Shop, id: &str, key: &str) -> u64 {
    shop.document(id, "/cluster").await[key].as_u64().unwrap()
}

/// Waits until a replica follows the leader and has all that the leader has.
async fn caught_up(shop: &Shop, follower: &str, leader: &str) {
    until("the follower has caught up", async || {
        let index = number(shop, leader, "applied_index").await;
        let status = shop.document(follower, "/cluster").await;
        (status["leader"] == leader && status["applied_index"] == index).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_was_cut_off_comes_back_without_an_election() {
    let shop = shop(&CATALOGS, QUICK);
    let leader = shop.leader(&CATALOGS).await;
    let term = number(&shop, &leader, "term").await;
    let others: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != leader).collect();
    let (cut_off, peers) = (others[0], [&leader, others[1]]);

    // Once from everybody, once so that it is heard but hears nothing, once so that it hears but is not answered.
    for round in 0..3 {
        match round {
            0 => shop.switchboard.part(&[cut_off], &peers),
            1 => shop.switchboard.hold(&leader, cut_off, Hold::Everything),
            _ => peers.iter().for_each(|peer| shop.switchboard.hold(cut_off, peer, Hold::Answers)),
        }
        tokio::time::sleep(MANY_ELECTIONS).await;
        assert_eq!(shop.set_price(&leader, 7, 10 + round).await.status(), StatusCode::OK);
        shop.switchboard.open();
        caught_up(&shop, cut_off, &leader).await;
        assert_eq!(number(&shop, &leader, "term").await, term, "round {round}");
        assert_eq!(number(&shop, cut_off, "term").await, term, "round {round}");
    }
}

#[tokio::test]
async fn followers_whose_disks_are_slow_keep_their_leader() {
    let shop = shop(&CATALOGS, QUICK);
    let leader = shop.leader(&CATALOGS).await;
    let term = number(&shop, &leader, "term").await;
    let followers: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != leader).collect();

    followers.iter().for_each(|id| shop.disk(id).hold());
    let write = shop.visitor.clone();
    let write = tokio::spawn({
        let leader = leader.clone();
        async move { write.set_price(&leader, 7, 10).await.status() }
    });
    tokio::time::sleep(MANY_ELECTIONS).await;
    followers.iter().for_each(|id| shop.disk(id).release());
    write.await.unwrap();
    for follower in followers {
        caught_up(&shop, follower, &leader).await;
    }
    assert_eq!(number(&shop, &leader, "term").await, term);
}

#[tokio::test]
async fn a_voter_that_takes_long_to_store_a_snapshot_keeps_its_leader() {
    let settings = QUICK.replace("[replication]", "[replication]\nsegment_bytes = 4096\nsnapshot_log_bytes = 8192");
    let mut shop = shop(&CATALOGS, &settings);
    let leader = shop.leader(&CATALOGS).await;
    let slow = *CATALOGS.iter().find(|id| **id != leader).unwrap();
    shop.kill(slow);
    let change = |count: u64| (format!("stock-{count}"), json!({ "quantity_change": 1 }));
    let mut written = 0;
    until("the snapshot covers enough", async || {
        for _ in 0..50 {
            written += 1;
            let (key, body) = change(written);
            let answer = shop.write(&leader, Method::PUT, "/update/1/stock", &key, body).await;
            assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text());
        }
        (number(&shop, &leader, "snapshot_index").await > MISSED).then_some(())
    })
    .await;
    let term = number(&shop, &leader, "term").await;

    shop.disk(slow).hold_snapshots();
    shop.start(slow);
    until("the snapshot arrives", async || (shop.disk(slow).waiting() > 0).then_some(())).await;
    // Nobody writes or reads: the leader has nothing else to say.
    tokio::time::sleep(MANY_ELECTIONS).await;
    assert_eq!(number(&shop, slow, "term").await, term);
    shop.disk(slow).release();
    caught_up(&shop, slow, &leader).await;
    assert_eq!(number(&shop, &leader, "term").await, term);
}

#[tokio::test]
async fn a_follower_that_takes_long_to_start_keeps_its_leader() {
    let settings = QUICK.replace("[replication]", "[replication]\nsegment_bytes = 4096\nsnapshot_log_bytes = 8192");
    let mut shop = shop(&CATALOGS, &settings);
    let leader = shop.leader(&CATALOGS).await;
    let term = number(&shop, &leader, "term").await;
    let slow = *CATALOGS.iter().find(|id| **id != leader).unwrap();
    let mut price = 0;
    until("it has a snapshot to start from", async || {
        price += 1;
        assert_eq!(shop.set_price(&leader, 7, price).await.status(), StatusCode::OK);
        (number(&shop, slow, "snapshot_index").await > 0).then_some(())
    })
    .await;

    // Once while it reads its snapshot, once while it opens its log, and once while it writes to it first.
    for round in 0..3 {
        shop.kill(slow);
        assert_eq!(shop.set_price(&leader, 7, 10_000 + round).await.status(), StatusCode::OK);
        match round {
            0 => shop.disk(slow).hold_snapshots(),
            _ => shop.disk(slow).hold_after(round as usize - 1),
        }
        shop.start(slow);
        until("it has begun to start", async || (shop.disk(slow).waiting() > 0).then_some(())).await;
        tokio::time::sleep(MANY_ELECTIONS).await;
        assert_eq!(shop.set_price(&leader, 7, 20_000 + round).await.status(), StatusCode::OK);
        shop.disk(slow).release();
        caught_up(&shop, slow, &leader).await;
        assert_eq!(number(&shop, &leader, "term").await, term, "round {round}");
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_says_soon_that_it_cannot_know() {
    let shop = shop(&CATALOGS, QUICK);
    let leader = shop.leader(&CATALOGS).await;
    let peers: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != leader).collect();
    shop.switchboard.part(&[&leader], &peers);
    let parted_at = Instant::now();
    let (under_way, successor) = tokio::join!(shop.set_price(&leader, 7, 10), shop.leader(&peers));
    assert_eq!(under_way.status(), StatusCode::GATEWAY_TIMEOUT, "{}", under_way.text());
    // The longest election, and a heartbeat until it shows; far from the time that a commit may take.
    assert!(parted_at.elapsed() < Duration::from_secs(2), "{:?}", parted_at.elapsed());
    assert_eq!(shop.set_price(&successor, 7, 11).await.status(), StatusCode::OK);
    until("it does not lead any more", async || {
        (!shop.document(&leader, "/cluster").await["leader_ready"].as_bool()?).then_some(())
    })
    .await;

    let term = number(&shop, &successor, "term").await;
    shop.switchboard.open();
    caught_up(&shop, &leader, &successor).await;
    assert_eq!(number(&shop, &successor, "term").await, term);
}

#[tokio::test]
async fn a_leader_is_not_confirmed_by_what_its_followers_said_before() {
    let shop = shop(&CATALOGS, QUICK);
    let leader = shop.leader(&CATALOGS).await;
    let peers: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != leader).collect();
    assert_eq!(shop.set_price(&leader, 7, 10).await.status(), StatusCode::OK);
    // They confirmed the write a moment ago, so that nothing needs to be sent to them for some milliseconds.
    shop.switchboard.part(&[&leader], &peers);
    let read = shop.ask(&leader, Request::get("/info/7"), PATIENCE).await.unwrap();
    assert!(read.is_stale() || !read.status().is_success(), "{}", read.text());
}

#[tokio::test]
async fn any_three_of_four_elect_a_leader_however_long_their_logs_are() {
    const FOUR: [&str; 4] = ["catalog-1", "catalog-2", "catalog-3", "catalog-4"];
    const ELECTED_WITHIN: Duration = Duration::from_secs(2);
    let mut shop = shop(&FOUR, QUICK);
    for round in 0..8 {
        let leader = shop.leader(&FOUR).await;
        let position = FOUR.iter().position(|id| *id == leader).unwrap();
        // Its log is shorter than the others'.
        let behind = FOUR[(position + 1 + round % 3) % 4];
        let others: Vec<&str> = FOUR.into_iter().filter(|id| *id != behind).collect();
        shop.switchboard.part(&[behind], &others);
        for price in 0..3 {
            assert_eq!(shop.set_price(&leader, 7, 10 * (round as u64 + 1) + price).await.status(), StatusCode::OK);
        }
        shop.kill_all(&FOUR);
        shop.switchboard.open();

        let dead = others[round % 3];
        let alive: Vec<&str> = FOUR.into_iter().filter(|id| *id != dead).collect();
        alive.iter().for_each(|id| shop.start(id));
        let started_at = Instant::now();
        shop.leader(&alive).await;
        let took = started_at.elapsed();
        assert!(took < ELECTED_WITHIN, "round {round}: {took:?} without {dead}, {behind} being behind");
        shop.start(dead);
    }
}
