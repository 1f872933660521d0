//! Every process dies at once.

use serde_json::json;

use crate::common::audit::rows;
use crate::common::client::{Answer, Client};
use crate::common::cluster::Cluster;
use crate::common::storm::Storm;

const COPIES: u64 = 1_000_000;

#[test]
fn what_was_acknowledged_survives_the_death_of_every_process_at_once() {
    let mut cluster = Cluster::new(1, 3, 3).with_copies(COPIES).open();
    let storm = Storm::start(&[cluster.address("frontend-1")], COPIES, 8, 2);
    for _ in 0..2 {
        storm.wait_for_purchases(150);
        cluster.kill9_everything();
        cluster.start_all();
        cluster.wait_ready();
    }
    storm.wait_for_purchases(150);
    // Nobody buys after the last time: what the catalog had decided must be recorded without being asked for.
    cluster.kill9_everything();
    let memory = storm.end();
    cluster.start_all();
    cluster.wait_ready();
    memory.assert_agrees_with(&cluster.audit());
}

fn buy(customer: &mut Client, book: u64, key: &str) -> Answer {
    customer.ask(&format!("POST /purchase/{book}")).header("idempotency-key", key).send()
}

#[test]
fn a_key_brings_the_same_answer_at_any_frontend_and_after_all_replicas_restarted() {
    let mut cluster = Cluster::new(2, 3, 3).open();
    let (mut one, mut other) = (cluster.client("frontend-1"), cluster.client("frontend-2"));
    one.put("/update/2/stock", &json!({ "quantity_change": -1000 })).expect(200);
    let order = buy(&mut one, 1, "kept").expect(201);
    buy(&mut one, 2, "refused").problem(409, "sold-out");
    assert_eq!(buy(&mut other, 1, "kept").expect(201).body, order.body);

    let replicas: Vec<String> =
        ["catalog", "order"].iter().flat_map(|role| cluster.group(role)).map(str::to_owned).collect();
    cluster.kill9_all(&replicas.iter().map(String::as_str).collect::<Vec<_>>());
    replicas.iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    other.put("/update/2/stock", &json!({ "quantity_change": 5 })).expect(200);
    for customer in [&mut one, &mut other] {
        assert_eq!(buy(customer, 1, "kept").expect(201).body, order.body);
        buy(customer, 3, "kept").problem(422, "key-reused");
        buy(customer, 2, "refused").problem(409, "sold-out");
    }
    assert_eq!(cluster.audit().orders, [1]);
}

#[test]
fn any_text_survives_from_the_request_to_the_table_and_a_restart() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    let titles = [
        "a, b;c d",
        "\"quoted\" and \"\"twice\"\"",
        " blanks around ",
        "=SUM(A1:A2)",
        "Ünï—書籍 📚 שלום",
        "\u{feff}mark",
        "#",
    ];
    let mut books = Vec::new();
    for title in titles {
        let book = json!({ "title": title, "topic": format!("{title}?"), "price": 1, "quantity": 1 });
        books.push(customer.ask("POST /books").json(&book).send().expect(201).json());
    }
    let tables = cluster.agreed_tables("catalog");
    let written: Vec<Vec<String>> = rows(&tables["catalog.csv"]).split_off(7);
    // People are shown no formula.
    let shown = |text: &str| if text.starts_with('=') { format!("'{text}") } else { text.to_owned() };
    let expected = books.iter().map(|book| {
        ["id", "topic", "title", "price", "quantity"]
            .map(|name| book[name].as_str().map_or(book[name].to_string(), shown))
    });
    assert_eq!(written, expected.map(Vec::from).collect::<Vec<_>>());
    assert!(written.iter().zip(titles).all(|(row, title)| row[2] == shown(title)));

    cluster.kill9_everything();
    cluster.start_all();
    cluster.wait_ready();
    let mut customer = cluster.client("frontend-1");
    for book in &books {
        assert_eq!(customer.get(&format!("/info/{}", book["id"])).expect(200).json(), *book);
    }
    assert_eq!(cluster.agreed_tables("catalog"), tables);
}
