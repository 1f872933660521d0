//! The receiving half of the replicas' conversation: `/internal/…` on every replica.
//!
//! | path | answers |
//! | --- | --- |
//! | `raft/append`, `raft/vote`, `raft/snapshot` | openraft's requests |
//! | `raft/pre-vote` | see [`pre_vote`](super::consensus::pre_vote) |
//! | `raft/hand-over`, `raft/vote-for-successor` | see [`hand_over`](super::consensus::leadership_transfer) |
//! | `raft/stance` | see [`recognition`](super::consensus::recognition) |
//! | `raft/can-serve` | see [`step_aside`](super::consensus::step_aside) |
//! | `replica/read-index` | how far the group has committed, from the leader |
//! | `replica/leader` | the role's answer to a request that only the leader may serve |
//! | `replica/origin`, `replica/prepare`, `replica/join`, `replica/admit` | see [`formation`](super::bootstrap) |

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use openraft::error::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest};
use openraft::{EntryPayload, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};

use super::append_turn::AppendTurn;
use super::application::WriteError;
use super::bootstrap::Bootstrap;
use super::consensus::forward::LeaderForward;
use super::consensus::leader_contact::Engaged;
use super::consensus::leadership_transfer::LeadershipTransfer;
use super::consensus::pre_vote::Ballot;
use super::consensus::read_index::{QUEUED_READS, ReadIndex};
use super::consensus::recognition::Recognition;
use super::rpc::client::{SNAPSHOT_TIMEOUT, SnapshotHeader};
use super::rpc::guard;
use super::rpc::refusals::Direction;
use super::rpc::wire::{Answer, Envelope, MAX_APPEND_ENTRIES};
use super::storage::log::Durability;
use super::storage::raft_types::{LogId, Raft, TypeConfig, Vote, last_confirmed_by};
use super::storage::snapshot::{Manifest, SnapshotFiles};
use super::storage::state_machine::StateMachine;
use crate::api::Endpoint;
use crate::codec::{decode, encode};
use crate::csv::is_unreadable;
use crate::error::ApiError;
use crate::http::body;
use crate::http::body::Incoming;
use crate::http::budget::{Taken, UNSENT};
use crate::http::reply::{self, Response};
use crate::platform::{DiskFile, Platform, is_descriptor_shortage, naming};

/// The largest AppendEntries, in bytes: what a log hands out at once, or a single entry that is larger.
const MAX_APPEND_BYTES: usize = 32 << 20;

/// The largest AppendEntries with several entries, in bytes: twice what a log hands out at once.
const MAX_SEVERAL_ENTRIES_BYTES: usize = 2 << 20;

/// The number of [`EntryPayload::Normal`] among its like, as postcard writes it.
const NORMAL_PAYLOAD: u32 = 1;

/// The largest request to the leader, in bytes: what another node may bring in one.
const MAX_LEADER_REQUEST_BYTES: usize = 17 << 20;

/// The largest question about how far the group has committed, in bytes.
const MAX_READ_INDEX_BYTES: usize = 16 << 20;

/// The largest of all other requests, in bytes; snapshots are streamed.
const MAX_SMALL_REQUEST_BYTES: usize = 4096;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest header of a snapshot, in bytes.
const MAX_SNAPSHOT_HEADER_BYTES: usize = 512 << 10;

/// Answers other replicas.
pub struct Service {
    pub raft: Raft,
    pub ballot: Ballot,
    pub recognition: Recognition,
    pub transfer: Arc<LeadershipTransfer>,
    /// Of this replica's own log.
    pub durability: Durability,
    pub platform: Platform,
    pub state_machine: StateMachine,
    pub reads: ReadIndex,
    pub leader: LeaderForward,
    pub bootstrap: Bootstrap,
    /// Why this replica cannot go on.
    pub failed: watch::Sender<Option<String>>,
    /// AppendEntries are looked at, and handed on, one at a time.
    pub append_turn: AppendTurn,
    /// Snapshots are received one at a time.
    pub receiving: Mutex<()>,
}

impl Service {
    /// Answers a request to one of the replicas' endpoints.
    ///
    /// # Errors
    /// If the request is none that a replica makes.
    pub async fn handle(
        &self,
        endpoint: Endpoint,
        (head, body): (hyper::http::request::Parts, Incoming),
    ) -> Result<Response, ApiError> {
        let limit_bytes = match endpoint {
            Endpoint::RaftAppend => MAX_APPEND_BYTES,
            Endpoint::LeaderCall => MAX_LEADER_REQUEST_BYTES,
            Endpoint::ReadIndex => MAX_READ_INDEX_BYTES,
            _ => MAX_SMALL_REQUEST_BYTES,
        };
        let envelope = Envelope::of(&head.headers);
        let member = self.member(envelope);
        let (number, sender) = (member.map(|(number, _)| number), member.map_or("a stranger", |(_, id)| id));
        let checked = self.check_addressee(envelope).and_then(|()| match endpoint {
            Endpoint::BootstrapState | Endpoint::BootstrapPrepare | Endpoint::BootstrapJoin => Ok(()),
            _ => self.check_cluster(envelope),
        });
        let answered = match checked {
            // What is rare is boxed, so that what is frequent has less to move.
            Ok(()) if endpoint == Endpoint::RaftSnapshot => Box::pin(self.receive_snapshot(body)).await,
            Ok(()) => self.answer(endpoint, number, body, limit_bytes).await,
            Err(refusal) => Err(refusal),
        };
        match &answered {
            Err(refusal @ (ApiError::Misdirected(_) | ApiError::Conflict(_))) => {
                self.bootstrap.peers.refusals.note(Direction::From, sender, &refusal.to_string());
            }
            Ok(_) if endpoint != Endpoint::BootstrapState => {
                self.bootstrap.peers.refusals.clear(Direction::From, || sender.to_owned())
            }
            _ => {}
        }
        answered
    }

    async fn answer(
        &self,
        endpoint: Endpoint,
        asker: Option<u64>,
        body: Incoming,
        limit_bytes: usize,
    ) -> Result<Response, ApiError> {
        let bytes = body::read_from_node(body, limit_bytes, BODY_TIMEOUT).await?;
        let (own, log) = (self.bootstrap.peers.group.own, &self.bootstrap.peers.log);
        match endpoint {
            Endpoint::RaftAppend => {
                let vote = check_append(&bytes)?;
                self.recognition.of_leader(&vote).await?;
                let request: AppendEntriesRequest<TypeConfig> = message(&bytes)?;
                self.check_commands(&request)?;
                let last = last_confirmed_by(&request);
                let mut confirmed = None;
                let turn = loop {
                    let turn = self.append_turn.take().await;
                    let told = match log.examine(|log| guard::append(&request, own, log)) {
                        Ok(conflict) if conflict == confirmed => break turn,
                        Ok(conflict) => conflict,
                        Err(refusal) => {
                            turn.give_back();
                            return Err(ApiError::Conflict(refusal));
                        }
                    };
                    turn.give_back();
                    if let Some(told) = told {
                        Box::pin(self.recognition.of_conflict(&vote, told)).await?;
                    }
                    confirmed = told;
                };
                let _engaged = self.engage(&vote);
                let appended = self.raft.append_entries(request).await;
                turn.give_back();
                if let (Some(last), Ok(AppendEntriesResponse::Success)) = (last, &appended) {
                    self.durability.reached(last.index).await.map_err(internal)?;
                }
                answer(&appended)
            }
            Endpoint::RaftVote | Endpoint::RaftVoteForSuccessor => {
                let request: VoteRequest<u64> = message(&bytes)?;
                log.examine(|log| guard::candidate(&request, own, log)).map_err(ApiError::Conflict)?;
                match self.ballot.refusal().filter(|_| endpoint == Endpoint::RaftVote) {
                    Some(refusal) => answer(&Ok::<_, RaftError<u64>>(refusal)),
                    None => Box::pin(self.vote(request)).await,
                }
            }
            Endpoint::RaftStance => answer(&self.recognition.stance(asker, &message(&bytes)?)),
            Endpoint::RaftPreVote => answer(&self.ballot.would_vote(message(&bytes)?)),
            Endpoint::RaftHandOver => answer(&Box::pin(self.receive_hand_over(message(&bytes)?)).await),
            Endpoint::RaftCanServe => answer(&Ok::<_, WriteError>(self.leader.service.can_serve().await.is_ok())),
            Endpoint::ReadIndex => {
                at_most(QUEUED_READS as u64, beginning(&bytes)?)?;
                answer(&self.reads.position_as_leader(message(&bytes)?).await)
            }
            Endpoint::LeaderCall => answer(&self.leader.call_here(message::<Bytes>(&bytes)?).await),
            Endpoint::BootstrapState => answer(&self.bootstrap.origin().await),
            Endpoint::BootstrapPrepare => answer(&Box::pin(self.bootstrap.prepare(message(&bytes)?)).await),
            Endpoint::BootstrapJoin => answer(&Box::pin(self.bootstrap.allow_join(message(&bytes)?)).await),
            Endpoint::BootstrapAdmit => answer(&Box::pin(self.bootstrap.admit(message(&bytes)?)).await),
            _ => Err(ApiError::UnknownPath),
        }
    }

    /// Refuses commands that cannot be applied: once one is in the log, no start comes past it.
    fn check_commands(&self, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), ApiError> {
        request.entries.iter().try_for_each(|entry| match &entry.payload {
            EntryPayload::Normal(batch) => self.state_machine.check(batch).map_err(|error| {
                ApiError::Conflict(format!("a command of entry {} cannot be understood: {error}", entry.log_id))
            }),
            EntryPayload::Blank | EntryPayload::Membership(_) => Ok(()),
        })
    }

    async fn vote(&self, request: VoteRequest<u64>) -> Result<Response, ApiError> {
        self.recognition.of_candidate(&request.vote).await?;
        let voted = self.raft.vote(request).await;
        if voted.as_ref().is_ok_and(|vote| vote.vote_granted) {
            self.ballot.contact.note();
        }
        answer(&voted)
    }

    async fn receive_hand_over(&self, term: u64) -> Answer<()> {
        match self.recognition.of_hand_over(term).await {
            true => self.transfer.receive(term),
            false => Err(WriteError::NotLeader),
        }
    }

    /// What is done meanwhile is done for a leader, if it is none of the past.
    fn engage(&self, vote: &Vote) -> Option<Engaged<'_>> {
        let is_current = *vote >= self.raft.server_metrics().borrow().vote;
        is_current.then(|| self.ballot.contact.engage())
    }

    /// The member of the group that a request says it comes from, and its number.
    fn member(&self, envelope: Option<Envelope<'_>>) -> Option<(u64, &str)> {
        let (members, from) = (&self.bootstrap.peers.group.members, envelope?.from);
        members.iter().find(|(_, member)| *from == *member.id).map(|(number, member)| (*number, member.id.as_str()))
    }

    /// Refuses what is meant for another replica, or comes from one of this replica's own name.
    fn check_addressee(&self, envelope: Option<Envelope<'_>>) -> Result<(), ApiError> {
        let own = self.bootstrap.peers.group.own_id();
        match envelope {
            Some(Envelope { to, .. }) if to != own => {
                let what = format!("it is for {to}, and {own} is at this address: compare the addresses in the files");
                Err(ApiError::Misdirected(what))
            }
            Some(Envelope { from, .. }) if from == own => {
                Err(ApiError::Misdirected(format!("it comes from {own}, as this replica is called: there are two")))
            }
            Some(_) => Ok(()),
            None => Err(ApiError::Misdirected("it does not say whom it is for and who sends it".to_owned())),
        }
    }

    /// Refuses what is meant for another group, and everything while this replica belongs to none.
    fn check_cluster(&self, envelope: Option<Envelope<'_>>) -> Result<(), ApiError> {
        let meant = envelope.and_then(|envelope| envelope.cluster);
        match self.bootstrap.peers.identity.cluster() {
            Some(own) if meant == Some(own) => Ok(()),
            Some(own) => Err(ApiError::Conflict(match meant {
                Some(meant) => format!("it is for the group {meant}, and this replica's data is of the group {own}"),
                None => format!("it is for no group, and this replica's data is of the group {own}"),
            })),
            None => Err(ApiError::Conflict("this replica is part of no group yet".to_owned())),
        }
    }

    async fn receive_snapshot(&self, body: Incoming) -> Result<Response, ApiError> {
        let mut arriving = Arriving { body, next: Bytes::new() };
        let received = async {
            let (SnapshotHeader { vote, manifest }, _counted) = read_snapshot_header(&mut arriving).await?;
            self.recognition.of_leader(&vote).await?;
            // Only now: whoever says nothing sensible keeps nobody waiting.
            let turn = self.receiving.lock().await;
            let manifest: Manifest =
                serde_json::from_str(&manifest).map_err(|error| ApiError::Malformed(error.to_string()))?;
            self.check_snapshot(&vote, &manifest)?;
            self.recognition.of_snapshot(&vote, &manifest.meta.snapshot_id).await?;
            let files = self.store_snapshot(vote, manifest, arriving).await?;
            Ok::<_, ApiError>((vote, files, turn))
        };
        let received = tokio::time::timeout(SNAPSHOT_TIMEOUT, received).await;
        let (vote, files, _turn) = received.map_err(|_| ApiError::RequestTimeout)??;
        self.check_snapshot(&vote, &files.manifest)?;
        let snapshot = Snapshot { meta: files.manifest.meta.clone(), snapshot: Box::new(files) };
        let _engaged = self.engage(&vote);
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let installed: Result<SnapshotResponse<u64>, _> = installed;
        answer(&installed)
    }

    /// Checked once more when it is there: the group goes on meanwhile.
    fn check_snapshot(&self, leader: &Vote, manifest: &Manifest) -> Result<(), ApiError> {
        let (own, log) = (self.bootstrap.peers.group.own, &self.bootstrap.peers.log);
        log.examine(|log| guard::snapshot(leader, manifest.meta.last_log_id, own, log))
            .and_then(|()| guard::membership(manifest.meta.last_membership.membership()))
            .map_err(ApiError::Conflict)
    }

    async fn store_snapshot(
        &self,
        leader: Vote,
        manifest: Manifest,
        mut arriving: Arriving,
    ) -> Result<SnapshotFiles, ApiError> {
        let engage = || self.engage(&leader);
        let snapshots = self.state_machine.snapshots();
        let begin = move || {
            let mut snapshots = snapshots.lock();
            match snapshots.objection(&manifest) {
                Some(objection) => Ok(Err(objection)),
                None => snapshots.begin_receiving(&manifest).map(Ok),
            }
        };
        let engaged = engage();
        let begun = self.platform.blocking(begin).await.map_err(|error| self.cannot_store(&error))?;
        drop(engaged);
        let files = begun.map_err(|objection| ApiError::Conflict(format!("the snapshot is none: {objection}")))?;
        tracing::info!(snapshot = %files.manifest.meta.snapshot_id, "receiving a snapshot");
        for (table, file) in files.manifest.tables.iter().zip(&files.files) {
            let mut missing = table.bytes;
            let mut checksum = crc32fast::Hasher::new();
            while missing > 0 {
                let chunk = arriving.some(missing).await?;
                missing -= chunk.len() as u64;
                checksum.update(&chunk);
                let _engaged = engage();
                self.store(&table.file, file.clone(), chunk).await?;
            }
            // Not the fault of this disk: the leader sends it again.
            if checksum.finalize() != table.crc32 {
                return Err(ApiError::Conflict(format!("table {} of the snapshot was damaged on its way", table.name)));
            }
        }
        let _engaged = engage();
        let (state_machine, received) = (self.state_machine.clone(), files.clone());
        let read_back = self.platform.blocking(move || state_machine.read_back(&received)).await;
        match read_back {
            Ok(()) => Ok(files),
            // What this disk does not give back is no fault of the snapshot.
            Err(error) if is_unreadable(&error) => Err(self.cannot_store(&error)),
            Err(error) => Err(ApiError::Conflict(format!("the snapshot cannot be read back: {error}"))),
        }
    }

    async fn store(&self, name: &str, file: Arc<dyn DiskFile>, chunk: Bytes) -> Result<(), ApiError> {
        let stored = self.platform.blocking(move || file.append(&chunk)).await;
        stored.map_err(|error| self.cannot_store(&naming(&Path::new("snapshot").join(name))(error)))
    }

    /// A disk that does not take a snapshot stops the replica, as one that does not take an entry does. A shortage of
    /// descriptors passes, and the leader sends it again.
    fn cannot_store(&self, error: &std::io::Error) -> ApiError {
        let what = format!("a snapshot cannot be stored: {error}");
        if is_descriptor_shortage(error) {
            return ApiError::Unavailable(what);
        }
        self.failed.send_replace(Some(what.clone()));
        ApiError::Internal(what)
    }
}

/// Checks what AppendEntries begins with, before all of it is decoded: many small things take much more room then than they
/// did on their way. Returns who leads.
fn check_append(bytes: &[u8]) -> Result<Vote, ApiError> {
    let (vote, _, entries): (Vote, Option<LogId>, u64) = beginning(bytes)?;
    at_most(MAX_APPEND_ENTRIES, entries)?;
    if bytes.len() <= MAX_SEVERAL_ENTRIES_BYTES {
        return Ok(vote);
    }
    // Only a batch of commands is as large, and it comes alone.
    at_most(1, entries)?;
    let (_, _, _, (_, kind)): (Vote, Option<LogId>, u64, (LogId, u32)) = beginning(bytes)?;
    match kind == NORMAL_PAYLOAD {
        true => Ok(vote),
        false => Err(ApiError::Malformed("an entry without commands cannot be as large".to_owned())),
    }
}

/// Reads what precedes the tables of a snapshot; it is counted among what others have yet to complete.
async fn read_snapshot_header(arriving: &mut Arriving) -> Result<(SnapshotHeader, Taken), ApiError> {
    let read = async {
        let length = arriving.take(4).await?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > MAX_SNAPSHOT_HEADER_BYTES {
            return Err(ApiError::BodyTooLarge { limit_bytes: MAX_SNAPSHOT_HEADER_BYTES });
        }
        let counted = UNSENT.take(length)?;
        Ok((message(&arriving.take(length).await?)?, counted))
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(|_| ApiError::RequestTimeout)?
}

/// A body as it comes.
struct Arriving {
    body: Incoming,
    /// What has arrived and was not taken yet.
    next: Bytes,
}

impl Arriving {
    /// Exactly `length` bytes.
    async fn take(&mut self, length: usize) -> Result<Bytes, ApiError> {
        let mut taken = bytes::BytesMut::new();
        while taken.len() < length {
            let missing = (length - taken.len()) as u64;
            taken.extend_from_slice(&self.some(missing).await?);
        }
        Ok(taken.freeze())
    }

    /// At least one byte, and at most `limit`.
    async fn some(&mut self, limit: u64) -> Result<Bytes, ApiError> {
        while self.next.is_empty() {
            let broken = |what: String| ApiError::Malformed(format!("the snapshot broke off: {what}"));
            let frame =
                tokio::time::timeout(BODY_TIMEOUT, self.body.frame()).await.map_err(|_| ApiError::RequestTimeout)?;
            match frame {
                None => return Err(broken("it is shorter than its header says".to_owned())),
                Some(Err(error)) => return Err(broken(error.to_string())),
                Some(Ok(frame)) => self.next = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(self.next.split_to((self.next.len() as u64).min(limit) as usize))
    }
}

fn internal(error: std::io::Error) -> ApiError {
    ApiError::Internal(error.to_string())
}

/// What a message begins with.
fn beginning<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let begun = postcard::take_from_bytes(bytes).map(|(beginning, _)| beginning);
    begun.map_err(|error| ApiError::Malformed(format!("not a message between replicas: {error}")))
}

fn at_most(limit: u64, count: u64) -> Result<(), ApiError> {
    match count <= limit {
        true => Ok(()),
        false => Err(ApiError::Malformed(format!("{count} at once, and {limit} are the most"))),
    }
}

fn message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    decode(bytes).map_err(|error| ApiError::Malformed(format!("not a message between replicas: {error}")))
}

fn answer<T: Serialize>(answer: &T) -> Result<Response, ApiError> {
    Ok(reply::content(StatusCode::OK, "application/octet-stream", encode(answer)))
}
