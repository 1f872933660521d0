//! What a peer's message must be before openraft sees it.
//!
//! openraft trusts its peers: it counts on rules that no correct replica breaks, and ends the process, or overwrites
//! what is committed, where one is broken. Whoever reaches a replica can break them, and so can a group that lost
//! what it acknowledged. So each message, and each answer, is first held against this replica's own vote and log. What is
//! refused here has changed nothing.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{EmptyNode, EntryPayload, Membership};

use crate::replica::storage::own_log::Own;
use crate::replica::storage::raft_types::{LogId, TypeConfig, Vote};

/// By how many terms a peer may be ahead. Terms count elections: at ten a second, this many take thirteen years.
const MAX_TERM_LEAD: u64 = 1 << 32;

/// The largest index that an entry may have. openraft adds to indexes without looking.
const MAX_INDEX: u64 = u64::MAX / 2;

/// The most members that a group may have.
const MAX_MEMBERS: usize = 64;

/// Why a message is refused.
pub type Refusal = String;

/// Checks a vote that comes from elsewhere, in a request or an answer. `own` is this replica's number.
pub fn vote(told: &Vote, number: u64, own: &impl Own) -> Result<(), Refusal> {
    let known = own.vote();
    let (term, known_term) = (told.leader_id.term, known.leader_id.term);
    if term > known_term.saturating_add(MAX_TERM_LEAD) {
        return Err(format!("the term {term} is absurd: it is {known_term} here"));
    }
    let names_itself = told.leader_id.voted_for() == Some(number);
    if names_itself && (term > known_term || (term == known_term && told.committed && *told != known)) {
        return Err(format!("it claims that this replica stands or leads in term {term}, which it does not"));
    }
    if told.committed && told.leader_id.voted_for().is_none() {
        return Err(format!("it names no leader of term {term}"));
    }
    let is_second = told.committed && known.committed && term == known_term && told.leader_id != known.leader_id;
    match is_second {
        true => Err(format!("it names a second leader of term {term}")),
        false => Ok(()),
    }
}

/// Checks who is to lead with a request: a leader, and not this replica.
pub fn leader(told: &Vote, number: u64, own: &impl Own) -> Result<(), Refusal> {
    vote(told, number, own)?;
    match told.committed && told.leader_id.voted_for() != Some(number) {
        true => Ok(()),
        false => Err("it does not come from a leader".to_owned()),
    }
}

/// Checks entries from a leader. Returns the first in whose place this replica has another, which openraft would take out
/// with all that follow.
pub fn append(
    request: &AppendEntriesRequest<TypeConfig>,
    number: u64,
    own: &impl Own,
) -> Result<Option<LogId>, Refusal> {
    leader(&request.vote, number, own)?;
    // Nothing more is looked at, and openraft tells the sender so.
    let is_deposed = request.vote.partial_cmp(&own.vote()).is_none_or(std::cmp::Ordering::is_lt);
    if is_deposed {
        return Ok(None);
    }
    let mut last = request.prev_log_id;
    let mut conflict = match &last {
        Some(prev) => position(prev, &request.vote, own)?,
        None => None,
    };
    for entry in &request.entries {
        let next = last.map_or(0, |last| last.index + 1);
        if entry.log_id.index != next || last.is_some_and(|last| last.leader_id > entry.log_id.leader_id) {
            return Err(format!("entry {} does not follow", entry.log_id));
        }
        conflict = conflict.or(position(&entry.log_id, &request.vote, own)?);
        if let EntryPayload::Membership(members) = &entry.payload {
            membership(members)?;
        }
        last = Some(entry.log_id);
    }
    let Some(committed) = request.leader_commit else { return Ok(conflict) };
    let is_its_own = |committed: LogId| match last {
        Some(last) if committed.index > last.index => committed.leader_id >= last.leader_id,
        Some(last) if committed.index == last.index => committed == last,
        _ => {
            let sent = request.entries.iter().find(|entry| entry.log_id.index == committed.index);
            let known = sent.map(|entry| entry.log_id).or_else(|| own.at(committed.index));
            known.is_none_or(|known| known == committed)
        }
    };
    // What is committed stands in the logs of all later terms, and terms do not fall along them. openraft counts on it: it takes
    // the lesser of this and what it has accepted, by term before index, for a place up to which it holds everything.
    let goes_on = |from: LogId, to: LogId| from.index >= to.index || from.leader_id <= to.leader_id;
    let is_possible = own.committed().is_none_or(|known| goes_on(known, committed) && goes_on(committed, known))
        && own.last().is_none_or(|known| goes_on(known, committed))
        && is_its_own(committed);
    match committed.leader_id.term <= request.vote.leader_id.term && is_possible {
        true => Ok(conflict),
        false => Err(format!("it says that {committed} is committed, which is not in its log")),
    }
}

/// Checks who asks for a vote.
pub fn candidate(request: &VoteRequest<u64>, number: u64, own: &impl Own) -> Result<(), Refusal> {
    vote(&request.vote, number, own)?;
    if request.vote.committed {
        return Err("who is elected already asks for no vote".to_owned());
    }
    match request.last_log_id {
        Some(last) if last.index > MAX_INDEX || last.leader_id.term > request.vote.leader_id.term => {
            Err(format!("its last entry cannot be {last}"))
        }
        _ => Ok(()),
    }
}

/// Checks where a snapshot from a leader ends.
pub fn snapshot(told: &Vote, last: Option<LogId>, number: u64, own: &impl Own) -> Result<(), Refusal> {
    leader(told, number, own)?;
    let Some(last) = last else { return Err("it holds nothing".to_owned()) };
    let committed = own.committed();
    match committed.is_some_and(|committed| last > committed && last.index <= committed.index) {
        true => Err(format!("it ends with {last}, and {} is committed here", index_of(committed))),
        false if last.index > MAX_INDEX || last.leader_id.term > told.leader_id.term => {
            Err(format!("its last entry cannot be {last}"))
        }
        false => Ok(()),
    }
}

/// Checks what a follower answered to `request`; but for a vote, which is checked with [`vote`].
pub fn appended(
    answer: &AppendEntriesResponse<u64>,
    request: &AppendEntriesRequest<TypeConfig>,
) -> Result<(), Refusal> {
    match answer {
        AppendEntriesResponse::Success | AppendEntriesResponse::HigherVote(_) => Ok(()),
        AppendEntriesResponse::PartialSuccess(upto) => {
            let sent = request.entries.iter().map(|entry| Some(entry.log_id));
            match sent.chain([request.prev_log_id]).any(|sent| sent == *upto) {
                true => Ok(()),
                false => Err("it confirms what it was not sent".to_owned()),
            }
        }
        AppendEntriesResponse::Conflict if request.prev_log_id.is_none() => {
            Err("it finds a conflict before the first entry".to_owned())
        }
        AppendEntriesResponse::Conflict => Ok(()),
    }
}

/// Checks the members of a group, as an entry or a snapshot names them.
pub fn membership(members: &Membership<u64, EmptyNode>) -> Result<(), Refusal> {
    let configs = members.get_joint_config();
    let voters_are_members = members.voter_ids().all(|voter| members.get_node(&voter).is_some());
    let are_sound = (1..=2).contains(&configs.len())
        && configs.iter().all(|voters| !voters.is_empty())
        && members.nodes().count() <= MAX_MEMBERS
        && voters_are_members;
    if are_sound { Ok(()) } else { Err("the members of the group cannot be these".to_owned()) }
}

/// Checks one position of a leader's log: it may be anything that this replica does not know to be otherwise. Returns it if
/// this replica has another entry there.
fn position(told: &LogId, leader: &Vote, own: &impl Own) -> Result<Option<LogId>, Refusal> {
    if told.index > MAX_INDEX || told.leader_id.term > leader.leader_id.term {
        return Err(format!("entry {told} cannot be in the log of a leader of term {}", leader.leader_id.term));
    }
    let Some(known) = own.at(told.index).filter(|known| known != told) else { return Ok(None) };
    match own.committed().is_some_and(|committed| told.index <= committed.index) {
        false => Ok(Some(*told)),
        true => Err(format!(
            "the leader of term {} has {told} where {known} is committed: its group has lost what it acknowledged",
            leader.leader_id.term
        )),
    }
}

fn index_of(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

#[cfg(test)]
mod tests;
