//! A node that is asked to stop finishes what it has begun.

use std::net::TcpStream;

use serde_json::json;

use crate::common::cluster::Cluster;
use crate::common::until;

#[test]
fn a_node_that_is_asked_to_stop_finishes_the_request_under_way() {
    let mut cluster = Cluster::new(1, 1, 1).open();
    for id in ["frontend-1", "catalog-1"] {
        let mut customer = cluster.client(id);
        let body = json!({ "quantity_change": 1 }).to_string();
        let head = format!(
            "PUT /update/1/stock HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        customer.write_raw(head.as_bytes()).unwrap();
        // Said when the handler begins to read the body: the request is under way.
        assert_eq!(customer.read_raw("PUT /update/1/stock").unwrap().status, 100);

        cluster.signal(id, "TERM");
        until(&format!("{id} takes no more connections"), || TcpStream::connect(cluster.address(id)).is_err());
        customer.write_raw(body.as_bytes()).unwrap();
        let stock = if id == "frontend-1" { 1001 } else { 1002 };
        assert_eq!(customer.read_raw("PUT /update/1/stock").unwrap().expect(200).json()["quantity"], stock);
        assert_eq!(cluster.wait_exit(id).code(), Some(0), "{id}");
    }
    cluster.signal("order-1", "TERM");
    assert_eq!(cluster.wait_exit("order-1").code(), Some(0));
}
