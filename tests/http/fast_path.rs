//! Requests that are answered at once, among others on the same connection.

use tokio::net::tcp::OwnedWriteHalf;

use super::*;

/// A request and the body that answers it.
fn any_request(random: &mut fastrand::Rng) -> (String, String) {
    let number = random.u32(..1000);
    let ready = format!("\"/ready/{number}\"\n");
    let hello = format!("{{\"hello\":\"{number}\"}}\n");
    match random.u8(..7) {
        0 | 1 => (format!("GET /ready/{number} HTTP/1.1\r\nhost: x\r\n\r\n"), ready),
        2 => (format!("GET /ready/{number} HTTP/1.1\r\nHost: x\r\nCache-Control: no-cache\r\n\r\n"), ready),
        3 => (format!("GET /ready/long/{number} HTTP/1.1\r\nhost: x\r\n\r\n"), long_text(&number.to_string())),
        4 => (format!("GET /hello/{number} HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n"), hello),
        5 => (format!("PUT /hello/{number} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"), hello),
        _ => ("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nGET /".to_owned(), "5\n".to_owned()),
    }
}

/// Sends `requests` in pieces of random sizes, whether or not earlier ones are answered.
async fn send_in_pieces(mut to: OwnedWriteHalf, requests: String, mut random: fastrand::Rng) -> OwnedWriteHalf {
    let mut rest = requests.as_bytes();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(random.usize(1..=rest.len().min(300)));
        to.write_all(piece).await.unwrap();
        to.flush().await.unwrap();
        if random.u8(..4) == 0 {
            tokio::task::yield_now().await;
        }
        rest = left;
    }
    // Kept open: a client that closes while it is being answered counts as gone.
    to
}

#[tokio::test]
async fn requests_of_all_kinds_on_one_connection_are_answered_in_order() {
    let server = Server::start(LIMITS).await;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        // Some connections never carry a body, so that the lane stays open to their end.
        let may_carry_bodies = seed % 3 == 0;
        let requests: Vec<(String, String)> = std::iter::repeat_with(|| any_request(&mut random))
            .filter(|(request, _)| may_carry_bodies || !request.starts_with("POST"))
            .take(40)
            .collect();
        let text: String = requests.iter().map(|(request, _)| request.as_str()).collect();
        let Wire(stream) = server.connect().await;
        let (from, to) = stream.into_split();
        let sending = tokio::spawn(send_in_pieces(to, text, random));
        let mut from = tokio::io::BufReader::new(from);
        for (position, (request, expected)) in requests.iter().enumerate() {
            let (head, body) = tokio::time::timeout(PATIENCE, read_response(&mut from)).await.unwrap();
            assert!(head.starts_with("http/1.1 200 ok"), "seed {seed}, {position}: {request:?} was answered {head:?}");
            assert_eq!(body, *expected, "seed {seed}, {position}: {request:?}");
        }
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_at_once_looks_like_any_other() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    let mut heads = Vec::new();
    for extra in ["", "cache-control: no-cache\r\n"] {
        wire.write(&format!("GET /ready/1 HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\n{extra}\r\n")).await;
        heads.push(wire.read().await.0);
    }
    let names = |head: &str| {
        let mut names: Vec<String> =
            head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
        names.sort();
        names
    };
    let (try_fast, other) = (names(&heads[0]), names(&heads[1]));
    assert_eq!(try_fast.iter().filter(|name| *name != "at-once").collect::<Vec<_>>(), other.iter().collect::<Vec<_>>());
    assert_eq!(try_fast.len(), other.len() + 1);
    for head in heads {
        assert!(head.contains("\r\nx-request-id: mine\r\n"), "{head}");
        let date = head.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        assert_eq!(date.len(), "sat, 21 nov 2026 00:00:00 gmt".len(), "{head}");
    }
}

#[tokio::test]
async fn what_asks_for_more_than_the_usual_is_not_answered_at_once() {
    let server = Server::start(LIMITS).await;
    for header in ["cache-control: no-cache", "Connection: close", "Expect: 100-continue", "content-length: 1"] {
        let mut wire = server.connect().await;
        let body = if header == "content-length: 1" { "x" } else { "" };
        wire.write(&format!("GET /ready/1 HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n{body}")).await;
        assert!(!wire.read().await.0.contains("at-once"), "{header}");
    }
    for line in ["HEAD /ready/1 HTTP/1.1", "GET /ready/1 HTTP/1.0"] {
        let mut wire = server.connect().await;
        wire.write(&format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        let mut answer = String::new();
        wire.0.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.") && !answer.contains("at-once"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_reads_late_gets_every_answer_whole() {
    let server = Server::start(LIMITS).await;
    let Wire(stream) = server.connect().await;
    let (mut from, mut to) = stream.into_split();
    let count = 200;
    let sending = tokio::spawn(async move {
        for number in 0..count {
            to.write_all(format!("GET /ready/long/{number} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        }
        to
    });
    tokio::time::timeout(Duration::from_millis(300), sending).await.ok();
    for number in 0..count {
        let (_, body) = tokio::time::timeout(PATIENCE, read_response(&mut from)).await.unwrap();
        assert_eq!(body, long_text(&number.to_string()));
    }
}

#[tokio::test]
async fn a_request_behind_an_answer_that_is_read_late_is_answered() {
    let server = Server::start(LIMITS).await;
    let Wire(stream) = server.connect().await;
    let (mut from, mut to) = stream.into_split();
    let name = "n".repeat(400);
    let not_at_once = "cache-control: no-cache";
    let first = format!("GET /ready/long/{name} HTTP/1.1\r\nhost: x\r\n{not_at_once}\r\n\r\n");
    let second = "GET /ready/2 HTTP/1.1\r\nhost: x\r\n\r\n";
    to.write_all(format!("{first}{second}").as_bytes()).await.unwrap();
    from.readable().await.unwrap();
    let (_, body) = tokio::time::timeout(PATIENCE, read_response(&mut from)).await.unwrap();
    assert_eq!(body.len(), long_text(&name).len());
    let (_, body) = tokio::time::timeout(PATIENCE, read_response(&mut from)).await.unwrap();
    assert_eq!(body, "\"/ready/2\"\n");
}

#[tokio::test]
async fn a_request_that_waits_behind_another_keeps_its_turn() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.routes.waiting.notified().await;
    wire.write("GET /ready/2 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.routes.go_on.notify_one();
    assert_eq!(wire.read().await.1, "\"waited\"\n");
    assert_eq!(wire.read().await.1, "\"/ready/2\"\n");
}

#[tokio::test]
async fn a_connection_that_is_answered_at_once_is_cut_when_it_idles() {
    let server = Server::start(Limits { idle_timeout: Duration::from_millis(200), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("GET /ready/1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    wire.read().await;
    wire.assert_closed().await;
}

#[tokio::test]
async fn a_header_that_begins_after_an_answer_at_once_must_come_in_time() {
    let server = Server::start(Limits { header_timeout: Duration::from_millis(200), ..LIMITS }).await;
    let mut wire = server.connect().await;
    wire.write("GET /ready/1 HTTP/1.1\r\nhost: x\r\n\r\nGET /rea").await;
    wire.read().await;
    wire.assert_closed().await;
}
