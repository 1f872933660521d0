//! etcd, each of its members as durable as its defaults make it.
//!
//! It is asked through the JSON gateway that its members have beside gRPC, so that the same load generator asks all. It
//! is asked at its leader, which spares it the hop that a follower adds.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::process::{Process, StopBy, leashed};
use crate::common::client::Client;
use crate::common::load::Target;
use crate::common::request::request;

/// Different keys that are written.
const KEYS: usize = 64;

/// Bytes of a value: about what bazar stores of a purchase.
const VALUE_BYTES: usize = 150;

/// A cluster.
pub struct Etcd {
    members: Vec<Process>,
    clients: Vec<SocketAddr>,
}

impl Etcd {
    /// Starts a member for each pair of addresses, for clients and for the other members, and waits for a leader.
    pub fn start(program: &Path, folder: &Path, clients: &[SocketAddr], peers: &[SocketAddr]) -> Result<Etcd> {
        let name = |number: usize| format!("etcd-{number}");
        let member = |(number, peer): (usize, &SocketAddr)| format!("{}=http://{peer}", name(number));
        let cluster = (1..).zip(peers).map(member).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (number, (client, peer)) in (1..).zip(clients.iter().zip(peers)) {
            let name = name(number);
            let mut command = leashed(program, StopBy::Kill, None);
            command.args(["--name", &name, "--data-dir"]).arg(folder.join(&name));
            command.args(["--listen-client-urls", &format!("http://{client}")]);
            command.args(["--advertise-client-urls", &format!("http://{client}")]);
            command.args(["--listen-peer-urls", &format!("http://{peer}")]);
            command.args(["--initial-advertise-peer-urls", &format!("http://{peer}")]);
            command.args(["--initial-cluster", &cluster, "--initial-cluster-state", "new"]);
            // Releases before 3.5 refuse to run on ARM without it, and later ones do not mind.
            command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
            members.push(Process::spawn(&name, folder, command, StopBy::Kill)?);
        }
        for process in &mut members {
            process.wait_until("the cluster has a leader", || leader_of(clients).is_some())?;
        }
        Ok(Etcd { members, clients: clients.to_owned() })
    }

    /// The processes of all members.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Process::pid).collect()
    }

    /// What is asked: to put one of a few keys, at the present leader.
    pub fn target(&self) -> Result<Target> {
        let leader = leader_of(&self.clients).context("etcd has no leader")?;
        let put = |key: usize| request("POST /v3/kv/put", Some(&pair(key)));
        Ok(Target { addresses: vec![leader], requests: (0..KEYS).map(put).collect(), expected: vec![200] })
    }

    /// Fails unless every key that was to be written is there.
    pub fn verify(&self) -> Result<()> {
        let leader = leader_of(&self.clients).context("etcd has no leader")?;
        let mut client = Client::new(leader);
        for key in 0..KEYS {
            let pair = pair(key);
            let found = client.expect(200, "POST /v3/kv/range", Some(&json!({ "key": pair["key"] })))?.json()?;
            ensure!(found["kvs"][0]["value"] == pair["value"], "etcd lost what was put: {found}");
        }
        Ok(())
    }
}

/// A key and its value in base64, as the gateway takes them: both are written in its alphabet to begin with.
fn pair(key: usize) -> Value {
    let value_digits = VALUE_BYTES * 4 / 3;
    json!({ "key": format!("book{key:04}"), "value": format!("{:A<value_digits$}", format!("order{key:03}")) })
}

/// Where the leader takes requests, once there is one.
fn leader_of(clients: &[SocketAddr]) -> Option<SocketAddr> {
    clients.iter().copied().find(|client| is_leader(*client).unwrap_or(false))
}

fn is_leader(client: SocketAddr) -> Result<bool> {
    let status = Client::new(client).expect(200, "POST /v3/maintenance/status", Some(&json!({})))?.json()?;
    Ok(status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
}
