//! The network between nodes that run in one process: a test can hold what goes over it.
//!
//! A *line* leads from a caller to a callee, and carries all connections that the caller makes to it, both what
//! is asked and what is answered. What is held is neither lost nor refused: it stays where it is, as behind a
//! cable that was pulled, and goes on if the line is opened again.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bazar::platform::{BoxFuture, Listener, Network, Stream, TcpNetwork};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What does not get through a line.
#[derive(Clone, Copy, Debug)]
pub enum Hold {
    /// Nothing does: no answers, no requests, no new connections.
    Everything,
    /// Answers: the callee is reached, but the caller never knows.
    Answers,
    /// Requests to this path. The connection that brings one brings nothing else from then on.
    Path(&'static str),
    /// The first time that this text is sent, another arrives. Then the line is open.
    Damage(&'static str),
}

/// All lines. Its clones are one.
#[derive(Clone, Default)]
pub struct Switchboard {
    exchange: Arc<Mutex<Exchange>>,
}

#[derive(Default)]
struct Exchange {
    /// Who listens at an address.
    names: HashMap<String, String>,
    /// By caller and callee. A line that is not here is open.
    held: HashMap<(String, String), Hold>,
    /// Connections that wait for any line to open.
    waiting: Vec<Waker>,
}

impl Switchboard {
    /// Enters a node in the directory.
    pub fn enter(&self, name: &str, address: &str) {
        self.lock().names.insert(address.to_owned(), name.to_owned());
    }

    /// The network as this node sees it.
    pub fn network_of(&self, name: &str) -> Arc<dyn Network> {
        Arc::new(Telephone { name: name.to_owned(), switchboard: self.clone() })
    }

    /// Holds one line, whatever was held of it before.
    pub fn hold(&self, caller: &str, callee: &str, hold: Hold) {
        self.lock().held.insert((caller.to_owned(), callee.to_owned()), hold);
    }

    /// Holds everything between any of these nodes and any of those, whoever calls.
    pub fn part(&self, these: &[&str], those: &[&str]) {
        for (one, other) in these.iter().flat_map(|one| those.iter().map(move |other| (one, other))) {
            self.hold(one, other, Hold::Everything);
            self.hold(other, one, Hold::Everything);
        }
    }

    /// Does something while nothing gets from any of these nodes to anybody, nor the other way.
    pub fn while_cut_off<T>(&self, these: &[&str], what: impl FnOnce() -> T) -> T {
        let former = {
            let mut exchange = self.lock();
            let names: Vec<String> = exchange.names.values().cloned().collect();
            let former = exchange.held.clone();
            for (one, other) in these.iter().flat_map(|one| names.iter().map(move |other| (*one, other.as_str()))) {
                exchange.held.insert((one.to_owned(), other.to_owned()), Hold::Everything);
                exchange.held.insert((other.to_owned(), one.to_owned()), Hold::Everything);
            }
            former
        };
        let done = what();
        let mut exchange = self.lock();
        exchange.held = former;
        exchange.waiting.drain(..).for_each(Waker::wake);
        done
    }

    /// What is held of a line.
    pub fn held(&self, caller: &str, callee: &str) -> Option<Hold> {
        self.lock().held.get(&(caller.to_owned(), callee.to_owned())).copied()
    }

    /// Opens all lines.
    pub fn open(&self) {
        let mut exchange = self.lock();
        exchange.held.clear();
        exchange.waiting.drain(..).for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network of one node.
struct Telephone {
    name: String,
    switchboard: Switchboard,
}

impl Network for Telephone {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        TcpNetwork.listen(address)
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let callee = self.switchboard.lock().names.get(address).cloned();
            let callee = callee.ok_or_else(|| io::Error::other(format!("nobody has the address {address}")))?;
            let line = Line { ends: (self.name.clone(), callee), switchboard: self.switchboard.clone() };
            std::future::poll_fn(|context| line.wait(context, |hold| matches!(hold, Hold::Everything))).await;
            let stream = TcpNetwork.connect(address).await?;
            Ok(Box::new(Call { line, stream }) as Box<dyn Stream>)
        })
    }
}

struct Line {
    ends: (String, String),
    switchboard: Switchboard,
}

impl Line {
    /// Waits while what is held of the line `stops` the caller.
    fn wait(&self, context: &Context<'_>, stops: impl Fn(Hold) -> bool) -> Poll<()> {
        let mut exchange = self.switchboard.lock();
        match exchange.held.get(&self.ends) {
            Some(hold) if stops(*hold) => {
                exchange.waiting.push(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Line {
    /// What arrives in place of `bytes`, if that is to be damaged.
    fn damaged(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut exchange = self.switchboard.lock();
        let Some(Hold::Damage(text)) = exchange.held.get(&self.ends).copied() else { return None };
        let position = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
        exchange.held.remove(&self.ends);
        let mut damaged = bytes.to_vec();
        damaged[position] ^= 1;
        Some(damaged)
    }
}

/// Whether a request to `path` begins here.
fn is_to(path: &str, bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(1) == Some(path.as_bytes())
}

/// One connection, at the caller's end.
struct Call {
    line: Line,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Call {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.line.wait(context, |hold| matches!(hold, Hold::Everything | Hold::Answers)));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Call {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.line.wait(context, |hold| match hold {
            Hold::Everything => true,
            Hold::Answers | Hold::Damage(_) => false,
            Hold::Path(path) => is_to(path, bytes),
        }));
        match self.line.damaged(bytes) {
            Some(damaged) => Pin::new(&mut self.stream).poll_write(context, &damaged),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
