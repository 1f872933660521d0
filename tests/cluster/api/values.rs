//! Values that cannot be, and purchases of many copies.

use serde_json::json;

use super::{new_book, shop};

#[test]
fn a_purchase_of_many_copies_is_one_order_at_every_server() {
    let shop = shop();
    let mut reader = shop.customer();
    for node in ["frontend-1", "order-1", "order-2", "order-3"] {
        let book = new_book(&mut reader, "many", 5);
        let mut customer = shop.cluster.client(node);
        let mut buy = |key: &str, quantity: u64| {
            let ask =
                customer.ask(&format!("POST /purchase/{book}")).header("idempotency-key", &format!("{node}-{key}"));
            ask.json(&json!({ "quantity": quantity })).send()
        };
        let order = buy("a", 3).expect(201).json();
        assert_eq!((&order["quantity"], &order["price"]), (&json!(3), &json!(12.5)));
        assert_eq!(order["message"], "bought 3 copies of book New");
        assert_eq!(buy("a", 3).expect(201).json(), order);
        buy("a", 2).problem(422, "key-reused");
        let refusal = buy("b", 3).problem(409, "sold-out");
        assert!(refusal["detail"].as_str().unwrap().contains("only 2 are left"), "{refusal}");
        let recorded = reader.get(&format!("/orders/{}", order["order_id"])).expect(200).json();
        assert_eq!((&recorded["quantity"], &recorded["id"]), (&json!(3), &json!(book)));
        assert_eq!(reader.get(&format!("/info/{book}")).expect(200).json()["quantity"], 2);
    }
}

#[test]
fn what_the_body_of_a_purchase_says_is_never_ignored() {
    let shop = shop();
    let mut reader = shop.customer();
    let book = new_book(&mut reader, "bodies", 5);
    for node in ["frontend-1", "order-1"] {
        let mut customer = shop.cluster.client(node);
        let mut buy = |media_type: &str, body: Vec<u8>| {
            customer.ask(&format!("POST /buy/{book}")).header("content-type", media_type).body(body).send()
        };
        let json = "application/json";
        buy(json, br#"{"qty":100000}"#.to_vec()).problem(422, "invalid");
        buy(json, br#"{"quantity":1,"count":1}"#.to_vec()).problem(422, "invalid");
        buy(json, b"[1".to_vec()).problem(400, "malformed");
        buy("text/plain", b"garbage".to_vec()).problem(415, "unsupported-media-type");
        buy(json, vec![b' '; 200_000]).problem(413, "body-too-large");
    }
    assert_eq!(reader.get(&format!("/info/{book}")).expect(200).json()["quantity"], 5);
}

#[test]
fn a_value_that_cannot_be_is_refused_and_changes_nothing() {
    let shop = shop();
    let mut staff = shop.customer();
    let book = new_book(&mut staff, "values", 5);
    let add = |id: &str, title: &str, price: &str, quantity: &str| {
        format!(r#"{{"id":{id},"title":{title},"topic":"values","price":{price},"quantity":{quantity}}}"#)
    };
    let lines = [
        ("POST /books", add("18446744073709551615", "\"a\"", "1", "1")),
        ("POST /books", add("9007199254740992", "\"a\"", "1", "1")),
        ("POST /books", add("0", "\"a\"", "1", "1")),
        ("POST /books", add("900001", r#""\u0000""#, "1", "1")),
        ("POST /books", add("900001", r#""\u001b[31m""#, "1", "1")),
        ("POST /books", add("900001", r#""\u202egnp""#, "1", "1")),
        ("POST /books", add("900001", r#""\u200b""#, "1", "1")),
        ("POST /books", add("900001", "\"a\"", "65.5000000000000000001", "1")),
        ("POST /books", add("900001", "\"a\"", "1", "1000000000001")),
        (&format!("PUT /update/{book}/price"), r#"{"price":99999999.999999999999}"#.to_owned()),
        (&format!("PUT /update/{book}/price"), r#"{"price":1e2}"#.to_owned()),
        (&format!("PUT /update/{book}/stock"), r#"{"quantity_change":0.5}"#.to_owned()),
    ];
    for (line, body) in lines {
        for node in ["frontend-1", "catalog-3"] {
            let answer = shop
                .cluster
                .client(node)
                .ask(line)
                .header("content-type", "application/json")
                .body(body.as_str())
                .send();
            answer.problem(422, "invalid");
        }
    }
    staff.get("/info/900001").problem(404, "not-found");
    let minus_zero = staff.ask(&format!("PUT /update/{book}/stock")).header("content-type", "application/json");
    assert_eq!(minus_zero.body(r#"{"quantity_change":-0}"#).send().expect(200).json()["quantity"], 5);
}
