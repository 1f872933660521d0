//! Lines between nodes that can be held, as if a cable were pulled.
//!
//! Each node reaches each other node by an address of its own, at which this process listens and passes on what it is
//! sent. What is held is neither lost nor refused: it stays where it is, and goes on once the line is open again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Bytes that are passed on at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// All lines, by caller and callee.
pub struct Lines {
    lines: BTreeMap<(String, String), Line>,
    /// What passes on; it stops when this is dropped.
    _runtime: Runtime,
}

struct Line {
    address: SocketAddr,
    is_held: watch::Sender<bool>,
}

impl Lines {
    /// Lays a line from each of these nodes to each other.
    pub fn lay(nodes: &[(String, SocketAddr)]) -> Result<Lines> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut lines = BTreeMap::new();
        for (caller, _) in nodes {
            for (callee, target) in nodes.iter().filter(|(callee, _)| callee != caller) {
                let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
                let listener = listener.context("cannot listen for a line")?;
                let (address, (is_held, held)) = (listener.local_addr()?, watch::channel(false));
                runtime.spawn(pass_on(listener, *target, held));
                lines.insert((caller.clone(), callee.clone()), Line { address, is_held });
            }
        }
        Ok(Lines { lines, _runtime: runtime })
    }

    /// Where `caller` reaches `callee`.
    pub fn address(&self, caller: &str, callee: &str) -> Option<SocketAddr> {
        self.lines.get(&(caller.to_owned(), callee.to_owned())).map(|line| line.address)
    }

    /// Holds the lines from any of these callers to any of these callees.
    pub fn hold(&self, callers: &[String], callees: &[String]) {
        for ((caller, callee), line) in &self.lines {
            if callers.contains(caller) && callees.contains(callee) {
                line.is_held.send_replace(true);
            }
        }
    }

    /// Opens all lines.
    pub fn open(&self) {
        for line in self.lines.values() {
            line.is_held.send_replace(false);
        }
    }
}

async fn pass_on(listener: TcpListener, target: SocketAddr, held: watch::Receiver<bool>) {
    while let Ok((caller, _)) = listener.accept().await {
        let mut held = held.clone();
        tokio::spawn(async move {
            if held.wait_for(|is_held| !is_held).await.is_err() {
                return;
            }
            // Whoever calls a node that does not run is refused, as by the node's own machine.
            let Ok(callee) = TcpStream::connect(target).await else { return };
            let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
            let ((from_caller, to_caller), (from_callee, to_callee)) = (caller.into_split(), callee.into_split());
            tokio::spawn(copy(from_caller, to_callee, held.clone()));
            copy(from_callee, to_caller, held).await;
        });
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if held.wait_for(|is_held| !is_held).await.is_err()
            || count == 0
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
