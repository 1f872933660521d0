//! Purchases whose answers do not arrive.

use std::collections::BTreeSet;
use std::time::Duration;

use bazar::http::client::Request;
use bazar::model::{BookId, Copies, Key};
use bazar::protocol::catalog::{Action, MAX_WRITES, Reply, Write};
use bazar::protocol::fence::Decisions;
use bazar::protocol::purchase::{MAX_PURCHASES, PURCHASES, Purchase, PurchaseOutcome};
use bazar::replica::WriteError;
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

#[tokio::test]
async fn a_request_for_more_writes_than_nodes_gather_is_refused_whole() {
    let mut shop = Shop::new(&["catalog-1", "order-1", "frontend-1"], "");
    ["catalog-1", "order-1", "frontend-1"].iter().for_each(|id| shop.start(id));
    until("the shop is open", async || {
        (shop.get("frontend-1", "/ready").await.status() == StatusCode::OK).then_some(())
    })
    .await;
    let ask = async |id: &str, path: &str, message: Vec<u8>| {
        shop.ask(id, Request::post(path, message.into()), Duration::from_secs(30)).await.unwrap()
    };
    let send = async |id: &str, path: &str, message: Vec<u8>| {
        let answer = ask(id, path, message).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text());
        answer.0.body
    };
    let (book_id, quantity) = (BookId::new(1).unwrap(), Copies::ONE);
    let key = |number: usize| -> Key { format!("key-{number}").parse().unwrap() };

    let write = |number| Write {
        key: key(number),
        is_keyless: false,
        heard: Decisions::default(),
        recorded_orders: 0,
        action: Action::Purchase { book_id, quantity },
    };
    let writes: Vec<Write> = (0..=MAX_WRITES).map(write).collect();
    let refused = ask("catalog-1", "/internal/v1/catalog/decide", postcard::to_stdvec(&writes).unwrap()).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{}", refused.text());

    let purchase =
        |number| Purchase { key: key(number), is_keyless: false, heard: Decisions::default(), book_id, quantity };
    let purchases: Vec<Purchase> = (0..=MAX_PURCHASES).map(purchase).collect();
    let bought = send("order-1", PURCHASES, postcard::to_stdvec(&purchases).unwrap()).await;
    let bought: Result<Vec<u8>, WriteError> = postcard::from_bytes(&bought).unwrap();
    assert!(matches!(bought, Err(WriteError::Unavailable(_))));

    assert_eq!(shop.document("frontend-1", "/orders").await["orders"], json!([]));
    let most = &purchases[..MAX_PURCHASES];
    let bought = send("order-1", PURCHASES, postcard::to_stdvec(&most).unwrap()).await;
    let bought: Result<Vec<u8>, WriteError> = postcard::from_bytes(&bought).unwrap();
    let bought: Vec<PurchaseOutcome> = postcard::from_bytes(&bought.unwrap()).unwrap();
    assert_eq!(bought.iter().filter(|outcome| outcome.is_ok()).count(), MAX_PURCHASES);
    let most = &writes[..MAX_WRITES];
    let decided = send("catalog-1", "/internal/v1/catalog/decide", postcard::to_stdvec(&most).unwrap()).await;
    let decided: Result<Vec<u8>, WriteError> = postcard::from_bytes(&decided).unwrap();
    let decided: Vec<Reply> = postcard::from_bytes(&decided.unwrap()).unwrap();
    assert_eq!(decided.len(), MAX_WRITES);
}
