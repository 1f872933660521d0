//! What a node takes of its machine.

use crate::common::cluster::Cluster;

#[test]
fn a_node_works_on_as_many_threads_as_it_is_told() {
    let cluster = Cluster::new(1, 1, 1).set("threads", 3).open();
    cluster.client("frontend-1").post("/purchase/1").expect(201);
    // A replica has others besides, which wait for its disk.
    let threads = cluster.threads("frontend-1");
    assert_eq!(threads.iter().filter(|name| *name == "bazar-worker").count(), 3, "{threads:?}");
}
