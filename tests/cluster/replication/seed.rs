//! The first books of a shop.

use std::fs;

use serde_json::Value;

use crate::common::cluster::Cluster;
use crate::common::until;

const HEADER: &str = "id,topic,title,price,quantity\n";

#[test]
fn the_seed_is_read_once_in_a_shops_life() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let before = cluster.agreed_tables("catalog");
    cluster.kill9_everything();
    fs::write(cluster.path("catalog.csv"), format!("{HEADER}1,theory,Another,1,1\n")).unwrap();
    cluster.start_all();
    cluster.wait_ready();
    assert_eq!(cluster.agreed_tables("catalog"), before);

    cluster.kill9_everything();
    fs::remove_file(cluster.path("catalog.csv")).unwrap();
    cluster.start_all();
    cluster.wait_ready();
    assert_eq!(cluster.agreed_tables("catalog"), before);
}

#[test]
fn replicas_whose_seeds_differ_agree_on_one() {
    let mut cluster = Cluster::new(1, 3, 1);
    for number in 1..=3 {
        let (id, file) = (format!("catalog-{number}"), format!("seed-{number}.csv"));
        fs::write(cluster.path(&file), format!("{HEADER}1,theory,Book of {number},1,1\n")).unwrap();
        cluster.start_with(&id, &["--seed", &file]);
    }
    cluster.start("frontend-1");
    cluster.start("order-1");
    cluster.wait_ready();
    let title = |id: &str| cluster.client(id).get("/info/1").expect(200).json()["title"].as_str().unwrap().to_owned();
    let titles = ["catalog-1", "catalog-2", "catalog-3", "frontend-1"].map(title);
    assert!(titles[0].starts_with("Book of ") && titles.iter().all(|title| *title == titles[0]), "{titles:?}");
    cluster.agreed_tables("catalog");
}

#[test]
fn a_shop_with_a_bad_seed_opens_as_soon_as_the_file_is_mended() {
    let mut cluster = Cluster::new(1, 3, 1);
    let seed = cluster.path("catalog.csv");
    let good = fs::read_to_string(&seed).unwrap();
    fs::write(&seed, good.replace(",35,", ",3.555,").replace("7,spring", "6,spring")).unwrap();
    cluster.start_all();
    until("the leader tells all mistakes by line", || {
        cluster.group("catalog").any(|id| {
            let log = cluster.log(id);
            log.contains("catalog.csv:6: price (column 4)") && log.contains("catalog.csv:8: id (column 1)")
        })
    });
    let mut customer = cluster.client("frontend-1");
    customer.get("/ready").problem(503, "unavailable");
    let refusal = customer.post("/purchase/1").problem(503, "unavailable");
    let why = |text: &Value| text.as_str().is_some_and(|text| text.contains("cannot be filled from catalog.csv"));
    assert!(why(&refusal["detail"]), "{refusal}");
    let hindrance = |id: &str| cluster.status(id).map(|status| status["hindrance"].clone());
    let leader = cluster.group("catalog").find(|id| hindrance(id).is_some_and(|hindrance| why(&hindrance)));
    let leader = leader.expect("the leader says what hinders it").to_owned();
    let waits = cluster.client(&leader).get("/ready").problem(503, "unavailable");
    assert!(why(&waits["detail"]), "{waits}");
    // What it has no books to answer from is not answered, not even as old.
    for id in cluster.group("catalog").chain(["frontend-1"]) {
        for path in ["/info/1", "/search/theory"] {
            cluster.client(id).get(path).problem(503, "unavailable");
        }
    }

    // It is read again and again, and told once.
    until("it was read again", || cluster.log(&leader).matches("is not ready to lead yet").count() > 1);
    assert!(cluster.group("catalog").all(|id| cluster.log(id).matches("catalog.csv:6: price (column 4)").count() <= 1));

    fs::write(&seed, good).unwrap();
    cluster.wait_ready();
    customer.post("/purchase/1").expect(201);
    cluster.audit();
    assert!(cluster.group("catalog").all(|id| hindrance(id).is_some_and(|hindrance| hindrance.is_null())));
}
