//! A replica that forgot something does not vote, and says so.

use std::fs;
use std::process::Command;

use crate::common::client::Client;
use crate::common::cluster::{Cluster, wipe};
use crate::common::until;
use crate::replication::rejoin::each_may_die;

/// Starts a replica that must refuse to, and returns what it says.
fn refusal(cluster: &mut Cluster, id: &str) -> String {
    let before = cluster.log(id).len();
    cluster.start(id);
    assert_eq!(cluster.wait_exit(id).code(), Some(1), "{id} fails");
    cluster.log(id)[before..].to_owned()
}

#[test]
fn a_replica_whose_log_alone_is_lost_or_old_refuses_until_it_joins_anew() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let follower = cluster.follower("catalog");
    cluster.kill9(&follower);
    let old_log = cluster.path("old log");
    let log = cluster.data(&follower).join("log");
    copy(&log, &old_log);
    cluster.start(&follower);
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("catalog");
    cluster.kill9(&follower);

    wipe(&log);
    let told = refusal(&mut cluster, &follower);
    assert!(told.contains("the newest file of the log is missing") && told.contains("--join"), "{told}");
    wipe(&log);
    copy(&old_log, &log);
    let told = refusal(&mut cluster, &follower);
    assert!(told.contains("the log is an old copy") && told.contains("--join"), "{told}");
    let sibling = cluster.follower("catalog");
    cluster.kill9(&sibling);
    wipe(&log);
    copy(&cluster.data(&sibling).join("log"), &log);
    let told = refusal(&mut cluster, &follower);
    assert!(told.contains("the log is another replica's") && told.contains("--join"), "{told}");
    cluster.start(&sibling);

    wipe(&cluster.data(&follower));
    cluster.start_with(&follower, &["--join"]);
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    assert_eq!(cluster.audit().orders.len(), 3);
}

#[test]
fn a_group_that_lost_most_disks_says_nothing_wrong_and_is_recovered_from_the_one_left() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    (0..3).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    cluster.agreed_tables("catalog");
    // The one left leads, and does not know yet that it is alone.
    let left = cluster.leader("catalog");
    let lost: Vec<String> = cluster.group("catalog").filter(|id| *id != left).map(str::to_owned).collect();
    let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
    cluster.kill9_all(&lost);
    for &id in &lost {
        wipe(&cluster.data(id));
        cluster.start_with(id, &["--join"]);
    }
    for &id in &lost {
        until(&format!("{id} says what it waits for"), || {
            cluster.log(id).contains("When most disks of a group are lost")
        });
        cluster.client(id).get("/info/3").problem(503, "unavailable");
        cluster.client(id).get("/search/theory").problem(503, "unavailable");
        cluster.client(id).get("/ready").problem(503, "unavailable");
    }
    for _ in 0..12 {
        let read = customer.ask("GET /info/3").header("cache-control", "no-cache").send();
        assert!(read.status == 503 || (read.status == 200 && read.is_marked_stale()), "{}", read.text());
    }
    assert_ne!(customer.post("/purchase/1").status, 201);

    // As docs/operations.md has it.
    cluster.kill9_all(&["catalog-1", "catalog-2", "catalog-3"]);
    for &id in &lost {
        wipe(&cluster.data(id));
        copy(&cluster.data(&left), &cluster.data(id));
        let mark = cluster.data(id).join("member.json");
        fs::write(&mark, fs::read_to_string(&mark).unwrap().replace(&format!("\"{left}\""), &format!("\"{id}\"")))
            .unwrap();
    }
    ["catalog-1", "catalog-2", "catalog-3"].iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    let books = cluster.audit();
    assert!(books.orders.len() >= 4, "{:?}", books.orders);
    // All three vote, whatever was begun while two were lost.
    each_may_die(&mut cluster, "catalog");
}

#[test]
fn a_catalog_that_is_older_than_the_orders_sells_nothing_until_it_is_as_new() {
    let mut cluster = Cluster::new(1, 1, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    cluster.kill9("catalog-1");
    let [data, old, new] = ["data/catalog-1", "old", "new"].map(|folder| cluster.path(folder));
    copy(&data, &old);
    cluster.start("catalog-1");
    cluster.wait_ready();
    (0..2).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    cluster.kill9("catalog-1");
    fs::rename(&data, &new).unwrap();
    copy(&old, &data);
    cluster.start("catalog-1");
    until("the order leader says so", || {
        cluster.log("order-1").contains("the catalog's data is older than the orders'")
    });

    cluster.wait_ready();
    let stock = |customer: &mut Client| customer.get("/info/1").expect(200).json()["quantity"].clone();
    let before = stock(&mut customer);
    for _ in 0..2 {
        let refusal = customer.post("/purchase/1").problem(503, "unavailable");
        let why = refusal["detail"].as_str().unwrap();
        assert!(why.contains("the catalog's data is older than the orders'"), "{why}");
    }
    assert_eq!(stock(&mut customer), before);

    cluster.kill9("catalog-1");
    wipe(&data);
    copy(&new, &data);
    cluster.start("catalog-1");
    until("it sells again", || customer.post("/purchase/1").status == 201);
    assert_eq!(cluster.audit().orders.len(), 4);
}

#[test]
fn nobody_is_told_that_there_is_nothing_by_replicas_that_never_had_anything() {
    let mut cluster = Cluster::new(1, 3, 3);
    let empty = ["catalog-2", "catalog-3", "order-2", "order-3"];
    let say_nothing = |cluster: &Cluster| {
        for id in empty.into_iter().chain(["frontend-1"]) {
            let mut customer = cluster.client(id);
            until(&format!("{id} listens"), || customer.ask("GET /health").try_send().is_ok());
            let paths: &[&str] = match id.split('-').next() {
                Some("catalog") => &["/info/1", "/info/999", "/search/theory"],
                Some("order") => &["/orders", "/orders/1"],
                _ => &["/info/1", "/info/999", "/search/theory", "/orders", "/orders/1"],
            };
            for path in paths {
                customer.get(path).problem(503, "unavailable");
            }
        }
    };
    // A group that cannot begin.
    empty.into_iter().chain(["frontend-1"]).for_each(|id| cluster.start(id));
    say_nothing(&cluster);

    // One whose only memory is down.
    ["catalog-1", "order-1"].into_iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    cluster.kill9_everything();
    for id in empty {
        wipe(&cluster.data(id));
        cluster.start_with(id, &["--join"]);
    }
    cluster.start("frontend-1");
    say_nothing(&cluster);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
