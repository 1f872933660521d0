//! A customer: HTTP/1.1 over one connection that is kept open, nothing repeated, nothing hidden.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bazar::api::{COMMON_STATUSES, Call};
use bazar::config::Role;
use serde_json::Value;

/// Longer than any deadline of the shop's own, so that its own answer is what a test sees.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one node. A broken one is made anew by the next request.
pub struct Client {
    address: SocketAddr,
    /// Where it goes if nobody listens there.
    others: Vec<SocketAddr>,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, others: Vec::new(), timeout: TIMEOUT, connection: None }
    }

    /// A client that connects to the first of these nodes that listens.
    pub fn of_any(addresses: &[SocketAddr]) -> Client {
        Client { others: addresses[1..].to_vec(), ..Client::new(addresses[0]) }
    }

    /// A client that gives up sooner.
    pub fn impatient(address: SocketAddr, timeout: Duration) -> Client {
        Client { timeout, ..Client::new(address) }
    }

    /// Begins a request, as `PUT /update/5/stock`.
    pub fn ask(&mut self, line: &str) -> Ask<'_> {
        Ask { client: self, line: line.to_owned(), headers: String::new(), body: Vec::new() }
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path}")).send()
    }

    #[track_caller]
    pub fn post(&mut self, path: &str) -> Answer {
        self.ask(&format!("POST {path}")).send()
    }

    #[track_caller]
    pub fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.ask(&format!("PUT {path}")).json(body).send()
    }

    /// Writes to the connection as it is, for what no request is.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection()?.get_mut().write_all(bytes)
    }

    /// Reads one answer, to a request that was written as it is.
    pub fn read_raw(&mut self, line: &str) -> io::Result<Answer> {
        read_answer(line, self.connection()?)
    }

    fn connection(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.connection.is_none() {
            let addresses = std::iter::once(&self.address).chain(&self.others);
            let mut streams = addresses.map(|address| TcpStream::connect_timeout(address, self.timeout));
            let first = streams.next().expect("there is one address at least");
            let stream = first.or_else(|refused| streams.find_map(Result::ok).ok_or(refused))?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        Ok(self.connection.as_mut().unwrap())
    }
}

/// A request that is being put together.
pub struct Ask<'a> {
    client: &'a mut Client,
    line: String,
    headers: String,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends it; an answer must come, whatever it is.
    #[track_caller]
    pub fn send(self) -> Answer {
        let line = self.line.clone();
        match self.try_send() {
            Ok(answer) => answer,
            Err(error) => panic!("no answer to {line}: {error}"),
        }
    }

    /// Sends it; the node may be gone.
    pub fn try_send(self) -> io::Result<Answer> {
        let Ask { client, line, headers, body } = self;
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n{headers}\r\n", client.address);
        let outcome = client.write_raw(&[head.as_bytes(), &body].concat()).and_then(|()| client.read_raw(&line));
        if outcome.as_ref().map_or(true, |answer| answer.header("connection") == Some("close")) {
            client.connection = None;
        }
        outcome.inspect(|answer| assert_is_listed(&line, answer.status))
    }
}

/// The table of endpoints lists every status that is ever seen.
fn assert_is_listed(line: &str, status: u16) {
    let (method, target) = line.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let method = method.parse().unwrap();
    let endpoints = Role::ALL.into_iter().filter_map(|role| Call::of(role, &method, path).ok());
    let is_own = endpoints.into_iter().any(|call| call.endpoint.row().statuses.contains(&status));
    assert!(is_own || COMMON_STATUSES.contains(&status), "{line} is answered {status}, which src/api.rs does not list");
}

fn read_answer(line: &str, stream: &mut impl BufRead) -> io::Result<Answer> {
    let mut next_line = || {
        let mut text = String::new();
        match stream.read_line(&mut text)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(text.trim_end().to_owned()),
        }
    };
    let status_line = next_line()?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| io::Error::other(format!("{status_line:?} is no status line")))?;
    let mut headers = Vec::new();
    loop {
        let header = next_line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { line: line.to_owned(), status, headers, body: Vec::new() };
    if !line.starts_with("HEAD ") {
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked.
    line: String,
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.line, self.text()))
    }

    /// Whether it came out of the frontend's cache.
    pub fn is_hit(&self) -> bool {
        self.header("x-cache-hit") == Some("true")
    }

    /// Whether it says that it may be behind.
    pub fn is_marked_stale(&self) -> bool {
        self.header("bazar-consistency") == Some("stale")
    }

    /// The same answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}: {}", self.line, self.text());
        self
    }

    /// Checks that it says nothing of where nodes are, or of what the program calls things.
    #[track_caller]
    pub fn assert_discreet(&self) {
        let text = self.text();
        for word in ["127.0.0.1", "struct ", "enum ", "variant", "tuple", "::"] {
            assert!(!text.contains(word), "{}: {text}", self.line);
        }
    }

    /// The problem document that it must be; `kind` ends its type.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.line);
        let problem = answer.json();
        let path = answer.line.split([' ', '?']).nth(1).unwrap();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{}: {problem}", answer.line);
        assert_eq!(problem["status"], status, "{}", answer.line);
        assert_eq!(problem["instance"], path, "{}", answer.line);
        for text in ["title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", answer.line);
        }
        problem
    }
}
