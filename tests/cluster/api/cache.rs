//! What comes out of the cache, and says so, is never behind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{new_book, shop};
use crate::common::client::{Answer, Client};
use crate::common::until_some;

/// Reads until the answer comes out of the cache.
fn cached(customer: &mut Client, path: &str) -> Answer {
    until_some(&format!("{path} is cached"), || Some(customer.get(path)).filter(Answer::is_hit))
}

#[test]
fn an_answer_tells_where_it_came_from() {
    let shop = shop();
    let mut customer = shop.customer();
    let path = format!("/info/{}", new_book(&mut customer, "headers", 1));
    let miss = customer.ask(&format!("GET {path}")).header("x-request-id", "my-id.1").send().expect(200);
    assert_eq!(miss.header("cache-status"), Some("bazar; fwd=miss; stored"));
    assert_eq!(miss.header("x-cache-hit"), Some("false"));
    assert_eq!(miss.header("x-request-id"), Some("my-id.1"));
    assert_eq!(miss.header("content-type"), Some("application/json"));
    assert!(miss.header("x-served-by").unwrap().starts_with("catalog-"));
    assert!(miss.header("server-timing").unwrap().contains("total;dur="));

    let hit = customer.get(&path).expect(200);
    assert_eq!(hit.header("cache-status"), Some("bazar; hit"));
    assert_eq!(hit.header("x-cache-hit"), Some("true"));
    assert_eq!(hit.header("x-served-by"), miss.header("x-served-by"));
    assert!(hit.header("x-request-id").is_some_and(|id| id != "my-id.1"));
    assert_eq!(hit.body, miss.body);

    let order = customer.post("/purchase/1").expect(201);
    assert!(order.header("x-served-by").unwrap().starts_with("order-"));
}

#[test]
fn a_request_can_go_past_the_cache() {
    let shop = shop();
    let mut customer = shop.customer();
    let path = format!("/info/{}", new_book(&mut customer, "past", 1));
    cached(&mut customer, &path);
    let past = customer.ask(&format!("GET {path}")).header("cache-control", "max-age=0, No-Cache").send().expect(200);
    assert!(!past.is_hit());
    assert!(past.header("cache-status").unwrap().starts_with("bazar; fwd=request"));
}

#[test]
fn misses_are_served_by_the_replicas_in_strict_rotation() {
    let shop = shop();
    let mut customer = shop.customer();
    let mut served = Vec::new();
    for book in 700_001..700_013 {
        let answer = customer.get(&format!("/info/{book}"));
        assert!(!answer.is_hit());
        served.push(answer.header("x-served-by").unwrap().to_owned());
    }
    assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(served.windows(4).all(|four| four[0] == four[3]), "{served:?}");
}

#[test]
fn the_next_read_after_a_change_shows_it() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = new_book(&mut customer, "Change", 9);
    let (info, search) = (format!("/info/{id}"), "/search/change?limit=7".to_owned());
    let changes: [(String, Value); 5] = [
        (format!("POST /purchase/{id}"), json!({})),
        (format!("PUT /update/{id}/price"), json!({ "price": 1.25 })),
        (format!("PUT /update/{id}/stock"), json!({ "quantity_change": -3 })),
        (format!("PUT /update/{id}"), json!({ "price": 2, "quantity_change": 5 })),
        (format!("POST /buy/{id}"), json!({ "quantity": 2 })),
    ];
    let expected = [(12.5, 8), (1.25, 8), (1.25, 5), (2.0, 10), (2.0, 8)];
    for ((line, body), (price, quantity)) in changes.into_iter().zip(expected) {
        cached(&mut customer, &info);
        cached(&mut customer, &search);
        let answer = customer.ask(&line).json(&body).send();
        assert!([200, 201].contains(&answer.status), "{line}: {}", answer.text());
        for book in
            [customer.get(&info).expect(200).json(), customer.get(&search).expect(200).json()["items"][0].clone()]
        {
            assert_eq!((book["price"].as_f64(), book["quantity"].as_u64()), (Some(price), Some(quantity)), "{line}");
        }
    }
}

#[test]
fn a_book_that_comes_or_goes_is_seen_by_the_next_read() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = 800_001;
    let (info, search) = (format!("/info/{id}"), "/search/come%20and%20go".to_owned());
    let book = json!({ "id": id, "title": "T", "topic": "Come and Go", "price": 1, "quantity": 1 });
    for _ in 0..2 {
        assert_eq!(cached(&mut customer, &info).status, 404);
        assert_eq!(cached(&mut customer, &search).json()["items"], json!([]));
        customer.ask("POST /books").json(&book).send().expect(201);
        customer.get(&info).expect(200);
        assert_eq!(customer.get(&search).json()["items"][0]["id"], id);

        assert_eq!(cached(&mut customer, &info).json(), book);
        assert_eq!(cached(&mut customer, &search).json()["items"].as_array().unwrap().len(), 1);
        customer.ask(&format!("DELETE /books/{id}")).send().expect(200);
        customer.get(&info).problem(404, "not-found");
        assert_eq!(customer.get(&search).json()["items"], json!([]));
    }
}

#[test]
fn a_book_that_was_not_there_is_seen_when_a_new_one_gets_its_number() {
    let shop = shop();
    let mut customer = shop.customer();
    let next = new_book(&mut customer, "numbers", 1) + 1;
    assert_eq!(cached(&mut customer, &format!("/info/{next}")).status, 404);
    assert_eq!(new_book(&mut customer, "numbers", 1), next);
    customer.get(&format!("/info/{next}")).expect(200);
}

#[test]
fn staff_can_drop_what_is_cached_and_see_that_it_was() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = new_book(&mut customer, "dropped", 1);
    let (info, search) = (format!("/info/{id}"), "/search/dropped");
    for drop in [format!("/invalidate/{id}"), "/invalidate-cache".to_owned()] {
        cached(&mut customer, &info);
        cached(&mut customer, search);
        let before = customer.get("/cache-stats").expect(200).json();
        customer.post(&drop).expect(200);
        assert!(!customer.get(&info).is_hit() && !customer.get(search).is_hit(), "{drop}");
        cached(&mut customer, &info);
        let after = customer.get("/cache-stats").expect(200).json();
        let grew = |name: &str| after[name].as_u64().unwrap() > before[name].as_u64().unwrap();
        assert!(["hits", "misses", "invalidations"].into_iter().all(grew), "{before} {after}");
        assert!(after["entries"].as_u64().unwrap() >= 2 && after["capacity"] == 10_000, "{after}");
        let rate =
            after["hits"].as_f64().unwrap() / (after["hits"].as_f64().unwrap() + after["misses"].as_f64().unwrap());
        assert!((after["hit_rate"].as_f64().unwrap() - rate).abs() < 1e-9, "{after}");
    }
}

#[test]
fn a_customer_cannot_speak_to_the_cache() {
    let shop = shop();
    let mut customer = shop.customer();
    let path = format!("/info/{}", new_book(&mut customer, "private", 1));
    cached(&mut customer, &path);
    for what in ["announce", "invalidate"] {
        for prefix in ["/internal", "/api/internal", "/%69nternal"] {
            customer.post(&format!("{prefix}/cache/{what}")).expect(404);
            customer.ask(&format!("POST {prefix}/cache/{what}")).header("bazar-process", "0").send().expect(404);
        }
    }
    assert!(customer.get(&path).expect(200).is_hit());
}
