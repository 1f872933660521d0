//! The floor: what any server must spend on a request, on one thread and without understanding it.
//!
//! It counts the empty lines that requests end with and writes one constant answer for each, the very bytes that a bazar's
//! frontend once answered. It parses nothing, looks nothing up and promises nothing: no server can be cheaper by much.
//! It runs as a process of its own, this bench's executable started anew, so that its CPU time can be told.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::process::{Process, StopBy, leashed};
use crate::common::client::Client;

/// The hidden first argument of this bench's executable that makes it the floor.
pub const FLAG: &str = "--floor";

const LISTENER: Token = Token(usize::MAX);

/// What each request without a body ends with.
const REQUEST_END: &[u8] = b"\r\n\r\n";

const INBOX_BYTES: usize = 16 * 1024;
const EVENTS_AT_ONCE: usize = 256;

/// Starts the floor with its constant answer and waits until it answers.
pub fn start(folder: &Path, address: SocketAddr, answer: &[u8]) -> Result<Process> {
    let file = folder.join("floor.http");
    fs::write(&file, answer)?;
    let executable = env::current_exe().context("this executable cannot be found")?;
    let mut command = leashed(&executable, StopBy::Terminate, None);
    command.arg(FLAG).arg(address.to_string()).arg(file);
    let mut process = Process::spawn("floor", folder, command, StopBy::Terminate)?;
    process.wait_until("it answers", || Client::new(address).expect(200, "GET /info/1", None).is_ok())?;
    Ok(process)
}

/// Is the floor, until it is killed.
pub fn serve(address: &str, file: &str) -> Result<()> {
    let answer = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address.parse().with_context(|| format!("{address:?} is no address"))?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections = HashMap::new();
    let mut events = Events::with_capacity(EVENTS_AT_ONCE);
    let mut next = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                    connections.insert(next, Connection::new(stream));
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&event.token().0)
                && connection.advance(&answer).is_err()
            {
                connections.remove(&event.token().0);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// How many bytes of [`REQUEST_END`] came last.
    matched: usize,
    outbox: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection { stream, inbox: vec![0; INBOX_BYTES], matched: 0, outbox: Vec::new() }
    }

    /// Reads what there is, and answers it; an error where the connection is over.
    fn advance(&mut self, answer: &[u8]) -> std::io::Result<()> {
        loop {
            let count = match self.stream.read(&mut self.inbox) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.flush(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for index in 0..count {
                self.note(self.inbox[index], answer);
            }
            self.flush()?;
            // A short read has emptied the socket; what comes later is another event.
            if count < self.inbox.len() {
                return Ok(());
            }
        }
    }

    fn note(&mut self, byte: u8, answer: &[u8]) {
        self.matched = match byte {
            byte if byte == REQUEST_END[self.matched] => self.matched + 1,
            b'\r' => 1,
            _ => 0,
        };
        if self.matched == REQUEST_END.len() {
            self.matched = 0;
            self.outbox.extend_from_slice(answer);
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
