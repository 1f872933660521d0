//! The HTTP layer over real sockets on the loopback.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

mod connections;
mod fast_path;
mod requests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bazar::error::ApiError;
use bazar::http::body::Incoming;
use bazar::http::client::{CallError, Client, Request as Call};
use bazar::http::path::Path;
use bazar::http::reply::{self, Response};
use bazar::http::serialized::SerializedResponse;
use bazar::http::server::{Handler, Limits, serve};
use bazar::http::{body, client};
use bazar::platform::{BoxFuture, Listener, Network, Platform, Stream, TcpNetwork};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BODY_LIMIT_BYTES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(5);

const LIMITS: Limits = Limits {
    max_connections: 16,
    max_body_bytes: BODY_LIMIT_BYTES,
    header_timeout: Duration::from_secs(5),
    request_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(5),
    drain_timeout: Duration::from_secs(5),
};

/// Some routes to try the server with.
#[derive(Default)]
struct Routes {
    /// Nothing is answered at once.
    is_lane_closed: bool,
    waiting: Notify,
    go_on: Notify,
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        let path = request.uri().path().to_owned();
        self.route(request, &path).await.unwrap_or_else(|error| reply::problem(&error, &path))
    }

    fn is_vital(&self, path: &str) -> bool {
        ["/vital", "/from-node"].contains(&path)
    }

    fn is_for_nodes(&self, path: &str) -> bool {
        ["/from-node", "/to-node"].contains(&path)
    }

    fn try_fast(&self, target: &str) -> Option<SerializedResponse> {
        let path = target.split('?').next().filter(|path| !self.is_lane_closed && Path::parse(path).is_ok())?;
        let text = match path.strip_prefix('/').unwrap_or(path).strip_prefix("ready/")?.strip_prefix("long/") {
            // Whatever has to be decoded first is none of this one's business.
            Some(name) if name.is_empty() || name.contains(['/', '%']) => return None,
            Some(name) => {
                return Some(SerializedResponse::new(reply::content(
                    StatusCode::OK,
                    "text/plain",
                    long_text(name).into(),
                )));
            }
            None => path,
        };
        let mut response = reply::json(StatusCode::OK, &text);
        response.headers_mut().insert("at-once", HeaderValue::from_static("yes"));
        Some(SerializedResponse::new(response))
    }
}

/// A few of which are more than nodes may leave untaken.
static TO_NODE: LazyLock<Bytes> = LazyLock::new(|| vec![0; 30 << 20].into());

/// More than a few of which do not fit between a server and a client that does not read.
fn long_text(name: &str) -> String {
    name.repeat(50_000)
}

impl Routes {
    async fn route(&self, request: Request<Incoming>, path: &str) -> Result<Response, ApiError> {
        match Path::parse(path)?.segments()[..] {
            ["hello", name] => {
                let mut response = reply::json(StatusCode::OK, &json!({ "hello": name }));
                response.headers_mut().insert("server-timing", HeaderValue::from_static("cache;dur=1"));
                Ok(response)
            }
            ["vital"] => Ok(reply::json(StatusCode::OK, &"alive")),
            ["length"] => {
                let bytes = body::read(request.into_body(), BODY_LIMIT_BYTES, Duration::from_millis(200)).await?;
                Ok(reply::json(StatusCode::OK, &bytes.len()))
            }
            ["from-node"] => {
                let bytes = body::read_from_node(request.into_body(), BODY_LIMIT_BYTES, PATIENCE).await?;
                Ok(reply::json(StatusCode::OK, &bytes.len()))
            }
            ["to-node"] => Ok(reply::content(StatusCode::OK, "application/octet-stream", TO_NODE.clone())),
            ["header", name] => {
                let value = request.headers().get(name).map(|value| value.to_str().unwrap());
                Ok(reply::json(StatusCode::OK, &value))
            }
            ["wait"] => {
                self.waiting.notify_one();
                self.go_on.notified().await;
                Ok(reply::json(StatusCode::OK, &"waited"))
            }
            ["ready", "long", name] => Ok(reply::content(StatusCode::OK, "text/plain", long_text(name).into())),
            ["ready", ..] => Ok(reply::json(StatusCode::OK, &path)),
            _ => Err(ApiError::UnknownPath),
        }
    }
}

struct Server {
    address: String,
    routes: Arc<Routes>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Server {
        Server::with(Routes::default(), limits).await
    }

    async fn with(routes: Routes, limits: Limits) -> Server {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap().to_string();
        let (routes, shutdown) = (Arc::new(routes), CancellationToken::new());
        let task = tokio::spawn(serve(listener, routes.clone(), limits, shutdown.clone()));
        Server { address, routes, shutdown, task }
    }

    async fn connect(&self) -> Wire {
        Wire(TcpStream::connect(&self.address).await.unwrap())
    }

    async fn call(&self, request: Call) -> client::Reply {
        Client::new(&Platform::system()).send(&self.address, request, PATIENCE).await.unwrap()
    }
}

/// A client that writes HTTP by hand.
struct Wire(TcpStream);

impl Wire {
    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The header of the next response, in lower case, and its body.
    async fn read(&mut self) -> (String, String) {
        tokio::time::timeout(PATIENCE, read_response(&mut self.0)).await.expect("an answer in time")
    }

    async fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        // A reset is an end as well.
        let _ = end.expect("the server closes the connection");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

async fn read_response(from: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    from.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn document(reply: &client::Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    for name in ["one", "two", "three"] {
        wire.write(&format!("GET /api/hello/{name} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let (head, body) = wire.read().await;
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert_eq!(body, format!("{{\"hello\":\"{name}\"}}\n"));
    }
}

#[tokio::test]
async fn head_is_answered_with_the_header_alone() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("HEAD /hello/you HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    wire.0.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("content-length: 16\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_request_id_is_kept_if_usable_and_made_if_not() {
    let server = Server::start(LIMITS).await;
    let name = HeaderName::from_static("x-request-id");
    let usable = server.call(Call::get("/header/x-request-id").header(name.clone(), HeaderValue::from_static("a-1")));
    let reply = usable.await;
    assert_eq!(reply.headers[&name], "a-1");
    assert_eq!(document(&reply), "a-1");

    let unusable = server.call(Call::get("/header/x-request-id").header(name.clone(), HeaderValue::from_static("a b")));
    let reply = unusable.await;
    assert_eq!(reply.headers[&name].len(), 16);
    assert_eq!(document(&reply), reply.headers[&name].to_str().unwrap(), "the handler sees the same id");
}

#[tokio::test]
async fn the_total_time_is_added_to_the_handlers_timings() {
    let server = Server::start(LIMITS).await;
    let reply = server.call(Call::get("/hello/you")).await;
    let timings: Vec<_> = reply.headers.get_all("server-timing").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(timings[0], "cache;dur=1");
    assert!(timings[1].starts_with("total;dur="), "{timings:?}");
}

#[tokio::test]
async fn an_error_is_a_problem_document() {
    let server = Server::start(LIMITS).await;
    let reply = server.call(Call::get("/nothing/here")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(document(&reply)["type"], "/problems/unknown-path");
    assert_eq!(document(&reply)["instance"], "/nothing/here");
}

#[tokio::test]
async fn a_body_within_the_limit_is_read_whether_announced_or_streamed() {
    let server = Server::start(LIMITS).await;
    let whole = server.call(Call::post("/length", Bytes::from(vec![0; BODY_LIMIT_BYTES]))).await;
    assert_eq!(document(&whole), BODY_LIMIT_BYTES);
    let pieces = std::iter::repeat_with(|| io::Result::Ok(Bytes::from_static(&[0; 100]))).take(10);
    let streamed = server.call(Call::post_stream("/length", futures_util::stream::iter(pieces))).await;
    assert_eq!(document(&streamed), 1000);
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_before_it_is_sent() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n").await;
    let (head, body) = wire.read().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert!(body.contains("/problems/body-too-large"), "{body}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_before_it_reads_still_gets_its_413() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    let length = 8_000_000;
    wire.write(&format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")).await;
    wire.write(&"x".repeat(length)).await;
    let (head, _) = wire.read().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_refused() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    wire.write(&format!("POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}"))
        .await;
    let (head, _) = wire.read().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let server = Server::start(Limits { header_timeout: Duration::from_millis(200), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    let (head, _) = wire.read().await;
    assert!(head.starts_with("http/1.1 408"), "{head}");
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write(&format!("GET /hello/you HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(17_000))).await;
    let (head, body) = wire.read().await;
    assert!(head.starts_with("http/1.1 431"), "{head}");
    assert!(head.contains("connection: close\r\n") && head.contains("x-request-id: "), "{head}");
    assert!(body.contains("/problems/header-too-large"), "{body}");
    wire.assert_closed().await;
}

#[tokio::test]
async fn more_headers_than_are_read_are_refused() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    let headers = |count: usize| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    wire.write(&format!("GET /hello/you HTTP/1.1\r\nhost: x\r\n{}\r\n", headers(99))).await;
    let (head, _) = wire.read().await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    wire.write(&format!("GET /hello/you HTTP/1.1\r\nhost: x\r\n{}\r\n", headers(100))).await;
    let (head, body) = wire.read().await;
    assert!(head.starts_with("http/1.1 431") && body.contains("the headers more"), "{head}{body}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_in_bazars_words() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    let (head, body) = wire.read().await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(body.contains("the body broke off, or is not encoded as its header says"), "{body}");
}

#[tokio::test]
async fn a_slow_header_is_cut() {
    let server = Server::start(Limits { header_timeout: Duration::from_millis(100), ..LIMITS }).await;
    let mut first = server.connect().await;
    first.write("GET /hello/you HTTP/1.1\r\nho").await;
    first.assert_closed().await;

    let mut second = server.connect().await;
    second.write("GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n").await;
    second.read().await;
    second.write("GET /hello/you HTTP/1.1\r\nho").await;
    second.assert_closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_cut() {
    let server = Server::start(Limits { idle_timeout: Duration::from_millis(100), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n").await;
    wire.read().await;
    wire.assert_closed().await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_leaves_the_outcome_unknown() {
    let server = Server::start(Limits { request_timeout: Duration::from_millis(50), ..LIMITS }).await;
    let reply = server.call(Call::post("/wait", Bytes::new())).await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(document(&reply)["type"], "/problems/outcome-unknown");
    // A question has no outcome: it is asked again without any key.
    let reply = server.call(Call::get("/wait")).await;
    assert_eq!(
        (reply.status, &document(&reply)["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"/problems/unavailable".into())
    );
}

#[tokio::test]
async fn shutdown_finishes_the_request_under_way_and_takes_no_new_ones() {
    let server = Server::start(LIMITS).await;
    let mut idle = server.connect().await;
    idle.write("GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.read().await;
    let mut busy = server.connect().await;
    busy.write("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.routes.waiting.notified().await;

    server.shutdown.cancel();
    idle.assert_closed().await;
    drop(idle);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&server.address).await.is_ok() {
        assert!(Instant::now() < deadline, "the server goes on listening");
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished());

    server.routes.go_on.notify_one();
    let (head, body) = busy.read().await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "\"waited\"\n");
    drop(busy);
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = Server::start(Limits { drain_timeout: Duration::from_millis(50), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.routes.waiting.notified().await;
    server.shutdown.cancel();
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(wire.read().await.0.starts_with("http/1.1 503"));
    wire.assert_closed().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_body_that_does_not_come() {
    let server = Server::start(Limits { drain_timeout: Duration::from_millis(50), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("POST /length HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    assert!(wire.read().await.0.starts_with("http/1.1 100 continue"));
    server.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
    wire.assert_closed().await;
}

/// Somebody connects again and again, faster than they can be accepted.
struct Flood;

impl Listener for Flood {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async {
            tokio::task::consume_budget().await;
            let (stream, _) = tokio::io::duplex(1);
            Ok((Box::new(stream) as Box<dyn Stream>, ([127, 0, 0, 1], 1).into()))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 2).into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_an_end_of_those_who_connect() {
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(Box::new(Flood), Arc::new(Routes::default()), LIMITS, shutdown.clone()));
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), server).await.expect("the server stops").unwrap();
}

#[tokio::test]
async fn what_is_under_way_when_the_drain_ends_is_answered_that_it_is() {
    for (method, status) in [("GET", "503"), ("POST", "504")] {
        let server = Server::start(Limits { drain_timeout: Duration::from_millis(200), ..LIMITS }).await;
        let mut wire = server.connect().await;
        wire.write(&format!("{method} /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
        server.routes.waiting.notified().await;
        server.shutdown.cancel();
        let (head, body) = wire.read().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")) && body.contains("this server stops"), "{head}{body}");
        wire.assert_closed().await;
        tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_call_to_a_closed_port_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let outcome = Client::new(&Platform::system()).send(&address, Call::get("/"), PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::NotSent { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_call_with_an_impossible_path_was_not_sent() {
    let outcome = Client::new(&Platform::system()).send("127.0.0.1:1", Call::get("/a b"), PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::NotSent { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_call_whose_time_runs_out_while_it_connects_was_not_sent() {
    struct Nowhere;
    impl Network for Nowhere {
        fn listen<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
            Box::pin(std::future::pending())
        }

        fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
            Box::pin(std::future::pending())
        }
    }
    let mut platform = Platform::system();
    platform.network = Arc::new(Nowhere);
    let client = Client::new(&platform);
    let outcome = client.send("127.0.0.1:1", Call::get("/"), Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(CallError::NotSent { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_call_gives_up_on_a_server_that_closes_every_connection_at_once() {
    #[derive(Default)]
    struct Slammed(AtomicU32);
    impl Network for Slammed {
        fn listen<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
            Box::pin(std::future::pending())
        }

        fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let (near, _) = tokio::io::duplex(1024);
            Box::pin(async { Ok(Box::new(near) as Box<dyn Stream>) })
        }
    }
    let slammed = Arc::new(Slammed::default());
    let mut platform = Platform::system();
    platform.network = slammed.clone();
    let outcome = Client::new(&platform).send("127.0.0.1:1", Call::get("/"), Duration::from_millis(200)).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(slammed.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_whose_connection_closes_without_an_answer_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let outcome = Client::new(&Platform::system()).send(&address, Call::get("/"), PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_answered_too_late_is_unknown() {
    let server = Server::start(LIMITS).await;
    let client = Client::new(&Platform::system());
    let outcome = client.send(&server.address, Call::get("/wait"), Duration::from_millis(50)).await;
    assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    });
    let outcome = Client::new(&Platform::system()).send(&address, Call::get("/"), PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_fails_breaks_its_call_off() {
    let server = Server::start(LIMITS).await;
    let pieces = vec![Ok(Bytes::from_static(b"first")), Err(io::Error::other("no more"))];
    let call = Call::post_stream("/length", futures_util::stream::iter(pieces));
    let outcome = Client::new(&Platform::system()).send(&server.address, call, PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_client_outlives_the_connections_that_the_server_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move {
        loop {
            let mut wire = Wire(listener.accept().await.unwrap().0);
            wire.0.read_u8().await.unwrap();
            // Closes right after, though it promised to keep the connection.
            wire.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let client = Client::new(&Platform::system());
    let mut answered = 0;
    let deadline = Instant::now() + PATIENCE;
    while answered < 10 {
        assert!(Instant::now() < deadline, "no connection after those that were closed");
        match client.send(&address, Call::get("/"), PATIENCE).await {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, CallError::Unknown { .. }), "{error}"),
        }
    }
    peer.abort();
}

#[tokio::test]
async fn clients_and_their_calls_can_be_shared_between_tasks() {
    let server = Server::start(LIMITS).await;
    let client = Client::new(&Platform::system());
    let done = Arc::new(Semaphore::new(0));
    for number in 0..8 {
        let (client, address, done) = (client.clone(), server.address.clone(), done.clone());
        tokio::spawn(async move {
            let reply = client.send(&address, Call::get(format!("/hello/{number}")), PATIENCE).await.unwrap();
            assert_eq!(document(&reply)["hello"], number.to_string());
            done.add_permits(1);
        });
    }
    let all = tokio::time::timeout(PATIENCE, done.acquire_many(8)).await;
    assert!(all.is_ok());
}
