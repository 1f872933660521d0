use std::collections::BTreeMap;

use openraft::EmptyNode;

use super::*;
use crate::http::client::Client;
use crate::replica::storage::identity::Identity;
use crate::replica::storage::log::LogLimits;
use crate::replica::testing::{Journal, MemoryDisk, platform};
use crate::replica::{ElectionTimeout, Group, Member, Settings};

const SECOND: Duration = Duration::from_secs(1);

/// The proposer of a group of one, whose term has begun; and that term.
async fn leading() -> (Proposer, u64) {
    let platform = platform(MemoryDisk::default());
    let member = Member { id: "catalog-1".into(), address: "127.0.0.1:1".into() };
    let settings = Settings {
        group: Group { name: "catalog", own: 1, members: BTreeMap::from([(1, member)]) },
        folder: "catalog-1".into(),
        heartbeat: SECOND,
        election_timeout: ElectionTimeout { min: SECOND * 2, max: SECOND * 3 },
        proposer: ProposerLimits { queue_commands: 10, batch_commands: 10, commit_timeout: SECOND * 10 },
        majority_wait: SECOND,
        log: LogLimits { segment_bytes: 1 << 20, cache_bytes: 1 << 20 },
        snapshot_log_bytes: 1 << 30,
    };
    platform.disk.create_folders(&settings.folder).unwrap();
    let identity = Identity::open(&platform, &settings.folder, "catalog-1").unwrap();
    identity.set(uuid::Uuid::from_u128(7)).await.unwrap();
    let client = Client::new(&platform);
    let opened = crate::replica::open(&platform, &client, settings, Arc::new(Journal::default())).await.unwrap();
    let consensus = opened.consensus();
    consensus.raft.initialize(BTreeMap::from([(1, EmptyNode {})])).await.unwrap();
    let mut server = consensus.raft.server_metrics();
    let term = server.wait_for(|server| server.state == ServerState::Leader).await.unwrap().vote.leader_id().term;
    (consensus.proposer, term)
}

fn command() -> Bytes {
    Bytes::from_static(b"command")
}

#[tokio::test]
async fn what_was_prepared_in_a_leader_epoch_is_proposed_in_its_term_alone() {
    let (proposer, term) = leading().await;
    assert_eq!(proposer.begin(1, command()).await, Err(WriteError::NotLeader), "no leader epoch has begun");
    assert_eq!(proposer.begin_epoch(1, term).await, Ok(()));
    assert!(proposer.begin(1, command()).await.is_ok());
    assert_eq!(proposer.begin(2, command()).await, Err(WriteError::NotLeader));

    // The leadership was lost and regained before anybody noticed.
    assert_eq!(proposer.begin_epoch(2, term - 1).await, Err(WriteError::NotLeader));
    for leader_epoch in [1, 2] {
        assert_eq!(proposer.begin(leader_epoch, command()).await, Err(WriteError::NotLeader));
    }
    assert_eq!(proposer.begin_epoch(3, term).await, Ok(()));
    assert!(proposer.begin(3, command()).await.is_ok());
}

#[tokio::test]
async fn a_leader_epoch_that_closes_or_ends_takes_nothing_that_waits_for_its_turn() {
    let (proposer, term) = leading().await;
    for end in [Proposer::close, Proposer::end_epoch] {
        assert_eq!(proposer.begin_epoch(1, term).await, Ok(()));
        // Batches are on their way, so that the next command must wait.
        let under_way = proposer.in_flight.acquire_many(BATCHES_IN_FLIGHT as u32).await.unwrap();
        let waiting = proposer.begin(1, command());
        end(&proposer);
        drop(under_way);
        assert_eq!(waiting.await, Err(WriteError::NotLeader));
        assert_eq!(proposer.begin(1, command()).await, Err(WriteError::NotLeader));
        tokio::time::timeout(SECOND * 10, proposer.idle()).await.unwrap();
    }
}

#[tokio::test]
async fn a_leader_epoch_that_was_closed_takes_commands_again_once_it_is_reopened_unless_it_has_ended() {
    let (proposer, term) = leading().await;
    assert_eq!(proposer.begin_epoch(1, term).await, Ok(()));
    proposer.close();
    proposer.reopen();
    assert!(proposer.begin(1, command()).await.is_ok());
    proposer.close();
    proposer.end_epoch();
    proposer.reopen();
    assert_eq!(proposer.begin(1, command()).await, Err(WriteError::NotLeader));
}
