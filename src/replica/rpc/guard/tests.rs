//! Messages that no correct replica sends, and those that each must be able to.

use openraft::entry::RaftEntry;

use super::*;
use crate::replica::storage::raft_types::Entry;
use crate::replica::testing::{entry, log_id};

/// The replica that is asked.
const NUMBER: u64 = 2;

/// A replica that follows 1 in term 5: its log is 0 to 9, of term 3 up to 4 and of term 5 from there, and 6 is committed.
struct Follower;

/// What was before this entry is purged.
const FIRST: u64 = 3;

impl Own for Follower {
    fn vote(&self) -> Vote {
        Vote::new_committed(5, 1)
    }

    fn committed(&self) -> Option<LogId> {
        Some(log_id(5, 6))
    }

    fn at(&self, index: u64) -> Option<LogId> {
        (FIRST..10).contains(&index).then(|| log_id(if index < 5 { 3 } else { 5 }, index))
    }

    fn last(&self) -> Option<LogId> {
        Some(log_id(5, 9))
    }
}

type Request = AppendEntriesRequest<TypeConfig>;

fn request(vote: Vote, prev: Option<LogId>, entries: &[(u64, u64)], committed: Option<LogId>) -> Request {
    let entries = entries.iter().map(|(term, index)| entry(*term, *index, "command")).collect();
    Request { vote, prev_log_id: prev, entries, leader_commit: committed }
}

fn check(request: &Request) -> Result<Option<LogId>, Refusal> {
    append(request, NUMBER, &Follower)
}

#[test]
fn what_a_leader_sends_passes() {
    let (leader, later) = (Vote::new_committed(5, 1), Vote::new_committed(9, 3));
    let passing = [
        request(leader, Some(log_id(5, 9)), &[(5, 10), (5, 11)], Some(log_id(5, 8))),
        request(leader, Some(log_id(5, 9)), &[], Some(log_id(5, 9))),
        // What is there already, and what is committed further than was sent.
        request(leader, Some(log_id(3, 4)), &[(5, 5), (5, 6)], Some(log_id(5, 40))),
        request(leader, None, &[(3, 0), (3, 1)], Some(log_id(3, 1))),
        request(later, Some(log_id(8, 20)), &[(9, 21)], Some(log_id(8, 20))),
        // A deposed one is told so by openraft.
        request(Vote::new_committed(4, 3), Some(log_id(4, 5)), &[(4, 6)], None),
    ];
    for request in passing {
        assert_eq!(check(&request), Ok(None), "{request:?}");
    }
}

#[test]
fn the_first_entry_in_whose_place_there_is_another_is_told() {
    let later = Vote::new_committed(9, 3);
    let committed = Some(log_id(5, 6));
    for (prev, entries, conflict) in [
        (log_id(5, 6), &[(7, 7), (9, 8)][..], log_id(7, 7)),
        (log_id(5, 6), &[(5, 7), (9, 8), (9, 9)], log_id(9, 8)),
        (log_id(7, 8), &[], log_id(7, 8)),
        (log_id(7, 8), &[(9, 9)], log_id(7, 8)),
    ] {
        assert_eq!(check(&request(later, Some(prev), entries, committed)), Ok(Some(conflict)), "{prev} {entries:?}");
    }
}

#[test]
fn entries_that_conflict_with_what_is_committed_are_refused() {
    let later = Vote::new_committed(9, 3);
    for request in [
        request(later, Some(log_id(4, 4)), &[], None),
        request(later, Some(log_id(9, 6)), &[], None),
        request(later, Some(log_id(3, 4)), &[(9, 5)], None),
        request(later, Some(log_id(3, 2)), &[(9, 3)], None),
    ] {
        assert!(check(&request).unwrap_err().contains("has lost what it acknowledged"), "{request:?}");
    }
}

#[test]
fn entries_that_do_not_follow_on_each_other_are_refused() {
    let leader = Vote::new_committed(5, 1);
    for request in [
        request(leader, Some(log_id(5, 9)), &[(5, 11)], None),
        request(leader, Some(log_id(5, 9)), &[(5, 10), (5, 10)], None),
        request(leader, Some(log_id(5, 9)), &[(5, 10), (4, 11)], None),
        request(leader, None, &[(5, 10)], None),
        request(leader, Some(log_id(5, 9)), &[(6, 10)], None),
        request(leader, Some(log_id(5, u64::MAX)), &[], None),
    ] {
        check(&request).unwrap_err();
    }
}

#[test]
fn a_commit_of_what_is_not_in_the_leaders_log_is_refused() {
    let leader = Vote::new_committed(5, 1);
    for request in [
        request(leader, Some(log_id(5, 9)), &[], Some(log_id(4, 1000))),
        request(leader, Some(log_id(5, 9)), &[(5, 10)], Some(log_id(4, 10))),
        request(leader, Some(log_id(5, 9)), &[], Some(log_id(5, 3))),
        request(leader, Some(log_id(5, 9)), &[], Some(log_id(6, 9))),
        // Of a later term than what is committed here, and before it: where the log is purged nothing else tells.
        request(Vote::new_committed(6, 1), Some(log_id(5, 9)), &[(6, 10)], Some(log_id(6, 0))),
        request(Vote::new_committed(6, 1), None, &[], Some(log_id(6, 2))),
        // Of an earlier term than the last entry here, and behind it.
        request(Vote::new_committed(6, 1), None, &[], Some(log_id(4, 100))),
        request(Vote::new_committed(6, 1), Some(log_id(3, 4)), &[], Some(log_id(4, 100))),
    ] {
        assert!(check(&request).unwrap_err().contains("is committed"), "{request:?}");
    }
}

#[test]
fn votes_that_openraft_would_die_of_are_refused() {
    let refused = [
        Vote::new_committed(u64::MAX, 1),
        Vote::new(6 + MAX_TERM_LEAD, 1),
        Vote::new_committed(5, 3),
        Vote::new_committed(6, NUMBER),
        Vote::new(6, NUMBER),
        Vote::new_committed(5, NUMBER),
    ];
    for told in refused {
        vote(&told, NUMBER, &Follower).unwrap_err();
        check(&request(told, Some(log_id(5, 9)), &[], None)).unwrap_err();
        snapshot(&told, Some(log_id(5, 20)), NUMBER, &Follower).unwrap_err();
        candidate(&VoteRequest::new(told, None), NUMBER, &Follower).unwrap_err();
    }
    // Two stand in one term, and one that stood before is told so.
    for told in [Vote::new(5, 3), Vote::new(6, 3), Vote::new(4, NUMBER), Vote::new_committed(5 + MAX_TERM_LEAD, 3)] {
        assert_eq!(vote(&told, NUMBER, &Follower), Ok(()));
    }
    check(&request(Vote::new(6, 3), Some(log_id(5, 9)), &[], None)).unwrap_err();
    candidate(&VoteRequest::new(Vote::new(6, 3), Some(log_id(7, 1))), NUMBER, &Follower).unwrap_err();
    candidate(&VoteRequest::new(Vote::new_committed(6, 3), None), NUMBER, &Follower).unwrap_err();
    assert_eq!(candidate(&VoteRequest::new(Vote::new(6, 3), None), NUMBER, &Follower), Ok(()));
}

#[test]
fn a_snapshot_that_would_go_back_is_refused() {
    let later = Vote::new_committed(9, 3);
    assert_eq!(snapshot(&later, Some(log_id(9, 7)), NUMBER, &Follower), Ok(()));
    assert_eq!(snapshot(&later, Some(log_id(3, 4)), NUMBER, &Follower), Ok(()));
    for last in [None, Some(log_id(9, 6)), Some(log_id(10, 50)), Some(log_id(9, u64::MAX))] {
        snapshot(&later, last, NUMBER, &Follower).unwrap_err();
    }
}

#[test]
fn answers_that_openraft_would_die_of_are_refused() {
    let leader = Vote::new_committed(5, 1);
    let asked = request(leader, Some(log_id(5, 9)), &[(5, 10)], None);
    let check = |answer| appended(&answer, &asked);
    assert_eq!(check(AppendEntriesResponse::Conflict), Ok(()));
    assert_eq!(check(AppendEntriesResponse::PartialSuccess(Some(log_id(5, 9)))), Ok(()));
    check(AppendEntriesResponse::PartialSuccess(Some(log_id(5, 11)))).unwrap_err();
    check(AppendEntriesResponse::PartialSuccess(None)).unwrap_err();
    let from_the_start = request(leader, None, &[], None);
    appended(&AppendEntriesResponse::Conflict, &from_the_start).unwrap_err();
}

#[test]
fn members_that_make_no_group_are_refused() {
    let nodes = |numbers: &[u64]| {
        numbers.iter().map(|number| (*number, EmptyNode {})).collect::<std::collections::BTreeMap<_, _>>()
    };
    let many: Vec<u64> = (0..=MAX_MEMBERS as u64).collect();
    assert_eq!(membership(&Membership::new(vec![[1, 2].into()], nodes(&[1, 2, 3]))), Ok(()));
    // openraft itself adds voters to the nodes, so those without come by the wire alone.
    let without_node: Membership<u64, EmptyNode> =
        serde_json::from_str(r#"{"configs": [[1, 2]], "nodes": {"1": {}}}"#).unwrap();
    for members in [
        Membership::new(vec![], nodes(&[1])),
        Membership::new(vec![[].into()], nodes(&[1])),
        Membership::new(vec![[1].into()], nodes(&many)),
        without_node,
    ] {
        membership(&members).unwrap_err();
        let mut request = request(Vote::new_committed(5, 1), Some(log_id(5, 9)), &[], None);
        request.entries = vec![Entry::new_membership(log_id(5, 10), members)];
        check(&request).unwrap_err();
    }
}
