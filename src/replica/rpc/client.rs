//! The sending half of Raft's network: openraft's requests as HTTP requests to peers.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use openraft::error::{
    Fatal, InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, SnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::commit_notice::{CommitNotices, Sending};
use super::guard;
use super::reach::Reach;
use super::refusals::{Direction, Refusals};
use super::wire::{self, PeerError};
use crate::api::Endpoint;
use crate::codec::encode;
use crate::http::client::{CallError, Client, Request};
use crate::platform::Platform;
use crate::replica::group::Group;
use crate::replica::storage::identity::Identity;
use crate::replica::storage::log::{Durability, LogReader};
use crate::replica::storage::raft_types::{TypeConfig, Vote, last_confirmed_by};
use crate::replica::storage::snapshot::{Manifest, SnapshotFiles};

/// How long a replica that cannot be reached is left alone between two attempts.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(200);

/// How much of a snapshot is sent at a time, in bytes.
const SNAPSHOT_CHUNK_BYTES: u64 = 256 * 1024;

/// How long sending one snapshot may take in all.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Makes a connection to each peer of the group.
#[derive(Clone)]
pub struct Peers {
    pub platform: Platform,
    pub group: Arc<Group>,
    pub identity: Identity,
    pub client: Client,
    /// Whether this replica stands for election because the leader handed over to it.
    pub is_successor: Arc<AtomicBool>,
    /// Which followers are reached.
    pub reach: Arc<Reach>,
    /// Of this replica's own log.
    pub durability: Durability,
    /// Of the same log.
    pub log: LogReader,
    pub refusals: Refusals,
    /// To whom a snapshot is being sent now, and which.
    pub sending: Arc<Mutex<Vec<(u64, String)>>>,
    /// How long a follower may take to store entries and to say so. After as long without a word it stands for
    /// election anyway.
    pub append_timeout: Duration,
}

/// A peer.
#[derive(Clone)]
pub struct Peer {
    peers: Peers,
    number: u64,
    notices: CommitNotices,
}

/// What precedes the tables of a snapshot on the wire.
#[derive(Serialize, Deserialize)]
pub struct SnapshotHeader {
    pub vote: Vote,
    /// JSON: the manifest holds free-form scalars.
    pub manifest: String,
}

/// A snapshot is being sent, until this is dropped.
struct SendingSnapshot<'a> {
    sending: &'a Mutex<Vec<(u64, String)>>,
    sent: (u64, String),
}

impl Drop for SendingSnapshot<'_> {
    fn drop(&mut self) {
        let mut sending = self.sending.lock();
        if let Some(position) = sending.iter().position(|sent| *sent == self.sent) {
            sending.swap_remove(position);
        }
    }
}

impl Peers {
    /// Whether the snapshot of this name is being sent to this peer.
    pub fn sends_snapshot(&self, number: u64, snapshot_id: &str) -> bool {
        let sending = self.sending.lock();
        sending.iter().any(|(to, sent)| *to == number && sent == snapshot_id)
    }

    fn note_sending(&self, number: u64, snapshot_id: &str) -> SendingSnapshot<'_> {
        let sent = (number, snapshot_id.to_owned());
        self.sending.lock().push(sent.clone());
        SendingSnapshot { sending: &self.sending, sent }
    }

    /// Posts `message` to the replica of this number and reads its answer.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn post<Q: Serialize, A: serde::de::DeserializeOwned>(
        &self,
        number: u64,
        endpoint: Endpoint,
        message: &Q,
        timeout: Duration,
    ) -> Result<A, PeerError> {
        self.send(number, Request::post(endpoint.path(), encode(message)), timeout).await
    }

    async fn send<A: serde::de::DeserializeOwned>(
        &self,
        number: u64,
        request: Request,
        timeout: Duration,
    ) -> Result<A, PeerError> {
        let name = || self.group.label(number);
        let Some(member) = self.group.members.get(&number) else {
            let what = "nothing: it has no address here".to_owned();
            return Err(PeerError::Refused { address: name(), what, is_misdirected: false });
        };
        let (cluster, to, from) = (self.identity.cluster(), &*member.id, self.group.own_id());
        let request = wire::Envelope { cluster, to, from }.seal(request);
        let answer = wire::send(&self.client, &member.address, request, timeout).await;
        match &answer {
            Ok(_) => self.refusals.clear(Direction::To, name),
            Err(PeerError::Refused { what, is_misdirected: true, .. }) => {
                self.refusals.note(Direction::To, &name(), &format!("at {}, {what}", member.address));
            }
            Err(_) => {}
        }
        answer
    }

    /// Takes what a peer answered of a later vote as one for a candidate: who leads is learned from the leader alone, by
    /// [`recognition`](crate::replica::consensus::recognition).
    fn later_vote(&self, number: u64, told: Vote) -> Result<Vote, Unreachable> {
        self.accept(number, self.log.examine(|log| guard::vote(&told, self.group.own, log)))?;
        Ok(Vote { committed: false, ..told })
    }

    /// Takes an answer only if openraft can bear it.
    fn accept(&self, number: u64, checked: Result<(), guard::Refusal>) -> Result<(), Unreachable> {
        let peer = || self.group.label(number);
        match checked {
            Ok(()) => {
                self.refusals.clear(Direction::From, peer);
                Ok(())
            }
            Err(reason) => {
                self.refusals.note(Direction::From, &peer(), &reason);
                Err(Unreachable::new(&io::Error::new(io::ErrorKind::InvalidData, reason)))
            }
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    /// A client with notices of its own, which is what makes reads current: openraft asks for new clients for each
    /// round in which a majority confirms the leader. With those that replicate, a notice that only waits would be
    /// taken there for a follower's word.
    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        Peer { peers: self.clone(), number: target, notices: CommitNotices::default() }
    }
}

type RpcError<E> = RPCError<u64, EmptyNode, RaftError<u64, E>>;

/// The same in openraft's words.
fn rpc_error<E: std::error::Error>(error: &PeerError) -> RpcError<E> {
    match error {
        // A peer that is not there is not asked again at once; a lost answer is.
        PeerError::Call(CallError::NotSent { .. }) | PeerError::Refused { .. } | PeerError::Unreadable { .. } => {
            Unreachable::new(error).into()
        }
        PeerError::Call(CallError::Unknown { .. }) => NetworkError::new(error).into(),
    }
}

impl Peer {
    async fn call<Q: Serialize, A>(
        &self,
        endpoint: Endpoint,
        message: &Q,
        timeout: Duration,
    ) -> Result<A, RpcError<openraft::error::Infallible>>
    where
        Result<A, RaftError<u64>>: serde::de::DeserializeOwned,
    {
        let answer: Result<Result<A, RaftError<u64>>, PeerError> =
            self.peers.post(self.number, endpoint, message, timeout).await;
        answer.map_err(|error| rpc_error(&error))?.map_err(|error| RemoteError::new(self.number, error).into())
    }

    async fn append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<u64>, RpcError<openraft::error::Infallible>> {
        let answer: Result<Result<AppendEntriesResponse<u64>, RaftError<u64>>, PeerError> =
            self.peers.post(self.number, Endpoint::RaftAppend, request, self.peers.append_timeout).await;
        match &answer {
            Ok(_) => self.peers.reach.answered(&self.peers.group, self.number),
            Err(error) => self.peers.reach.failed(&self.peers.group, self.number, error),
        }
        let answer = answer.map_err(|error| rpc_error(&error))?;
        let answer = answer.map_err(|error| RemoteError::new(self.number, error))?;
        if let AppendEntriesResponse::HigherVote(told) = answer {
            return Ok(AppendEntriesResponse::HigherVote(self.peers.later_vote(self.number, told)?));
        }
        self.peers.accept(self.number, guard::appended(&answer, request))?;
        if let (Some(last), AppendEntriesResponse::Success) = (last_confirmed_by(request), &answer) {
            // What a follower confirms is committed soon. It must be on this disk, too.
            self.peers.durability.reached(last.index).await.map_err(|error| NetworkError::new(&error))?;
            self.notices.confirmed(request.vote, last);
        }
        Ok(answer)
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError<openraft::error::Infallible>> {
        match self.notices.take(&rpc) {
            // Boxed, for openraft moves this future about before it begins.
            Sending::Now => return Box::pin(self.append(&rpc)).await,
            Sending::Waits => {}
            Sending::WaitsFor(delay) => {
                let peer = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Some(notice) = peer.notices.due() {
                        // If it is lost, the next heartbeat says the same.
                        let _ = peer.append(&notice).await;
                    }
                });
            }
        }
        Ok(AppendEntriesResponse::Success)
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<InstallSnapshotError>> {
        // openraft asks for whole snapshots through `full_snapshot` and never comes here.
        Err(Unreachable::new(&io::Error::from(io::ErrorKind::Unsupported)).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError<openraft::error::Infallible>> {
        let endpoint = match self.peers.is_successor.load(Ordering::Relaxed) {
            true => Endpoint::RaftVoteForSuccessor,
            false => Endpoint::RaftVote,
        };
        let answer: VoteResponse<u64> = self.call(endpoint, &rpc, option.hard_ttl()).await?;
        match answer.vote == rpc.vote {
            true => Ok(answer),
            false => Ok(VoteResponse { vote: self.peers.later_vote(self.number, answer.vote)?, ..answer }),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let manifest = snapshot.snapshot.manifest.clone();
        tracing::info!(
            to = self.peers.group.label(self.number), snapshot = %manifest.meta.snapshot_id,
            bytes = manifest.tables.iter().map(|table| table.bytes).sum::<u64>(), "sending a snapshot"
        );
        // The peer asks before it believes it.
        let _sending = self.peers.note_sending(self.number, &manifest.meta.snapshot_id);
        let body = snapshot_stream(self.peers.platform.clone(), vote, *snapshot.snapshot);
        let request = Request::post_stream(Endpoint::RaftSnapshot.path(), body);
        let answer: Result<Result<SnapshotResponse<u64>, Fatal<u64>>, _> = tokio::select! {
            answer = self.peers.send(self.number, request, SNAPSHOT_TIMEOUT) => answer,
            closed = cancel => return Err(closed.into()),
        };
        match answer.map_err(|error| Unreachable::new(&error))? {
            Ok(response) => {
                if response.vote == vote {
                    return Ok(response);
                }
                Ok(SnapshotResponse { vote: self.peers.later_vote(self.number, response.vote)? })
            }
            Err(fatal) => Err(RemoteError::new(self.number, fatal).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}

/// The bytes of a snapshot: the length of its header, the header, then the tables one after another.
fn snapshot_stream(
    platform: Platform,
    vote: Vote,
    files: SnapshotFiles,
) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let header = encode(&SnapshotHeader { vote, manifest: manifest_json(&files.manifest) });
    let mut start = BytesMut::with_capacity(4 + header.len());
    start.put_u32_le(header.len() as u32);
    start.put(header);

    let chunks = files.manifest.tables.iter().enumerate().flat_map(|(table, described)| {
        let bytes = described.bytes;
        (0..bytes)
            .step_by(SNAPSHOT_CHUNK_BYTES as usize)
            .map(move |from| (table, from, SNAPSHOT_CHUNK_BYTES.min(bytes - from) as usize))
    });
    let chunks: Vec<_> = chunks.collect();
    let reads = stream::iter(chunks);
    let body = futures_util::StreamExt::then(reads, move |(table, from, length)| {
        let (platform, file) = (platform.clone(), files.files[table].clone());
        async move { platform.blocking(move || file.read_at(from, length)).await.map(Bytes::from) }
    });
    futures_util::StreamExt::chain(stream::iter([Ok(start.freeze())]), body)
}

fn manifest_json(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).expect("a manifest is plain data with text keys")
}
