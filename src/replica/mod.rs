//! Replication: one group of replicas that agree on one sequence of commands, and survive.
//!
//! This is a narrow door in front of openraft. A role gives a [`Machine`] (its state) and a
//! [`LeaderService`] (what only a leader may do), and gets a [`Replica`]: a place to
//! [propose](Consensus::propose) commands, to make reads [current](Replica::wait_until_current) and to have
//! requests [answered by the leader](Replica::call_leader). Nothing outside knows openraft's types, and
//! nothing in here knows what a book is.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`machine`] | what a role must be to be replicated |
//! | [`log`] | what makes a write durable |
//! | [`snapshot`] | the tables with the log position that they stand for |
//! | [`state_machine`] | apply, snapshot, restore |
//! | [`proposer`] | group commit |
//! | [`elector`] | when a follower stands for election |
//! | [`office`] | when a leader may act |
//! | [`read_index`] | current reads anywhere |
//! | [`leader_call`] | try here, else at the leader |
//! | [`formation`] | how a group begins and how an empty replica comes back |
//! | [`network`], [`service`], [`wire`] | the conversation between replicas: asking, answering, encoding |
//! | [`tables`] | the CSV files that people read |

mod elector;
mod formation;
mod group;
mod leader_call;
pub mod log;
mod machine;
mod marker;
mod network;
mod office;
mod proposer;
mod raft;
mod read_index;
mod service;
mod snapshot;
mod state_machine;
mod status;
mod tables;
#[cfg(test)]
mod testing;
mod wire;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
pub use elector::ElectionTimeout;
use elector::LastHeard;
pub use formation::FormationError;
pub use group::{Group, Member};
use hyper::body::Incoming;
use leader_call::LeaderCall;
use log::{Log, LogError, LogLimits, LogReader};
pub use machine::{Cut, LeaderService, Machine, MachineError, Saved, WriteError};
use marker::Marker;
use network::Peers;
pub use office::Office;
use office::OfficeKeeper;
use openraft::SnapshotPolicy;
use proposer::Proposer;
pub use proposer::{ProposerLimits, Tenure};
use raft::Raft;
pub use read_index::Freshness;
use read_index::{ReadIndex, ReadRounds};
use service::Service;
use snapshot::SnapshotStore;
use state_machine::StateMachine;
pub use status::{PeerStatus, Status};
use tokio::sync::{Mutex, watch};

use crate::error::ApiError;
use crate::http::client::Client;
use crate::http::reply::Response;
use crate::platform::{FolderLock, Platform};

/// Log entries that are kept although a snapshot covers them, for followers that are a little behind.
const ENTRIES_KEPT_BEHIND_SNAPSHOT: u64 = 1000;

/// Entries in one AppendEntries request; the log bounds their bytes besides.
const MAX_APPEND_ENTRIES: u64 = 512;

/// A leader that no majority answers leaves office after this many of the longest election timeouts.
const SILENT_ELECTIONS: u32 = 2;

/// How a replica is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who belongs to the group.
    pub group: Group,
    /// This replica's own folder.
    pub folder: PathBuf,
    /// How often a leader makes itself heard. AppendEntries, the follower's fsync included, may take as
    /// long.
    pub heartbeat: Duration,
    /// After how long without a leader a follower stands for election.
    pub election_timeout: ElectionTimeout,
    /// How much may be proposed at once.
    pub proposer: ProposerLimits,
    /// How long a read waits for the group to have a leader before it counts as having no majority.
    pub majority_wait: Duration,
    /// How large the log's parts may grow.
    pub log: LogLimits,
    /// A snapshot is taken whenever the log grew by this many bytes.
    pub snapshot_log_bytes: u64,
}

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the folder.
    #[error("{0} is in use by another process: is this replica running already?")]
    InUse(PathBuf),
    /// The disk failed, or holds something that is not this replica's.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// openraft did not start.
    #[error("replication did not start: {0}")]
    Raft(String),
}

/// A replica that was opened but does not take part yet.
pub struct Opened {
    raft: Raft,
    platform: Platform,
    settings: Settings,
    peers: Peers,
    state_machine: StateMachine,
    proposer: Proposer,
    log: LogReader,
    office: watch::Sender<Office>,
    lock: Box<dyn FolderLock>,
}

/// One replica of a group. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    settings: Settings,
    office: watch::Receiver<Office>,
    reads: ReadIndex,
    leader: LeaderCall,
    service: Service,
    formation: formation::Formation,
    tables_index: Arc<AtomicU64>,
    failure: watch::Receiver<Option<String>>,
    _lock: Box<dyn FolderLock>,
}

/// Opens a replica's folder, restores its state and starts openraft on it.
///
/// # Errors
/// If the folder is in use, cannot be read, or holds damage.
pub async fn open(
    platform: &Platform,
    client: &Client,
    settings: Settings,
    machine: Arc<dyn Machine>,
) -> Result<Opened, StartError> {
    let folder = &settings.folder;
    let at = |source| StartError::Io { path: folder.clone(), source };
    let lock = {
        let (disk, folder) = (platform.disk.clone(), folder.clone());
        platform.blocking(move || disk.create_folders(&folder).and_then(|()| disk.lock_folder(&folder))).await
    };
    let lock = lock.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::InUse(folder.clone()),
        _ => at(error),
    })?;

    let group = Arc::new(settings.group.clone());
    let marker = Marker::open(platform, folder, &group.label(group.own)).map_err(at)?;
    let snapshots = SnapshotStore::open(platform.disk.clone(), &folder.join("snapshot")).map_err(at)?;
    let log = Log::open(platform, &folder.join("log"), settings.log, snapshots.watch_covered()).await?;
    let log_reader = log.reader();
    let state_machine = StateMachine::open(platform, machine, snapshots).await.map_err(at)?;
    let last_heard = Arc::new(LastHeard::now(settings.election_timeout));
    let peers = Peers { platform: platform.clone(), group, marker, client: client.clone(), last_heard };

    let config = raft_config(&settings).map_err(StartError::Raft)?;
    let raft = Raft::new(settings.group.own, Arc::new(config), peers.clone(), log, state_machine.clone());
    let raft = raft.await.map_err(|error| StartError::Raft(error.to_string()))?;
    let proposer = Proposer::start(raft.clone(), state_machine.clone(), platform.clone(), settings.proposer);
    Ok(Opened {
        raft,
        platform: platform.clone(),
        settings,
        peers,
        state_machine,
        proposer,
        log: log_reader,
        office: watch::Sender::new(Office::Vacant(tokio::time::Instant::now())),
        lock,
    })
}

fn raft_config(settings: &Settings) -> Result<openraft::Config, String> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let vote_timeout = millis(settings.election_timeout.min / 2).max(millis(settings.heartbeat) + 1);
    let config = openraft::Config {
        cluster_name: settings.group.name.to_owned(),
        heartbeat_interval: millis(settings.heartbeat),
        // The longest of openraft's is its leader lease; the shortest is how long asking for a vote may take.
        election_timeout_min: vote_timeout,
        election_timeout_max: millis(settings.election_timeout.min).max(vote_timeout + 1),
        enable_elect: false,
        install_snapshot_timeout: millis(network::SNAPSHOT_TIMEOUT),
        max_payload_entries: MAX_APPEND_ENTRIES,
        // Snapshots are taken by the bytes of the log, not by its entries: see `take_snapshots`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT_BEHIND_SNAPSHOT,
        ..openraft::Config::default()
    };
    config.validate().map_err(|error| error.to_string())
}

impl Opened {
    /// What the [`LeaderService`] that [`start`](Self::start) asks for needs of its group.
    pub fn consensus(&self) -> Consensus {
        let round_timeout = self.settings.election_timeout.max;
        Consensus { proposer: self.proposer.clone(), raft: self.raft.clone(), round_timeout }
    }

    /// Starts everything that runs beside the requests.
    pub fn start(self, service: Arc<dyn LeaderService>) -> Replica {
        let Opened { raft, platform, settings, peers, state_machine, proposer, log, office, lock } = self;
        let (failed, failure) = watch::channel(None);
        let watched = office.subscribe();
        let keeper = OfficeKeeper {
            raft: raft.clone(),
            proposer,
            office,
            service: service.clone(),
            check_interval: settings.heartbeat,
            silence_limit: settings.election_timeout.max * SILENT_ELECTIONS,
        };
        tokio::spawn(keeper.run());
        let last_heard = peers.last_heard.clone();
        tokio::spawn(elector::run(raft.clone(), last_heard.clone(), settings.election_timeout));
        tokio::spawn(report_failure(raft.clone(), failed.clone()));
        tokio::spawn(take_snapshots(raft.clone(), state_machine.clone(), log, settings.snapshot_log_bytes));

        let tables_index = Arc::new(AtomicU64::new(0));
        let folder = settings.folder.join("tables").into();
        let follow = tables::follow(platform.clone(), state_machine.clone(), folder, tables_index.clone());
        tokio::spawn(async move {
            if let Err(error) = follow.await {
                failed.send_replace(Some(format!("the CSV tables cannot be written: {error}")));
            }
        });

        let rounds = ReadRounds {
            raft: raft.clone(),
            peers: peers.clone(),
            office: watched.clone(),
            service: service.clone(),
            round_timeout: settings.election_timeout.max,
        };
        let reads = ReadIndex::start(rounds, state_machine.watch_applied(), settings.majority_wait);
        let leader = LeaderCall { peers: peers.clone(), office: watched.clone(), service };
        let formation = formation::Formation { raft: raft.clone(), peers, office: watched.clone() };
        let service = Service {
            raft: raft.clone(),
            last_heard,
            platform,
            state_machine,
            reads: reads.clone(),
            leader: leader.clone(),
            formation: formation.clone(),
            receiving: Mutex::new(()),
        };
        let office = watched;
        Replica {
            inner: Arc::new(Inner {
                raft,
                settings,
                office,
                reads,
                leader,
                service,
                formation,
                tables_index,
                failure,
                _lock: lock,
            }),
        }
    }
}

/// What a leader may ask of its group. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    proposer: Proposer,
    raft: Raft,
    round_timeout: Duration,
}

impl Consensus {
    /// Queues `command` now, behind those that were queued before; the future commits it and brings what
    /// applying it replied. Once another tenure has begun, nothing is proposed in this one.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn propose(
        &self,
        tenure: Tenure,
        command: Bytes,
    ) -> impl Future<Output = Result<Bytes, WriteError>> + Send + 'static {
        self.proposer.begin(tenure, command)
    }

    /// Returns once a majority has confirmed, after this call, that this replica still leads.
    ///
    /// # Errors
    /// If none did in time.
    pub async fn confirm_leadership(&self) -> Result<(), WriteError> {
        match tokio::time::timeout(self.round_timeout, self.raft.get_read_log_id()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(WriteError::Unavailable(error.to_string())),
            Err(_) => Err(WriteError::Unavailable("no majority confirmed the leader in time".to_owned())),
        }
    }
}

impl Replica {
    /// Makes this replica part of its group, and returns once it is. Requests of other replicas must be
    /// [answered](Self::handle) meanwhile.
    ///
    /// # Errors
    /// If it must not take part.
    pub async fn take_part(&self, join: bool) -> Result<(), FormationError> {
        self.inner.formation.take_part(join).await
    }

    /// Waits until this replica's state shows every write that was acknowledged before the call, and brings
    /// what the leader [observed](LeaderService::observe) of `question`; or until it is clear that the group
    /// has no majority.
    ///
    /// # Errors
    /// If too many reads are waiting.
    pub async fn wait_until_current(&self, question: Bytes) -> Result<Freshness, WriteError> {
        self.inner.reads.wait(question).await
    }

    /// Has the leader's [`LeaderService`] answer `request`, wherever the leader is, and waits up to
    /// `patience` for there to be one.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn call_leader(&self, request: Bytes, patience: Duration) -> Result<Bytes, WriteError> {
        self.inner.leader.call(request, patience).await
    }

    /// Answers a request of another replica: one whose path begins with `/internal/`.
    ///
    /// # Errors
    /// If it is none that a replica makes.
    pub async fn handle(&self, request: hyper::Request<Incoming>) -> Result<Response, ApiError> {
        self.inner.service.handle(request).await
    }

    /// Who acts for the group, as far as this replica knows.
    pub fn office(&self) -> Office {
        *self.inner.office.borrow()
    }

    /// The name of the replica that leads, as far as this one knows.
    pub fn leader(&self) -> Option<String> {
        let group = &self.inner.settings.group;
        match self.office() {
            Office::Own(_) => Some(group.label(group.own)),
            Office::Other(leader) => Some(group.label(leader)),
            Office::Vacant(_) | Office::Preparing(_) => None,
        }
    }

    /// Waits until the replica cannot go on, and tells why.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its tasks have stopped".to_owned(),
        }
    }

    /// How this replica stands.
    pub fn status(&self) -> Status {
        status::status(&self.inner.raft, &self.inner.settings.group, self.office(), self.tables_index())
    }

    /// The applied index that the CSV tables show.
    pub fn tables_index(&self) -> u64 {
        self.inner.tables_index.load(Ordering::Acquire)
    }

    /// Stops replication: nothing more is sent, stored or applied.
    pub async fn stop(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "replication did not stop cleanly");
        }
    }
}

/// Whether a path belongs to the replicas' conversation, which [`Replica::handle`] answers.
pub fn is_between_replicas(path: &str) -> bool {
    path.starts_with("/internal/raft/") || path.starts_with("/internal/replica/")
}

/// How long a request between replicas may take, where that is longer than any other may.
pub fn request_timeout(path: &str) -> Option<Duration> {
    [wire::SNAPSHOT, wire::ADMIT].contains(&path).then_some(network::SNAPSHOT_TIMEOUT)
}

async fn report_failure(raft: Raft, failed: watch::Sender<Option<String>>) {
    let mut metrics = raft.metrics();
    let stopped = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
    let reason = match stopped {
        Ok(metrics) => match &metrics.running_state {
            Err(openraft::error::Fatal::Stopped) => return,
            Err(fatal) => fatal.to_string(),
            Ok(()) => return,
        },
        Err(_) => return,
    };
    failed.send_replace(Some(reason));
}

/// Takes a snapshot whenever the log grew by `snapshot_log_bytes`, so that start-up replays no more.
async fn take_snapshots(raft: Raft, state_machine: StateMachine, log: LogReader, snapshot_log_bytes: u64) {
    let mut applied = state_machine.watch_applied();
    let mut covered_bytes = 0;
    while applied.changed().await.is_ok() {
        let written_bytes = log.written_bytes();
        if written_bytes - covered_bytes < snapshot_log_bytes {
            continue;
        }
        covered_bytes = written_bytes;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
