//! A customer who asks one thing after the other over one connection: for set-up, and for what must be asked in sequence.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::request::request;
use super::response::{self, header};

/// Longer than any deadline of the servers' own, so that their own answer is what is seen.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to one server. A broken one is made anew by the next request.
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
}

/// A whole answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// From before the request was written until the answer was read.
    pub took: Duration,
    /// Its status line and header fields, as they came.
    pub head: Vec<u8>,
}

impl Client {
    /// Connects with the first request.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, timeout: TIMEOUT, stream: None, inbox: Vec::new() }
    }

    /// A client that gives up sooner.
    pub fn impatient(address: SocketAddr, timeout: Duration) -> Client {
        Client { timeout, ..Client::new(address) }
    }

    /// Sends a request, as `GET /info/7`, and waits for its answer, whatever it is.
    pub fn ask(&mut self, line: &str, body: Option<&Value>) -> Result<Reply> {
        self.ask_raw(&request(line, body)).with_context(|| format!("no answer to {line} from {}", self.address))
    }

    /// The same; any other status than `expected` is an error.
    pub fn expect(&mut self, expected: u16, line: &str, body: Option<&Value>) -> Result<Reply> {
        let reply = self.ask(line, body)?;
        ensure!(
            reply.status == expected,
            "{line} was answered by {} with {}, not {expected}: {}",
            self.address,
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        Ok(reply)
    }

    /// Sends a request that is written already.
    pub fn ask_raw(&mut self, request: &[u8]) -> Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let begins = Instant::now();
        stream.write_all(request)?;
        self.inbox.clear();
        let mut part = [0; 4096];
        let answer = loop {
            let count = stream.read(&mut part)?;
            if count == 0 {
                bail!("the connection was closed");
            }
            self.inbox.extend_from_slice(&part[..count]);
            if let Some(answer) = response::parse(&self.inbox)? {
                break answer;
            }
        };
        let took = begins.elapsed();
        if answer.keeps_open {
            self.stream = Some(stream);
        }
        let head = self.inbox[..answer.head_bytes].to_vec();
        Ok(Reply { status: answer.status, body: answer.body(&self.inbox), took, head })
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(stream)
    }
}

impl Reply {
    /// A header field, whose name is given in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("this is not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}
