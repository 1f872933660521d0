//! A replica loses its disk, and comes back the documented way.

use std::fs;

use crate::common::cluster::{Cluster, wipe};
use crate::common::until;

/// Loses a replica's disk, and checks that it does not come back by itself but does when told to.
fn lose_and_rejoin(cluster: &mut Cluster, id: &str) {
    cluster.kill9(id);
    wipe(&cluster.data(id));
    cluster.start(id);
    assert_eq!(cluster.wait_exit(id).code(), Some(1), "{id} does not start without its memory");
    let told = cluster.log(id);
    assert!(told.contains("exists already") && told.contains("--join"), "{told}");

    cluster.start_with(id, &["--join"]);
    let role = id.split('-').next().unwrap();
    let voters = cluster.group(role).count();
    until(&format!("all {role}s vote again"), || {
        let votes =
            |id: &str| cluster.status(id).is_some_and(|status| status["voters"].as_array().unwrap().len() == voters);
        cluster.group(role).all(votes)
    });
    cluster.wait_ready();
}

/// Kills each replica of a group in turn; the others must go on, and it must come back.
pub fn each_may_die(cluster: &mut Cluster, role: &str) {
    let mut customer = cluster.client("frontend-1");
    for id in cluster.group(role).map(str::to_owned).collect::<Vec<_>>() {
        cluster.kill9(&id);
        customer.post("/purchase/1").expect(201);
        cluster.start(&id);
        cluster.wait_ready();
    }
}

#[test]
fn a_replica_that_lost_its_disk_rejoins_three_and_then_any_one_may_die() {
    let mut cluster = Cluster::new(1, 3, 3).open();
    let mut customer = cluster.client("frontend-1");
    (0..5).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    // The founder of the group, the leader and a follower.
    let (leader, follower) = (cluster.leader("order"), cluster.follower("order"));
    for id in ["catalog-1", &leader, &follower] {
        lose_and_rejoin(&mut cluster, id);
        customer.post("/purchase/1").expect(201);
    }
    assert_eq!(cluster.audit().orders, [1; 8]);
    each_may_die(&mut cluster, "catalog");
    each_may_die(&mut cluster, "order");
    let books = cluster.audit();
    assert_eq!((books.orders.len(), books.stock[&1]), (14, 986));
}

#[test]
fn a_replica_that_lost_its_disk_rejoins_a_pair() {
    let mut cluster = Cluster::new(1, 2, 2).open();
    let mut customer = cluster.client("frontend-1");
    (0..5).for_each(|_| drop(customer.post("/purchase/1").expect(201)));
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("order"));
    for id in [leader, follower] {
        lose_and_rejoin(&mut cluster, &id);
        customer.post("/purchase/1").expect(201);
    }
    let books = cluster.audit();
    assert_eq!((books.orders.len(), books.stock[&1]), (7, 993));

    // What came back holds all that the other holds: the other may lose its disk next.
    for id in ["catalog-1", "catalog-2", "order-1", "order-2"] {
        lose_and_rejoin(&mut cluster, id);
    }
    customer.post("/purchase/1").expect(201);
    assert_eq!(cluster.audit().orders.len(), 8);
}

#[test]
fn a_voter_that_the_configuration_does_not_name_is_told_of_and_counts_as_one_that_is_down() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    cluster.kill9_everything();
    let file = cluster.path("shop.toml");
    let toml = fs::read_to_string(&file).unwrap();
    let address = cluster.address("catalog-3");
    let left: String = toml.replace(&format!("[[catalog]]\nid = \"catalog-3\"\naddress = \"{address}\"\n"), "");
    fs::write(&file, left).unwrap();
    ["catalog-1", "catalog-2", "order-1", "frontend-1"].into_iter().for_each(|id| cluster.start(id));
    cluster.wait_ready();
    let mut customer = cluster.client("frontend-1");
    customer.post("/purchase/1").expect(201);
    let leader = cluster.leader("catalog");
    let told = "a member of the group has no address here";
    until("the leader tells of it", || cluster.log(&leader).contains(told));

    let other = if leader == "catalog-1" { "catalog-2" } else { "catalog-1" };
    cluster.kill9(other);
    until("its leader has no majority", || {
        let refusal = customer.put("/update/1/price", &serde_json::json!({ "price": 3 }));
        refusal.status == 503 && refusal.text().contains("catalog-3 (not in the configuration)")
    });
    assert_eq!(cluster.log(&leader).matches(told).count(), 1);
}
