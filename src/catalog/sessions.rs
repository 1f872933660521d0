//! Which frontends may hold what, and until when: the leader's book of leases.
//!
//! A pure state machine; the time is told to it. Its one invariant: a frontend that answers from its cache
//! has its session here, and the session does not expire here before the frontend's lease has run out
//! there. The leader counts from a later moment (its answer, where the frontend counts from its question)
//! and for longer (by the bound on how much faster a clock may run).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::coherence::{Epoch, LeaseReply, Session};

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
    /// Those that did not confirm an invalidation. They get no lease: no renewal, so that the wait for the end of
    /// their last one has an end, and no new one, for which the next write would wait again.
    deaf: HashSet<usize>,
}

struct Lease {
    number: u64,
    expires_at: Instant,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(epoch: Epoch, terms: LeaseTerms) -> Sessions {
        Sessions { epoch, terms, next_number: 1, by_frontend: HashMap::new(), deaf: HashSet::new() }
    }

    /// The epoch that these are the sessions of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Answers a frontend that asks for a lease and says in which session it is.
    ///
    /// The caller has confirmed, after the question came, that this replica still leads in this epoch.
    pub fn grant(&mut self, frontend: usize, named: Option<Session>, now: Instant) -> LeaseReply {
        if self.is_deaf(frontend) {
            return LeaseReply::NotNow;
        }
        self.forget_expired(now);
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
                self.by_frontend.insert(frontend, Lease { number, expires_at });
                number
            }
        };
        let lease_ms = self.terms.lease.as_millis() as u64;
        LeaseReply::Granted { session: Session { epoch: self.epoch, number }, lease_ms }
    }

    /// Whether a frontend may be answering from its cache.
    pub fn is_live(&mut self, frontend: usize, now: Instant) -> bool {
        self.forget_expired(now);
        self.by_frontend.contains_key(&frontend)
    }

    /// Refuses further leases to a frontend that does not confirm, and tells when its last one is surely over.
    pub fn close(&mut self, frontend: usize, now: Instant) -> Option<Instant> {
        self.deaf.insert(frontend);
        self.forget_expired(now);
        self.by_frontend.get(&frontend).map(|lease| lease.expires_at)
    }

    /// Whether a frontend is refused leases because it did not confirm.
    pub fn is_deaf(&self, frontend: usize) -> bool {
        self.deaf.contains(&frontend)
    }

    /// Grants leases again to a frontend that confirmed something after its last one was over.
    pub fn reopen(&mut self, frontend: usize) {
        self.deaf.remove(&frontend);
    }

    fn forget_expired(&mut self, now: Instant) {
        self.by_frontend.retain(|_, lease| lease.expires_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LeaseTerms = LeaseTerms { lease: Duration::from_secs(1), clock_drift_percent: 1 };
    const JUST_OVER: Duration = Duration::from_millis(1010);

    fn granted(reply: LeaseReply) -> Session {
        match reply {
            LeaseReply::Granted { session, lease_ms: 1000 } => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_goes_on_while_its_lease_is_renewed_in_time() {
        let (mut sessions, now) = (Sessions::new(7, TERMS), Instant::now());
        let session = granted(sessions.grant(0, None, now));
        let later = now + JUST_OVER - Duration::from_millis(1);
        assert_eq!(granted(sessions.grant(0, Some(session), later)), session);
        assert!(sessions.is_live(0, later + JUST_OVER - Duration::from_millis(1)));
        assert!(!sessions.is_live(0, later + JUST_OVER));
    }

    #[test]
    fn a_lease_that_ran_out_ends_its_session() {
        let (mut sessions, now) = (Sessions::new(7, TERMS), Instant::now());
        let session = granted(sessions.grant(0, None, now));
        assert_ne!(granted(sessions.grant(0, Some(session), now + JUST_OVER)), session);
    }

    #[test]
    fn a_frontend_that_names_another_session_starts_anew() {
        let (mut sessions, now) = (Sessions::new(7, TERMS), Instant::now());
        let first = granted(sessions.grant(0, None, now));
        let second = granted(sessions.grant(0, None, now));
        assert_ne!(first, second);
        let of_another_epoch = Session { epoch: 6, number: second.number };
        assert_ne!(granted(sessions.grant(0, Some(of_another_epoch), now)), second);
    }

    #[test]
    fn a_frontend_that_does_not_confirm_gets_no_lease_until_it_does() {
        let (mut sessions, now) = (Sessions::new(7, TERMS), Instant::now());
        let session = granted(sessions.grant(0, None, now));
        assert_eq!(sessions.close(0, now), Some(now + JUST_OVER));
        assert_eq!(sessions.grant(0, Some(session), now), LeaseReply::NotNow);
        assert_eq!(sessions.grant(0, None, now), LeaseReply::NotNow);
        assert!(sessions.is_live(0, now));
        let over = now + JUST_OVER;
        assert_eq!(sessions.close(0, over), None);
        assert_eq!(sessions.grant(0, Some(session), over), LeaseReply::NotNow);
        granted(sessions.grant(1, None, over));
        sessions.reopen(0);
        assert_ne!(granted(sessions.grant(0, Some(session), over)), session);
    }
}
