//! Telling followers how far the group has committed, without a message for that alone.
//!
//! After each commit openraft sends every follower an AppendEntries without entries, which only says how far the
//! group has committed. The next entries say so as well, and nobody waits for the notice: a read learns it from
//! the leader in its own round. So a notice waits a moment for entries that overtake it. For as long openraft is told
//! that the follower confirmed it: all that it claims, that its log agrees with the leader's up to some
//! entry, the follower has confirmed shortly before.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::replica::storage::raft_types::{LogId, TypeConfig, Vote};

/// How long a notice waits for entries. A follower that is left alone, without a majority, in that time answers
/// from a state that is so much older, and says that it may be.
const NOTICE_DELAY: Duration = Duration::from_millis(2);

/// A follower that was not heard for as long is sent what there is: whether a majority hears its leader must be known.
const HEARD_LATELY: Duration = Duration::from_millis(50);

type Request = AppendEntriesRequest<TypeConfig>;

/// The notices to one follower. Its clones are one.
#[derive(Clone, Default)]
pub struct CommitNotices {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    confirmed: Option<Confirmed>,
    waiting: Option<Request>,
    /// Whether a timer runs, after which what waits is sent.
    is_timed: bool,
}

/// What the follower confirmed last.
struct Confirmed {
    vote: Vote,
    last: LogId,
    at: Instant,
}

/// What becomes of a request.
pub enum Sending {
    /// It is sent at once.
    Now,
    /// It waits. A timer runs already.
    Waits,
    /// It waits, and whoever asked begins a timer.
    WaitsFor(Duration),
}

impl CommitNotices {
    /// Decides whether a request is sent at once. If so it overtakes the notice that waits.
    pub fn take(&self, request: &Request) -> Sending {
        let mut state = self.state.lock();
        if !state.may_wait(request) {
            state.waiting = None;
            return Sending::Now;
        }
        state.waiting = Some(request.clone());
        match std::mem::replace(&mut state.is_timed, true) {
            true => Sending::Waits,
            false => Sending::WaitsFor(NOTICE_DELAY),
        }
    }

    /// The timer is over: what still waits is sent now.
    pub fn due(&self) -> Option<Request> {
        let mut state = self.state.lock();
        state.is_timed = false;
        state.waiting.take()
    }

    /// The follower's log agrees with that of the leader which this vote elected, up to `last`.
    pub fn confirmed(&self, vote: Vote, last: LogId) {
        self.state.lock().confirmed = Some(Confirmed { vote, last, at: Instant::now() });
    }
}

impl State {
    fn may_wait(&self, request: &Request) -> bool {
        let claims_no_more = |confirmed: &Confirmed| {
            confirmed.vote == request.vote
                && request.prev_log_id <= Some(confirmed.last)
                && confirmed.at.elapsed() < HEARD_LATELY
        };
        request.entries.is_empty() && self.confirmed.as_ref().is_some_and(claims_no_more)
    }
}

#[cfg(test)]
mod tests;
