//! A request with a key happens once.

use std::fs;

use serde_json::{Value, json};

use super::{new_book, shop};
use crate::common::client::{Answer, Client};

fn buy(customer: &mut Client, book: u64, key: &str) -> Answer {
    customer.ask(&format!("POST /purchase/{book}")).header("idempotency-key", key).send()
}

fn stock(customer: &mut Client, book: u64) -> Value {
    customer.get(&format!("/info/{book}")).expect(200).json()["quantity"].clone()
}

#[test]
fn the_same_key_brings_the_same_order() {
    let shop = shop();
    let mut customer = shop.customer();
    let book = new_book(&mut customer, "once", 5);
    let first = buy(&mut customer, book, "once-1").expect(201);
    for _ in 0..4 {
        assert_eq!(buy(&mut customer, book, "once-1").expect(201).body, first.body);
    }
    let order: Value = shop
        .cluster
        .client("order-1")
        .ask(&format!("POST /purchase/{book}"))
        .header("idempotency-key", "once-1")
        .send()
        .expect(201)
        .json();
    assert_eq!(order, first.json());
    assert_eq!(stock(&mut customer, book), 4);
    assert_ne!(buy(&mut customer, book, "once-2").expect(201).json()["order_id"], first.json()["order_id"]);
    assert_eq!(stock(&mut customer, book), 3);
}

#[test]
fn a_key_that_belongs_to_another_request_is_422() {
    let shop = shop();
    let mut customer = shop.customer();
    let (book, other) = (new_book(&mut customer, "keys", 5), new_book(&mut customer, "keys", 5));
    buy(&mut customer, book, "mine").expect(201);
    buy(&mut customer, other, "mine").problem(422, "key-reused");
    assert_eq!(stock(&mut customer, other), 5);

    let change = |customer: &mut Client, change: i64| {
        let ask = customer.ask(&format!("PUT /update/{book}/stock")).header("idempotency-key", "restock");
        ask.json(&json!({ "quantity_change": change })).send()
    };
    assert_eq!(change(&mut customer, 3).expect(200).json()["quantity"], 7);
    assert_eq!(change(&mut customer, 3).expect(200).json()["quantity"], 7);
    change(&mut customer, 4).problem(422, "key-reused");
    assert_eq!(stock(&mut customer, book), 7);
}

#[test]
fn a_refusal_is_repeated_even_when_there_is_stock_again() {
    let shop = shop();
    let mut customer = shop.customer();
    let book = new_book(&mut customer, "refused", 0);
    buy(&mut customer, book, "too-late").problem(409, "sold-out");
    customer.put(&format!("/update/{book}/stock"), &json!({ "quantity_change": 1 })).expect(200);
    buy(&mut customer, book, "too-late").problem(409, "sold-out");
    buy(&mut customer, book, "in-time").expect(201);
}

#[test]
fn whatever_a_customer_says_of_times_and_decisions_does_not_count() {
    let shop = shop();
    let mut customer = shop.customer();
    let book = new_book(&mut customer, "late", 1);
    let ask = customer.ask(&format!("POST /purchase/{book}")).header("idempotency-key", "late");
    let ask = ask.header("bazar-sent-at", "1").header("bazar-decisions", "999999 999999").header("bazar-made-key", "x");
    let order = ask.send().expect(201).json();
    assert_eq!(buy(&mut customer, book, "late").expect(201).json(), order);
}

#[test]
fn two_keys_of_one_request_are_400() {
    let shop = shop();
    for node in ["frontend-1", "order-1"] {
        let mut customer = shop.cluster.client(node);
        let two = customer.ask("POST /purchase/1").header("idempotency-key", "a").header("idempotency-key", "b");
        two.send().problem(400, "malformed");
    }
    for node in ["frontend-1", "catalog-2"] {
        let mut customer = shop.cluster.client(node);
        let ask = customer.ask("PUT /update/1/price").header("idempotency-key", "a").header("idempotency-key", "b");
        ask.json(&json!({ "price": 1 })).send().problem(400, "malformed");
    }
}

#[test]
fn what_comes_without_a_key_is_not_kept_among_what_came_with_one() {
    let shop = shop();
    let leader = shop.cluster.leader("catalog");
    let entries = |table: &str| {
        let path = shop.cluster.data(&leader).join("tables").join(table);
        fs::read_to_string(path).unwrap_or_default().lines().count()
    };
    let mut customer = shop.customer();
    // A purchase that was made is kept whoever made its key up.
    customer.ask("POST /purchase/999999").header("idempotency-key", "kept-1").send().expect(404);
    shop.cluster.agreed_tables("catalog");
    let (kept, keyless) = (entries("ledger.csv"), entries("keyless.csv"));
    customer.post("/purchase/999999").expect(404);
    shop.cluster.client("order-1").post("/purchase/999999").expect(404);
    customer.ask("DELETE /books/999999").send().expect(404);
    shop.cluster.client(&leader).ask("DELETE /books/999999").send().expect(404);
    shop.cluster.agreed_tables("catalog");
    assert_eq!(entries("ledger.csv"), kept);
    assert_eq!(entries("keyless.csv"), keyless.max(1) + 4);
}
