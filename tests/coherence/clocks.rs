//! Wall clocks that differ and jump, at every kind of node.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Answer, Shop, until};

const NODES: [&str; 3] = ["catalog-1", "order-1", "frontend-1"];

/// A day and more, a year and more, and so far that no clock can tell it, all in hours.
const JUMPS: [i64; 8] = [2, -2, 26, -26, 400 * 24, -400 * 24, i64::MAX / (1 << 24), -9999 * 366 * 24];

async fn buy(shop: &Shop, key: &str) -> Answer {
    shop.write("frontend-1", Method::POST, "/buy/7", key, json!({})).await
}

async fn restock(shop: &Shop, key: &str) -> Answer {
    shop.write("frontend-1", Method::PUT, "/update/7/stock", key, json!({ "quantity_change": 1 })).await
}

async fn is_open(shop: &Shop) {
    until("the shop is open", async || {
        (shop.get("frontend-1", "/ready").await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

/// Buys and restocks under new keys, and again under those: each happens once.
async fn assert_that_writes_happen_once(shop: &Shop, name: &str) {
    for (write, status) in [("buy", StatusCode::CREATED), ("restock", StatusCode::OK)] {
        let key = format!("{write}-{name}");
        let ask = async || if write == "buy" { buy(shop, &key).await } else { restock(shop, &key).await };
        let first = ask().await;
        assert_eq!(first.status(), status, "{key}: {}", first.text());
        assert_eq!(ask().await.text(), first.text(), "{key}");
    }
}

#[tokio::test]
async fn writes_happen_once_whatever_any_wall_clock_says_and_at_once_when_it_is_right_again() {
    let mut shop = Shop::new(&NODES, "");
    NODES.iter().for_each(|id| shop.start(id));
    is_open(&shop).await;
    let first = buy(&shop, "first").await.document();
    for node in NODES {
        for hours in JUMPS {
            shop.clock(node).jump(hours);
            assert_that_writes_happen_once(&shop, &format!("{node}-{hours}")).await;
            assert_eq!(buy(&shop, "first").await.document(), first);
            shop.clock(node).jump(0);
            assert_that_writes_happen_once(&shop, &format!("{node}-after-{hours}")).await;
        }
    }
}

#[tokio::test]
async fn a_leader_that_began_with_a_wrong_clock_leaves_no_trace_after_its_restart() {
    let mut shop = Shop::new(&NODES, "");
    shop.clock("catalog-1").jump(400 * 24);
    NODES.iter().for_each(|id| shop.start(id));
    is_open(&shop).await;
    assert_that_writes_happen_once(&shop, "wrong").await;
    let wrong = buy(&shop, "buy-wrong").await.document();

    shop.clock("catalog-1").jump(0);
    shop.kill("catalog-1");
    shop.start("catalog-1");
    is_open(&shop).await;
    assert_eq!(buy(&shop, "buy-wrong").await.document(), wrong);
    assert_that_writes_happen_once(&shop, "right").await;
    let right = buy(&shop, "buy-right").await.document();
    // People are told the time of the leader's clock, and a wrong one spoils no later one.
    assert!(right["placed_at"].as_str() < wrong["placed_at"].as_str(), "{right} {wrong}");
}
