//! Search pages, while writes that bring a book under another topic are under way.

use std::time::Duration;

use bazar::protocol::cache::LeaseReply;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::scripted::ScriptedFrontend;
use crate::shop::{PATIENCE, Shop, Visitor, until};
use crate::switchboard::Hold;

const CATALOG: &str = "catalog-1";
const FRONTEND: &str = "frontend-1";
const HELD: &str = "frontend-2";

/// How long a write waits for the frontend that does not answer.
const LEASE: Duration = Duration::from_secs(2);

/// A catalog of one server, a frontend that caches, and one with a lease whose line a test can hold.
async fn open() -> (Shop, ScriptedFrontend) {
    let mut shop =
        Shop::new(&[FRONTEND, HELD, CATALOG, "order-1"], &format!("[cache]\nlease_ms = {}\n", LEASE.as_millis()));
    let held = ScriptedFrontend::play(shop.address(HELD)).await;
    shop.start(CATALOG);
    shop.start(FRONTEND);
    until("the frontend caches", async || shop.get(FRONTEND, "/info/7").await.is_hit().then_some(())).await;
    take_lease(&shop).await;
    (shop, held)
}

async fn take_lease(shop: &Visitor) {
    until("the held frontend is granted a lease", async || {
        let reply = shop.ask_lease(CATALOG, HELD, None, PATIENCE).await?;
        matches!(reply, LeaseReply::Granted { .. }).then_some(())
    })
    .await;
}

/// Begins a write that waits for the disk, then `second` to the same book, which waits for the held frontend; lets the
/// first be applied and its topic's page be cached; and tells what the page shows once the second is acknowledged.
async fn page_after(
    shop: &Shop,
    first: (Method, &str, serde_json::Value),
    second: (Method, &str, serde_json::Value),
) -> serde_json::Value {
    let write = |name: &'static str, (method, path, body): (Method, &str, serde_json::Value)| {
        let (visitor, path) = (shop.visitor.clone(), path.to_owned());
        tokio::spawn(async move { visitor.write(CATALOG, method, &path, name, body).await })
    };
    let disk = shop.disk(CATALOG);
    disk.hold();
    let first = write("first", first);
    until("the first write waits for the disk", async || (disk.waiting() == 1).then_some(())).await;

    let told = async || shop.document(FRONTEND, "/cache-stats").await["invalidations"].as_u64().unwrap();
    let told_before = told().await;
    shop.switchboard.hold(CATALOG, HELD, Hold::Everything);
    let second = write("second", second);
    until("the second write was told to the frontend", async || (told().await > told_before).then_some(())).await;
    disk.release();
    let answer = first.await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text());

    // Asked for again and again until it would be cached, if it may be.
    for _ in 0..3 {
        shop.get(FRONTEND, "/search/fall").await;
    }
    let answer = second.await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text());
    shop.document(FRONTEND, "/search/fall").await
}

fn new_book(id: u64, topic: &str) -> serde_json::Value {
    json!({ "id": id, "title": "Leaves", "topic": topic, "price": 10, "quantity": 3 })
}

#[tokio::test]
async fn a_page_shows_a_price_that_changed_while_its_book_was_being_added() {
    let (shop, _held) = open().await;
    let price = (Method::PUT, "/update/8/price", json!({ "price": 20 }));
    let page = page_after(&shop, (Method::POST, "/books", new_book(8, "Fall")), price).await;
    assert_eq!(page["items"][0]["price"], 20, "{page}");
}

#[tokio::test]
async fn a_page_shows_a_price_that_changed_while_its_book_was_added_without_a_number() {
    let (shop, _held) = open().await;
    let book = json!({ "title": "Leaves", "topic": "fall", "price": 10, "quantity": 3 });
    let price = (Method::PUT, "/update/8/price", json!({ "price": 20 }));
    let page = page_after(&shop, (Method::POST, "/books", book), price).await;
    assert_eq!(page["items"][0]["price"], 20, "{page}");
}

#[tokio::test]
async fn a_page_does_not_show_a_book_that_was_removed_while_it_was_being_added() {
    let (shop, _held) = open().await;
    let removal = (Method::DELETE, "/books/8", json!({}));
    let page = page_after(&shop, (Method::POST, "/books", new_book(8, "fall")), removal).await;
    assert_eq!(page["items"], json!([]), "{page}");
}

#[tokio::test]
async fn a_page_shows_a_book_that_comes_back_under_another_topic() {
    let (shop, _held) = open().await;
    let removed = shop.write(CATALOG, Method::DELETE, "/books/7", "gone", json!({})).await;
    assert_eq!(removed.status(), StatusCode::OK);
    // That write waited for nobody: the held frontend confirmed it, and has its lease.
    take_lease(&shop).await;
    let stock = (Method::PUT, "/update/7/stock", json!({ "quantity_change": 5 }));
    let page = page_after(&shop, (Method::POST, "/books", new_book(7, "fall")), stock).await;
    assert_eq!(page["items"][0]["quantity"], 8, "{page}");
}
