//! What is sent at once, and what waits.

use super::*;
use crate::replica::testing::{entry, log_id};

const VOTE: Vote = Vote { leader_id: openraft::LeaderId { term: 3, voted_for: Some(1) }, committed: true };

fn request(previous: u64, committed: u64, entries: u64) -> Request {
    Request {
        vote: VOTE,
        prev_log_id: Some(log_id(3, previous)),
        leader_commit: Some(log_id(3, committed)),
        entries: (previous + 1..=previous + entries).map(|index| entry(3, index, "")).collect(),
    }
}

fn is_sent(sending: &Sending) -> bool {
    matches!(sending, Sending::Now)
}

#[tokio::test(start_paused = true)]
async fn a_notice_waits_once_the_follower_has_confirmed_what_it_claims() {
    let notices = CommitNotices::default();
    assert!(is_sent(&notices.take(&request(4, 4, 0))), "nothing was confirmed yet");
    notices.confirmed(VOTE, log_id(3, 4));
    assert!(is_sent(&notices.take(&request(5, 4, 0))), "more than was confirmed");
    assert!(is_sent(&notices.take(&Request { vote: Vote::new_committed(4, 1), ..request(4, 4, 0) })), "another leader");
    assert!(matches!(notices.take(&request(4, 4, 0)), Sending::WaitsFor(NOTICE_DELAY)));
    assert!(matches!(notices.take(&request(3, 3, 0)), Sending::Waits), "one timer is enough");
}

#[tokio::test(start_paused = true)]
async fn entries_overtake_a_notice_and_the_newest_notice_is_sent_when_none_come() {
    let notices = CommitNotices::default();
    notices.confirmed(VOTE, log_id(3, 5));
    notices.take(&request(5, 4, 0));
    assert!(is_sent(&notices.take(&request(5, 5, 1))));
    assert!(notices.due().is_none(), "the entries said as much");

    notices.take(&request(5, 4, 0));
    notices.take(&request(5, 5, 0));
    assert_eq!(notices.due().unwrap().leader_commit, Some(log_id(3, 5)));
    assert!(notices.due().is_none());
    assert!(matches!(notices.take(&request(5, 5, 0)), Sending::WaitsFor(NOTICE_DELAY)), "the timer ran out");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_not_heard_lately_is_sent_what_there_is() {
    let notices = CommitNotices::default();
    notices.confirmed(VOTE, log_id(3, 5));
    tokio::time::advance(HEARD_LATELY).await;
    assert!(is_sent(&notices.take(&request(5, 5, 0))));
    notices.confirmed(VOTE, log_id(3, 5));
    assert!(!is_sent(&notices.take(&request(5, 5, 0))));
}
