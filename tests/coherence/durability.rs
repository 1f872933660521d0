//! Disks that are slow to confirm: what is not on enough of them is not acknowledged.

use std::time::Duration;

use hyper::StatusCode;

use crate::shop::{Answer, Shop, until};

const CATALOGS: [&str; 3] = ["catalog-1", "catalog-2", "catalog-3"];

/// How long a write that must not be acknowledged is watched. Those that may be take a hundredth of it.
const WATCH: Duration = Duration::from_millis(300);

/// No election comes between: all disks of the group may be held at once.
const SETTINGS: &str = "
    [replication]\nelection_timeout_min_ms = 5000\nelection_timeout_max_ms = 6000
    [reads]\nmajority_wait_ms = 7000
";

/// A shop that has acknowledged a write, its leader and the followers.
async fn shop() -> (Shop, String, Vec<&'static str>) {
    let mut shop = Shop::new(&["frontend-1", "catalog-1", "catalog-2", "catalog-3", "order-1"], SETTINGS);
    CATALOGS.iter().for_each(|id| shop.start(id));
    let leader = shop.leader(&CATALOGS).await;
    assert_eq!(shop.set_price(&leader, 7, 10).await.status(), StatusCode::OK);
    let followers = CATALOGS.into_iter().filter(|id| *id != leader).collect();
    (shop, leader, followers)
}

/// Begins to set a price, and returns once all replicas' disks have it or are held, and it was not acknowledged.
async fn unacknowledged(shop: &Shop, leader: &str, held: &[&str]) -> tokio::task::JoinHandle<Answer> {
    let confirmed = |id: &&str| shop.disk(id).confirmed();
    let others: Vec<&str> = CATALOGS.into_iter().filter(|id| !held.contains(id)).collect();
    let before: Vec<usize> = others.iter().map(confirmed).collect();
    held.iter().for_each(|id| shop.disk(id).hold());
    let (visitor, id) = (shop.visitor.clone(), leader.to_owned());
    let mut write = tokio::spawn(async move { visitor.set_price(&id, 7, 20).await });
    until("the write is everywhere", async || {
        let is_waiting = held.iter().all(|id| shop.disk(id).waiting() == 1);
        let is_confirmed = others.iter().map(confirmed).zip(&before).all(|(now, before)| now > *before);
        (is_waiting && is_confirmed).then_some(())
    })
    .await;
    assert!(tokio::time::timeout(WATCH, &mut write).await.is_err(), "it was acknowledged");
    write
}

#[tokio::test]
async fn what_followers_have_on_disk_is_acknowledged_once_the_leader_has_it_too() {
    let (shop, leader, followers) = shop().await;
    let write = unacknowledged(&shop, &leader, &[&leader]).await;
    // Nor is it committed: the leader's crash could still undo it.
    for follower in followers {
        let status = shop.document(follower, "/cluster").await;
        assert!(status["applied_index"].as_u64() < status["last_log_index"].as_u64(), "{status}");
    }
    shop.disk(&leader).release();
    assert_eq!(write.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_the_leader_has_on_disk_is_acknowledged_once_a_follower_has_it_too() {
    let (shop, leader, followers) = shop().await;
    let write = unacknowledged(&shop, &leader, &followers).await;
    shop.disk(followers[0]).release();
    assert_eq!(write.await.unwrap().status(), StatusCode::OK);
    shop.disk(followers[1]).release();
}

#[tokio::test]
async fn a_group_of_one_acknowledges_what_its_own_disk_has() {
    let mut shop = Shop::new(&["frontend-1", "catalog-1", "order-1"], SETTINGS);
    shop.start("catalog-1");
    shop.leader(&["catalog-1"]).await;
    assert_eq!(shop.set_price("catalog-1", 7, 10).await.status(), StatusCode::OK);
    shop.disk("catalog-1").hold();
    let visitor = shop.visitor.clone();
    let mut write = tokio::spawn(async move { visitor.set_price("catalog-1", 7, 20).await });
    until("the write waits for the disk", async || (shop.disk("catalog-1").waiting() == 1).then_some(())).await;
    assert!(tokio::time::timeout(WATCH, &mut write).await.is_err(), "it was acknowledged");
    shop.disk("catalog-1").release();
    assert_eq!(write.await.unwrap().status(), StatusCode::OK);
}
