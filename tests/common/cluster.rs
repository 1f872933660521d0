//! Nodes as processes of the real executable, on ports and in a folder of their own.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::ports::Ports;
use super::{until, until_some};

/// More would starve each other on a small machine, and what is timed would be late.
const CLUSTERS_AT_ONCE: u32 = 2;

/// How long a node that runs may take to tell how it stands.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines of each node's log that a failed test shows.
const SHOWN_LINES: usize = 25;

/// So many of the places that [`CLUSTERS_AT_ONCE`] clusters take.
struct Places(u32);

struct Taken {
    places: u32,
    /// Who waits for all of them. Nobody else takes one meanwhile.
    waiting_for_all: u32,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { places: 0, waiting_for_all: 0 });
static FREED: Condvar = Condvar::new();

impl Places {
    fn one() -> Places {
        let must_wait = |taken: &mut Taken| taken.places >= CLUSTERS_AT_ONCE || taken.waiting_for_all > 0;
        FREED.wait_while(lock(), must_wait).unwrap_or_else(PoisonError::into_inner).places += 1;
        Places(1)
    }

    fn all() -> Places {
        let mut taken = lock();
        taken.waiting_for_all += 1;
        let mut taken = FREED.wait_while(taken, |taken| taken.places > 0).unwrap_or_else(PoisonError::into_inner);
        taken.waiting_for_all -= 1;
        taken.places = CLUSTERS_AT_ONCE;
        Places(CLUSTERS_AT_ONCE)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        lock().places -= self.0;
        FREED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Taken> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Node {
    address: SocketAddr,
    process: Option<Child>,
    is_stopped: bool,
}

/// A cluster. Its processes end when it is dropped, or when the test's process does.
pub struct Cluster {
    nodes: BTreeMap<String, Node>,
    settings: Vec<String>,
    /// What `ulimit` is told before a node starts.
    open_files: Option<String>,
    folder: TempDir,
    ports: Ports,
    _places: Places,
}

impl Cluster {
    /// Lays a cluster out, with the seven books. Nothing runs yet.
    pub fn new(frontends: usize, catalogs: usize, orders: usize) -> Cluster {
        Cluster::in_places(Places::one(), frontends, catalogs, orders)
    }

    /// The same, with no other cluster beside it: one whose answers are timed, or that leaves others no time.
    pub fn alone(frontends: usize, catalogs: usize, orders: usize) -> Cluster {
        Cluster::in_places(Places::all(), frontends, catalogs, orders)
    }

    fn in_places(places: Places, frontends: usize, catalogs: usize, orders: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::claim();
        let (mut nodes, mut toml) = (BTreeMap::new(), String::new());
        for (role, count) in [("frontend", frontends), ("catalog", catalogs), ("order", orders)] {
            for number in 1..=count {
                let (id, address) = (format!("{role}-{number}"), SocketAddr::from(([127, 0, 0, 1], ports.take())));
                toml += &format!("[[{role}]]\nid = \"{id}\"\naddress = \"{address}\"\n");
                nodes.insert(id, Node { address, process: None, is_stopped: false });
            }
        }
        fs::write(folder.path().join("shop.toml"), toml).unwrap();
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/catalog.csv"), folder.path().join("catalog.csv")).unwrap();
        Cluster { nodes, settings: Vec::new(), open_files: None, folder, ports, _places: places }
    }

    /// Sets a key of the configuration for all nodes.
    pub fn set(mut self, key: &str, value: impl ToString) -> Cluster {
        self.settings.extend(["--set".to_owned(), format!("{key}={}", value.to_string())]);
        self
    }

    /// Lets each node have so many files open, at most.
    pub fn with_open_files(mut self, max_open_files: u32) -> Cluster {
        self.open_files = Some(format!("-n {max_open_files}"));
        self
    }

    /// Lets each node have so many files open unless it raises that limit itself.
    pub fn with_open_files_at_first(mut self, max_open_files: u32) -> Cluster {
        self.open_files = Some(format!("-S -n {max_open_files}"));
        self
    }

    /// Has each book start with this many copies.
    pub fn with_copies(self, copies: u64) -> Cluster {
        let seed = fs::read_to_string(self.path("catalog.csv")).unwrap();
        fs::write(self.path("catalog.csv"), seed.replace(",1000\n", &format!(",{copies}\n"))).unwrap();
        self
    }

    /// Starts all nodes and waits until the shop is open.
    pub fn open(mut self) -> Cluster {
        self.start_all();
        self.wait_ready();
        self
    }

    /// A path in the cluster's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Where a node keeps its files.
    pub fn data(&self, id: &str) -> PathBuf {
        self.path("data").join(id)
    }

    /// Everything that a node has logged, over all its lives.
    pub fn log(&self, id: &str) -> String {
        fs::read_to_string(self.path(&format!("{id}.log"))).unwrap_or_default()
    }

    pub fn address(&self, id: &str) -> SocketAddr {
        self.nodes[id].address
    }

    pub fn client(&self, id: &str) -> Client {
        Client::new(self.address(id))
    }

    /// A port of the cluster's block that no node has.
    pub fn free_port(&mut self) -> u16 {
        self.ports.take()
    }

    /// The nodes of a role.
    pub fn group<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a str> {
        self.nodes.keys().map(String::as_str).filter(move |id| role_of(id) == role)
    }

    /// The nodes of a role that run, and are not stopped.
    pub fn running<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a str> {
        self.group(role).filter(|id| self.nodes[*id].process.is_some() && !self.nodes[*id].is_stopped)
    }

    fn all(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// How to start a node, and what its output goes to.
    pub fn command(&self, id: &str, flags: &[&str]) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.path(&format!("{id}.log"))).unwrap();
        let executable = env!("CARGO_BIN_EXE_bazar");
        let mut command = match &self.open_files {
            None => Command::new(executable),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), executable]);
                shell
            }
        };
        // The settings of whoever runs the tests are not theirs.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAZAR_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(["--role", role_of(id), "--id", id, "--config", "shop.toml"]);
        // Its standard input ends with this process, however that dies, and the node with it.
        command.arg("--exit-with-parent").stdin(Stdio::piped());
        command.stdout(log.try_clone().unwrap()).stderr(log).args(&self.settings).args(flags);
        command
    }

    pub fn start(&mut self, id: &str) {
        self.start_with(id, &[]);
    }

    pub fn start_with(&mut self, id: &str, flags: &[&str]) {
        let process = self.command(id, flags).spawn().unwrap();
        let node = self.nodes.get_mut(id).unwrap();
        assert!(node.process.is_none(), "{id} runs already");
        node.process = Some(process);
    }

    pub fn start_all(&mut self) {
        self.all().iter().for_each(|id| self.start(id));
    }

    /// Ends a node as a power cut does.
    pub fn kill9(&mut self, id: &str) {
        self.kill9_all(&[id]);
    }

    /// Ends nodes at once.
    pub fn kill9_all(&mut self, ids: &[&str]) {
        let process = |cluster: &mut Cluster, id: &&str| cluster.nodes.get_mut(*id).unwrap().process.take().unwrap();
        let mut processes: Vec<Child> = ids.iter().map(|id| process(self, id)).collect();
        processes.iter_mut().for_each(|process| process.kill().unwrap());
        for process in &mut processes {
            process.wait().unwrap();
        }
    }

    /// Ends all nodes at once.
    pub fn kill9_everything(&mut self) {
        let ids = self.all();
        self.kill9_all(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Stops a node without its knowing.
    pub fn stop(&mut self, id: &str) {
        self.signal(id, "STOP");
        self.nodes.get_mut(id).unwrap().is_stopped = true;
    }

    /// Has a stopped node go on.
    pub fn cont(&mut self, id: &str) {
        self.signal(id, "CONT");
        self.nodes.get_mut(id).unwrap().is_stopped = false;
    }

    /// Sends a signal through the shell's own `kill`, for not every machine has it as a program.
    pub fn signal(&self, id: &str, name: &str) {
        let script = format!("kill -{name} {}", self.nodes[id].process.as_ref().unwrap().id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// The names of a node's threads.
    pub fn threads(&self, id: &str) -> Vec<String> {
        let process = self.nodes[id].process.as_ref().unwrap().id();
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
    }

    /// Waits until a node has ended by itself.
    pub fn wait_exit(&mut self, id: &str) -> ExitStatus {
        let node = self.nodes.get_mut(id).unwrap();
        let process = node.process.as_mut().unwrap();
        let status = until_some(&format!("{id} has ended"), || process.try_wait().unwrap());
        node.process = None;
        status
    }

    /// What a replica says of itself, or a frontend of all replicas; nothing if it does not answer.
    pub fn status(&self, id: &str) -> Option<Value> {
        let mut client = Client::impatient(self.address(id), STATUS_TIMEOUT);
        let answer = client.ask("GET /cluster").try_send().ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The replica that leads a group and may act, once there is one.
    pub fn leader(&self, role: &str) -> String {
        let leader_ready = |id: &&str| self.status(id).is_some_and(|status| status["leader_ready"] == true);
        until_some(&format!("some {role} leads"), || self.running(role).find(leader_ready).map(str::to_owned))
    }

    /// A running replica of a group that does not lead it.
    pub fn follower(&self, role: &str) -> String {
        let leader = self.leader(role);
        self.running(role).find(|id| *id != leader).unwrap().to_owned()
    }

    /// Waits until both groups have a leader that is ready and all frontends see all running replicas.
    pub fn wait_ready(&self) {
        for role in ["catalog", "order"] {
            // One that hung may take itself for the leader for a moment, so each time anew.
            until(&format!("all {role}s follow one that leads"), || {
                let statuses: Option<Vec<Value>> = self.running(role).map(|id| self.status(id)).collect();
                statuses.is_some_and(|statuses| {
                    let leader =
                        statuses.iter().find(|status| status["leader_ready"] == true).map(|status| &status["id"]);
                    leader.is_some_and(|leader| statuses.iter().all(|status| status["leader"] == *leader))
                })
            });
        }
        for frontend in self.running("frontend") {
            until(&format!("{frontend} is ready and sees all replicas"), || self.sees_all(frontend));
        }
    }

    fn sees_all(&self, frontend: &str) -> bool {
        let mut client = Client::impatient(self.address(frontend), STATUS_TIMEOUT);
        let is_ready = client.ask("GET /ready").try_send().is_ok_and(|answer| answer.status == 200);
        let Some(overview) = self.status(frontend).filter(|_| is_ready) else { return false };
        ["catalog", "order"].into_iter().all(|role| {
            let is_up =
                |id: &str| overview[role].as_array().unwrap().iter().any(|node| node["id"] == id && node["up"] == true);
            self.running(role).all(is_up)
        })
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
        if thread::panicking() {
            for id in self.nodes.keys() {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
                eprintln!("--- the end of {id}'s log\n{tail}");
            }
        }
    }
}

/// The role in a node's id.
fn role_of(id: &str) -> &str {
    id.split('-').next().unwrap()
}

/// Removes a folder with all that is in it.
pub fn wipe(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
}
