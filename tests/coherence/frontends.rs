//! Two frontends that know each other only through the catalog.

use std::sync::atomic::{AtomicU64, Ordering};

use bazar::model::Book;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::shop::{Shop, Visitor, until};

const WRITES: u64 = 60;

/// What has been acknowledged about a book whose price only rises and whose stock only falls.
struct Acknowledged {
    price: AtomicU64,
    quantity: AtomicU64,
}

impl Acknowledged {
    fn now(&self) -> (u64, u64) {
        (self.price.load(Ordering::SeqCst), self.quantity.load(Ordering::SeqCst))
    }
}

/// Reads one path until told to stop, and tells how many answers came out of the cache.
async fn keep_reading(
    visitor: &Visitor,
    path: &str,
    book_in: impl Fn(&Value) -> Value,
    acknowledged: &Acknowledged,
    stop: &CancellationToken,
) -> u32 {
    let mut hits = 0;
    while !stop.is_cancelled() {
        let (price, quantity) = acknowledged.now();
        let seen = visitor.get("frontend-2", path).await;
        if seen.is_stale() {
            continue;
        }
        let book = book_in(&seen.document());
        let (seen_price, seen_quantity) = (book["price"].as_u64().unwrap(), book["quantity"].as_u64().unwrap());
        let is_hit = seen.is_hit();
        assert!(seen_price >= price, "{path}: price {seen_price} after {price}, from the cache: {is_hit}");
        assert!(seen_quantity <= quantity, "{path}: {seen_quantity} copies after {quantity}, from the cache: {is_hit}");
        hits += u32::from(is_hit);
    }
    hits
}

#[tokio::test]
async fn what_is_written_through_one_frontend_is_never_read_older_through_another() {
    let nodes = ["catalog-1", "catalog-2", "catalog-3", "order-1", "frontend-1", "frontend-2"];
    let mut shop = Shop::new(&nodes, "");
    nodes.iter().for_each(|id| shop.start(id));
    until("the shop is open and caches", async || {
        let (is_ready, seen) = tokio::join!(shop.get("frontend-1", "/ready"), shop.get("frontend-2", "/info/7"));
        (is_ready.status() == StatusCode::OK && seen.is_hit()).then_some(())
    })
    .await;

    let book: Book = serde_json::from_slice(shop.get("frontend-1", "/info/7").await.text().as_bytes()).unwrap();
    let acknowledged =
        Acknowledged { price: AtomicU64::new(book.price.get() / 100), quantity: AtomicU64::new(book.quantity.get()) };
    let stop = CancellationToken::new();
    let write = async {
        for number in 1..=WRITES {
            let price = acknowledged.price.load(Ordering::SeqCst) + 1;
            assert_eq!(shop.set_price("frontend-1", 7, price).await.status(), StatusCode::OK);
            acknowledged.price.store(price, Ordering::SeqCst);
            let bought = shop.write("frontend-1", Method::POST, "/purchase/7", &number.to_string(), json!({})).await;
            assert_eq!(bought.status(), StatusCode::CREATED, "{}", bought.text());
            acknowledged.quantity.fetch_sub(1, Ordering::SeqCst);
            // Between two writes the cache is to be of use.
            shop.get("frontend-1", "/info/7").await;
        }
        stop.cancel();
    };
    let ((), of_book, of_search) = tokio::join!(
        write,
        keep_reading(&shop, "/info/7", Value::clone, &acknowledged, &stop),
        keep_reading(&shop, "/search/spring", |page| page["items"][0].clone(), &acknowledged, &stop),
    );
    assert!(of_book > 0 && of_search > 0, "the cache was of no use: {of_book} and {of_search} hits");
}
