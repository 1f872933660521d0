//! Another replica than the one that is meant, at its address.

use std::fs;

use crate::common::cluster::{Cluster, wipe};
use crate::common::until;

/// Whether a replica says that messages between it and others are refused, for a reason that has these words.
fn tells(cluster: &Cluster, id: &str, words: &str) -> bool {
    let refusals = cluster.status(id).map(|status| status["refusals"].to_string());
    refusals.is_some_and(|refusals| refusals.contains(words))
}

#[test]
fn a_replica_under_two_names_is_no_majority() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    cluster.agreed_tables("catalog");
    cluster.kill9_all(&["catalog-1", "catalog-2", "catalog-3"]);

    let right = fs::read_to_string(cluster.path("shop.toml")).unwrap();
    let (one, three) = (cluster.address("catalog-1"), cluster.address("catalog-3"));
    let everywhere = format!("\"{one}\"\nlisten = \"0.0.0.0:{}\"", one.port());
    let alias = format!("127.0.0.2:{}", one.port());
    let wrong = right.replace(&format!("\"{one}\""), &everywhere).replace(&three.to_string(), &alias);
    fs::write(cluster.path("shop.toml"), wrong).unwrap();
    cluster.start("catalog-1");
    until("catalog-1 tells of the mistake", || {
        tells(&cluster, "catalog-1", "it is for catalog-3, and catalog-1 is at this")
    });
    assert!(cluster.log("catalog-1").contains("compare the addresses"));
    assert_ne!(customer.post("/purchase/1").status, 201);
    cluster.kill9("catalog-1");

    fs::write(cluster.path("shop.toml"), right).unwrap();
    ["catalog-1", "catalog-2", "catalog-3"].iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    cluster.audit();
}

#[test]
fn a_replica_at_the_address_of_another_is_not_taken_for_that() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    cluster.kill9_all(&["catalog-2", "catalog-3"]);
    let right = fs::read_to_string(cluster.path("shop.toml")).unwrap();
    let (two, three) = (cluster.address("catalog-2").to_string(), cluster.address("catalog-3").to_string());
    let swapped = right.replace(&two, "between").replace(&three, &two).replace("between", &three);
    fs::write(cluster.path("shop.toml"), swapped).unwrap();
    cluster.start("catalog-2");
    until("catalog-1 tells of the mistake", || {
        tells(&cluster, "catalog-1", "it is for catalog-3, and catalog-2 is at this")
    });
    cluster.kill9("catalog-2");

    fs::write(cluster.path("shop.toml"), right).unwrap();
    ["catalog-2", "catalog-3"].iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    until("nothing is refused any more", || !tells(&cluster, "catalog-1", "catalog-3"));
}

#[test]
fn a_replica_with_the_folder_of_another_shop_is_told_of_and_does_no_harm() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    cluster.kill9_everything();
    let stray = cluster.path("stray");
    fs::rename(cluster.data("catalog-2"), &stray).unwrap();
    wipe(&cluster.path("data"));
    cluster.start_all();
    cluster.wait_ready();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);

    cluster.kill9("catalog-2");
    wipe(&cluster.data("catalog-2"));
    fs::rename(&stray, cluster.data("catalog-2")).unwrap();
    cluster.start("catalog-2");
    until("both sides tell", || {
        let leads = cluster.running("catalog").filter(|id| *id != "catalog-2").any(|id| {
            tells(&cluster, id, "catalog-2 refuses") && cluster.log(id).contains("this replica's data is of the group")
        });
        leads && tells(&cluster, "catalog-2", "refused a message")
    });
    customer.post("/purchase/1").expect(201);
    cluster.client("catalog-2").get("/ready").problem(503, "unavailable");
}
