//! Asks a group of replicas until one answers, within a deadline.
//!
//! Reads go to the next replica when one fails. Writes do too: they carry a key, so a write that was
//! carried out without an answer is not carried out again but answered.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::balancer::Balancer;
use crate::error::ApiError;
use crate::http::client::{CallError, Client, Reply, Request};
use crate::http::reply;
use crate::request::CONSISTENCY;

/// The first pause before a retry; each further one is twice as long, up to the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause before a retry.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One group of replicas and how it is asked. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    /// What the group is called.
    pub name: &'static str,
    /// Who is asked next.
    pub balancer: Balancer,
    /// The connections.
    pub client: Client,
    /// How long one replica may take to answer.
    pub attempt_timeout: Duration,
    /// How long a read may take in all.
    pub read_deadline: Duration,
    /// How long a write may take in all.
    pub write_deadline: Duration,
}

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// Headers that go along.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Ask {
    /// A GET.
    pub fn get(path: String) -> Ask {
        Ask { method: Method::GET, path, headers: Vec::new(), body: Bytes::new() }
    }

    /// A POST that may be repeated without harm.
    pub fn post(path: String, body: Bytes) -> Ask {
        Ask { method: Method::POST, path, headers: Vec::new(), body }
    }

    fn request(&self) -> Request {
        let request = Request::new(self.method.clone(), self.path.clone(), self.body.clone());
        self.headers.iter().fold(request, |request, (name, value)| request.header(name.clone(), value.clone()))
    }
}

/// An answer and who gave it.
pub struct Answered {
    /// The replica's name.
    pub by: String,
    /// What it answered.
    pub reply: Reply,
}

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Excuse,
    Stale,
    Current,
}

impl Answered {
    fn rank(&self) -> Rank {
        match self.reply.headers.contains_key(CONSISTENCY) {
            _ if self.reply.status.is_server_error() => Rank::Excuse,
            true => Rank::Stale,
            false => Rank::Current,
        }
    }
}

impl Upstream {
    /// Asks a question without effects: one attempt at each replica that answers, until one gives a current
    /// answer. A replica that is cut off from its group may only have a stale one, or an excuse, while the others
    /// know better.
    ///
    /// # Errors
    /// If no replica answered.
    pub async fn read(&self, ask: &Ask) -> Result<Answered, ApiError> {
        let deadline = Instant::now() + self.read_deadline;
        let mut tried = Vec::new();
        let mut second_best: Option<Answered> = None;
        while let Some((position, replica)) = self.balancer.next(&tried) {
            tried.push(position);
            match self.attempt(ask, &replica.member.address, deadline).await {
                Ok(reply) => {
                    let answered = Answered { by: replica.member.id.clone(), reply };
                    let rank = answered.rank();
                    if rank == Rank::Current {
                        return Ok(answered);
                    }
                    if second_best.as_ref().is_none_or(|best| best.rank() < rank) {
                        second_best = Some(answered);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a replica did not answer");
                    replica.set_up(false);
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        second_best.ok_or_else(|| self.nobody_answers())
    }

    /// Asks for something that must happen once. The request must carry a key.
    ///
    /// A replica that refuses for want of a majority did nothing; the others are asked before its word counts, for
    /// it may be cut off from them.
    ///
    /// # Errors
    /// `Unavailable` if it certainly did not happen, `OutcomeUnknown` if that cannot be told.
    pub async fn write(&self, ask: &Ask) -> Result<Answered, ApiError> {
        let deadline = Instant::now() + self.write_deadline;
        let mut pause = FIRST_RETRY_PAUSE;
        let mut may_have_happened = None;
        let mut refused = Vec::new();
        loop {
            let error = match self.balancer.next(&refused) {
                None => self.nobody_answers(),
                Some((position, replica)) => match self.attempt(ask, &replica.member.address, deadline).await {
                    // The replica itself does not know: whoever is asked next, with the same key, will.
                    Ok(reply) if reply.status == StatusCode::GATEWAY_TIMEOUT => ApiError::OutcomeUnknown(format!(
                        "{} does not know yet whether the request was carried out",
                        replica.member.id
                    )),
                    Ok(reply) if reply.status == StatusCode::SERVICE_UNAVAILABLE && may_have_happened.is_some() => {
                        ApiError::Unavailable(format!("{} cannot tell now", replica.member.id))
                    }
                    Ok(reply) if is_unavailable(&reply) && Instant::now() < deadline => {
                        refused.push(position);
                        if self.balancer.has_others(&refused) {
                            continue;
                        }
                        return Ok(Answered { by: replica.member.id.clone(), reply });
                    }
                    Ok(reply) => return Ok(Answered { by: replica.member.id.clone(), reply }),
                    Err(error) => {
                        replica.set_up(false);
                        match error {
                            CallError::NotSent { .. } => ApiError::Unavailable(error.to_string()),
                            CallError::Unknown { .. } => ApiError::OutcomeUnknown(error.to_string()),
                        }
                    }
                },
            };
            if let ApiError::OutcomeUnknown(_) = &error {
                may_have_happened = Some(error.clone());
            }
            if Instant::now() + pause >= deadline {
                return Err(may_have_happened.unwrap_or(error));
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
            // Who refused a moment ago may know better now.
            refused.clear();
        }
    }

    async fn attempt(&self, ask: &Ask, address: &str, deadline: Instant) -> Result<Reply, CallError> {
        let timeout = self.attempt_timeout.min(deadline.saturating_duration_since(Instant::now()));
        self.client.send(address, ask.request(), timeout).await
    }

    fn nobody_answers(&self) -> ApiError {
        let names: Vec<&str> = self.balancer.replicas().iter().map(|replica| replica.member.id.as_str()).collect();
        ApiError::Unavailable(format!("none of the {} servers answers ({})", self.name, names.join(", ")))
    }
}

/// Whether a replica refused because it cannot now; not because it has too much to do, which asking others would
/// make worse.
fn is_unavailable(reply: &Reply) -> bool {
    reply.status == StatusCode::SERVICE_UNAVAILABLE
        && reply::problem_slug(&reply.body).is_some_and(|slug| slug == ApiError::Unavailable(String::new()).slug())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::Request as HttpRequest;
    use hyper::body::Incoming;
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

    #[tokio::test]
    async fn a_group_that_does_not_answer_is_named() {
        let upstream = upstream(&[]).await;
        let error = upstream.read(&Ask::get("/info/1".to_owned())).await.err();
        assert!(matches!(error, Some(ApiError::Unavailable(detail)) if detail.contains("none of the catalog servers")));
    }
}
