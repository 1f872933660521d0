//! Starting a replica: from a folder and settings to everything that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use openraft::SnapshotPolicy;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::append_turn::AppendTurn;
use super::application::{Application, LeaderService};
use super::bootstrap::Bootstrap;
use super::consensus::elector::{ElectionTimeout, Elector};
use super::consensus::forward::LeaderForward;
use super::consensus::heartbeat;
use super::consensus::leader_contact::LeaderContact;
use super::consensus::leader_reach::LeaderReach;
use super::consensus::leadership::{Leadership, LeadershipMonitor};
use super::consensus::leadership_transfer::{LeadershipTransfer, Willingness};
use super::consensus::pre_vote::Ballot;
use super::consensus::proposer::{Proposer, ProposerLimits};
use super::consensus::read_index::{ReadIndex, ReadRounds};
use super::consensus::recognition::Recognition;
use super::consensus::step_aside::StepAside;
use super::group::Group;
use super::rpc::client::{self, Peers};
use super::rpc::reach::Reach;
use super::rpc::refusals::Refusals;
use super::rpc::wire::MAX_APPEND_ENTRIES;
use super::server::Service;
use super::storage::StartError;
use super::storage::Storage;
use super::storage::csv_export;
use super::storage::identity_keeper::IdentityKeeper;
use super::storage::log::{Durability, LogLimits, LogReader};
use super::storage::raft_types::Raft;
use super::storage::state_machine::StateMachine;
use super::{Consensus, Inner, Replica};
use crate::http::client::Client;
use crate::platform::{FolderLock, Platform, naming};

/// Log entries that are kept although a snapshot covers them, for followers that are a little behind.
const ENTRIES_KEPT_BEHIND_SNAPSHOT: u64 = 1000;

/// openraft's heartbeat is off, but what it does at each remains: it looks whether its leader is still a member, and
/// gives up on a peer that has not answered. Peers are given up on long before, by [`Peers::append_timeout`].
const OPENRAFT_PACE: Duration = Duration::from_secs(10);

/// How long a process waits for the folder and the address of the one before it, which may still be on its way out.
pub const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks whether it is gone.
pub const PREDECESSOR_PAUSE: Duration = Duration::from_millis(50);

/// How a replica is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who belongs to the group.
    pub group: Group,
    /// This replica's own folder.
    pub folder: PathBuf,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
    /// After how long without a leader a follower stands for election. AppendEntries, the follower's fsync
    /// included, may take as long as the shortest.
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

/// A replica that was opened but does not take part yet.
pub struct Opened {
    raft: Raft,
    platform: Platform,
    settings: Settings,
    peers: Peers,
    state_machine: StateMachine,
    proposer: Proposer,
    log: LogReader,
    leadership: watch::Sender<Leadership>,
    lock: Box<dyn FolderLock>,
}

/// Opens a replica's folder, restores its state and starts openraft on it.
///
/// # Errors
/// If the folder is in use, cannot be read, or holds damage.
pub async fn open(
    platform: &Platform,
    client: &Client,
    settings: Settings,
    application: Arc<dyn Application>,
) -> Result<Opened, StartError> {
    let folder = &settings.folder;
    let lock = lock_in_time(platform, folder).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::InUse(folder.clone()),
        _ => StartError::Io(naming(folder)(error)),
    })?;

    let group = Arc::new(settings.group.clone());
    let own = group.own;
    let opened = Storage::open(platform, folder, (own, &group.label(own)), settings.log, application).await?;
    let Storage { identity, log, state_machine } = opened;
    let (log_reader, durability) = (log.reader(), log.durability());
    let append_timeout = settings.election_timeout.min;
    let (platform, client) = (platform.clone(), client.clone());
    let (log_of_peers, refusals) = (log_reader.clone(), Refusals::default());
    let peers = Peers {
        platform: platform.clone(),
        reach: Arc::new(Reach::new(&group)),
        group,
        identity,
        client,
        is_successor: Arc::default(),
        durability,
        log: log_of_peers,
        sending: Arc::default(),
        refusals,
        append_timeout,
    };

    let config = raft_config(&settings);
    let raft = Raft::new(own, Arc::new(config), peers.clone(), log, state_machine.clone());
    let raft = raft.await.map_err(|error| StartError::Raft(error.to_string()))?;
    let proposer = Proposer::start(raft.clone(), state_machine.clone(), platform.clone(), settings.proposer);
    Ok(Opened {
        raft,
        platform,
        settings,
        peers,
        state_machine,
        proposer,
        log: log_reader,
        leadership: watch::Sender::new(Leadership::Vacant(tokio::time::Instant::now())),
        lock,
    })
}

/// Takes a folder, perhaps only once the process that had it is gone.
async fn lock_in_time(platform: &Platform, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
    let patience_ends = Instant::now() + PREDECESSOR_PATIENCE;
    let mut has_told = false;
    loop {
        let (disk, folder) = (platform.disk.clone(), folder.to_owned());
        let lock = move || disk.create_folders(&folder).and_then(|()| disk.lock_folder(&folder));
        match platform.blocking(lock).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < patience_ends => {
                if !std::mem::replace(&mut has_told, true) {
                    let patience_s = PREDECESSOR_PATIENCE.as_secs();
                    tracing::info!(patience_s, "waiting for the process that has this replica's folder to leave");
                }
                tokio::time::sleep(PREDECESSOR_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// A learner that lacks so many entries, at most, becomes a voter: more than are under way to one that has caught up.
const LEARNER_LAG_ENTRIES: u64 = 64;

fn raft_config(settings: &Settings) -> openraft::Config {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let vote_timeout = millis(settings.election_timeout.vote());
    openraft::Config {
        cluster_name: settings.group.name.to_owned(),
        enable_heartbeat: false,
        heartbeat_interval: millis(OPENRAFT_PACE),
        // The shortest of openraft's is how long asking for a vote may take. The longest is its leader lease, which must
        // be longer, and is not needed: `Ballot` refuses votes while a leader is heard.
        election_timeout_min: vote_timeout,
        election_timeout_max: vote_timeout + 1,
        enable_elect: false,
        install_snapshot_timeout: millis(client::SNAPSHOT_TIMEOUT),
        max_payload_entries: MAX_APPEND_ENTRIES,
        // Snapshots are taken by the bytes of the log, not by its entries: see `take_snapshots`.
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: LEARNER_LAG_ENTRIES,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT_BEHIND_SNAPSHOT,
        ..openraft::Config::default()
    }
}

impl Opened {
    /// What the [`LeaderService`] that [`start`](Self::start) asks for needs of its group.
    pub fn consensus(&self) -> Consensus {
        let round_timeout = self.settings.election_timeout.max;
        Consensus { proposer: self.proposer.clone(), raft: self.raft.clone(), round_timeout }
    }

    /// Starts everything that runs beside the requests.
    pub fn start(self, service: Arc<dyn LeaderService>) -> Replica {
        let Opened { raft, platform, settings, peers, state_machine, proposer, log, leadership, lock } = self;
        let (failed, failure) = watch::channel(None);
        let watched = leadership.subscribe();
        let (willingness, is_willing) = watch::channel(Willingness::Willing);
        let (received, handed_over) = watch::channel(0);
        let contact = Arc::new(LeaderContact::new());
        let ballot = Ballot {
            raft: raft.clone(),
            contact: contact.clone(),
            is_standing: Arc::new(AtomicBool::new(false)),
            silence_limit: settings.election_timeout.max,
        };
        let transfer = Arc::new(LeadershipTransfer {
            raft: raft.clone(),
            proposer: proposer.clone(),
            peers: peers.clone(),
            bounds: settings.election_timeout,
            willingness,
            received,
            under_way: Mutex::new(()),
        });
        let (hindrance, hindered) = watch::channel(None);
        let keeper = LeadershipMonitor {
            raft: raft.clone(),
            proposer,
            leadership,
            service: service.clone(),
            hindrance: hindrance.clone(),
            contact: contact.clone(),
            willingness: is_willing.clone(),
            silence_limit: settings.election_timeout.max,
            heartbeat: settings.heartbeat,
        };
        let elector = Elector {
            raft: raft.clone(),
            peers: peers.clone(),
            ballot: ballot.clone(),
            bounds: settings.election_timeout,
            heartbeat: settings.heartbeat,
            handed_over,
        };
        tokio::spawn(keeper.run());
        tokio::spawn(heartbeat::run(raft.clone(), settings.heartbeat, is_willing.clone()));
        let reach = LeaderReach::new(peers.clone(), contact.clone(), settings.election_timeout.vote());
        let recognition = Recognition::new(raft.clone(), peers.clone(), reach.clone(), is_willing.clone());
        tokio::spawn(elector.run(is_willing));
        let step_aside =
            StepAside { leadership: watched.clone(), service: service.clone(), transfer: transfer.clone(), hindrance };
        tokio::spawn(step_aside.run());
        let identity_keeper = IdentityKeeper {
            platform: platform.clone(),
            identity: peers.identity.clone(),
            durability: peers.durability.clone(),
        };
        let (keeping, mark_failed) = (identity_keeper.clone(), failed.clone());
        tokio::spawn(async move {
            if let Err(error) = keeping.run().await {
                mark_failed.send_replace(Some(format!("how far the log is written cannot be noted: {error}")));
            }
        });
        tokio::spawn(report_failure(raft.clone(), peers.durability.clone(), failed.clone()));
        tokio::spawn(take_snapshots(raft.clone(), state_machine.clone(), log, settings.snapshot_log_bytes));

        let tables_index = Arc::new(AtomicU64::new(0));
        let folder = settings.folder.join("tables").into();
        let tables_failed = failed.clone();
        let follow = csv_export::follow(platform.clone(), state_machine.clone(), folder, tables_index.clone());
        tokio::spawn(async move {
            if let Err(error) = follow.await {
                tables_failed.send_replace(Some(format!("the CSV tables cannot be written: {error}")));
            }
        });

        let rounds = ReadRounds {
            raft: raft.clone(),
            reach: reach.clone(),
            leadership: watched.clone(),
            service: service.clone(),
            contact: contact.clone(),
            round_timeout: settings.election_timeout.max,
        };
        let reads = ReadIndex::start(rounds, state_machine.watch_applied(), settings.majority_wait);
        let leader = LeaderForward {
            raft: raft.clone(),
            peers: peers.clone(),
            reach,
            leadership: watched.clone(),
            service,
            hindrance: hindered.clone(),
            answer_timeout: settings.proposer.commit_timeout + settings.majority_wait,
            majority_wait: settings.majority_wait,
        };
        let bootstrap = Bootstrap::new(raft.clone(), peers.clone(), watched.clone());
        tokio::spawn(bootstrap.clone().finish_changes());
        let service = Service {
            raft: raft.clone(),
            ballot,
            recognition,
            transfer: transfer.clone(),
            durability: peers.durability.clone(),
            platform,
            state_machine,
            reads: reads.clone(),
            leader: leader.clone(),
            bootstrap: bootstrap.clone(),
            failed,
            append_turn: AppendTurn::new(raft.clone()),
            receiving: Mutex::new(()),
        };
        let leadership = watched;
        Replica {
            inner: Arc::new(Inner {
                raft,
                settings,
                leadership,
                reads,
                leader,
                service,
                transfer,
                hindered,
                identity_keeper,
                bootstrap,
                tables_index,
                failure,
                _lock: lock,
            }),
        }
    }
}

async fn report_failure(raft: Raft, durability: Durability, failed: watch::Sender<Option<String>>) {
    // Of these it is told seldom; of the others, which say why, at each step.
    let mut server = raft.server_metrics();
    let stopped = async { while server.changed().await.is_ok() {} };
    tokio::select! {
        () = stopped => {}
        what = durability.failed() => {
            failed.send_replace(Some(what));
            return;
        }
    }
    let ended = raft.metrics().borrow().running_state.clone();
    match ended {
        Ok(()) | Err(openraft::error::Fatal::Stopped) => {}
        Err(fatal) => {
            failed.send_replace(Some(fatal.to_string()));
        }
    }
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
