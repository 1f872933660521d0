//! Servers that hang, are cut off or are gone: nobody waits for them who could know better.
//!
//! Whoever waits for an attempt to time out, or for a group to be given up by its deadline, takes longer than any of
//! these tests allows.

use std::time::Duration;

use bazar::http::client::Request;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::shop::{Answer, Shop, until};
use crate::switchboard::Hold;

const CATALOGS: [&str; 3] = ["catalog-1", "catalog-2", "catalog-3"];
const ORDERS: [&str; 3] = ["order-1", "order-2", "order-3"];
const FRONTEND: &str = "frontend-1";

/// The waits that must not happen are long.
const SETTINGS: &str = "
    [balancer]\nattempt_timeout_ms = 16000\nread_deadline_ms = 17000\nwrite_deadline_ms = 18000
    [http]\nrequest_timeout_ms = 19000
    [reads]\nmajority_wait_ms = 6000
";

/// How long an election and all that belongs to it may take on a machine that is busy with other tests.
const ELECTED_WITHIN: Duration = Duration::from_secs(5);

/// How long what needs no election may take there.
const SOON: Duration = Duration::from_secs(2);

fn all() -> Vec<&'static str> {
    [&CATALOGS[..], &ORDERS, &[FRONTEND]].concat()
}

fn others(than: &str) -> Vec<&'static str> {
    all().into_iter().filter(|id| *id != than).collect()
}

/// A shop of three and three that has sold a copy.
async fn open() -> Shop {
    let mut shop = Shop::new(&all(), SETTINGS);
    all().iter().for_each(|id| shop.start(id));
    until("the shop is open", async || (shop.get(FRONTEND, "/ready").await.status() == StatusCode::OK).then_some(()))
        .await;
    assert_eq!(buy(&shop, "the-first").await.0.status(), StatusCode::CREATED);
    shop
}

/// Buys, and tells how long that took.
async fn buy(shop: &Shop, key: &str) -> (Answer, Duration) {
    let began = Instant::now();
    (shop.write(FRONTEND, Method::POST, "/buy/7", key, json!({})).await, began.elapsed())
}

/// Buys some copies at once; the longest time that one took. Each must be bought.
async fn buy_some(shop: &Shop, key: &str) -> Duration {
    let keys: Vec<String> = (0..4).map(|number| format!("{key}-{number}")).collect();
    let bought = futures_util::future::join_all(keys.iter().map(|key| buy(shop, key))).await;
    let longest = bought.iter().map(|(_, took)| *took).max().unwrap();
    bought.iter().for_each(|(answer, _)| assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text()));
    longest
}

/// Reads past the cache, and tells how long that took. The answer must be current.
async fn read(shop: &Shop, path: &str) -> Duration {
    let began = Instant::now();
    let request = Request::get(path).header(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let answer = shop.ask(FRONTEND, request, Duration::from_secs(30)).await.unwrap();
    assert_eq!((answer.status(), answer.is_stale()), (StatusCode::OK, false), "{}", answer.text());
    began.elapsed()
}

fn assert_within(took: Duration, limit: Duration, what: &str) {
    println!("{what}: {took:?}");
    assert!(took < limit, "{what} took {took:?}");
}

#[tokio::test]
async fn nobody_waits_for_an_order_leader_that_hangs() {
    let shop = open().await;
    let leader = shop.leader(&ORDERS).await;
    shop.switchboard.part(&[&leader], &others(&leader));
    assert_within(buy_some(&shop, "under-way").await, ELECTED_WITHIN, "a purchase while the order leader hangs");
    assert_within(buy_some(&shop, "later").await, SOON, "a later purchase");
}

#[tokio::test]
async fn a_follower_takes_a_purchase_to_the_successor_of_a_leader_that_hangs() {
    let shop = open().await;
    let leader = shop.leader(&ORDERS).await;
    let follower = ORDERS.into_iter().find(|id| *id != leader).unwrap();
    shop.switchboard.part(&[&leader], &others(&leader));
    let began = Instant::now();
    let bought = shop.write(follower, Method::POST, "/buy/7", "at-a-follower", json!({})).await;
    assert_eq!(bought.status(), StatusCode::CREATED, "{}", bought.text());
    assert_within(began.elapsed(), ELECTED_WITHIN, "a purchase at a follower");
}

#[tokio::test]
async fn a_replica_that_is_cut_off_lets_no_read_wait_that_comes_later() {
    let shop = open().await;
    let leader = shop.leader(&CATALOGS).await;
    let cut_off = CATALOGS.into_iter().find(|id| *id != leader).unwrap();
    shop.switchboard.part(&[cut_off], &others(cut_off));
    until("it answers as it may", async || shop.get(cut_off, "/info/7").await.is_stale().then_some(())).await;
    let began = Instant::now();
    for _ in 0..20 {
        assert!(shop.get(cut_off, "/info/7").await.is_stale());
    }
    assert_within(began.elapsed(), SOON, "twenty reads at a replica that is cut off");
    shop.switchboard.open();
    until("it is current again", async || (!shop.get(cut_off, "/info/7").await.is_stale()).then_some(())).await;
}

#[tokio::test]
async fn nobody_waits_for_an_order_leader_that_is_cut_off_from_its_peers() {
    let shop = open().await;
    let leader = shop.leader(&ORDERS).await;
    let peers: Vec<&str> = ORDERS.into_iter().filter(|id| *id != leader).collect();
    shop.switchboard.part(&[&leader], &peers);
    assert_within(buy_some(&shop, "under-way").await, ELECTED_WITHIN, "a purchase while the order leader is cut off");
    assert_within(buy_some(&shop, "later").await, SOON, "a later purchase");
}

#[tokio::test]
async fn nobody_waits_for_a_catalog_leader_that_hangs() {
    let shop = open().await;
    let leader = shop.leader(&CATALOGS).await;
    shop.switchboard.part(&[&leader], &others(&leader));
    let (bought, seen) = tokio::join!(buy_some(&shop, "under-way"), read(&shop, "/info/1"));
    assert_within(bought, ELECTED_WITHIN, "a purchase while the catalog leader hangs");
    assert_within(seen, ELECTED_WITHIN, "a read while the catalog leader hangs");
    assert_within(buy_some(&shop, "later").await, SOON, "a later purchase");
}

#[tokio::test]
async fn nobody_waits_for_a_catalog_leader_that_is_cut_off_from_its_peers() {
    let shop = open().await;
    let leader = shop.leader(&CATALOGS).await;
    let peers: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != leader).collect();
    shop.switchboard.part(&[&leader], &peers);
    let reads = async {
        let mut longest = Duration::ZERO;
        for book in 1..=6 {
            longest = longest.max(read(&shop, &format!("/info/{book}")).await);
        }
        longest
    };
    let (bought, seen) = tokio::join!(buy_some(&shop, "under-way"), reads);
    assert_within(bought, ELECTED_WITHIN, "a purchase while the catalog leader is cut off");
    assert_within(seen, ELECTED_WITHIN, "a read while the catalog leader is cut off");
    assert_within(buy_some(&shop, "later").await, SOON, "a later purchase");
}

#[tokio::test]
async fn order_servers_go_round_a_catalog_leader_that_they_cannot_reach() {
    let shop = open().await;
    let leader = shop.leader(&CATALOGS).await;
    shop.switchboard.part(&ORDERS, &[&leader]);
    assert_within(buy_some(&shop, "the-first").await, SOON, "the first purchase round the catalog leader");
    let began = Instant::now();
    for number in 0..10 {
        let longest = buy_some(&shop, &format!("round-{number}")).await;
        println!("round it: {longest:?}");
    }
    assert_within(began.elapsed(), SOON * 2, "ten more, one after the other");
}

#[tokio::test]
async fn an_order_leader_that_alone_cannot_reach_the_catalog_hands_over_and_follows() {
    let shop = open().await;
    let leader = shop.leader(&ORDERS).await;
    let peers: Vec<&str> = ORDERS.into_iter().filter(|id| *id != leader).collect();
    shop.switchboard.part(&[&leader], &CATALOGS);
    assert_within(buy_some(&shop, "under-way").await, ELECTED_WITHIN, "a purchase while the order leader is cut off");
    assert_within(buy_some(&shop, "later").await, SOON, "a later purchase");
    let successor = shop.leader(&peers).await;
    let status = shop.document(&leader, "/cluster").await;
    assert_eq!((&status["state"], &status["leader"]), (&json!("follower"), &json!(successor)));

    // None can serve: there is nobody to hand over to.
    shop.switchboard.part(&ORDERS, &CATALOGS);
    let term = shop.document(&successor, "/cluster").await["term"].clone();
    until("its status says so", async || {
        let hindrance = shop.document(&successor, "/cluster").await["hindrance"].clone();
        hindrance.as_str().is_some_and(|hindrance| hindrance.contains("catalog-1")).then_some(())
    })
    .await;
    tokio::time::sleep(SOON).await;
    let status = shop.document(&successor, "/cluster").await;
    assert_eq!((&status["leader_ready"], &status["term"]), (&json!(true), &term));

    shop.switchboard.open();
    until("it sells again", async || (buy(&shop, "again").await.0.status() == StatusCode::CREATED).then_some(())).await;
    until("nothing hinders it", async || {
        shop.document(&successor, "/cluster").await["hindrance"].is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_follower_whose_disk_hangs_delays_few_reads() {
    let shop = open().await;
    let leader = shop.leader(&CATALOGS).await;
    let follower = CATALOGS.into_iter().find(|id| *id != leader).unwrap();
    shop.disk(follower).hold();
    assert_eq!(shop.set_price(FRONTEND, 7, 21).await.status(), StatusCode::OK);
    let mut times = Vec::new();
    let began = Instant::now();
    for _ in 0..30 {
        times.push(read(&shop, "/info/7").await);
    }
    println!("reads beside a hung disk: {times:?}");
    assert_within(began.elapsed(), SOON * 2, "thirty reads");
    shop.disk(follower).release();
}

#[tokio::test]
async fn what_a_group_that_is_gone_cannot_have_done_is_refused_and_at_once() {
    for group in [CATALOGS, ORDERS] {
        let mut shop = open().await;
        shop.kill_all(&group);
        let role = group[0].split('-').next().unwrap();
        for number in 0..6 {
            let (answer, took) = buy(&shop, &format!("key-{number}")).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
            assert!(answer.text().contains(&format!("none of the {role} servers answers")), "{}", answer.text());
            assert_within(took, if number == 0 { ELECTED_WITHIN } else { SOON / 2 }, "a refusal");
        }
        let answer = shop.get(FRONTEND, "/ready").await;
        assert!(answer.text().contains(&format!("none of the {role} servers serves")), "{}", answer.text());
        // It is found again by itself.
        group.iter().for_each(|id| shop.start(id));
        until("it sells again", async || (buy(&shop, "at-last").await.0.status() == StatusCode::CREATED).then_some(()))
            .await;
    }
}

/// Whoever wants something of a group finds out that nobody reaches its leader, which all still hear.
#[tokio::test]
async fn a_leader_that_sends_and_that_nobody_reaches_is_replaced() {
    for group in [&CATALOGS[..], &ORDERS] {
        let shop = open().await;
        let deaf = until("one leads", async || {
            let status = shop.document(group[0], "/cluster").await;
            status["leader"].as_str().map(str::to_owned)
        })
        .await;
        others(&deaf).into_iter().for_each(|id| shop.switchboard.hold(id, &deaf, Hold::Everything));
        let began = Instant::now();
        let answer = until("a copy is bought again", async || {
            let request = Request::post("/buy/7", Bytes::from_static(b"{}"));
            let answer = shop.ask(FRONTEND, request, ELECTED_WITHIN).await?;
            (answer.status() == StatusCode::CREATED).then_some(answer)
        })
        .await;
        assert!(began.elapsed() < ELECTED_WITHIN, "{:?}: {}", began.elapsed(), answer.text());
        // It learns that it was replaced.
        shop.switchboard.open();
        until("it follows", async || {
            let status = shop.document(&deaf, "/cluster").await;
            (status["leader"].as_str()? != deaf).then_some(())
        })
        .await;
    }
}
