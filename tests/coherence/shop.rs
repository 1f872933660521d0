//! A shop whose nodes run in this process, and what its customers are told.

use std::collections::HashMap;
use std::fs;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bazar::config::Config;
use bazar::http::client::{Client, Reply, Request};
use bazar::model::{Book, BookId};
use bazar::node;
use bazar::platform::Platform;
use bazar::protocol::cache::{INVALIDATE, Invalidation, LEASE, LeaseReply, LeaseRequest, ProcessId, Session, Tag};
use bazar::protocol::request::IDEMPOTENCY_KEY;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::held_disk::HeldDisk;
use crate::lossy_disk::LossyDisk;
use crate::ports::Ports;
use crate::switchboard::Switchboard;
use crate::wrong_clock::WrongClock;

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks again and again until there is something to see.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// A shop.
pub struct Shop {
    /// Dropped first: a node's files must outlast it.
    running: HashMap<String, Running>,
    /// The network between its nodes. Customers do not go through it.
    pub switchboard: Switchboard,
    /// A customer, or whoever else asks a node. Cheap to clone.
    pub visitor: Visitor,
    disks: HashMap<String, HeldDisk>,
    /// Of the nodes whose disks may lose their power.
    lossy_disks: HashMap<String, LossyDisk>,
    clocks: HashMap<String, WrongClock>,
    folder: TempDir,
    ports: Ports,
    settings: String,
    config: Arc<Config>,
}

/// A node. Dropping it kills it: of all that it was about to do, nothing more happens.
struct Running {
    killed: CancellationToken,
    stopped: CancellationToken,
    disk: HeldDisk,
    lossy_disk: Option<LossyDisk>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.killed.cancel();
        // Its thread waits for what it has begun to write.
        self.disk.release();
        self.lossy_disk.iter().for_each(LossyDisk::give_up);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, None | Some(Ok(()))), "a node failed");
    }
}

impl Shop {
    /// A shop of these nodes, none of which runs yet, with `settings` in its configuration.
    pub fn new(nodes: &[&str], settings: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::claim();
        let settings = settings.to_owned();
        let addresses = nodes.iter().map(|id| ((*id).to_owned(), format!("127.0.0.1:{}", ports.take()))).collect();
        let switchboard = Switchboard::default();
        let client = Client::new(&Platform::system());
        let visitor = Visitor { client, addresses: Arc::new(addresses), processes: Arc::default() };
        let config = configuration(&folder, nodes, &settings, &visitor, &switchboard);
        let (running, disks, lossy_disks) = (HashMap::new(), HashMap::new(), HashMap::new());
        let clocks = HashMap::new();
        Shop { running, switchboard, visitor, disks, lossy_disks, clocks, folder, ports, settings, config }
    }

    /// A shop whose nodes' disks can lose their power.
    pub fn with_lossy_disks(nodes: &[&str], settings: &str) -> Shop {
        let mut shop = Shop::new(nodes, settings);
        for id in nodes {
            let disk = LossyDisk::default();
            shop.disks.insert((*id).to_owned(), HeldDisk::over(Arc::new(disk.clone())));
            shop.lossy_disks.insert((*id).to_owned(), disk);
        }
        shop
    }

    /// Takes the power from a node: whatever it wants of its disk, it waits for until it is killed. Of what it had not
    /// synced there is what `survives` by chance.
    pub fn lose_power(&self, id: &str, survives: impl FnMut() -> bool) {
        self.lossy_disks[id].lose_power(survives);
    }

    /// Starts a node; if it ran before, on the data that it left.
    pub fn start(&mut self, id: &str) {
        self.start_under(self.config.clone(), id);
    }

    /// Starts a replica that lost its disk, and is told to join its group.
    pub fn start_joining(&mut self, id: &str) {
        fs::remove_dir_all(self.folder.path().join("data").join(id)).unwrap();
        self.start_as(self.config.clone(), id, id, node::Options { join: true, ..node::Options::default() });
    }

    /// Starts a node whose configuration names other nodes than the shop's.
    pub fn start_stranger(&mut self, id: &str, nodes: &[&str]) {
        let mut addresses = (*self.visitor.addresses).clone();
        addresses.insert(id.to_owned(), format!("127.0.0.1:{}", self.ports.take()));
        self.visitor.addresses = Arc::new(addresses);
        let config = configuration(&self.folder, nodes, &self.settings, &self.visitor, &self.switchboard);
        self.start_under(config, id);
    }

    /// Starts a node whose configuration names other nodes than the shop's, and has other settings.
    pub fn start_reconfigured(&mut self, id: &str, nodes: &[&str], settings: &str) {
        let config = configuration(&self.folder, nodes, settings, &self.visitor, &self.switchboard);
        self.start_under(config, id);
    }

    /// Starts another process of a node, at an address of its own, that its visitors know by `name`.
    pub fn start_twin(&mut self, id: &str, name: &str) {
        let mut addresses = (*self.visitor.addresses).clone();
        addresses.insert(name.to_owned(), format!("127.0.0.1:{}", self.ports.take()));
        self.visitor.addresses = Arc::new(addresses);
        let mut config = (*self.config).clone();
        let nodes = config.frontends.iter_mut().chain(&mut config.catalogs).chain(&mut config.orders);
        let own = nodes.filter(|node| node.id == id).last().unwrap();
        own.listen = self.visitor.address(name).to_owned();
        self.start_as(Arc::new(config), id, name, node::Options::default());
    }

    fn start_under(&mut self, config: Arc<Config>, id: &str) {
        self.start_as(config, id, id, node::Options::default());
    }

    fn start_as(&mut self, config: Arc<Config>, id: &str, name: &str, options: node::Options) {
        let mut platform = Platform::system().with_network(self.switchboard.network_of(id));
        let disk = self.disks.entry(id.to_owned()).or_default().clone();
        let lossy_disk = self.lossy_disks.get(name).cloned();
        lossy_disk.iter().for_each(LossyDisk::power_on);
        platform.disk = Arc::new(disk.clone());
        platform.clock = Arc::new(self.clock(id));
        let node = config.node(id).unwrap().clone();
        let killed = CancellationToken::new();
        let heard = killed.clone();
        let stopped = CancellationToken::new();
        let shutdown = stopped.clone();
        // One thread for each: between two of its waits, a node is seen by nobody.
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let run = node::run(platform, config, &node, options, shutdown.clone());
            runtime.block_on(async {
                tokio::select! {
                    ended = run => assert!(shutdown.is_cancelled(), "{} ended by itself: {ended:?}", node.id),
                    () = heard.cancelled() => {}
                }
            });
        });
        self.running.insert(name.to_owned(), Running { killed, stopped, disk, lossy_disk, thread: Some(thread) });
    }

    /// The wall clock of a node.
    pub fn clock(&mut self, id: &str) -> WrongClock {
        self.clocks.entry(id.to_owned()).or_default().clone()
    }

    /// What stands in a replica's mark; nothing while it has none.
    pub fn mark(&self, id: &str) -> Option<Value> {
        let mark = fs::read(self.folder.path().join("data").join(id).join("member.json")).ok()?;
        serde_json::from_slice(&mark).ok()
    }

    /// The disk of a node that was started.
    pub fn disk(&self, id: &str) -> &HeldDisk {
        &self.disks[id]
    }

    /// Stops a node, as a signal does, and waits for its end.
    pub fn stop(&mut self, id: &str) {
        let mut node = self.running.remove(id).unwrap();
        node.stopped.cancel();
        let ended = node.thread.take().unwrap().join();
        assert!(ended.is_ok(), "a node failed");
    }

    /// Kills a node: what it wrote is on its disk, and nothing else is left of it.
    pub fn kill(&mut self, id: &str) {
        self.kill_all(&[id]);
    }

    /// Kills nodes at once: none of them sees that another is gone.
    pub fn kill_all(&mut self, ids: &[&str]) {
        let killed: Vec<Running> = ids.iter().map(|id| self.running.remove(*id).unwrap()).collect();
        // Their threads end one after another; what is dropped is waited for.
        self.switchboard.while_cut_off(ids, || {
            killed.iter().for_each(|node| node.killed.cancel());
            drop(killed);
        });
    }
}

impl Deref for Shop {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

fn configuration(
    folder: &TempDir,
    nodes: &[&str],
    settings: &str,
    visitor: &Visitor,
    switchboard: &Switchboard,
) -> Arc<Config> {
    let path = |name: &str| folder.path().join(name);
    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/catalog.csv");
    let mut toml = format!("data = {:?}\nseed = {seed:?}\n", path("data"));
    for id in nodes {
        let (role, address) = (id.split('-').next().unwrap(), visitor.address(id));
        switchboard.enter(id, address);
        toml += &format!("[[{role}]]\nid = \"{id}\"\naddress = \"{address}\"\n");
    }
    fs::write(path("shop.toml"), toml + settings).unwrap();
    Arc::new(Config::load(&path("shop.toml"), &[]).unwrap())
}

/// What depends on one book.
pub fn book_tag(number: u64) -> Tag {
    Tag::Book(BookId::new(number).unwrap())
}

/// Asks nodes. Cheap to clone.
#[derive(Clone)]
pub struct Visitor {
    client: Client,
    addresses: Arc<HashMap<String, String>>,
    /// In whose names it asks for leases.
    processes: Arc<Mutex<HashMap<String, ProcessId>>>,
}

impl Visitor {
    /// Where a node is reached.
    pub fn address(&self, id: &str) -> &str {
        &self.addresses[id]
    }

    /// The answer of a node, if it gives one.
    pub async fn ask(&self, id: &str, request: Request, patience: Duration) -> Option<Answer> {
        self.client.send(self.address(id), request, patience).await.ok().map(Answer)
    }

    /// Asks a node, as soon as it listens.
    pub async fn get(&self, id: &str, path: &str) -> Answer {
        until(&format!("{id} answers"), async || self.ask(id, Request::get(path), PATIENCE).await).await
    }

    /// Asks a node that listens, without waiting for the answer.
    pub fn come_for(&self, id: &str, path: &str) -> tokio::task::JoinHandle<Answer> {
        let (visitor, id, request) = (self.clone(), id.to_owned(), Request::get(path));
        tokio::spawn(async move { visitor.ask(&id, request, PATIENCE).await.unwrap() })
    }

    /// Writes to a node that answers. Requests with the same key are one request.
    pub async fn write(&self, id: &str, method: Method, path: &str, key: &str, body: Value) -> Answer {
        let request = Request::new(method, path, body.to_string().into());
        let request = request.header(IDEMPOTENCY_KEY, HeaderValue::try_from(key).unwrap());
        self.ask(id, request, PATIENCE).await.unwrap_or_else(|| panic!("{id} does not answer"))
    }

    /// Asks a node to set the price of a book, in whole units.
    pub async fn set_price(&self, id: &str, book: u64, price: u64) -> Answer {
        let path = format!("/update/{book}/price");
        self.write(id, Method::PUT, &path, &format!("{path}={price}"), serde_json::json!({ "price": price })).await
    }

    /// Asks a node for a JSON document.
    pub async fn document(&self, id: &str, path: &str) -> Value {
        serde_json::from_slice(&self.get(id, path).await.0.body).unwrap()
    }

    /// Has a frontend's process forget, as the catalog's leader would.
    pub async fn invalidate(&self, frontend: &str, process: ProcessId, tags: &[Tag]) {
        let message = Invalidation::Tags(tags.to_vec());
        let (name, value) = process.header();
        let request = Request::post(INVALIDATE, postcard::to_stdvec(&message).unwrap().into()).header(name, value);
        let confirmed = self.ask(frontend, request, PATIENCE).await.unwrap();
        assert_eq!(confirmed.status(), StatusCode::OK);
    }

    /// Asks a catalog server for a lease, as a process of a frontend would that is always the same.
    pub async fn ask_lease(
        &self,
        catalog: &str,
        frontend: &str,
        session: Option<Session>,
        patience: Duration,
    ) -> Option<LeaseReply> {
        let process = *self.processes.lock().unwrap().entry(frontend.to_owned()).or_insert_with(ProcessId::fresh);
        let request = LeaseRequest { frontend: frontend.to_owned(), process, session };
        let request = Request::post(LEASE, postcard::to_stdvec(&request).unwrap().into());
        let answer = self.ask(catalog, request, patience).await?;
        answer.status().is_success().then(|| postcard::from_bytes(&answer.0.body).unwrap())
    }

    /// Waits for a catalog server to lead, and tells which.
    pub async fn leader(&self, catalogs: &[&str]) -> String {
        until("some catalog server leads", async || {
            for id in catalogs {
                if self.leader_ready(id).await {
                    return Some((*id).to_owned());
                }
            }
            None
        })
        .await
    }

    async fn leader_ready(&self, catalog: &str) -> bool {
        let status = self.ask(catalog, Request::get("/cluster"), PATIENCE).await;
        status.is_some_and(|status| status.document()["leader_ready"] == true)
    }
}

/// What a node answered.
pub struct Answer(pub Reply);

impl Answer {
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.0.body).unwrap()
    }

    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }

    /// The price of the book that is the answer.
    pub fn price(&self) -> u64 {
        let book: Book = serde_json::from_slice(&self.0.body).unwrap();
        book.price.get() / 100
    }

    /// Whether it came out of a frontend's cache.
    pub fn is_hit(&self) -> bool {
        self.says("x-cache-hit", "true")
    }

    /// Whether it owns up to being behind, perhaps.
    pub fn is_stale(&self) -> bool {
        self.says("bazar-consistency", "stale")
    }

    /// Whether a catalog server lets it be cached.
    pub fn is_cacheable(&self) -> bool {
        self.says("bazar-cacheable", "true")
    }

    fn says(&self, header: &str, value: &str) -> bool {
        self.0.headers.get(header).is_some_and(|said| said == value)
    }
}
