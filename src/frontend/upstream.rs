//! Asks a group of replicas until one answers, within a deadline.
//!
//! Reads go to the next replica when one fails. Writes do too: they carry a key, so a write that was
//! carried out without an answer is not carried out again but answered. How a write gets to a replica, alone or with
//! others, is not known here.

use std::future::Future;
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
use crate::request::{CONSISTENCY, LEADER};

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
pub struct Answered<A = Reply> {
    /// The replica's name.
    pub by: String,
    /// What it answered.
    pub reply: A,
}

/// What an answer says about the write that it is an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was decided; the answer says how.
    Decided,
    /// Whoever answered does not know whether it was carried out.
    Unknown,
    /// It was not carried out, because whoever answered cannot now; another may.
    Unavailable,
    /// It was not carried out, because there is too much to do, which asking others would make worse.
    Overloaded,
}

/// An answer to a write.
pub trait Answer {
    /// What it says about the write.
    fn meaning(&self) -> Meaning;
}

impl Answer for Reply {
    fn meaning(&self) -> Meaning {
        let is_unavailable =
            || reply::problem_slug(&self.body).is_some_and(|slug| slug == ApiError::Unavailable(String::new()).slug());
        match self.status {
            StatusCode::GATEWAY_TIMEOUT => Meaning::Unknown,
            StatusCode::SERVICE_UNAVAILABLE if is_unavailable() => Meaning::Unavailable,
            StatusCode::SERVICE_UNAVAILABLE => Meaning::Overloaded,
            _ => Meaning::Decided,
        }
    }
}

/// How good an answer to a read is.
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
    /// know better. What is no GET only the leader can answer.
    ///
    /// # Errors
    /// If no replica answered.
    pub async fn read(&self, ask: &Ask) -> Result<Answered, ApiError> {
        let deadline = Instant::now() + self.read_deadline;
        let mut tried = Vec::new();
        let mut second_best: Option<Answered> = None;
        let next = |tried: &[usize]| match ask.method.is_safe() {
            true => self.balancer.next(tried),
            false => self.balancer.leader_or_next(tried),
        };
        while let Some((position, replica)) = next(&tried) {
            tried.push(position);
            match self.attempt(ask, position, self.time_left(deadline)).await {
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
    /// # Errors
    /// As [`write_through`](Self::write_through).
    pub async fn write(&self, ask: &Ask) -> Result<Answered, ApiError> {
        self.write_through(|position, timeout| self.attempt(ask, position, timeout)).await
    }

    /// Has something done that must happen once: `attempt` asks the replica at a position, within a time. Every
    /// attempt must carry the same key.
    ///
    /// A replica that refuses for want of a majority did nothing; the others are asked before its word counts, for
    /// it may be cut off from them.
    ///
    /// # Errors
    /// `Unavailable` if it certainly did not happen, `OutcomeUnknown` if that cannot be told.
    pub async fn write_through<A: Answer, F: Future<Output = Result<A, CallError>>>(
        &self,
        attempt: impl Fn(usize, Duration) -> F,
    ) -> Result<Answered<A>, ApiError> {
        let deadline = Instant::now() + self.write_deadline;
        let mut pause = FIRST_RETRY_PAUSE;
        let mut may_have_happened = None;
        let mut refused = Vec::new();
        loop {
            let error = match self.balancer.leader_or_next(&refused) {
                None => self.nobody_answers(),
                Some((position, replica)) => match attempt(position, self.time_left(deadline)).await {
                    Ok(reply) => {
                        let by = replica.member.id.clone();
                        match reply.meaning() {
                            // The replica itself does not know: whoever is asked next, with the same key, will.
                            Meaning::Unknown => ApiError::OutcomeUnknown(format!(
                                "{by} does not know yet whether the request was carried out"
                            )),
                            Meaning::Unavailable | Meaning::Overloaded if may_have_happened.is_some() => {
                                ApiError::Unavailable(format!("{by} cannot tell now"))
                            }
                            Meaning::Unavailable if Instant::now() < deadline => {
                                refused.push(position);
                                if self.balancer.has_others(&refused) {
                                    continue;
                                }
                                return Ok(Answered { by, reply });
                            }
                            _ => return Ok(Answered { by, reply }),
                        }
                    }
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

    /// Sends a request to the replica at `position`.
    ///
    /// # Errors
    /// See [`CallError`]. The replica is not marked down here.
    pub async fn attempt(&self, ask: &Ask, position: usize, timeout: Duration) -> Result<Reply, CallError> {
        let replica = &self.balancer.replicas()[position];
        let reply = self.client.send(&replica.member.address, ask.request(), timeout).await?;
        if let Some(leader) = reply.headers.get(LEADER) {
            self.balancer.note_leader(leader.as_bytes());
        }
        Ok(reply)
    }

    /// How long one attempt may take.
    fn time_left(&self, deadline: Instant) -> Duration {
        self.attempt_timeout.min(deadline.saturating_duration_since(Instant::now()))
    }

    fn nobody_answers(&self) -> ApiError {
        let names: Vec<&str> = self.balancer.replicas().iter().map(|replica| replica.member.id.as_str()).collect();
        ApiError::Unavailable(format!("none of the {} servers answers ({})", self.name, names.join(", ")))
    }
}

#[cfg(test)]
mod tests;
