//! The tables for people, and what people do to them.

use std::fs;
use std::path::Path;

use crate::common::cluster::Cluster;
use crate::common::until;

const TABLES: [(&str, &str); 3] =
    [("catalog-1", "catalog.csv"), ("catalog-1", "ledger.csv"), ("order-1", "orders.csv")];

/// What somebody does to a file, in a word and in deed.
type Meddling = (&'static str, fn(&Path));

/// Buys a book, after which one replica's files are like another's.
fn assert_undone_by_a_purchase(cluster: &Cluster, what: &str) {
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    for (id, table) in TABLES {
        let of = |id: &str| fs::read_to_string(cluster.data(id).join("tables").join(table)).unwrap_or_default();
        let other = id.replace('1', "2");
        until(&format!("{table} is as before it was {what}"), || !of(id).is_empty() && of(id) == of(&other));
    }
}

#[test]
fn what_people_do_to_the_tables_is_undone_by_the_next_write() {
    let cluster = Cluster::new(1, 3, 3).open();
    let meddling: [Meddling; 4] = [
        ("edited", |path| fs::write(path, "edited\n").unwrap()),
        ("replaced", |path| {
            fs::write(path.with_extension("new"), "replaced\n").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("removed with its folder", |path| {
            // Another of the folder's tables may have been here before.
            let _ = fs::remove_dir_all(path.parent().unwrap());
        }),
    ];
    assert_undone_by_a_purchase(&cluster, "touched");
    for (what, meddle) in meddling {
        for (id, table) in TABLES {
            meddle(&cluster.data(id).join("tables").join(table));
        }
        assert_undone_by_a_purchase(&cluster, what);
    }
}

#[test]
fn a_folder_in_the_place_of_a_table_stops_nobody() {
    let cluster = Cluster::new(1, 3, 1).open();
    assert_undone_by_nothing(&cluster);
    cluster.client("catalog-1").get("/health").expect(200);
    assert!(cluster.log("catalog-1").contains("the CSV tables cannot be written; trying again"));
}

fn assert_undone_by_nothing(cluster: &Cluster) {
    let path = cluster.data("catalog-1").join("tables/catalog.csv");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("note"), "mine").unwrap();
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    until("the replica tells that the table cannot be written", || cluster.log("catalog-1").contains("trying again"));
    fs::remove_dir_all(&path).unwrap();
    until("the table is there again", || path.is_file());
}
