//! Bad input gets a clear error and changes nothing.

use serde_json::{Value, json};

use super::{new_book, shop};

#[test]
fn what_cannot_be_understood_is_400() {
    let shop = shop();
    let mut customer = shop.customer();
    for line in [
        "GET /info/one",
        "GET /info/-1",
        "GET /info/18446744073709551616",
        "GET /search/%zz",
        "GET /search/%ff",
        "GET /search/theory?limit=x",
        "GET /orders?after=-1",
        "GET /orders/x",
        "POST /purchase/x",
        "POST /invalidate/x",
        "DELETE /books/x",
    ] {
        customer.ask(line).send().problem(400, "malformed");
    }
    for body in ["", "{", "price=65", r#"{"price":65}}"#] {
        let ask = customer.ask("PUT /update/5/price").header("content-type", "application/json").body(body);
        ask.send().problem(400, "malformed");
    }
    for key in ["", "two words", &"k".repeat(129)] {
        customer.ask("POST /purchase/5").header("idempotency-key", key).send().problem(400, "malformed");
    }
}

#[test]
fn what_is_not_there_is_404() {
    let shop = shop();
    let mut customer = shop.customer();
    for line in ["GET /nothing", "GET /info", "GET /info/1/2", "POST /update/1/title", "GET /api/api", "GET //info/1"] {
        customer.ask(line).send().problem(404, "unknown-path");
    }
    for line in
        ["GET /info/999999", "GET /info/0", "GET /orders/999999", "POST /purchase/999999", "DELETE /books/999999"]
    {
        customer.ask(line).send().problem(404, "not-found");
    }
    customer.put("/update/999999/price", &json!({ "price": 1 })).problem(404, "not-found");
    customer.put("/update/999999/stock", &json!({ "quantity_change": 1 })).problem(404, "not-found");
}

#[test]
fn a_wrong_method_is_405_with_the_right_ones() {
    let shop = shop();
    let mut customer = shop.customer();
    customer.post("/purchase/1").expect(201);
    for (path, allow) in [
        ("/search/theory", "GET, HEAD"),
        ("/info/1", "GET, HEAD"),
        ("/purchase/1", "POST, PUT"),
        ("/buy/1", "POST"),
        ("/orders", "GET, HEAD"),
        ("/orders/1", "GET, HEAD"),
        ("/update/1", "PUT"),
        ("/update/1/price", "PUT"),
        ("/update/1/stock", "PUT"),
        ("/books", "POST"),
        ("/books/1", "DELETE"),
        ("/invalidate/1", "POST"),
        ("/invalidate-cache", "POST"),
        ("/cache-stats", "GET, HEAD"),
        ("/cluster", "GET, HEAD"),
        ("/health", "GET, HEAD"),
        ("/ready", "GET, HEAD"),
    ] {
        let answer = customer.ask(&format!("PATCH {path}")).send();
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
        answer.problem(405, "method-not-allowed");
        if ["/cluster", "/health", "/ready"].contains(&path) {
            for replica in ["catalog-1", "order-1"] {
                let answer = shop.cluster.client(replica).post(path);
                assert_eq!(answer.header("allow"), Some(allow), "{path} of {replica}");
                answer.problem(405, "method-not-allowed");
            }
        }
        if allow.contains("HEAD") {
            customer.ask(&format!("HEAD {path}")).send().expect(200);
        }
    }
    customer.get("/purchase/1").problem(405, "method-not-allowed");
    customer.ask("PUT /buy/1").send().problem(405, "method-not-allowed");
}

#[test]
fn what_the_stock_does_not_allow_is_409() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = new_book(&mut customer, "scarce", 1);
    customer.post(&format!("/purchase/{id}")).expect(201);
    let problem = customer.post(&format!("/purchase/{id}")).problem(409, "sold-out");
    assert!(problem["detail"].as_str().unwrap().contains("sold out"), "{problem}");
    customer.put(&format!("/update/{id}/stock"), &json!({ "quantity_change": 2 })).expect(200);
    let problem =
        customer.put(&format!("/update/{id}/stock"), &json!({ "quantity_change": -3 })).problem(409, "conflict");
    assert!(problem["detail"].as_str().unwrap().contains("below zero"), "{problem}");
    assert_eq!(customer.get(&format!("/info/{id}")).expect(200).json()["quantity"], 2);
}

#[test]
fn a_body_that_is_too_large_is_413_and_one_of_another_kind_415() {
    let shop = shop();
    let mut customer = shop.customer();
    for line in ["PUT /update/5", "PUT /update/5/price", "POST /books"] {
        customer.ask(line).body(vec![b' '; 65_537]).send().problem(413, "body-too-large");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let ask = customer.ask("PUT /update/5/price").header("content-type", media_type).body(r#"{"price":65}"#);
        ask.send().problem(415, "unsupported-media-type");
    }
    customer.ask("PUT /update/5/price").body(r#"{"price":35}"#).send().expect(200);
}

#[test]
fn a_value_that_cannot_be_is_422_and_changes_nothing() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = new_book(&mut customer, "unchanged", 3);
    let book =
        |price: Value, title: &str| json!({ "title": title, "topic": "unchanged", "price": price, "quantity": 1 });
    let mut wrong = vec![
        (format!("PUT /update/{id}"), json!({})),
        (format!("PUT /update/{id}"), json!({ "price": null })),
        (format!("PUT /update/{id}"), json!({ "price": 1, "title": "x" })),
        (format!("PUT /update/{id}/stock"), json!({ "quantity": 5 })),
        (format!("PUT /update/{id}/stock"), json!({ "quantity_change": 1.5 })),
        (format!("PUT /update/{id}/stock"), json!({ "quantity_change": "5" })),
        (format!("PUT /update/{id}/stock"), json!({ "quantity_change": 1_000_000_000_000_u64 })),
        (format!("PUT /update/{id}/price"), json!({ "price": 1, "quantity_change": 1 })),
        (format!("PUT /update/{id}/price"), json!([1])),
        ("POST /books".to_owned(), book(json!(1), " ")),
        ("POST /books".to_owned(), book(json!(1), &"t".repeat(1025))),
        ("POST /books".to_owned(), json!({ "title": "T", "topic": "unchanged", "price": 1 })),
        ("POST /books".to_owned(), json!({ "id": 0, "title": "T", "topic": "unchanged", "price": 1, "quantity": 1 })),
        ("POST /books".to_owned(), json!({ "title": "T", "topic": "unchanged", "price": 1, "quantity": -1 })),
    ];
    for price in [json!(12.345), json!(-1), json!("12"), json!(1e12), json!(true)] {
        wrong.push((format!("PUT /update/{id}/price"), json!({ "price": price })));
        wrong.push((format!("PUT /update/{id}"), json!({ "price": price, "quantity_change": 1 })));
        wrong.push(("POST /books".to_owned(), book(price, "T")));
    }
    for (line, body) in wrong {
        customer.ask(&line).json(&body).send().problem(422, "invalid");
    }
    customer.get("/search/theory?limit=0").problem(422, "invalid");
    customer.get("/orders?limit=1001").problem(422, "invalid");

    let unchanged =
        json!({ "topic": "unchanged", "items": [{ "id": id, "title": "New", "price": 12.5, "quantity": 3 }] });
    assert_eq!(customer.get("/search/unchanged").expect(200).json(), unchanged);
}

#[test]
fn a_topic_that_is_longer_than_any_books_is_422_at_every_server() {
    let shop = shop();
    for node in ["frontend-1", "catalog-1", "catalog-2", "catalog-3"] {
        let mut customer = shop.cluster.client(node);
        for (character, count) in [("a", 1024), ("%C3%A9", 512)] {
            let longest = format!("/search/{}", character.repeat(count));
            assert_eq!(customer.get(&longest).expect(200).json()["items"], json!([]));
            let problem = customer.get(&format!("{longest}a")).problem(422, "invalid");
            assert!(problem["detail"].as_str().unwrap().contains("1024 bytes"), "{problem}");
        }
    }
}

#[test]
fn no_header_of_a_customer_is_too_long_for_a_replica_alone() {
    let shop = shop();
    let mut customer = shop.customer();
    let long = format!("application/json; x={}", "x".repeat(15_900));
    let ask = customer.ask("PUT /update/1/price").header("content-type", &long).body("{\"price\":1}");
    ask.send().problem(415, "unsupported-media-type");
}

#[test]
fn no_refusal_tells_an_address_or_what_the_program_calls_things() {
    let shop = shop();
    let lines = [
        "GET /info/one",
        "GET /info/0",
        "GET /search/%zz",
        "GET /search/theory?limit=0",
        "GET /orders?after=-1",
        "GET /orders/999999",
        "PATCH /info/1",
        "POST /purchase/999999",
        "DELETE /books/999999",
        "GET /nothing",
    ];
    let bodies =
        ["", "1", "[1]", "\"a\"", "null", "{", "{}", r#"{"price":[]}"#, r#"{"price":{}}"#, r#"{"quantity":[]}"#];
    let writes = ["PUT /update/5", "PUT /update/5/price", "PUT /update/5/stock", "POST /books", "POST /buy/5"];
    let messages = [&b""[..], b"garbage", &[0xff; 64]];
    for node in ["frontend-1", "catalog-1", "catalog-2", "order-1", "order-2"] {
        let mut customer = shop.cluster.client(node);
        for line in lines {
            customer.ask(line).send().assert_discreet();
        }
        for (line, body) in writes.iter().flat_map(|line| bodies.map(|body| (line, body))) {
            let ask = customer.ask(line).header("content-type", "application/json").body(body);
            let answer = ask.send();
            assert!(
                (400..500).contains(&answer.status) || body.is_empty() || body == "{}",
                "{line} {body}: {answer:?}"
            );
            answer.assert_discreet();
        }
        for path in
            ["catalog/decide", "catalog/lease", "catalog/purchases", "order/purchases", "replica/leader", "raft/vote"]
        {
            for message in messages {
                customer.ask(&format!("POST /internal/v1/{path}")).body(message).send().assert_discreet();
            }
        }
        customer.get("/internal/v1/standing").assert_discreet();
    }
}
