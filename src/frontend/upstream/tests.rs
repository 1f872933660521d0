//! Groups that answer as the test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::http::body::Incoming;
use hyper::Request as HttpRequest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::reply::Response;
use crate::http::server::{self, Handler, Limits};
use crate::platform::Platform;
use crate::replica::Member;

const SECOND: Duration = Duration::from_secs(1);

/// A replica that answers everything alike.
#[derive(Clone, Copy)]
enum Scripted {
    Current,
    Stale,
    Excuse,
}

impl Handler for Scripted {
    async fn handle(&self, _request: HttpRequest<Incoming>) -> Response {
        let answer = reply::json(StatusCode::OK, &"answer");
        match self {
            Scripted::Current => answer,
            Scripted::Stale => crate::request::stale(answer),
            Scripted::Excuse => reply::problem(&ApiError::Unavailable(String::new()), ""),
        }
    }
}

async fn upstream(scripts: &[Scripted]) -> Upstream {
    let platform = Platform::system();
    let mut members = Vec::new();
    for (number, script) in scripts.iter().enumerate() {
        let listener = platform.network.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap().to_string();
        members.push(Member { id: format!("catalog-{number}"), address });
        let limits = Limits {
            max_connections: 8,
            max_body_bytes: 1 << 20,
            header_timeout: SECOND,
            request_timeout: SECOND,
            idle_timeout: SECOND * 10,
            drain_timeout: SECOND,
        };
        tokio::spawn(server::serve(listener, Arc::new(*script), limits, CancellationToken::new()));
    }
    Upstream {
        name: "catalog",
        balancer: Balancer::new(members),
        client: Client::new(&platform),
        attempt_timeout: SECOND,
        read_deadline: SECOND * 2,
        write_deadline: SECOND * 2,
    }
}

#[tokio::test]
async fn a_read_takes_the_best_answer_that_any_replica_has() {
    use Scripted::{Current, Excuse, Stale};
    for (scripts, best) in [
        (&[Excuse, Stale, Current][..], Rank::Current),
        (&[Stale, Excuse], Rank::Stale),
        (&[Excuse, Stale], Rank::Stale),
        (&[Excuse, Excuse], Rank::Excuse),
    ] {
        let answered = upstream(scripts).await.read(&Ask::get("/info/1".to_owned())).await.unwrap();
        assert_eq!(answered.rank(), best);
    }
}

#[tokio::test]
async fn a_write_that_one_replica_refuses_is_taken_to_the_others() {
    use Scripted::{Current, Excuse};
    for (scripts, status) in
        [(&[Excuse, Excuse, Current][..], StatusCode::OK), (&[Excuse, Excuse], StatusCode::SERVICE_UNAVAILABLE)]
    {
        let ask = Ask { method: Method::POST, ..Ask::get("/purchase/1".to_owned()) };
        let answered = upstream(scripts).await.write(&ask).await.unwrap();
        assert_eq!(answered.reply.status, status);
    }
}

/// A group without a network; the test says what each attempt brings.
fn unreached(replicas: usize) -> Upstream {
    let members = (0..replicas).map(|number| Member { id: format!("order-{number}"), address: String::new() });
    Upstream {
        name: "order",
        balancer: Balancer::new(members),
        client: Client::new(&Platform::system()),
        attempt_timeout: SECOND,
        read_deadline: SECOND,
        write_deadline: SECOND / 2,
    }
}

impl Answer for Meaning {
    fn meaning(&self) -> Meaning {
        *self
    }
}

#[tokio::test]
async fn a_write_whose_outcome_was_unknown_once_is_never_said_to_have_failed() {
    for later in [Meaning::Unavailable, Meaning::Overloaded] {
        let attempts = AtomicUsize::new(0);
        let attempt = |_, _| {
            let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            async move { Ok(if is_first { Meaning::Unknown } else { later }) }
        };
        let error = unreached(2).write_through(attempt).await.err();
        assert!(matches!(error, Some(ApiError::OutcomeUnknown(_))), "{error:?}");
        assert!(attempts.into_inner() > 2);
    }
}

#[tokio::test]
async fn a_write_whose_outcome_was_unknown_is_answered_once_somebody_knows() {
    let attempts = AtomicUsize::new(0);
    let attempt = |_, _| {
        let number = attempts.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => Err(CallError::Unknown { address: String::new(), reason: "lost".to_owned() }),
                1 => Ok(Meaning::Unavailable),
                _ => Ok(Meaning::Decided),
            }
        }
    };
    let answered = unreached(3).write_through(attempt).await.ok().unwrap();
    assert_eq!(answered.reply, Meaning::Decided);
}

#[tokio::test]
async fn a_write_goes_to_the_leader_and_from_it_to_the_others() {
    let upstream = unreached(3);
    upstream.balancer.note_leader(b"order-2");
    let asked = Mutex::new(Vec::new());
    let attempt = |position, _| {
        asked.lock().unwrap().push(position);
        async move { Ok(if position == 2 { Meaning::Unavailable } else { Meaning::Decided }) }
    };
    let answered = upstream.write_through(attempt).await.ok().unwrap();
    assert_eq!((answered.by.as_str(), asked.into_inner().unwrap()), ("order-0", vec![2, 0]));
}

#[tokio::test]
async fn overload_is_not_passed_from_one_replica_to_the_next() {
    let attempts = AtomicUsize::new(0);
    let attempt = |_, _| {
        attempts.fetch_add(1, Ordering::Relaxed);
        async { Ok(Meaning::Overloaded) }
    };
    assert!(unreached(3).write_through(attempt).await.is_ok_and(|answered| answered.reply == Meaning::Overloaded));
    assert_eq!(attempts.into_inner(), 1);
}

#[tokio::test]
async fn a_group_that_does_not_answer_is_named() {
    let upstream = upstream(&[]).await;
    let error = upstream.read(&Ask::get("/info/1".to_owned())).await.err();
    assert!(matches!(error, Some(ApiError::Unavailable(detail)) if detail.contains("none of the catalog servers")));
}
