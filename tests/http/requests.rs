//! What RFC 9110 and RFC 9112 say of requests, whichever part of the server answers them.

use super::*;

/// What a server answers to `text`, after which the client sends nothing more, until the connection closes.
async fn whole_answer(server: &Server, text: &str) -> String {
    answer_to_pieces(server, &[text.as_bytes()]).await
}

/// The same of bytes that are sent in pieces.
async fn answer_to_pieces(server: &Server, pieces: &[&[u8]]) -> String {
    let mut wire = server.connect().await;
    wire.0.set_nodelay(true).unwrap();
    for piece in pieces {
        // A server that refuses the beginning may close before it has all.
        let _ = wire.0.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let _ = wire.0.shutdown().await;
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, wire.0.read_to_end(&mut answer)).await;
    let _ = end.unwrap_or_else(|_| panic!("no end of the answer to {:?}", String::from_utf8_lossy(&pieces.concat())));
    String::from_utf8(answer).unwrap()
}

/// The status that a server answers to one request.
async fn status(server: &Server, text: &str) -> u16 {
    let answer = whole_answer(server, text).await;
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text:?}: {answer:?}"))
}

#[tokio::test]
async fn a_client_that_has_sent_its_last_request_gets_all_answers() {
    let server = Server::start(LIMITS).await;
    for path in ["/hello/you", "/ready/1", "/ready/long/1"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = whole_answer(&server, &request.repeat(3)).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{path}");
    }
    let answer = whole_answer(&server, "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody").await;
    assert!(answer.ends_with("\r\n\r\n4\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_closes_its_side_while_it_waits_is_answered() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.routes.waiting.notified().await;
    wire.0.shutdown().await.unwrap();
    tokio::task::yield_now().await;
    server.routes.go_on.notify_one();
    assert_eq!(wire.read().await.1, "\"waited\"\n");
    wire.assert_closed().await;
}

#[tokio::test]
async fn a_request_names_the_host_that_it_is_for() {
    let server = Server::start(LIMITS).await;
    for path in ["/hello/you", "/ready/1"] {
        for headers in
            ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: user@a\r\n", "Host: a/b\r\n", "Host: ::1\r\n"]
        {
            let text = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
            let answer = whole_answer(&server, &text).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{text:?}: {answer}");
            assert!(answer.contains("/problems/malformed"), "{text:?}: {answer}");
        }
        for headers in ["Host: shop.example:80\r\n", "host: [::1]:9000\r\n", "Host:\r\n"] {
            assert_eq!(status(&server, &format!("GET {path} HTTP/1.1\r\n{headers}\r\n")).await, 200, "{headers}");
        }
        assert_eq!(status(&server, &format!("GET {path} HTTP/1.0\r\n\r\n")).await, 200);
        assert_eq!(status(&server, &format!("GET http://shop{path} HTTP/1.1\r\nhost: shop\r\n\r\n")).await, 200);
    }
}

#[tokio::test]
async fn forms_that_are_not_known_are_refused_with_their_own_status() {
    let server = Server::start(LIMITS).await;
    let post = |headers: &str| format!("POST /length HTTP/1.1\r\nhost: x\r\n{headers}\r\n1\r\na\r\n0\r\n\r\n");
    assert_eq!(status(&server, &post("transfer-encoding: gzip, chunked\r\n")).await, 501);
    assert_eq!(status(&server, &post("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n")).await, 501);
    assert_eq!(status(&server, &post("transfer-encoding: gzip\r\n")).await, 400);
    assert_eq!(status(&server, &post("transfer-encoding: Chunked\r\n")).await, 200);
    assert_eq!(status(&server, &post("content-length: 1\r\nexpect: something else\r\n")).await, 417);
}

#[tokio::test]
async fn what_hyper_refuses_is_refused_with_a_problem_document() {
    let server = Server::start(LIMITS).await;
    let good = "GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n";
    let body = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx";
    for bad in [
        "GET /a\u{1}b HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET hello/you HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /ready/1?lim<t HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /ready/1 HTTP/1.2\r\nhost: x\r\n\r\n",
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "G\u{e4}T / HTTP/1.1\r\n\r\n",
        "GET hello:1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        for before in ["", good, body] {
            let answer = whole_answer(&server, &format!("{before}{bad}")).await;
            let refusal = answer.rsplit("HTTP/1.1 ").next().unwrap();
            assert!(refusal.starts_with("400 Bad Request\r\n"), "{before}{bad}: {answer}");
            let lower = refusal.to_lowercase();
            for expected in ["content-type: application/problem+json\r\n", "connection: close\r\n", "\r\ndate: "] {
                assert!(lower.contains(expected), "{before}{bad}: {answer}");
            }
            assert!(refusal.ends_with("}\n") && refusal.contains("/problems/malformed"), "{before}{bad}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_client_that_speaks_another_version_is_told() {
    let server = Server::start(LIMITS).await;
    for text in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /ready/1 HTTP/2.0\r\nhost: x\r\n\r\n"] {
        assert_eq!(status(&server, text).await, 400, "{text}");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_as_longer_than_any_is_too_long() {
    let server = Server::start(LIMITS).await;
    for length in ["18446744073709551613", "18446744073709551614", "18446744073709551615", "100000000000000000000"] {
        let request = format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        let answer = whole_answer(&server, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        assert!(answer.contains("/problems/body-too-large"), "{length}: {answer}");
    }
}

#[tokio::test]
async fn an_empty_line_after_a_request_does_not_shorten_the_idle_time() {
    let limits = Limits { header_timeout: Duration::from_millis(200), idle_timeout: Duration::from_secs(60), ..LIMITS };
    let server = Server::start(limits).await;
    for request in [
        "GET /ready/1 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let mut wire = server.connect().await;
        wire.write(&format!("{request}\r\n")).await;
        wire.read().await;
        wire.write("\r\n").await;
        // The time for a header passes.
        tokio::time::sleep(limits.header_timeout * 2).await;
        wire.write(request).await;
        assert!(wire.read().await.0.starts_with("http/1.1 200"), "{request}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_cost_the_connection() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    for line in ["GET /hello/you", "POST /hello/you", "POST /nothing/here", "PUT /hello/you"] {
        wire.write(&format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        wire.write("body").await;
        let (head, _) = wire.read().await;
        assert!(!head.contains("connection: close"), "{line}: {head}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_whether_it_would_be_read_or_not() {
    let server = Server::start(LIMITS).await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    for path in ["/length", "/hello/you", "/nothing/here"] {
        let announced =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n");
        assert_eq!(status(&server, &announced).await, 413, "{path}");
        let streamed =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}");
        assert_eq!(status(&server, &streamed).await, 413, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start(LIMITS).await;
    let mut wire = server.connect().await;
    wire.write("POST /length HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    assert!(wire.read().await.0.starts_with("http/1.1 100 continue"));
    wire.write("body").await;
    assert_eq!(wire.read().await.1, "4\n");
}

#[tokio::test]
async fn answers_say_that_they_are_to_be_asked_for_anew() {
    let server = Server::start(LIMITS).await;
    for path in ["/hello/you", "/ready/1", "/nothing/here"] {
        let answer = whole_answer(&server, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(answer.contains("cache-control: no-cache\r\n"), "{answer}");
    }
}

fn one_of<'a>(random: &mut fastrand::Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(..choices.len())]
}

/// A request that may be anything.
fn odd_request(random: &mut fastrand::Rng) -> String {
    if random.u8(..3) == 0 {
        return "GET /ready/1 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
    }
    let method = one_of(random, &["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "get", "G(T"]);
    let target = match random.u8(..4) {
        0 => one_of(
            random,
            &[
                "ready/1",
                "/ready/c#",
                "/ready/1?lim<t",
                "/ready/\u{fc}",
                "*",
                "/",
                "http://x/ready/1",
                "x:80",
                "/ready/1?a=b",
                "/ready/%41",
                "/ready/%",
                "/ready/a|b",
                "/ready/\"",
                "/ready/{a}",
                "/ready/[a]",
                "/ready/a\\b",
                "//ready/1",
                "",
            ],
        ),
        _ => one_of(random, &["/ready/1", "/ready/2", "/ready/long/3", "/hello/you", "/length", "/nothing"]),
    };
    let version = one_of(random, &["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "1.2", "2.0"]);
    let mut text = format!("{}{method} {target} HTTP/{version}\r\n", one_of(random, &["", "", "", "\r\n", "\n"]));
    text += match random.u8(..5) {
        0 => one_of(
            random,
            &["", "host: x\r\nhost: x\r\n", "host: a b\r\n", "host: [::1]:1\r\n", "host:\r\n", "host: x:y\r\n"],
        ),
        _ => "Host: x\r\n",
    };
    let mut body = "";
    for _ in 0..random.u8(..3) {
        let (header, follows) = match random.u8(..14) {
            0 => ("connection: keep-alive", ""),
            1 => ("Connection: close", ""),
            2 => ("cache-control: no-cache", ""),
            3 => ("expect: 100-continue", ""),
            4 => ("expect: nothing", ""),
            5 => ("content-length: 4", "body"),
            6 => ("content-length: 0", ""),
            7 => ("transfer-encoding: chunked", "1\r\na\r\n0\r\n\r\n"),
            8 => ("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
            9 => ("x-request-id: first", ""),
            10 => ("x-request-id: second", ""),
            11 => ("x-request-id: not usable", ""),
            12 => ("upgrade: websocket", ""),
            _ => ("bad header : x", ""),
        };
        text += &format!("{header}\r\n");
        if !follows.is_empty() {
            body = follows;
        }
    }
    text + "\r\n" + body
}

/// An answer without what differs from one to the next by its nature.
fn essence(answer: &str) -> String {
    let differs = |line: &&str| {
        let line = line.to_lowercase();
        let made_up = line.strip_prefix("x-request-id: ").is_some_and(|id| id.len() == 16);
        !made_up && !["date: ", "server-timing: ", "at-once: "].iter().any(|name| line.starts_with(name))
    };
    let mut parts: Vec<String> = Vec::new();
    for part in answer.split("HTTP/1.") {
        let (head, body) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
        let mut lines: Vec<&str> = head.split("\r\n").filter(differs).collect();
        // In any order, but for the status.
        let from = lines.len().min(1);
        lines[from..].sort_unstable();
        parts.push(format!("{}\n\n{body}", lines.join("\n")));
    }
    parts.join("HTTP/1.")
}

/// Changes a few bytes, in a way that may matter.
fn damage(text: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..text.len());
        let byte = match random.bool() {
            true => random.u8(..),
            false => one_of(random, &["\r", "\n", " ", ":", "/", "?", "%", "\t", "\0", "0", "\u{7f}"]).as_bytes()[0],
        };
        match random.u8(..4) {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 => drop(text.remove(at)),
            _ => text.extend_from_within(at..),
        }
        if text.is_empty() {
            return;
        }
    }
}

/// For how long requests are made up: `FUZZ_SECONDS` may ask for more, and for others each time.
fn fuzz_budget() -> Option<Duration> {
    let seconds = std::env::var("FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("FUZZ_SECONDS is a whole number")))
}

#[tokio::test]
async fn whatever_comes_is_answered_alike_with_and_without_the_fast_path() {
    let with = Server::start(LIMITS).await;
    let without = Server::with(Routes { is_lane_closed: true, ..Routes::default() }, LIMITS).await;
    let mut taken = 0;
    let (began, budget) = (std::time::Instant::now(), fuzz_budget());
    let first = if budget.is_some() { fastrand::u64(..u64::MAX / 2) } else { 0 };
    let seeds = (first..).take_while(|seed| match budget {
        Some(budget) => began.elapsed() < budget,
        None => *seed < 2500,
    });
    for seed in seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let requests: Vec<String> = (0..random.usize(1..4)).map(|_| odd_request(&mut random)).collect();
        let mut text = requests.concat().into_bytes();
        if random.u8(..3) == 0 {
            damage(&mut text, &mut random);
        }
        let (first, second) = text.split_at(random.usize(..=text.len()));
        let with = answer_to_pieces(&with, &[first, second]).await;
        let without = answer_to_pieces(&without, &[first, second]).await;
        taken += with.matches("at-once").count();
        assert_eq!(essence(&with), essence(&without), "seed {seed}: {:?}", String::from_utf8_lossy(&text));
    }
    assert!(taken > 300, "only {taken} requests were answered at once");
}

#[tokio::test]
async fn what_nodes_do_not_take_is_bounded_together_and_no_failure() {
    let server = Server::start(LIMITS).await;
    let mut nodes = Vec::new();
    let mut refused = 0;
    for _ in 0..10 {
        let mut node = TcpStream::connect(&server.address).await.unwrap();
        node.write_all(b"POST /to-node HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        node.read_exact(&mut status).await.unwrap();
        // It was done.
        refused += usize::from(&status == b"HTTP/1.1 504");
        nodes.push(node);
    }
    assert_eq!(refused, 2);
    drop(nodes);
    let again = async || {
        let answer = server.call(Call::post("/to-node", Bytes::new())).await;
        answer.status == StatusCode::OK && answer.body.len() == TO_NODE.len()
    };
    tokio::time::timeout(PATIENCE, async { while !again().await {} }).await.unwrap();
}
