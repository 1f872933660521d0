//! Two catalog and two order servers: one dies, reads go on and say so, writes wait for its return.

use serde_json::json;

use crate::common::client::{Answer, Client};
use crate::common::cluster::Cluster;
use crate::common::until;

fn past_the_cache(customer: &mut Client, path: &str) -> Answer {
    customer.ask(&format!("GET {path}")).header("cache-control", "no-cache").send()
}

/// The refusal of a write; its reason must name the group that cannot take it.
#[track_caller]
fn assert_refused(answer: Answer, role: &str) {
    assert!(answer.header("retry-after").is_some(), "{}", answer.text());
    let problem = answer.problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(role) && detail.contains("majority"), "{detail}");
}

#[test]
fn one_of_two_catalog_servers_still_answers_reads_and_marks_them() {
    for dies_leader in [true, false] {
        let mut cluster = Cluster::new(1, 2, 2).open();
        let mut customer = cluster.client("frontend-1");
        customer.post("/purchase/1").expect(201);
        // The follower learns a moment later that it was committed.
        cluster.agreed_tables("catalog");
        let dead = if dies_leader { cluster.leader("catalog") } else { cluster.follower("catalog") };
        cluster.kill9(&dead);

        // Reads that began before anybody could know of the death may fail, but not be wrong.
        until("reads are marked", || past_the_cache(&mut customer, "/info/1").is_marked_stale());
        let read = past_the_cache(&mut customer, "/info/1").expect(200);
        assert!(read.is_marked_stale() && !read.is_hit());
        assert_eq!(read.json()["quantity"], 999);
        let found = customer.get("/search/theory").expect(200);
        assert!(found.is_marked_stale() && !customer.get("/search/theory").is_hit());

        assert_refused(customer.post("/purchase/1"), "catalog");
        assert_refused(customer.put("/update/1/price", &json!({ "price": 1 })), "catalog");
        assert!(!customer.get("/orders").expect(200).is_marked_stale());

        cluster.start(&dead);
        cluster.wait_ready();
        customer.post("/purchase/1").expect(201);
        customer.put("/update/1/price", &json!({ "price": 31 })).expect(200);
        let read = past_the_cache(&mut customer, "/info/1").expect(200);
        assert!(!read.is_marked_stale());
        assert_eq!((&read.json()["quantity"], &read.json()["price"]), (&json!(998), &json!(31)));
        assert_eq!(cluster.audit().orders, [1, 1]);
    }
}

#[test]
fn one_of_two_order_servers_still_lists_orders_and_marks_them() {
    let mut cluster = Cluster::new(1, 2, 2).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("order");
    let dead = cluster.leader("order");
    cluster.kill9(&dead);

    until("lists of orders are marked", || customer.get("/orders").is_marked_stale());
    for path in ["/orders", "/orders/1"] {
        assert!(customer.get(path).expect(200).is_marked_stale());
    }
    assert!(!past_the_cache(&mut customer, "/info/1").expect(200).is_marked_stale());
    assert_refused(customer.post("/purchase/1"), "order");
    customer.put("/update/1/price", &json!({ "price": 31 })).expect(200);

    cluster.start(&dead);
    cluster.wait_ready();
    assert_eq!(customer.post("/purchase/1").expect(201).json()["order_id"], 2);
    assert!(!customer.get("/orders").expect(200).is_marked_stale());
    assert_eq!(cluster.audit().orders, [1, 1]);
}

#[test]
fn a_shop_can_be_set_to_refuse_reads_that_may_be_stale() {
    let mut cluster = Cluster::new(1, 2, 2).set("reads.without_majority", "refuse").open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    for (role, path) in [("order", "/orders"), ("catalog", "/info/1")] {
        let dead = cluster.leader(role);
        cluster.kill9(&dead);
        until(&format!("{path} is refused"), || past_the_cache(&mut customer, path).status == 503);
        let refusal = past_the_cache(&mut customer, path);
        assert!(!refusal.is_marked_stale());
        assert_refused(refusal, role);
        cluster.start(&dead);
        cluster.wait_ready();
        assert!(!past_the_cache(&mut customer, path).expect(200).is_marked_stale());
    }
}
