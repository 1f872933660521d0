//! A whole shop in one thread: the nodes of `config/local.toml`, on a network in memory and a clock that stands still.
//!
//! It runs what ships, from the server loop to the log's files. What it does in a run it does in every run, in the
//! same order.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bazar::config::Config;
use bazar::node;
use bazar::platform::{LocalDisk, Network, Platform, Stream, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::wires::Wires;

/// How long a shop may take to open, by its own clock.
const OPENING_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at whether it is open.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The longest answer that a customer expects, in bytes.
const ANSWER_BYTES: usize = 4 * 1024;

/// Starts a shop with its data in `folder`, and brings its first customer as soon as it is open.
pub async fn open(folder: &Path) -> Result<Customer> {
    let overrides = [
        ("data".to_owned(), folder.display().to_string()),
        ("seed".to_owned(), concat!(env!("CARGO_MANIFEST_DIR"), "/catalog.csv").to_owned()),
    ];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/local.toml");
    let config = Arc::new(Config::load(Path::new(file), &overrides)?);
    let wires = Arc::new(Wires::default());
    let platform = Platform::simulated(wires.clone(), Arc::new(SystemClock), Arc::new(LocalDisk));
    for node in config.nodes() {
        let (platform, config, node) = (platform.clone(), config.clone(), node.clone());
        tokio::spawn(async move {
            let forever = CancellationToken::new();
            let ended = node::run(platform, config, &node, node::Options::default(), forever).await;
            eprintln!("{} ended by itself: {ended:?}", node.id);
        });
    }
    let frontend = &config.frontends.first().context("config/local.toml has no frontend")?.address;
    let entered = tokio::time::timeout(OPENING_LIMIT, enter(&wires, frontend)).await;
    entered.context("the shop did not open")
}

/// Comes again and again until the shop is open, and its frontend may use its cache.
async fn enter(wires: &Wires, frontend: &str) -> Customer {
    loop {
        if let Ok(stream) = wires.connect(frontend).await {
            let mut customer = Customer { stream, answer: Vec::with_capacity(ANSWER_BYTES) };
            let is_ready = customer.ask("GET /ready HTTP/1.1\r\nHost: shop\r\n\r\n").await.is_ok();
            let is_told = customer.ask("GET /cache-stats HTTP/1.1\r\nHost: shop\r\n\r\n").await.is_ok();
            if is_ready && is_told && customer.was_told("\"held\":true") {
                return customer;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Whoever asks the frontend. It does as little as possible, for what it does is counted too.
pub struct Customer {
    stream: Box<dyn Stream>,
    answer: Vec<u8>,
}

impl Customer {
    /// Sends a request, and waits for the whole answer, which must be of success.
    pub async fn ask(&mut self, request: &str) -> Result<()> {
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        // An answer is a small JSON object and a line break, with which no piece but the last ends.
        while !self.answer.ends_with(b"}\n") {
            let read_bytes = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read_bytes > 0, "the connection was closed in {}", self.answer());
        }
        ensure!(self.answer.starts_with(b"HTTP/1.1 20"), "{request}: {}", self.answer());
        Ok(())
    }

    /// The last answer.
    pub fn answer(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.answer)
    }

    /// Whether the last answer says this.
    pub fn was_told(&self, what: &str) -> bool {
        self.answer().contains(what)
    }
}
