//! More connections than a node may have.

use std::net::TcpStream;

use crate::common::cluster::Cluster;

/// Connections on which nothing is said.
fn silent_crowd(cluster: &Cluster, id: &str, count: usize) -> Vec<TcpStream> {
    let address = cluster.address(id);
    (0..count).map_while(|_| TcpStream::connect(address).ok()).collect()
}

#[test]
fn a_silent_crowd_at_every_node_stops_neither_nodes_nor_customers() {
    let mut cluster = Cluster::alone(1, 3, 1).with_open_files(96).open();
    assert!(cluster.log("frontend-1").contains("http.max_connections does not fit"), "{}", cluster.log("frontend-1"));
    let nodes = ["frontend-1", "catalog-1", "catalog-2", "catalog-3", "order-1"];
    let crowds = nodes.map(|id| silent_crowd(&cluster, id, 200));
    assert!(crowds.iter().all(|crowd| crowd.len() == 200));
    for id in nodes {
        cluster.client(id).get("/health").expect(200);
    }
    let mut customer = cluster.client("frontend-1");
    for _ in 0..20 {
        customer.post("/purchase/1").expect(201);
        customer.get("/info/1").expect(200);
    }
    drop(crowds);
    let leader = cluster.leader("catalog");
    cluster.kill9(&leader);
    customer.post("/purchase/1").expect(201);
}
