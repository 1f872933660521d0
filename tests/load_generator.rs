//! What the benches measure with: a load generator that hid what customers suffer would make every number wrong.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

#[path = "../benches/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::load::{IoTimeout, Load, Target, run};
use common::outcome::{Failure, Outcome};
use common::request::request;
use common::response::{header, parse};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static [u8]),
    AnswerAndClose(&'static [u8]),
    Close,
}

/// A server that does with the n-th request, over all connections, what `act` says. It ends with the test.
fn serve(act: impl Fn(u64) -> Act + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (act, count) = (Arc::new(act), Arc::new(AtomicU64::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (act, count) = (act.clone(), count.clone());
            thread::spawn(move || converse(stream, || act(count.fetch_add(1, Ordering::SeqCst))));
        }
    });
    address
}

fn converse(mut stream: TcpStream, act: impl Fn() -> Act) {
    let (mut inbox, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut part) {
        inbox.extend_from_slice(&part[..count]);
        if !inbox.ends_with(b"\r\n\r\n") {
            continue;
        }
        inbox.clear();
        match act() {
            Act::Answer(answer) if stream.write_all(answer).is_ok() => {}
            Act::AnswerAndClose(answer) => return drop(stream.write_all(answer)),
            _ => return,
        }
    }
}

fn ask(address: SocketAddr, connections: usize, pace: IoTimeout, duration: Duration) -> Outcome {
    let target = Target { addresses: vec![address], requests: vec![request("GET /", None)], expected: vec![200] };
    run(&target, &Load { connections, pace, warm_up: Duration::ZERO, duration }).unwrap()
}

#[test]
fn a_server_that_hangs_once_shows_in_all_requests_that_were_due_meanwhile() {
    const HANG: Duration = Duration::from_millis(400);
    let begun: OnceLock<Instant> = OnceLock::new();
    // Every connection hangs until the same instant, as if the server were stopped.
    let address = serve(move |_| {
        let since = begun.get_or_init(Instant::now).elapsed();
        if since > HANG && since < 2 * HANG {
            thread::sleep(2 * HANG - since);
        }
        Act::Answer(OK)
    });
    let outcome = ask(address, 4, IoTimeout::PerSecond(500.0), Duration::from_secs(1));
    assert_eq!((outcome.answered, outcome.failed()), (500, 0));
    // 200 requests were due while it hung; one that was due in its first half waited for at least its second half.
    let waited = outcome.latency.count_between((HANG / 2).as_nanos() as u64, u64::MAX);
    assert!(waited >= 80, "only {waited} requests waited");
    assert!(outcome.silence.lasts > HANG.mul_f64(0.9), "{:?}", outcome.silence);
}

#[test]
fn the_open_loop_keeps_its_rate_and_the_closed_loop_as_many_requests_as_clients() {
    let pause = Duration::from_millis(20);
    let slow = move |_| {
        thread::sleep(pause);
        Act::Answer(OK)
    };
    let duration = Duration::from_millis(500);
    let open = ask(serve(slow), 20, IoTimeout::PerSecond(200.0), duration);
    assert_eq!(open.answered, 100);
    let closed = ask(serve(slow), 4, IoTimeout::Unlimited, duration);
    assert!((20..=100).contains(&closed.answered), "{} answers of 4 clients in 25 pauses", closed.answered);
    assert!(closed.latency.min() >= pause.as_nanos() as u64 * 999 / 1000);
}

#[test]
fn a_run_is_over_when_all_is_answered() {
    let address = serve(|_| Act::Answer(OK));
    let (begins, runs, duration) = (Instant::now(), 50, Duration::from_millis(10));
    for _ in 0..runs {
        assert_eq!(ask(address, 2, IoTimeout::PerSecond(2000.0), duration).answered, 20);
    }
    let took = begins.elapsed();
    assert!(took < 10 * runs * duration, "{runs} runs of {duration:?} took {took:?}");
}

#[test]
fn unexpected_statuses_and_broken_connections_are_failures() {
    let address = serve(|number| match number % 10 {
        3 => Act::Answer(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
        7 => Act::Close,
        _ => Act::Answer(OK),
    });
    let outcome = ask(address, 5, IoTimeout::PerSecond(200.0), Duration::from_millis(500));
    assert_eq!(outcome.answered, 80);
    assert_eq!(outcome.failures.into_iter().collect::<Vec<_>>(), [(Failure::Status(503), 10), (Failure::Broken, 10)]);
}

#[test]
fn a_connection_that_the_server_closes_after_its_answer_is_no_failure() {
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok";
    let outcome = ask(serve(|_| Act::AnswerAndClose(LAST)), 5, IoTimeout::PerSecond(200.0), Duration::from_millis(500));
    assert_eq!((outcome.answered, outcome.failed()), (100, 0));
}

#[test]
fn an_answer_ends_where_its_head_says_however_it_arrives() {
    let whole: [(&str, u16, &str); 6] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 409 Conflict\r\ncontent-length:0\r\n\r\n", 409, ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n",
            200,
            "0123456789!",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", 200, "ok"),
    ];
    for (text, status, body) in whole {
        for length in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..length]).unwrap(), None, "the first {length} bytes of {text:?}");
        }
        let answer = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((answer.status, answer.total_bytes, answer.keeps_open), (status, text.len(), true), "{text:?}");
        assert_eq!(answer.body(text.as_bytes()), body.as_bytes(), "{text:?}");
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    for text in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the connection ends",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a_header_field_is_found_in_any_case_and_not_in_another() {
    let head = b"HTTP/1.1 200 OK\r\nX-Cache-Hit: true\r\nX-Cache: \r\n\r\n";
    assert_eq!(header(head, "x-cache-hit"), Some("true"));
    assert_eq!(header(head, "x-cache"), Some(""));
    assert_eq!(header(head, "cache"), None);
}
