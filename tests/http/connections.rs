//! How many connections a server has, and who goes when they are too many; and those that a client keeps.

use super::*;

const HELLO: &str = "GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

/// A connection whose request is answered when the routes go on.
async fn busy(server: &Server) -> Wire {
    let mut wire = server.connect().await;
    wire.write(WAIT).await;
    server.routes.waiting.notified().await;
    wire
}

async fn asked(server: &Server, request: &str) -> (String, String) {
    let mut wire = server.connect().await;
    wire.write(request).await;
    wire.read().await
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_so_and_finds_a_place_later() {
    let server = Server::start(Limits { max_connections: 1, ..LIMITS }).await;
    let mut first = busy(&server).await;

    let mut second = server.connect().await;
    second.write("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody").await;
    let (head, body) = second.read().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(head.contains("retry-after: 1\r\n") && head.contains("connection: close\r\n"), "{head}");
    assert!(body.contains("/problems/overloaded"), "{body}");
    second.assert_closed().await;

    server.routes.go_on.notify_one();
    first.read().await;
    assert!(asked(&server, HELLO).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn the_connections_that_are_idle_make_room_and_those_at_work_stay() {
    let server = Server::start(Limits { max_connections: 3, ..LIMITS }).await;
    let mut at_work = busy(&server).await;
    let mut used = server.connect().await;
    used.write(HELLO).await;
    used.read().await;
    let mut silent = server.connect().await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let mut wire = server.connect().await;
        wire.write(HELLO).await;
        assert!(wire.read().await.0.starts_with("http/1.1 200"));
        crowd.push(wire);
    }
    used.assert_closed().await;
    silent.assert_closed().await;
    server.routes.go_on.notify_one();
    assert_eq!(at_work.read().await.1, "\"waited\"\n");
}

#[tokio::test]
async fn what_is_vital_is_answered_when_all_places_are_taken() {
    let server = Server::start(Limits { max_connections: 16, ..LIMITS }).await;
    let mut at_work = Vec::new();
    for _ in 0..16 {
        at_work.push(busy(&server).await);
    }
    // Those who say nothing, or half of something, do not take the reserve either.
    let mut crowd = Vec::new();
    for number in 0..40 {
        let mut wire = server.connect().await;
        if number % 2 == 0 {
            wire.write("GET /hello").await;
        }
        crowd.push(wire);
        let (head, body) = asked(&server, "GET /vital HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(head.starts_with("http/1.1 200") && body == "\"alive\"\n", "{number}: {head}");
    }
    assert!(asked(&server, HELLO).await.0.starts_with("http/1.1 503"));
}

#[tokio::test]
async fn what_is_vital_is_answered_though_halves_of_bodies_take_every_place() {
    for path in ["/length", "/vital", "/from-node"] {
        let server = Server::start(Limits { max_connections: 16, ..LIMITS }).await;
        let half = format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
        let mut crowd = Vec::new();
        for number in 0..40 {
            let mut wire = server.connect().await;
            wire.write(&half).await;
            // The server asks for the body, or for none.
            let _ = tokio::time::timeout(PATIENCE, wire.0.read_u8()).await.expect("it says something");
            let _ = wire.0.write_all(b"bo").await;
            crowd.push(wire);
            let (head, body) = asked(&server, "GET /vital HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(head.starts_with("http/1.1 200") && body == "\"alive\"\n", "{path}, {number}: {head}");
        }
    }
}

/// A listener that fails before each connection.
struct Failing(Box<dyn Listener>, bool);

impl Listener for Failing {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, std::net::SocketAddr)>> {
        self.1 = !self.1;
        match self.1 {
            true => Box::pin(async { Err(io::Error::other("on purpose")) }),
            false => self.0.accept(),
        }
    }

    fn local_address(&self) -> io::Result<std::net::SocketAddr> {
        self.0.local_address()
    }
}

#[tokio::test]
async fn a_failure_to_accept_is_no_end() {
    let listener = Failing(TcpNetwork.listen("127.0.0.1:0").await.unwrap(), false);
    let address = listener.local_address().unwrap().to_string();
    tokio::spawn(serve(Box::new(listener), Arc::new(Routes::default()), LIMITS, CancellationToken::new()));
    for _ in 0..3 {
        let reply = Client::new(&Platform::system()).send(&address, Call::get("/hello/you"), PATIENCE).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_kept_connection_that_nobody_uses_is_let_go() {
    let server = Server::start(Limits { idle_timeout: Duration::from_secs(3600), ..LIMITS }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Client::new(&Platform::system());
    let peer = tokio::spawn(async move {
        let mut wire = Wire(listener.accept().await.unwrap().0);
        let mut request = [0; 1024];
        assert!(wire.0.read(&mut request).await.unwrap() > 0);
        wire.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        // Twice the time at which it is looked at.
        let end = tokio::time::timeout(client::IDLE_TIMEOUT * 3, wire.0.read_u8()).await;
        assert!(end.expect("the client lets the connection go").is_err());
    });
    client.send(&address, Call::get("/"), PATIENCE).await.unwrap();
    peer.await.unwrap();
    drop(server);
}
