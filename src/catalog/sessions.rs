//! Which frontends may hold what, and until when: the leader's book of leases.
//!
//! A pure state machine; the time is told to it. Its one invariant: a process that answers from its cache
//! has its session here, and the session does not expire here before the process's lease has run out
//! there. The leader counts from a later moment (its answer, where the frontend counts from its question)
//! and for longer (by the bound on how much faster a clock may run). Of the processes under a frontend's name, one at
//! most has a lease: another gets none before that one's is surely over, or was given back.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::cache::{Epoch, LeaseReply, ProcessId, Session};

/// How long leases last.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTerms {
    /// How long a frontend may rely on its lease, by its own clock.
    pub lease: Duration,
    /// By how much a clock may run faster than another, in percent.
    pub clock_drift_percent: u32,
}

impl LeaseTerms {
    /// How long the leader must wait to be sure that a lease has run out.
    pub fn surely_over(&self) -> Duration {
        self.lease + self.lease * self.clock_drift_percent / 100
    }
}

/// The sessions of one epoch.
pub struct Sessions {
    epoch: Epoch,
    terms: LeaseTerms,
    next_number: u64,
    by_frontend: HashMap<usize, Lease>,
    /// Processes that did not confirm an invalidation. They get no lease: no renewal, so that the wait for the end of
    /// their last one has an end, and no new one, for which the next write would wait again.
    deaf: HashMap<usize, ProcessId>,
}

struct Lease {
    process: ProcessId,
    number: u64,
    expires_at: Instant,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(epoch: Epoch, terms: LeaseTerms) -> Sessions {
        Sessions { epoch, terms, next_number: 1, by_frontend: HashMap::new(), deaf: HashMap::new() }
    }

    /// The epoch that these are the sessions of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Why a process cannot have a lease now; nothing if it can.
    pub fn refusal(&mut self, frontend: usize, process: ProcessId, now: Instant) -> Option<LeaseReply> {
        match self.live(frontend, now) {
            Some(holder) if holder != process => Some(LeaseReply::HeldByAnother),
            _ if self.deaf.get(&frontend) == Some(&process) => Some(LeaseReply::NotNow),
            _ => None,
        }
    }

    /// Answers a frontend that asks for a lease and says in which session it is.
    ///
    /// The caller has confirmed, after the question came, that this replica still leads in this epoch, and that this
    /// process is noted as the one that may have a lease.
    pub fn grant(&mut self, frontend: usize, process: ProcessId, named: Option<Session>, now: Instant) -> LeaseReply {
        if let Some(refusal) = self.refusal(frontend, process, now) {
            return refusal;
        }
        // Of another process, which waits for its turn like any other from now on.
        self.deaf.remove(&frontend);
        let expires_at = now + self.terms.surely_over();
        let number = match self.by_frontend.get_mut(&frontend) {
            Some(lease) if named == Some(Session { epoch: self.epoch, number: lease.number }) => {
                lease.expires_at = expires_at;
                lease.number
            }
            // None yet, or the frontend is not in the one that it has here: it starts anew, with nothing.
            _ => {
                let number = self.next_number;
                self.next_number += 1;
                self.by_frontend.insert(frontend, Lease { process, number, expires_at });
                number
            }
        };
        let lease_ms = self.terms.lease.as_millis() as u64;
        LeaseReply::Granted { session: Session { epoch: self.epoch, number }, lease_ms }
    }

    /// The process under a frontend's name that may be answering from its cache.
    pub fn live(&mut self, frontend: usize, now: Instant) -> Option<ProcessId> {
        self.by_frontend.retain(|_, lease| lease.expires_at > now);
        self.by_frontend.get(&frontend).map(|lease| lease.process)
    }

    /// Refuses further leases to a process that does not confirm, and tells when its last one is surely over.
    pub fn close(&mut self, frontend: usize, process: ProcessId, now: Instant) -> Option<Instant> {
        self.deaf.insert(frontend, process);
        self.live(frontend, now).filter(|holder| *holder == process)?;
        self.by_frontend.get(&frontend).map(|lease| lease.expires_at)
    }

    /// The process of a frontend that is refused leases because it did not confirm.
    pub fn deaf(&self, frontend: usize) -> Option<ProcessId> {
        self.deaf.get(&frontend).copied()
    }

    /// Grants leases again to a process that confirms again.
    pub fn reopen(&mut self, frontend: usize, process: ProcessId) {
        if self.deaf(frontend) == Some(process) {
            self.deaf.remove(&frontend);
        }
    }

    /// A process has given its lease back.
    pub fn end(&mut self, frontend: usize, process: ProcessId) {
        self.by_frontend.retain(|of, lease| *of != frontend || lease.process != process);
        self.reopen(frontend, process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LeaseTerms = LeaseTerms { lease: Duration::from_secs(1), clock_drift_percent: 1 };
    const JUST_OVER: Duration = Duration::from_millis(1010);

    /// Sessions, two processes, and a moment.
    fn sessions() -> (Sessions, ProcessId, ProcessId, Instant) {
        (Sessions::new(7, TERMS), ProcessId::fresh(), ProcessId::fresh(), Instant::now())
    }

    fn granted(reply: LeaseReply) -> Session {
        match reply {
            LeaseReply::Granted { session, lease_ms: 1000 } => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_goes_on_while_its_lease_is_renewed_in_time() {
        let (mut sessions, process, _, now) = sessions();
        let session = granted(sessions.grant(0, process, None, now));
        let later = now + JUST_OVER - Duration::from_millis(1);
        assert_eq!(granted(sessions.grant(0, process, Some(session), later)), session);
        assert_eq!(sessions.live(0, later + JUST_OVER - Duration::from_millis(1)), Some(process));
        assert_eq!(sessions.live(0, later + JUST_OVER), None);
    }

    #[test]
    fn a_lease_that_ran_out_ends_its_session() {
        let (mut sessions, process, _, now) = sessions();
        let session = granted(sessions.grant(0, process, None, now));
        assert_ne!(granted(sessions.grant(0, process, Some(session), now + JUST_OVER)), session);
    }

    #[test]
    fn a_frontend_that_names_another_session_starts_anew() {
        let (mut sessions, process, _, now) = sessions();
        let first = granted(sessions.grant(0, process, None, now));
        let second = granted(sessions.grant(0, process, None, now));
        assert_ne!(first, second);
        let of_another_epoch = Session { epoch: 6, number: second.number };
        assert_ne!(granted(sessions.grant(0, process, Some(of_another_epoch), now)), second);
    }

    #[test]
    fn another_process_under_the_same_name_waits_for_the_end_of_the_lease() {
        let (mut sessions, first, second, now) = sessions();
        let session = granted(sessions.grant(0, first, None, now));
        assert_eq!(sessions.grant(0, second, Some(session), now), LeaseReply::HeldByAnother);
        assert_eq!(granted(sessions.grant(0, first, Some(session), now)), session);
        assert_ne!(granted(sessions.grant(0, second, Some(session), now + JUST_OVER)), session);
        assert_eq!(sessions.grant(0, first, Some(session), now + JUST_OVER), LeaseReply::HeldByAnother);
    }

    #[test]
    fn a_lease_that_was_given_back_is_anothers_at_once() {
        let (mut sessions, first, second, now) = sessions();
        granted(sessions.grant(0, first, None, now));
        sessions.end(0, second);
        assert_eq!(sessions.live(0, now), Some(first));
        sessions.end(0, first);
        granted(sessions.grant(0, second, None, now));
    }

    #[test]
    fn a_process_that_does_not_confirm_gets_no_lease_until_it_does() {
        let (mut sessions, process, other, now) = sessions();
        let session = granted(sessions.grant(0, process, None, now));
        assert_eq!(sessions.close(0, process, now), Some(now + JUST_OVER));
        assert_eq!(sessions.grant(0, process, Some(session), now), LeaseReply::NotNow);
        assert_eq!(sessions.grant(0, process, None, now), LeaseReply::NotNow);
        assert_eq!(sessions.live(0, now), Some(process));
        let over = now + JUST_OVER;
        assert_eq!(sessions.close(0, process, over), None);
        assert_eq!(sessions.grant(0, process, Some(session), over), LeaseReply::NotNow);
        granted(sessions.grant(1, other, None, over));
        sessions.reopen(0, process);
        assert_ne!(granted(sessions.grant(0, process, Some(session), over)), session);
    }

    #[test]
    fn a_process_that_follows_one_that_did_not_confirm_gets_its_lease() {
        let (mut sessions, first, second, now) = sessions();
        granted(sessions.grant(0, first, None, now));
        sessions.close(0, first, now);
        granted(sessions.grant(0, second, None, now + JUST_OVER));
    }
}
