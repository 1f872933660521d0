//! Replicas that are cut off from their group: what they answer says so, and a frontend asks others.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Shop, until};

const ORDERS: [&str; 3] = ["order-1", "order-2", "order-3"];

/// A shop of one catalog server and three order servers, open.
async fn shop(settings: &str) -> Shop {
    let nodes = ["catalog-1", "order-1", "order-2", "order-3", "frontend-1"];
    let mut shop = Shop::new(&nodes, settings);
    nodes.iter().for_each(|id| shop.start(id));
    until("the shop is open", async || {
        (shop.get("frontend-1", "/ready").await.status() == StatusCode::OK).then_some(())
    })
    .await;
    shop
}

#[tokio::test]
async fn an_order_that_a_cut_off_replica_does_not_know_is_not_said_to_be_unknown() {
    let shop = shop("[reads]\nmajority_wait_ms = 700\n").await;
    let leader = shop.leader(&ORDERS).await;
    let (cut_off, other) = match ORDERS.into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..] {
        [cut_off, other] => (cut_off, other),
        _ => unreachable!("two of three do not lead"),
    };
    shop.switchboard.part(&[cut_off], &[&leader, other]);
    let bought = shop.write("frontend-1", Method::POST, "/buy/7", "key", json!({})).await;
    assert_eq!(bought.status(), StatusCode::CREATED, "{}", bought.text());

    until("the replica that is cut off owns up to it", async || {
        shop.get(cut_off, "/orders").await.is_stale().then_some(())
    })
    .await;
    let unknown = shop.get(cut_off, "/orders/1").await;
    assert_eq!((unknown.status(), unknown.is_stale()), (StatusCode::NOT_FOUND, true));
    for _ in 0..6 {
        let order = shop.get("frontend-1", "/orders/1").await;
        assert_eq!((order.status(), order.is_stale()), (StatusCode::OK, false), "{}", order.text());
    }
    // Of what nobody knows, the others know that it is not there.
    let unknown = shop.get("frontend-1", "/orders/2").await;
    assert_eq!((unknown.status(), unknown.is_stale()), (StatusCode::NOT_FOUND, false));
}
