//! The lines that people know, and the exact shape of what they bring.

use serde_json::{Value, json};

use super::{names, new_book, shop};

#[test]
fn the_lines_that_people_know_work_as_they_stand() {
    let shop = shop();
    let mut customer = shop.customer();
    let found = customer.get("/search/distributed%20systems").expect(200).json();
    assert_eq!(found["topic"], "distributed systems");
    let ids: Vec<&Value> = found["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [1, 2]);

    assert_eq!(
        customer.get("/info/1").expect(200).json()["title"],
        "How to get a good grade in DOS in 40 minutes a day"
    );
    assert_eq!(customer.post("/buy/1").expect(201).json()["id"], 1);

    let stock = customer.get("/info/5").expect(200).json()["quantity"].as_u64().unwrap();
    let restocked = customer.put("/update/5/stock", &json!({ "quantity_change": 10 })).expect(200).json();
    assert_eq!(restocked["quantity"], stock + 10);
    let order = customer.ask("PUT /purchase/5").send().expect(201).json();
    assert_eq!(order["message"], "bought book How to finish Project 3 on time");
    assert_eq!(customer.get("/info/5").expect(200).json()["quantity"], stock + 9);

    assert_eq!(customer.get("/cache-stats").expect(200).json()["enabled"], true);
    assert_eq!(customer.get("/api/search/theory").expect(200).json()["items"][0]["id"], 6);
    assert_eq!(
        customer.post("/invalidate/1").expect(200).json(),
        json!({ "invalidated": ["info/1", "search/distributed systems"] })
    );
    assert_eq!(customer.post("/invalidate/999999").expect(200).json(), json!({ "invalidated": ["info/999999"] }));
}

#[test]
fn a_book_and_a_search_have_exactly_these_fields() {
    let shop = shop();
    let mut customer = shop.customer();
    let id = new_book(&mut customer, "Exact Shapes", 4);
    let book = json!({ "id": id, "title": "New", "topic": "Exact Shapes", "price": 12.5, "quantity": 4 });
    assert_eq!(customer.get(&format!("/info/{id}")).expect(200).json(), book);

    let item = json!({ "id": id, "title": "New", "price": 12.5, "quantity": 4 });
    let found = json!({ "topic": "exact shapes", "items": [item] });
    assert_eq!(customer.get("/search/exact%20shapes").expect(200).json(), found);
}

#[test]
fn a_purchase_is_answered_with_the_order_that_can_be_read_later() {
    let shop = shop();
    let mut customer = shop.customer();
    for line in ["POST /purchase/2", "PUT /purchase/2", "POST /buy/2", "POST /api/purchase/2"] {
        let bought = customer.ask(line).send().expect(201);
        let location = bought.header("location").unwrap().to_owned();
        let mut order = bought.json();
        assert_eq!(names(&order), ["id", "message", "order_id", "placed_at", "price", "quantity", "title"], "{line}");
        assert_eq!(location, format!("/orders/{}", order["order_id"]));
        assert_eq!((&order["id"], &order["title"], &order["price"]), (&json!(2), &json!("RPCs for Noobs"), &json!(50)));
        assert_eq!(order["message"], "bought book RPCs for Noobs");
        assert!(order["placed_at"].as_str().unwrap().parse::<bazar::model::UnixMillis>().is_ok(), "{order}");

        order.as_object_mut().unwrap().remove("message");
        assert_eq!(customer.get(&location).expect(200).json(), order);
    }
}

#[test]
fn orders_are_listed_page_by_page() {
    let shop = shop();
    let mut customer = shop.customer();
    let bought: Vec<Value> = (0..5).map(|_| customer.post("/purchase/3").expect(201).json()).collect();
    let before = bought[0]["order_id"].as_u64().unwrap() - 1;

    let mut path = Some(format!("/orders?limit=2&after={before}"));
    let mut listed = Vec::new();
    while let Some(page) = path.take().map(|path| customer.get(&path).expect(200).json()) {
        let orders = page["orders"].as_array().unwrap();
        assert!(orders.len() <= 2);
        listed.extend(orders.iter().map(|order| order["order_id"].clone()));
        path = page.get("next").map(|next| next.as_str().unwrap().to_owned());
    }
    assert_eq!(listed, bought.iter().map(|order| order["order_id"].clone()).collect::<Vec<_>>());
    assert_eq!(customer.get("/orders?after=18446744073709551615").expect(200).json(), json!({ "orders": [] }));
    assert!(customer.get("/orders").expect(200).json()["orders"].as_array().unwrap().len() >= 5);
}

#[test]
fn a_search_takes_any_case_and_encoding_and_comes_in_pages() {
    let shop = shop();
    let mut customer = shop.customer();
    let ids: Vec<u64> = (0..5).map(|_| new_book(&mut customer, "Größe/&? 100%", 1)).collect();
    for topic in ["Gr%C3%B6%C3%9Fe%2F%26%3F%20100%25", "gR%c3%96%c3%9Fe%2f&%3F%20100%25"] {
        let mut path = Some(format!("/search/{topic}?limit=2"));
        let mut found = Vec::new();
        while let Some(page) = path.take().map(|path| customer.get(&path).expect(200).json()) {
            assert_eq!(page["topic"], "größe/&? 100%");
            found.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()));
            path = page.get("next").map(|next| next.as_str().unwrap().to_owned());
        }
        assert_eq!(found, ids, "{topic}");
    }
    let empty = json!({ "topic": "nothing at all", "items": [] });
    assert_eq!(customer.get("/search/Nothing%20at%20all").expect(200).json(), empty);
}

#[test]
fn staff_change_add_and_remove_books() {
    let shop = shop();
    let mut customer = shop.customer();
    let book = json!({ "title": "T", "topic": "staff", "price": 65, "quantity": 2 });
    let added = customer.ask("POST /books").json(&book).send().expect(201);
    let location = added.header("location").unwrap().to_owned();
    let id = added.json()["id"].as_u64().unwrap();
    assert_eq!(location, format!("/info/{id}"));

    let mut expected = json!({ "id": id, "title": "T", "topic": "staff", "price": 65, "quantity": 2 });
    assert_eq!(added.json(), expected);
    let mut change = |what: &str, body: Value| customer.put(&format!("/update/{id}{what}"), &body).expect(200).json();
    expected["price"] = json!(65.5);
    assert_eq!(change("/price", json!({ "price": 65.50 })), expected);
    expected["quantity"] = json!(7);
    assert_eq!(change("/stock", json!({ "quantity_change": 5 })), expected);
    (expected["price"], expected["quantity"]) = (json!(1), json!(0));
    assert_eq!(change("", json!({ "price": 1, "quantity_change": -7 })), expected);
    expected["price"] = json!(0.07);
    assert_eq!(change("", json!({ "price": 0.07 })), expected);

    assert_eq!(customer.ask(&format!("DELETE /books/{id}")).send().expect(200).json(), expected);
    customer.get(&location).problem(404, "not-found");

    let with_id = json!({ "id": id + 50, "title": "T", "topic": "staff", "price": 65, "quantity": 2 });
    assert_eq!(customer.ask("POST /books").json(&with_id).send().expect(201).json()["id"], id + 50);
    customer.ask("POST /books").json(&with_id).send().problem(409, "conflict");
}

#[test]
fn every_node_tells_how_it_is() {
    let shop = shop();
    for id in ["frontend-1", "catalog-1", "order-3"] {
        let mut node = shop.cluster.client(id);
        assert_eq!(node.get("/health").expect(200).json(), json!({ "status": "alive" }), "{id}");
        assert_eq!(node.get("/ready").expect(200).json(), json!({ "status": "ready" }), "{id}");
    }
    let overview = shop.customer().get("/cluster").expect(200).json();
    for role in ["catalog", "order"] {
        let nodes = overview[role].as_array().unwrap();
        assert_eq!(nodes.len(), 3);
        assert_eq!(nodes.iter().filter(|node| node["status"]["leader_ready"] == true).count(), 1, "{overview}");
        for (number, node) in (1..).zip(nodes) {
            let id = format!("{role}-{number}");
            assert_eq!((&node["id"], &node["up"], &node["status"]["id"]), (&json!(id), &json!(true), &json!(id)));
            assert_eq!(node["address"], shop.cluster.address(&id).to_string());
            assert_eq!(node["status"]["voters"].as_array().unwrap().len(), 3);
        }
    }
}

#[test]
fn a_replica_answers_the_same_requests_as_a_frontend() {
    let shop = shop();
    let stock = shop.cluster.client("catalog-1").get("/info/4").expect(200).json()["quantity"].as_u64().unwrap();
    let order = shop.cluster.client("order-2").post("/purchase/4").expect(201).json();
    for id in ["order-1", "order-2", "order-3"] {
        let path = format!("/orders/{}", order["order_id"]);
        assert_eq!(shop.cluster.client(id).get(&path).expect(200).json()["id"], 4, "{id}");
    }
    for id in ["catalog-1", "catalog-2", "catalog-3"] {
        assert_eq!(shop.cluster.client(id).get("/info/4").expect(200).json()["quantity"], stock - 1, "{id}");
    }
}

#[test]
fn at_the_root_people_find_a_page_and_programs_a_list() {
    let shop = shop();
    let mut customer = shop.customer();
    for path in ["/", "/api"] {
        let page = customer.ask(&format!("GET {path}")).header("accept", "text/html,*/*;q=0.8").send().expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().contains("<a href=\"/orders\">"), "{}", page.text());
        assert_eq!(customer.get(path).expect(200).json()["links"]["book"], "/info/{id}");
    }
    customer.post("/").problem(405, "method-not-allowed");
}
