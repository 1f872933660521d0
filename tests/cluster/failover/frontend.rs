//! A frontend hangs or dies, and its cache with it.

use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::{until, until_some};

fn sold(customer: &mut Client, book: u64) -> u64 {
    1000 - customer.get(&format!("/info/{book}")).expect(200).json()["quantity"].as_u64().unwrap()
}

#[test]
fn a_frontend_that_hung_while_books_were_sold_wakes_up_without_the_old_stock() {
    let mut cluster = Cluster::new(2, 3, 3).open();
    let (mut awake, mut hung) = (cluster.client("frontend-1"), cluster.client("frontend-2"));
    for book in 1..=7 {
        until(&format!("book {book} is cached"), || hung.get(&format!("/info/{book}")).is_hit());
    }
    cluster.stop("frontend-2");
    for book in 1..=7 {
        awake.post(&format!("/purchase/{book}")).expect(201);
    }
    cluster.cont("frontend-2");
    let seen: Vec<u64> = (1..=7).map(|book| sold(&mut hung, book)).collect();
    assert_eq!(seen, [1; 7], "what each book's reader saw after one copy of each was sold");
}

#[test]
fn books_are_sold_at_one_frontend_while_another_is_dead() {
    let mut cluster = Cluster::new(2, 3, 3).open();
    let (mut alive, mut dead) = (cluster.client("frontend-1"), cluster.client("frontend-2"));
    until("book 1 is cached", || dead.get("/info/1").is_hit());
    cluster.kill9("frontend-2");
    for copies in 1..=5 {
        alive.post("/purchase/1").expect(201);
        assert_eq!(sold(&mut alive, 1), copies);
    }
    cluster.start("frontend-2");
    let seen = until_some("it is back", || {
        let answer = cluster.client("frontend-2").ask("GET /info/1").try_send().ok()?;
        (answer.status == 200).then(|| answer.json()["quantity"].clone())
    });
    assert_eq!(seen, 995);
}
