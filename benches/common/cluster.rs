//! A shop for a bench: real processes of the real executable, on ports and in a folder of their own.
//!
//! All of them end with the bench, however that ends. Data goes under the build folder, which is on a disk, and not
//! to a folder for temporary files, which may be in memory: there an `fsync` would cost nothing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::cpu::process_cpu;
use super::ports::Ports;

/// How long a shop may take to open, or a replica to come back.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a node that runs may take to tell how it stands.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// Lines of a node's log that an error shows.
const SHOWN_LINES: usize = 8;

/// Where shops have their data.
pub const DATA: &str = env!("CARGO_TARGET_TMPDIR");

/// A bench's folders are called so, with the number of its process: the next bench removes what one that was killed left.
pub const PREFIX: &str = "bench-";

/// Of what a shop consists, and how it is set.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What it is called, in messages.
    pub name: &'static str,
    /// Catalog servers, and as many order servers.
    pub replicas: usize,
    /// Keys of the configuration and their values, for all nodes.
    pub settings: Vec<(&'static str, String)>,
    /// Copies of each of the seven books.
    pub copies: u64,
}

struct Node {
    address: SocketAddr,
    process: Option<Child>,
}

/// A shop with one frontend.
pub struct Cluster {
    layout: Layout,
    nodes: BTreeMap<String, Node>,
    folder: TempDir,
    _ports: Ports,
}

impl Cluster {
    /// Starts a shop and waits until it is open.
    pub fn open(layout: Layout) -> Result<Cluster> {
        let parent = Path::new(DATA);
        remove_left_over(parent);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        let folder = folder.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let mut ports = Ports::claim();
        let (mut nodes, mut toml) = (BTreeMap::new(), String::new());
        for (role, count) in [("frontend", 1), ("catalog", layout.replicas), ("order", layout.replicas)] {
            for number in 1..=count {
                let id = format!("{role}-{number}");
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.take()));
                toml += &format!("[[{role}]]\nid = \"{id}\"\naddress = \"{address}\"\n");
                nodes.insert(id, Node { address, process: None });
            }
        }
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("shop.toml", &toml)?;
        write("catalog.csv", &seed(layout.copies))?;
        let mut cluster = Cluster { layout, nodes, folder, _ports: ports };
        for id in cluster.ids() {
            cluster.start(&id)?;
        }
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.layout.name
    }

    /// All nodes.
    pub fn ids(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The replicas of a group, `catalog` or `order`.
    pub fn group(&self, role: &str) -> Vec<String> {
        self.ids().into_iter().filter(|id| role_of(id) == role).collect()
    }

    /// Where a node listens.
    pub fn address(&self, id: &str) -> SocketAddr {
        self.nodes[id].address
    }

    /// Where customers go.
    pub fn frontend(&self) -> SocketAddr {
        self.address("frontend-1")
    }

    /// The processes that run.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        let pid = |(id, node): (&String, &Node)| Some((id.clone(), node.process.as_ref()?.id()));
        self.nodes.iter().filter_map(pid).collect()
    }

    /// CPU time of each node so far; nothing where that cannot be known.
    pub fn cpu(&self) -> Option<BTreeMap<String, Duration>> {
        self.pids().into_iter().map(|(id, pid)| Some((id, process_cpu(pid)?))).collect()
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, id: &str) -> Result<()> {
        let path = self.log_path(id);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_bazar"));
        // The settings of whoever measures are not what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAZAR_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(["--role", role_of(id), "--id", id, "--config", "shop.toml"]);
        for (key, value) in &self.layout.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        // Its standard input ends with this process, however that dies, and the node with it.
        command.arg("--exit-with-parent").stdin(Stdio::piped());
        let process = command.stdout(log.try_clone()?).stderr(log).spawn();
        let process = process.with_context(|| format!("cannot start {}", env!("CARGO_BIN_EXE_bazar")))?;
        self.node(id)?.process = Some(process);
        Ok(())
    }

    /// Ends a node as a power cut does, and tells when.
    pub fn kill(&mut self, id: &str) -> Result<Instant> {
        let mut process = self.node(id)?.process.take().with_context(|| format!("{id} does not run"))?;
        let killed_at = Instant::now();
        process.kill().with_context(|| format!("cannot kill {id}"))?;
        process.wait().with_context(|| format!("cannot wait for the end of {id}"))?;
        Ok(killed_at)
    }

    /// The replica that leads a group and may act.
    pub fn leader(&self, role: &str) -> Result<String> {
        let is_leader = |id: &String| self.status(id).is_some_and(|status| status["leader_ready"] == true);
        self.wait_for(&format!("a leader of the {role} group"), || self.group(role).into_iter().find(is_leader))
    }

    /// Waits until both groups have a leader, every replica follows and has applied what is committed, and the
    /// frontend sees them all and, if it caches, has a lease.
    pub fn wait_ready(&self) -> Result<()> {
        for role in ["catalog", "order"] {
            let leader = self.leader(role)?;
            let is_caught_up = || {
                let statuses: Option<Vec<Value>> = self.group(role).iter().map(|id| self.status(id)).collect();
                let statuses = statuses?;
                let applied = &statuses.iter().find(|status| status["id"] == leader.as_str())?["applied_index"];
                let follows =
                    |status: &Value| status["leader"] == leader.as_str() && status["applied_index"] == *applied;
                statuses.iter().all(follows).then_some(())
            };
            self.wait_for(&format!("all {role} servers to follow {leader}"), is_caught_up)?;
        }
        self.wait_for("the frontend to be ready", || self.is_frontend_ready().ok()?.then_some(()))
    }

    fn is_frontend_ready(&self) -> Result<bool> {
        let mut client = Client::impatient(self.frontend(), STATUS_LIMIT);
        if client.ask("GET /ready", None)?.status != 200 {
            return Ok(false);
        }
        let overview = client.expect(200, "GET /cluster", None)?.json()?;
        let stats = client.expect(200, "GET /cache-stats", None)?.json()?;
        let mut replicas = ["catalog", "order"].into_iter().flat_map(|role| overview[role].as_array()).flatten();
        let is_leased = stats["enabled"] == false || stats["lease"]["held"] == true;
        Ok(is_leased && replicas.all(|replica| replica["up"] == true))
    }

    /// What a replica says of itself; nothing if it does not answer.
    pub fn status(&self, id: &str) -> Option<Value> {
        let reply = Client::impatient(self.address(id), STATUS_LIMIT).expect(200, "GET /cluster", None);
        reply.ok()?.json().ok()
    }

    /// What the frontend's cache has counted.
    pub fn cache_stats(&self) -> Result<Value> {
        Client::new(self.frontend()).expect(200, "GET /cache-stats", None)?.json()
    }

    /// The nodes that ended by themselves, and their last words.
    pub fn obituaries(&mut self) -> String {
        let mut ended = Vec::new();
        for (id, node) in &mut self.nodes {
            if let Some(Ok(Some(status))) = node.process.as_mut().map(Child::try_wait) {
                ended.push((id.clone(), status));
            }
        }
        let tell = |(id, status): (String, ExitStatus)| {
            format!("\n{id} of the {} shop ended by itself: {status}{}", self.layout.name, self.log_end(&id))
        };
        ended.into_iter().map(tell).collect()
    }

    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let logs: String = self.nodes.keys().map(|id| self.log_end(id)).collect();
                bail!("the {} shop: waited {READY_LIMIT:?} in vain for {what}{logs}", self.layout.name);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The last lines of a node's log.
    fn log_end(&self, id: &str) -> String {
        let log = fs::read_to_string(self.log_path(id)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("\n--- the end of {id}'s log\n{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("{id}.log"))
    }

    fn node(&mut self, id: &str) -> Result<&mut Node> {
        self.nodes.get_mut(id).with_context(|| format!("there is no node {id}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.nodes.values_mut().filter_map(|node| node.process.as_mut()) {
            let _ = process.kill();
        }
        for process in self.nodes.values_mut().filter_map(|node| node.process.as_mut()) {
            let _ = process.wait();
        }
    }
}

/// The seven books, as the project has them, with this many copies of each.
fn seed(copies: u64) -> String {
    let mut lines = include_str!("../../catalog.csv").lines();
    let head = lines.next().unwrap_or_default().to_owned();
    let books = lines.filter_map(|line| Some(format!("\n{},{copies}", line.rsplit_once(',')?.0)));
    head + &books.collect::<String>() + "\n"
}

/// Removes the folders of benches that were killed, as far as can be told.
fn remove_left_over(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        // Where processes have no folder, nobody can tell, and what is left stays.
        let is_gone = |owner: &str| Path::new("/proc/self").exists() && !Path::new("/proc").join(owner).exists();
        if owner.is_some_and(is_gone) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The role in a node's id.
fn role_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}
