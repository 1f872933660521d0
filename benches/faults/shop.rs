//! A shop of real processes whose lines can be held: two frontends, three catalog and three order servers.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::client::Client;
use crate::common::cluster::{DATA, PREFIX};
use crate::common::ports::Ports;
use crate::line::Lines;

/// How long a shop may take to be whole.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a node that runs may take to tell how it stands.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// More copies of each book than can be bought.
const COPIES: u64 = 1_000_000_000;

/// The shop.
pub struct Shop {
    nodes: BTreeMap<String, Node>,
    /// The lines between its nodes. Customers do not go through them.
    pub lines: Lines,
    folder: TempDir,
    _ports: Ports,
}

struct Node {
    address: SocketAddr,
    process: Option<Child>,
}

impl Shop {
    /// Starts a shop with the timings that bazar has by itself, and waits until it is whole.
    pub fn open() -> Result<Shop> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(Path::new(DATA));
        let folder = folder.with_context(|| format!("cannot make a folder in {DATA}"))?;
        let mut ports = Ports::claim();
        let ids = ["frontend-1", "frontend-2", "catalog-1", "catalog-2", "catalog-3", "order-1", "order-2", "order-3"];
        let addresses: Vec<(String, SocketAddr)> =
            ids.iter().map(|id| ((*id).to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, ports.take())))).collect();
        let lines = Lines::lay(&addresses)?;
        for (own, _) in &addresses {
            let mut toml = String::new();
            for (id, listen) in &addresses {
                let address = lines.address(own, id).unwrap_or(*listen);
                toml +=
                    &format!("[[{}]]\nid = \"{id}\"\naddress = \"{address}\"\nlisten = \"{listen}\"\n", role_of(id));
            }
            fs::write(folder.path().join(format!("{own}.toml")), toml)?;
        }
        let mut seed = include_str!("../../catalog.csv").lines();
        let head = seed.next().unwrap_or_default();
        let books = seed.filter_map(|line| Some(format!("\n{},{COPIES}", line.rsplit_once(',')?.0)));
        fs::write(folder.path().join("catalog.csv"), head.to_owned() + &books.collect::<String>() + "\n")?;
        let nodes = addresses.into_iter().map(|(id, address)| (id, Node { address, process: None })).collect();
        let mut shop = Shop { nodes, lines, folder, _ports: ports };
        for id in ids {
            shop.start(id)?;
        }
        shop.wait_whole()?;
        Ok(shop)
    }

    /// All nodes.
    pub fn ids(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The nodes of a role.
    pub fn group(&self, role: &str) -> Vec<String> {
        self.ids().into_iter().filter(|id| role_of(id) == role).collect()
    }

    /// Where a node listens.
    pub fn address(&self, id: &str) -> SocketAddr {
        self.nodes[id].address
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, id: &str) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join(format!("{id}.log")))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_bazar"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAZAR_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(["--role", role_of(id), "--id", id]);
        command.arg("--config").arg(format!("{id}.toml")).arg("--exit-with-parent");
        let process = command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn();
        self.node(id)?.process = Some(process.context("cannot start bazar")?);
        Ok(())
    }

    /// Ends a node as a power cut does.
    pub fn kill(&mut self, id: &str) -> Result<()> {
        let mut process = self.node(id)?.process.take().with_context(|| format!("{id} does not run"))?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Stops a node as a service manager does, and waits for its end.
    pub fn stop(&mut self, id: &str) -> Result<()> {
        self.signal(id, Signal::TERM)?;
        let mut process = self.node(id)?.process.take().with_context(|| format!("{id} does not run"))?;
        let status = process.wait()?;
        ensure!(status.success(), "{id} did not stop as asked: {status}");
        Ok(())
    }

    /// Has a node stand still, or go on.
    pub fn freeze(&mut self, id: &str, is_frozen: bool) -> Result<()> {
        self.signal(id, if is_frozen { Signal::STOP } else { Signal::CONT })
    }

    fn signal(&mut self, id: &str, signal: Signal) -> Result<()> {
        let process = self.node(id)?.process.as_ref().with_context(|| format!("{id} does not run"))?;
        Ok(kill_process(Pid::from_child(process), signal)?)
    }

    /// The replica that leads a group and may act.
    pub fn leader(&self, role: &str) -> Result<String> {
        let is_leader = |id: &String| self.status(id).is_some_and(|status| status["leader_ready"] == true);
        self.wait_for(&format!("a leader of the {role} group"), || self.group(role).into_iter().find(is_leader))
    }

    /// A replica of a group that follows.
    pub fn follower(&self, role: &str) -> Result<String> {
        let leader = self.leader(role)?;
        self.group(role).into_iter().find(|id| *id != leader).context("a group has followers")
    }

    /// The term that a group is in.
    pub fn term(&self, role: &str) -> Result<u64> {
        let leader = self.leader(role)?;
        self.status(&leader).and_then(|status| status["term"].as_u64()).context("a leader has a term")
    }

    /// Waits until every replica follows a leader, and both frontends see them all and have a lease.
    pub fn wait_whole(&self) -> Result<()> {
        for role in ["catalog", "order"] {
            self.wait_for(&format!("all {role} servers to follow one"), || {
                let leader = self.leader(role).ok()?;
                let follows = |id: &String| self.status(id).is_some_and(|status| status["leader"] == leader.as_str());
                self.group(role).iter().all(follows).then_some(())
            })?;
        }
        for frontend in self.group("frontend") {
            self.wait_for(&format!("{frontend} to be ready"), || self.is_whole(&frontend).ok()?.then_some(()))?;
        }
        Ok(())
    }

    fn is_whole(&self, frontend: &str) -> Result<bool> {
        let mut client = Client::impatient(self.address(frontend), STATUS_LIMIT);
        if client.ask("GET /ready", None)?.status != 200 {
            return Ok(false);
        }
        let overview = client.expect(200, "GET /cluster", None)?.json()?;
        let stats = client.expect(200, "GET /cache-stats", None)?.json()?;
        let mut replicas = ["catalog", "order"].into_iter().flat_map(|role| overview[role].as_array()).flatten();
        Ok(stats["lease"]["held"] == true && replicas.all(|replica| replica["up"] == true))
    }

    fn status(&self, id: &str) -> Option<Value> {
        Client::impatient(self.address(id), STATUS_LIMIT).expect(200, "GET /cluster", None).ok()?.json().ok()
    }

    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("waited {READY_LIMIT:?} in vain for {what}; logs are in {}", self.folder.path().display());
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn node(&mut self, id: &str) -> Result<&mut Node> {
        self.nodes.get_mut(id).with_context(|| format!("there is no node {id}"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for process in self.nodes.values_mut().filter_map(|node| node.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The role in a node's id.
fn role_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}
