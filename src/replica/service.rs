//! The receiving half of the replicas' conversation: `/internal/…` on every replica.
//!
//! | path | answers |
//! | --- | --- |
//! | `raft/append`, `raft/vote`, `raft/snapshot` | openraft's requests |
//! | `raft/pre-vote` | see [`pre_vote`](super::pre_vote) |
//! | `raft/hand-over`, `raft/vote-for-successor` | see [`hand_over`](super::hand_over) |
//! | `replica/read-index` | how far the group has committed, from the leader |
//! | `replica/leader` | the role's answer to a request that only the leader may serve |
//! | `replica/origin`, `replica/prepare`, `replica/join`, `replica/admit` | see [`formation`](super::formation) |

use std::sync::Arc;
use std::time::Duration;

use crate::http::body::Incoming;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use openraft::Snapshot;
use openraft::error::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::contact::Engaged;
use super::formation::Formation;
use super::hand_over::HandOver;
use super::leader_call::LeaderCall;
use super::log::Durability;
use super::network::{SNAPSHOT_TIMEOUT, SnapshotHeader};
use super::pre_vote::Ballot;
use super::raft::{Raft, TypeConfig, Vote, last_confirmed_by};
use super::read_index::ReadIndex;
use super::snapshot::{Manifest, SnapshotFiles};
use super::state_machine::StateMachine;
use super::wire;
use crate::error::ApiError;
use crate::http::body;
use crate::http::reply::{self, Response};
use crate::platform::{DiskFile, Platform};

/// The largest request from another replica, in bytes; snapshots are streamed and have no such bound.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest header of a snapshot, in bytes.
const MAX_SNAPSHOT_HEADER_BYTES: usize = 16 << 20;

/// Answers other replicas.
pub struct Service {
    pub raft: Raft,
    pub ballot: Ballot,
    pub hand_over: Arc<HandOver>,
    /// Of this replica's own log.
    pub durability: Durability,
    pub platform: Platform,
    pub state_machine: StateMachine,
    pub reads: ReadIndex,
    pub leader: LeaderCall,
    pub formation: Formation,
    /// Snapshots are received one at a time.
    pub receiving: Mutex<()>,
}

impl Service {
    /// Answers a request whose path begins with `/internal/`.
    ///
    /// # Errors
    /// If the request is none that a replica makes.
    pub async fn handle(&self, request: hyper::Request<Incoming>) -> Result<Response, ApiError> {
        let path = request.uri().path().to_owned();
        if request.method() != Method::POST {
            return Err(ApiError::MethodNotAllowed { allow: "POST" });
        }
        let is_about_membership = [wire::ORIGIN, wire::PREPARE, wire::JOIN].contains(&path.as_str());
        if !is_about_membership {
            self.check_cluster(&request)?;
        }
        if path == wire::SNAPSHOT {
            return self.receive_snapshot(request.into_body()).await;
        }
        let bytes = body::read(request.into_body(), MAX_REQUEST_BYTES, BODY_TIMEOUT).await?;
        match path.as_str() {
            wire::APPEND => {
                let request: AppendEntriesRequest<TypeConfig> = message(&bytes)?;
                let last = last_confirmed_by(&request);
                let _engaged = self.engage(&request.vote);
                let appended = self.raft.append_entries(request).await;
                if let (Some(last), Ok(AppendEntriesResponse::Success)) = (last, &appended) {
                    self.durability.reached(last.index).await.map_err(internal)?;
                }
                answer(&appended)
            }
            wire::VOTE => match self.ballot.refusal() {
                Some(refusal) => answer(&Ok::<_, RaftError<u64>>(refusal)),
                None => self.vote(&bytes).await,
            },
            wire::VOTE_FOR_SUCCESSOR => self.vote(&bytes).await,
            wire::PRE_VOTE => answer(&self.ballot.would_vote(message(&bytes)?)),
            wire::HAND_OVER => answer(&self.hand_over.receive(message(&bytes)?)),
            wire::READ_INDEX => answer(&self.reads.position_as_leader(message(&bytes)?).await),
            wire::LEADER => answer(&self.leader.call_here(message::<Bytes>(&bytes)?).await),
            wire::ORIGIN => answer(&self.formation.origin().await),
            wire::PREPARE => answer(&self.formation.prepare(message(&bytes)?).await),
            wire::JOIN => answer(&self.formation.allow_join(message(&bytes)?).await),
            wire::ADMIT => answer(&self.formation.admit(message(&bytes)?).await),
            _ => Err(ApiError::UnknownPath),
        }
    }

    async fn vote(&self, request: &[u8]) -> Result<Response, ApiError> {
        let voted = self.raft.vote(message(request)?).await;
        if voted.as_ref().is_ok_and(|vote| vote.vote_granted) {
            self.ballot.contact.note();
        }
        answer(&voted)
    }

    /// What is done meanwhile is done for a leader, if it is none of the past.
    fn engage(&self, vote: &Vote) -> Option<Engaged<'_>> {
        let is_current = *vote >= self.raft.server_metrics().borrow().vote;
        is_current.then(|| self.ballot.contact.engage())
    }

    /// Refuses what is meant for another group, and everything while this replica belongs to none.
    fn check_cluster(&self, request: &hyper::Request<Incoming>) -> Result<(), ApiError> {
        let meant = request.headers().get(wire::CLUSTER_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let own = self.formation.peers.marker.cluster();
        match own.is_some() && own == meant {
            true => Ok(()),
            false => Err(ApiError::Conflict("this replica is not part of that group".to_owned())),
        }
    }

    async fn receive_snapshot(&self, body: Incoming) -> Result<Response, ApiError> {
        let _only_one = self.receiving.lock().await;
        let received = tokio::time::timeout(SNAPSHOT_TIMEOUT, self.store_snapshot(body));
        let (header, files) = received.await.map_err(|_| ApiError::RequestTimeout)??;
        let snapshot = Snapshot { meta: files.manifest.meta.clone(), snapshot: Box::new(files) };
        let _engaged = self.engage(&header.vote);
        let installed = self.raft.install_full_snapshot(header.vote, snapshot).await;
        let installed: Result<SnapshotResponse<u64>, _> = installed;
        answer(&installed)
    }

    async fn store_snapshot(&self, mut body: Incoming) -> Result<(SnapshotHeader, SnapshotFiles), ApiError> {
        let mut arrived = Arrived::default();
        let length = arrived.take(&mut body, 4).await?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > MAX_SNAPSHOT_HEADER_BYTES {
            return Err(ApiError::BodyTooLarge { limit_bytes: MAX_SNAPSHOT_HEADER_BYTES });
        }
        let header: SnapshotHeader = message(&arrived.take(&mut body, length).await?)?;
        let manifest: Manifest =
            serde_json::from_str(&header.manifest).map_err(|error| ApiError::Malformed(error.to_string()))?;
        tracing::info!(snapshot = %manifest.meta.snapshot_id, "receiving a snapshot");
        let engage = || self.engage(&header.vote);

        let snapshots = self.state_machine.snapshots();
        let begin =
            move || snapshots.lock().unwrap_or_else(std::sync::PoisonError::into_inner).begin_receiving(&manifest);
        let engaged = engage();
        let files = self.platform.blocking(begin).await.map_err(internal)?;
        drop(engaged);
        for (table, file) in files.manifest.tables.iter().zip(&files.files) {
            let mut missing = table.bytes;
            while missing > 0 {
                let chunk = arrived.some(&mut body, missing).await?;
                missing -= chunk.len() as u64;
                let _engaged = engage();
                self.store(file.clone(), chunk).await?;
            }
        }
        Ok((header, files))
    }

    async fn store(&self, file: Arc<dyn DiskFile>, chunk: Bytes) -> Result<(), ApiError> {
        self.platform.blocking(move || file.append(&chunk)).await.map_err(internal)
    }
}

/// What has arrived of a body and was not taken yet.
#[derive(Default)]
struct Arrived(Bytes);

impl Arrived {
    /// Exactly `length` bytes.
    async fn take(&mut self, body: &mut Incoming, length: usize) -> Result<Bytes, ApiError> {
        let mut taken = bytes::BytesMut::new();
        while taken.len() < length {
            let missing = (length - taken.len()) as u64;
            taken.extend_from_slice(&self.some(body, missing).await?);
        }
        Ok(taken.freeze())
    }

    /// At least one byte, and at most `limit`.
    async fn some(&mut self, body: &mut Incoming, limit: u64) -> Result<Bytes, ApiError> {
        while self.0.is_empty() {
            let broken = |what: String| ApiError::Malformed(format!("the snapshot broke off: {what}"));
            let frame = tokio::time::timeout(BODY_TIMEOUT, body.frame()).await.map_err(|_| ApiError::RequestTimeout)?;
            match frame {
                None => return Err(broken("it is shorter than its header says".to_owned())),
                Some(Err(error)) => return Err(broken(error.to_string())),
                Some(Ok(frame)) => self.0 = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(self.0.split_to((self.0.len() as u64).min(limit) as usize))
    }
}

fn internal(error: std::io::Error) -> ApiError {
    ApiError::Internal(error.to_string())
}

fn message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    wire::decode(bytes).map_err(|error| ApiError::Malformed(format!("not a message between replicas: {error}")))
}

fn answer<T: Serialize>(answer: &T) -> Result<Response, ApiError> {
    Ok(reply::content(StatusCode::OK, "application/octet-stream", wire::encode(answer)))
}
