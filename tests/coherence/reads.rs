//! What a frontend is told, and by whom: replicas that are cut off say so, strangers are not asked, and a question says
//! which request it is a part of.

use bazar::http::client::Request;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::scripted::ScriptedCatalog;
use crate::shop::{PATIENCE, Shop, until};

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

#[tokio::test]
async fn a_question_to_the_catalog_says_which_request_it_is_a_part_of() {
    let mut shop = Shop::new(&["frontend-1", "catalog-1", "order-1"], "");
    let mut catalog = ScriptedCatalog::play(shop.address("catalog-1")).await;
    shop.start("frontend-1");
    shop.get("frontend-1", "/health").await;
    let id = HeaderValue::from_static("my-id.1");
    let request = Request::get("/info/7").header(HeaderName::from_static("x-request-id"), id.clone());
    let answering = async {
        let question = catalog.question().await;
        assert_eq!(question.request_id, Some(id));
        question.answer("{}", false);
    };
    let (answer, ()) = tokio::join!(shop.ask("frontend-1", request, PATIENCE), answering);
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stranger_at_a_replicas_address_is_shown_and_not_asked() {
    let mut shop = Shop::new(&["frontend-1", "catalog-1", "catalog-2", "order-1"], "");
    let mut catalog = ScriptedCatalog::play(shop.address("catalog-1")).await;
    // It calls itself catalog-1, too.
    let _stranger = ScriptedCatalog::play(shop.address("catalog-2")).await;
    shop.start("frontend-1");
    let catalogs = shop.document("frontend-1", "/cluster").await["catalog"].clone();
    assert_eq!((&catalogs[0]["up"], &catalogs[0]["trouble"]), (&json!(true), &json!(null)), "{catalogs}");
    let trouble = catalogs[1]["trouble"].as_str().unwrap();
    assert!(catalogs[1]["up"] == false && trouble.contains("catalog-1 answers at its address"), "{catalogs}");
    for book in 1..=4 {
        let customer = shop.come_for("frontend-1", &format!("/info/{book}"));
        catalog.question().await.answer("{}", false);
        assert_eq!(customer.await.unwrap().status(), StatusCode::OK);
    }
}
