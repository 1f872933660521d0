//! All servers lose their power at once, again and again, in the middle of purchases.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bazar::http::client::Request;
use bazar::protocol::request::IDEMPOTENCY_KEY;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::shop::{PATIENCE, Shop, Visitor, until};

const REPLICAS: [&str; 6] = ["catalog-1", "catalog-2", "catalog-3", "order-1", "order-2", "order-3"];

const FRONTEND: &str = "frontend-1";

/// How often the power is lost.
const ROUNDS: u64 = 8;

/// How probably a write that was not synced is on the disk all the same.
const SURVIVES: f64 = 0.2;

/// Who buys at the same time, in every other round. In the others one does, whose writes no others push to the disk.
const CUSTOMERS: u64 = 4;

/// What has been acknowledged: the number of each order by its key, and the highest price of the one book.
#[derive(Default)]
struct Acknowledged {
    orders: BTreeMap<String, u64>,
    price: u64,
}

async fn keep_buying(visitor: Visitor, name: String, acknowledged: Arc<Mutex<Acknowledged>>, stop: Arc<AtomicBool>) {
    for number in 0.. {
        let key = format!("{name}-{number}");
        let request = Request::new(Method::POST, "/purchase/7", Default::default());
        let request = request.header(IDEMPOTENCY_KEY, HeaderValue::try_from(&key).unwrap());
        let answer = visitor.ask(FRONTEND, request, PATIENCE).await;
        if stop.load(Ordering::SeqCst) {
            return;
        }
        if let Some(answer) = answer.filter(|answer| answer.status() == StatusCode::CREATED) {
            let order_id = answer.document()["order_id"].as_u64().unwrap();
            acknowledged.lock().unwrap().orders.insert(key, order_id);
        }
    }
}

async fn keep_pricing(visitor: Visitor, first: u64, acknowledged: Arc<Mutex<Acknowledged>>, stop: Arc<AtomicBool>) {
    for price in first.. {
        let body = json!({ "price": price }).to_string();
        let request = Request::new(Method::PUT, "/update/6/price", body.into());
        let answer = visitor.ask(FRONTEND, request, PATIENCE).await;
        if stop.load(Ordering::SeqCst) {
            return;
        }
        if answer.is_some_and(|answer| answer.status() == StatusCode::OK) {
            acknowledged.lock().unwrap().price = price;
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_all_servers_lost_their_power() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let settings = "
        [replication]\nsnapshot_log_bytes = 65536\nsegment_bytes = 32768
        [cache]\nlease_ms = 200
    ";
    let mut shop = Shop::with_lossy_disks(&[&REPLICAS[..], &[FRONTEND]].concat(), settings);
    let acknowledged = Arc::<Mutex<Acknowledged>>::default();
    for round in 0..ROUNDS {
        REPLICAS.iter().for_each(|id| shop.start(id));
        shop.start(FRONTEND);
        until("the shop is open", async || {
            shop.ask(FRONTEND, Request::get("/ready"), PATIENCE).await?.status().is_success().then_some(())
        })
        .await;
        let orders = acknowledged.lock().unwrap().orders.clone();
        assert_all_is_there(&shop, &orders).await;
        let price = shop.get(FRONTEND, "/info/6").await.price();
        assert!(price >= acknowledged.lock().unwrap().price, "the price {price} is older than what was acknowledged");

        let before = acknowledged.lock().unwrap().orders.len();
        let stop = Arc::<AtomicBool>::default();
        let (buyers, purchases) = if round % 2 == 0 { (CUSTOMERS, 20) } else { (0, 0) };
        let mut customers: Vec<_> = (0..buyers)
            .map(|customer| {
                let name = format!("{round}-{customer}");
                tokio::spawn(keep_buying(shop.visitor.clone(), name, acknowledged.clone(), stop.clone()))
            })
            .collect();
        let first = 1000 * (round + 1);
        customers.push(tokio::spawn(keep_pricing(shop.visitor.clone(), first, acknowledged.clone(), stop.clone())));
        until("some was written", async || {
            let acknowledged = acknowledged.lock().unwrap();
            (acknowledged.orders.len() >= before + purchases && acknowledged.price > first + 5).then_some(())
        })
        .await;
        // Any moment in the work of a server may be the last.
        tokio::time::sleep(Duration::from_micros(chance.u64(0..20_000))).await;
        stop.store(true, Ordering::SeqCst);
        for id in REPLICAS {
            let mut chance = fastrand::Rng::with_seed(chance.u64(..));
            shop.lose_power(id, move || chance.f64() < SURVIVES);
        }
        // Else it would ask again for what was lost, and hide the loss.
        shop.kill(FRONTEND);
        shop.kill_all(&REPLICAS);
        customers.into_iter().for_each(|customer| customer.abort());
    }
}

/// Every order has its number, and the numbers have no gaps.
async fn assert_all_is_there(shop: &Shop, orders: &BTreeMap<String, u64>) {
    let mut after = 0;
    let mut known = Vec::new();
    loop {
        let page = shop.document(FRONTEND, &format!("/orders?limit=1000&after={after}")).await;
        let page = page["orders"].as_array().unwrap().clone();
        known.extend(page.iter().map(|order| order["order_id"].as_u64().unwrap()));
        match known.last() {
            Some(last) if page.len() == 1000 => after = *last,
            _ => break,
        }
    }
    assert!(known.iter().copied().eq(1..=known.len() as u64), "the numbers have gaps");
    for (key, order_id) in orders {
        assert!(*order_id <= known.len() as u64, "order {order_id} of {key} is lost");
        let again = shop.write(FRONTEND, Method::POST, "/purchase/7", key, json!({})).await;
        let document = again.document();
        assert_eq!(document["order_id"].as_u64(), Some(*order_id), "{key}: {document}");
    }
}
