//! How replicas talk to each other: paths, headers and the encoding of bodies.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::certainty::{Certain, Certainty};
use crate::codec::decode;
use crate::http::client::{CallError, Client, Request};
use crate::http::reply;
use crate::replica::application::WriteError;
use crate::replica::storage::identity::ClusterId;
use crate::replica::storage::raft_types::{LogId, Vote};

/// Says of a request which group and which replica it is for, and which one sends it: see [`Envelope`].
const ENVELOPE: HeaderName = HeaderName::from_static("bazar-envelope");

/// Entries in one AppendEntries request; the log bounds their bytes besides.
pub const MAX_APPEND_ENTRIES: u64 = 512;

/// What a replica knows of its own beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BootstrapState {
    /// Whether it holds anything of a group's history.
    pub has_history: bool,
    /// Whether it was started to join a group, and has not been let in yet.
    pub is_joining: bool,
    /// The group that it belongs to.
    pub cluster: Option<ClusterId>,
}

/// What is asked of a replica besides where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StanceQuestion {
    /// Which entry it has at this index.
    pub index: Option<u64>,
    /// Whether it is sending the snapshot of this name to whoever asks.
    pub snapshot: Option<String>,
}

/// Where a replica stands in the elections of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stance {
    /// Its last vote: for itself if it stands, and a committed one if it leads or led.
    pub vote: Vote,
    /// Whether it has another replica lead in its place.
    pub hands_over: bool,
    /// The entry that was asked for, if it has it.
    pub entry: Option<LogId>,
    /// Whether it is sending the snapshot that was asked for.
    pub sends_snapshot: bool,
}

/// An answer from a replica, or why it gave none.
pub type Answer<T> = Result<T, WriteError>;

/// Why a call to another replica brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It may have been done.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refused the request, and did nothing.
    #[error("{address} answered {what}")]
    Refused {
        /// The replica.
        address: String,
        /// What it answered.
        what: String,
        /// Whether it did not take the request for its own.
        is_misdirected: bool,
    },
    /// It answered something that does not tell whether it did anything.
    #[error("{address} answered {what}")]
    Unreadable {
        /// The replica.
        address: String,
        /// What it answered.
        what: String,
    },
}

impl Certain for PeerError {
    fn certainty(&self) -> Certainty {
        match self {
            PeerError::Call(error) => error.certainty(),
            PeerError::Refused { .. } => Certainty::NotDone,
            PeerError::Unreadable { .. } => Certainty::Unknown,
        }
    }
}

impl PeerError {
    /// What happened, without where.
    pub fn reason(&self) -> &str {
        match self {
            PeerError::Call(error) => error.reason(),
            PeerError::Refused { what, .. } | PeerError::Unreadable { what, .. } => what,
        }
    }
}

/// What a request says of itself, so that no replica takes part in another group, or answers for another. As a header it
/// stands in one line, `cluster to from`: each message carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The group; nothing of a replica that belongs to none.
    pub cluster: Option<ClusterId>,
    /// Who is to answer it, by its id.
    pub to: &'a str,
    /// Who sends it.
    pub from: &'a str,
}

impl<'a> Envelope<'a> {
    /// Says so on a request. Ids are visible ASCII: a request by another name would be refused.
    pub fn seal(self, request: Request) -> Request {
        let mut text = [0; uuid::fmt::Simple::LENGTH];
        let cluster = match &self.cluster {
            Some(cluster) => &*cluster.simple().encode_lower(&mut text),
            None => "-",
        };
        match HeaderValue::try_from([cluster, self.to, self.from].join(" ")) {
            Ok(value) => request.header(ENVELOPE, value),
            Err(_) => request,
        }
    }

    /// What a request says; nothing if it does not say it.
    pub fn of(headers: &'a HeaderMap) -> Option<Envelope<'a>> {
        let (cluster, rest) = headers.get(ENVELOPE)?.to_str().ok()?.split_once(' ')?;
        let (to, from) = rest.split_once(' ')?;
        let cluster = if cluster == "-" { None } else { Some(cluster.parse().ok()?) };
        Some(Envelope { cluster, to, from })
    }
}

/// Sends a request to a replica and reads its answer.
pub async fn send<A: DeserializeOwned>(
    client: &Client,
    address: &str,
    request: Request,
    timeout: Duration,
) -> Result<A, PeerError> {
    let reply = client.send(address, request, timeout).await?;
    let address = address.to_owned();
    if !reply.status.is_success() {
        let what = format!("{}: {}", reply.status.as_u16(), reply::problem_detail(&reply.body));
        let is_misdirected = matches!(reply.status, StatusCode::CONFLICT | StatusCode::MISDIRECTED_REQUEST);
        // Replicas answer in the body: another status says that the request was not even looked at.
        return Err(match Certainty::of_status(reply.status) == Certainty::Unknown {
            true => PeerError::Unreadable { address, what },
            false => PeerError::Refused { address, what, is_misdirected },
        });
    }
    decode(&reply.body)
        .map_err(|error| PeerError::Unreadable { address, what: format!("an unreadable message: {error}") })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::encode;
    use crate::http::body::Incoming;
    use crate::http::reply::Response;
    use crate::http::server::Handler;
    use crate::http::testing;
    use crate::platform::Platform;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A replica that answers with the status that the path names, and always with the same body.
    struct Scripted(Bytes);

    impl Handler for Scripted {
        async fn handle(&self, request: hyper::Request<Incoming>) -> Response {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            reply::content(StatusCode::from_u16(status).unwrap(), "application/octet-stream", self.0.clone())
        }
    }

    /// A client, and the address of a replica whose answers have this body.
    async fn replica(body: Bytes) -> (Client, String) {
        (Client::new(&Platform::system()), testing::serve(Arc::new(Scripted(body))).await)
    }

    async fn ask(client: &Client, address: &str, status: u16) -> Result<Answer<u64>, PeerError> {
        send(client, address, Request::post(format!("/{status}"), Bytes::new()), MINUTE).await
    }

    #[tokio::test]
    async fn only_an_answer_that_cannot_follow_an_attempt_says_that_nothing_was_done() {
        let (client, address) = replica(encode::<Answer<u64>>(&Ok(7))).await;
        assert_eq!(ask(&client, &address, 200).await.unwrap(), Ok(7));
        for status in [400, 404, 408, 409, 413, 421, 429, 503] {
            let error = ask(&client, &address, status).await.unwrap_err();
            assert!(error.certainty().is_not_done(), "{error}");
            let is_taken_for_misdirected = matches!(error, PeerError::Refused { is_misdirected: true, .. });
            assert_eq!(is_taken_for_misdirected, [409, 421].contains(&status), "{error}");
        }
        for status in [302, 500, 501, 502, 504] {
            let error = ask(&client, &address, status).await.unwrap_err();
            assert!(!error.certainty().is_not_done(), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_read_does_not_say_that_nothing_was_done() {
        for body in [&b""[..], b"no answer of a replica's"] {
            let (client, address) = replica(Bytes::from_static(body)).await;
            let error = ask(&client, &address, 200).await.unwrap_err();
            assert!(!error.certainty().is_not_done(), "{error}");
        }
    }
}
