//! One kept-open connection of the load generator: at most one request on its way, no allocation per request.
//!
//! It knows neither schedule nor statistics. A connection that breaks is made anew.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::response;

/// How long the first connection to a server may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Room for an answer; it grows with longer ones and stays so.
const INBOX_BYTES: usize = 16 * 1024;

/// One connection.
pub struct Connection {
    address: SocketAddr,
    token: Token,
    stream: TcpStream,
    /// What has arrived of the answer: the first `filled` bytes.
    inbox: Vec<u8>,
    filled: usize,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Connecting,
    /// Connected, and nothing on its way.
    Free,
    Busy(InFlight),
    /// Broken, and not tried again yet.
    Down,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// Which of the target's requests it is.
    pub request: usize,
    /// When it was to be sent.
    pub intended: Instant,
    sent_bytes: usize,
}

/// What came of an event.
pub enum Progress {
    /// Nothing yet.
    None,
    /// It is connected and free.
    Connected,
    /// It is free again, unless the server closes it: then it is down.
    Answered {
        /// What was asked.
        request: InFlight,
        /// The answer's status.
        status: u16,
        /// Whether another request can be sent at once.
        is_free: bool,
    },
    /// It is down, and with it what was on its way.
    Broken(Option<InFlight>),
}

impl Connection {
    /// Connects, and waits for it: a server that is not there should be told of before a run.
    pub fn open(address: SocketAddr, token: Token, registry: &Registry) -> Result<Connection> {
        let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_LIMIT);
        let stream = stream.with_context(|| format!("cannot connect to {address}: is the server running?"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { address, token, stream, inbox: vec![0; INBOX_BYTES], filled: 0, state: State::Free })
    }

    /// Begins to connect anew.
    pub fn reopen(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream = TcpStream::connect(self.address)?;
        registry.register(&mut self.stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.filled = 0;
        self.state = State::Connecting;
        Ok(())
    }

    /// Whether a request can be sent.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }

    /// The request on its way, if there is one.
    pub fn in_flight(&self) -> Option<InFlight> {
        match self.state {
            State::Busy(in_flight) => Some(in_flight),
            _ => None,
        }
    }

    /// Sends a request on a free connection.
    pub fn send(&mut self, requests: &[Vec<u8>], request: usize, intended: Instant) -> Progress {
        self.state = State::Busy(InFlight { request, intended, sent_bytes: 0 });
        match self.write(requests) {
            Ok(()) => Progress::None,
            Err(_) => self.broken(),
        }
    }

    /// Goes on after an event.
    pub fn advance(&mut self, requests: &[Vec<u8>]) -> Progress {
        match self.state {
            State::Connecting => self.finish_connecting().unwrap_or_else(|_| self.broken()),
            State::Busy(_) => self.exchange(requests).unwrap_or_else(|_| self.broken()),
            // A server may close a connection that nobody uses: then there is something to read.
            State::Free => match self.stream.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::None,
                _ => self.broken(),
            },
            State::Down => Progress::None,
        }
    }

    fn finish_connecting(&mut self) -> io::Result<Progress> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(Progress::None),
            outcome => outcome?,
        };
        self.stream.set_nodelay(true)?;
        self.state = State::Free;
        Ok(Progress::Connected)
    }

    /// Writes what is left of the request and reads what has come of the answer.
    fn exchange(&mut self, requests: &[Vec<u8>]) -> Result<Progress> {
        self.write(requests)?;
        let State::Busy(request) = self.state else { return Ok(Progress::None) };
        while self.read()? {
            let Some(answer) = response::parse(&self.inbox[..self.filled])? else { continue };
            self.filled = 0;
            self.state = if answer.keeps_open { State::Free } else { State::Down };
            return Ok(Progress::Answered { request, status: answer.status, is_free: answer.keeps_open });
        }
        Ok(Progress::None)
    }

    fn write(&mut self, requests: &[Vec<u8>]) -> io::Result<()> {
        let State::Busy(in_flight) = &mut self.state else { return Ok(()) };
        while let Some(rest @ [_, ..]) = requests[in_flight.request].get(in_flight.sent_bytes..) {
            match self.stream.write(rest) {
                Ok(count) => in_flight.sent_bytes += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether anything was read.
    fn read(&mut self) -> io::Result<bool> {
        if self.filled == self.inbox.len() {
            self.inbox.resize(2 * self.filled, 0);
        }
        loop {
            match self.stream.read(&mut self.inbox[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.filled += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn broken(&mut self) -> Progress {
        let lost = self.in_flight();
        self.filled = 0;
        self.state = State::Down;
        Progress::Broken(lost)
    }
}
