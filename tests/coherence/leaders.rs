//! Leaders that are deposed, killed, or cannot tell what became of a write: whole catalog groups.

use std::sync::Mutex;
use std::time::Duration;

use bazar::http::client::Request;
use bazar::protocol::cache::LeaseReply;
use hyper::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shop::{PATIENCE, Shop, Visitor, until};
use crate::switchboard::Hold;

const CATALOGS: [&str; 3] = ["catalog-1", "catalog-2", "catalog-3"];

/// What a reader saw of a book, and when he came.
struct Sight {
    came_at: Instant,
    price: u64,
    is_hit: bool,
}

/// Reads a book's price again and again until told to stop. Answers that own up to being stale do not count.
async fn keep_reading(visitor: &Visitor, frontend: &str, stop: &CancellationToken, sights: &Mutex<Vec<Sight>>) {
    while !stop.is_cancelled() {
        let came_at = Instant::now();
        let seen = visitor.get(frontend, "/info/7").await;
        if seen.status().is_success() && !seen.is_stale() {
            sights.lock().unwrap().push(Sight { came_at, price: seen.price(), is_hit: seen.is_hit() });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_deposed_leader_that_still_reaches_a_frontend_does_not_keep_its_cache_alive() {
    const LEASE: Duration = Duration::from_secs(1);
    // The old leader knows that it is alone only after the longest election: the new one may write before.
    let settings = "
        [cache]\nlease_ms = 1000
        [replication]\nheartbeat_ms = 50\nelection_timeout_min_ms = 300\nelection_timeout_max_ms = 600
        [reads]\nmajority_wait_ms = 700
        [balancer]\nprobe_interval_ms = 50\nprobe_timeout_ms = 100\nattempt_timeout_ms = 300
    ";
    let nodes = [&CATALOGS[..], &["frontend-1", "frontend-2", "frontend-3", "order-1"]].concat();
    let mut shop = Shop::new(&nodes, settings);
    nodes[..5].iter().for_each(|node| shop.start(node));
    for frontend in ["frontend-1", "frontend-2"] {
        until("the cache answers", async || {
            let seen = shop.ask(frontend, Request::get("/info/7"), PATIENCE).await?;
            seen.is_hit().then_some(())
        })
        .await;
    }
    // Of what was in the cache before a change of leader, a lease just renewed says nothing.
    let (old, old_price) = until("the book is in the cache, and the lease was just renewed", async || {
        let leader = shop.leader(&CATALOGS).await;
        let stats = shop.document("frontend-1", "/cache-stats").await;
        let seen = shop.get("frontend-1", "/info/7").await;
        (stats["lease"]["remaining_ms"].as_u64()? > 900 && seen.is_hit()).then(|| (leader, seen.price()))
    })
    .await;
    let peers: Vec<&str> = CATALOGS.into_iter().filter(|id| *id != old).collect();

    // The first frontend is on the old leader's side alone; the second one is on both.
    shop.switchboard.part(&[&old, "frontend-1"], &peers);
    let parted_at = Instant::now();
    let stop = CancellationToken::new();
    let sights: [Mutex<Vec<Sight>>; 2] = Default::default();
    let write = async {
        until("the successor acknowledges a write", async || {
            let answer = shop.set_price(peers[0], 7, old_price + 1).await;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        let acknowledged_at = Instant::now();
        let seen_since = || sights[1].lock().unwrap().iter().any(|sight| sight.came_at > acknowledged_at);
        until("the write was read", async || seen_since().then_some(())).await;
        // A lease of the old leader's that was granted after the parting would show in this time.
        tokio::time::sleep_until(acknowledged_at + LEASE / 3).await;
        stop.cancel();
        acknowledged_at
    };
    let ask_old_leader = async {
        while !stop.is_cancelled() {
            // In the name of one that does not run: another's lease would be refused to this process anyway.
            let reply = shop.ask_lease(&old, "frontend-3", None, Duration::from_millis(100)).await;
            assert!(!matches!(reply, Some(LeaseReply::Granted { .. })), "{reply:?} {:?} late", parted_at.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (acknowledged_at, ..) = tokio::join!(
        write,
        ask_old_leader,
        keep_reading(&shop, "frontend-1", &stop, &sights[0]),
        keep_reading(&shop, "frontend-2", &stop, &sights[1]),
    );

    let sights = sights.map(|sights| sights.into_inner().unwrap());
    assert!(sights[0].iter().any(|sight| sight.is_hit && sight.came_at > parted_at), "the old value was in the cache");
    for sight in sights.iter().flatten().filter(|sight| sight.came_at > acknowledged_at) {
        let late = sight.came_at - acknowledged_at;
        assert_eq!(sight.price, old_price + 1, "read {late:?} after the write, from the cache: {}", sight.is_hit);
    }

    shop.switchboard.open();
    until("the first frontend is current again", async || {
        let seen = shop.get("frontend-1", "/info/7").await;
        (seen.status().is_success() && !seen.is_stale()).then(|| assert_eq!(seen.price(), old_price + 1))
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_comes_back_does_not_go_on_in_its_term() {
    // Nobody stands for election for as long as a leader takes to come back.
    let settings = "
        [cache]\nlease_ms = 100
        [replication]\nelection_timeout_min_ms = 3000\nelection_timeout_max_ms = 4000
        [reads]\nmajority_wait_ms = 5000
    ";
    let nodes = [&CATALOGS[..], &["frontend-1", "order-1"]].concat();
    let mut shop = Shop::new(&nodes, settings);
    CATALOGS.iter().for_each(|id| shop.start(id));
    let leader = shop.leader(&CATALOGS).await;
    let term = shop.document(&leader, "/cluster").await["term"].as_u64().unwrap();
    assert_eq!(shop.set_price(&leader, 7, 10).await.status(), StatusCode::OK);

    // Its followers may hold what the crash took from its own disk. In that term it would write something else there.
    shop.kill(&leader);
    shop.start(&leader);
    let next = shop.leader(&CATALOGS).await;
    assert!(shop.document(&next, "/cluster").await["term"].as_u64().unwrap() > term);
    let seen = until("it answers", async || {
        let seen = shop.get(&leader, "/info/7").await;
        (seen.status() == StatusCode::OK && !seen.is_stale()).then_some(seen)
    })
    .await;
    assert_eq!(seen.price(), 10);
}

#[tokio::test]
async fn what_a_write_of_unknown_outcome_may_change_is_not_cached_in_the_leaders_time() {
    // The leader waits for its follower for less long than either takes the other for dead.
    let settings = "
        [cache]\nlease_ms = 100
        [replication]\nelection_timeout_min_ms = 2000\nelection_timeout_max_ms = 3000\ncommit_timeout_ms = 300
        [reads]\nmajority_wait_ms = 4000
    ";
    let catalogs = &CATALOGS[..2];
    let nodes = [catalogs, &["frontend-1", "order-1"]].concat();
    let mut shop = Shop::new(&nodes, settings);
    catalogs.iter().for_each(|id| shop.start(id));
    let leader = shop.leader(catalogs).await;
    let follower = *catalogs.iter().find(|id| **id != leader).unwrap();
    let old_price = shop.get(&leader, "/info/7").await.price();

    shop.switchboard.hold(&leader, follower, Hold::Answers);
    let unknown = shop.set_price(&leader, 7, old_price + 1).await;
    assert_eq!(unknown.status(), StatusCode::GATEWAY_TIMEOUT, "{}", unknown.text());
    shop.switchboard.open();
    until("it happened after all", async || {
        (shop.get(&leader, "/info/7").await.price() == old_price + 1).then_some(())
    })
    .await;
    for catalog in catalogs {
        assert!(!shop.get(catalog, "/info/7").await.is_cacheable());
        assert!(!shop.get(catalog, "/search/spring").await.is_cacheable());
        assert!(shop.get(catalog, "/info/6").await.is_cacheable());
    }
    // That a later write to the same book is over says nothing of the first.
    until("the later write is acknowledged", async || {
        (shop.set_price(&leader, 7, old_price + 2).await.status() == StatusCode::OK).then_some(())
    })
    .await;
    assert!(!shop.get(&leader, "/info/7").await.is_cacheable());

    shop.kill(&leader);
    shop.start(&leader);
    let next = shop.leader(catalogs).await;
    let seen = shop.get(&next, "/info/7").await;
    assert_eq!((seen.price(), seen.is_cacheable()), (old_price + 2, true));
}
