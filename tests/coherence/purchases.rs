//! Purchases whose answers do not arrive.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Shop, until};
use crate::switchboard::Hold;

const ORDERS: [&str; 3] = ["order-1", "order-2", "order-3"];

#[tokio::test]
async fn purchases_whose_shared_answer_is_lost_are_bought_once_and_answered_by_another_server() {
    let mut shop = Shop::new(
        &["catalog-1", "order-1", "order-2", "order-3", "frontend-1"],
        "[balancer]\nattempt_timeout_ms = 500\n",
    );
    ["catalog-1", "order-1", "order-2", "order-3", "frontend-1"].iter().for_each(|id| shop.start(id));
    until("the shop is open", async || {
        (shop.get("frontend-1", "/ready").await.status() == StatusCode::OK).then_some(())
    })
    .await;
    let stock = async || shop.document("frontend-1", "/info/7").await["quantity"].as_u64().unwrap();
    let buy = async || {
        let purchases = (0..8).map(|number| {
            let shop = &shop;
            async move { shop.write("frontend-1", Method::POST, "/buy/7", &format!("key-{number}"), json!({})).await }
        });
        let bought = join_all(purchases).await;
        bought.iter().for_each(|answer| assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text()));
        bought.iter().map(|answer| answer.document()["order_id"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let before = stock().await;

    // The leader gets what it is sent, and is not heard.
    let leader = shop.leader(&ORDERS).await;
    shop.switchboard.hold("frontend-1", &leader, Hold::Answers);
    let bought = buy().await;
    shop.switchboard.open();

    assert_eq!(bought.iter().copied().collect::<BTreeSet<_>>(), (1..=8).collect(), "an order each");
    assert_eq!(stock().await, before - 8);
    assert_eq!(buy().await, bought);
    assert_eq!(stock().await, before - 8);
}
