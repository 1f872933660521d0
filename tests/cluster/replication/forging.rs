//! Messages of replicas, made by somebody who knows all names.

use serde_json::Value;

use crate::common::client::{Answer, Client};
use crate::common::cluster::Cluster;

/// Somebody who is no replica, and the replica that is lied to.
pub struct Stranger {
    cluster: String,
    pub to: String,
    pub client: Client,
}

impl Stranger {
    pub fn new(cluster: &Cluster, to: &str) -> Stranger {
        let mark = std::fs::read(cluster.data(to).join("member.json")).unwrap();
        let mark: Value = serde_json::from_slice(&mark).unwrap();
        let name = mark["cluster"].as_str().unwrap().to_owned();
        Stranger { cluster: name, to: to.to_owned(), client: cluster.client(to) }
    }

    pub fn post(&mut self, path: &str, body: Vec<u8>) -> Answer {
        let envelope = self.envelope();
        self.client.ask(&format!("POST /internal/v1/{path}")).header("bazar-envelope", &envelope).body(body).send()
    }

    /// Begins a message of `announced` bytes, and sends `sent` of them.
    pub fn begin(&mut self, path: &str, announced: usize, sent: usize) {
        let envelope = self.envelope();
        let head = format!(
            "POST /internal/v1/{path} HTTP/1.1\r\nhost: x\r\nbazar-envelope: {envelope}\r\ncontent-length: {announced}\r\n\r\n"
        );
        // What is refused need not be taken.
        let _ = self.client.write_raw(&[head.into_bytes(), vec![0; sent]].concat());
    }

    fn envelope(&self) -> String {
        format!("{} {} catalog-77", self.cluster, self.to)
    }
}

/// A number as postcard writes it.
pub fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The vote of an elected leader.
pub fn vote(term: u64, leader: u64) -> Vec<u8> {
    [candidate(term, leader), vec![1]].concat()
}

/// AppendEntries without entries, which are to come behind this one of another term.
pub fn append_behind(term: u64, leader: u64, other_term: u64, index: u64) -> Vec<u8> {
    [vote(term, leader), vec![1], varint(other_term), varint(index), vec![0, 0]].concat()
}

/// A request for a vote, from one whose log is empty.
pub fn request_vote(term: u64, stands: u64) -> Vec<u8> {
    [candidate(term, stands), vec![0, 0]].concat()
}

fn candidate(term: u64, stands: u64) -> Vec<u8> {
    [varint(term), vec![1], varint(stands)].concat()
}

/// AppendEntries without entries.
pub fn append(term: u64, leader: u64) -> Vec<u8> {
    [vote(term, leader), vec![0, 0, 0]].concat()
}

/// The number of a replica in its group.
pub fn number(id: &str) -> u64 {
    id.rsplit('-').next().unwrap().parse().unwrap()
}
