//! How replicas talk to each other: paths, headers and the encoding of bodies.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::machine::WriteError;
use super::marker::ClusterId;
use crate::error::Certainty;
use crate::http::client::{CallError, Client, Request};
use crate::http::reply;

/// Names the group that a request is meant for, so that no replica takes part in another one's.
pub const CLUSTER_HEADER: HeaderName = HeaderName::from_static("bazar-cluster");

/// Names the replica that a request is meant for, by its id: another one at its address must not answer for it.
pub const TO_HEADER: HeaderName = HeaderName::from_static("bazar-to");

/// Names the replica that a request comes from.
pub const FROM_HEADER: HeaderName = HeaderName::from_static("bazar-from");

/// openraft's AppendEntries.
pub const APPEND: &str = "/internal/raft/append";
/// openraft's RequestVote.
pub const VOTE: &str = "/internal/raft/vote";
/// The same, from a follower to which the leader handed over.
pub const VOTE_FOR_SUCCESSOR: &str = "/internal/raft/vote-for-successor";
/// Asks whether a replica would be voted for.
pub const PRE_VOTE: &str = "/internal/raft/pre-vote";
/// Tells a follower to succeed the leader of a term.
pub const HAND_OVER: &str = "/internal/raft/hand-over";
/// A snapshot, streamed.
pub const SNAPSHOT: &str = "/internal/raft/snapshot";
/// A read index.
pub const READ_INDEX: &str = "/internal/replica/read-index";
/// A request to whoever leads.
pub const LEADER: &str = "/internal/replica/leader";
/// What a replica knows of its own beginnings.
pub const ORIGIN: &str = "/internal/replica/origin";
/// Asks a replica to become part of a new group.
pub const PREPARE: &str = "/internal/replica/prepare";
/// Asks for the group's permission to come back with an empty disk.
pub const JOIN: &str = "/internal/replica/join";
/// Asks the leader to make a replica a voter.
pub const ADMIT: &str = "/internal/replica/admit";

/// What a replica knows of its own beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Whether it holds anything of a group's history.
    pub has_history: bool,
    /// Whether it was started to join a group, and has not been let in yet.
    pub is_joining: bool,
    /// The group that it belongs to.
    pub cluster: Option<ClusterId>,
}

/// An answer from a replica, or why it gave none.
pub type Answer<T> = Result<T, WriteError>;

pub fn encode<T: Serialize>(message: &T) -> Bytes {
    postcard::to_stdvec(message).expect("messages hold nothing that postcard cannot write").into()
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

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

impl PeerError {
    /// Whether the request was certainly not carried out.
    pub fn is_definite(&self) -> bool {
        matches!(self, PeerError::Refused { .. } | PeerError::Call(CallError::NotSent { .. }))
    }
}

/// What a request says of itself.
pub struct Envelope {
    /// The group.
    pub cluster: Option<ClusterId>,
    /// Who sends it.
    pub from: HeaderValue,
    /// Who is to answer it.
    pub to: HeaderValue,
}

impl Envelope {
    /// Says so on a request.
    pub fn seal(self, request: Request) -> Request {
        let request = request.header(FROM_HEADER, self.from).header(TO_HEADER, self.to);
        match self.cluster.and_then(|cluster| HeaderValue::try_from(cluster.to_string()).ok()) {
            Some(name) => request.header(CLUSTER_HEADER, name),
            None => request,
        }
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
        return Err(match Certainty::of(reply.status) {
            Certainty::Unknown => PeerError::Unreadable { address, what },
            // Replicas answer in the body: another status says that the request was not even looked at.
            Certainty::Decided | Certainty::NotDone => PeerError::Refused { address, what, is_misdirected },
        });
    }
    decode(&reply.body)
        .map_err(|error| PeerError::Unreadable { address, what: format!("an unreadable message: {error}") })
}
