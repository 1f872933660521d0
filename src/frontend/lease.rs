//! The frontend's half of cache coherence: whether it may answer from its cache.
//!
//! The frontend asks the catalog's leader for a lease, again and again. While the lease lasts, the leader has
//! it forget what changes before it changes. When a lease names another session than the last one, the leader
//! does not know what this frontend holds, so everything is dropped; so it is when a new leader announces
//! itself. Leases run by this frontend's own clock, from the moment before it asked.
//!
//! The moment at which a cached read happens is the look at the clock in [`Lease::check`]. What it promises
//! rests on the order of three steps: the entry was taken before, and that nothing ended its session or its
//! generation is seen after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::protocol::cache::Session;

/// This frontend's lease.
///
/// Reading it takes no lock. Everything is ordered by sequential consistency: a new session shows before its
/// lease does.
pub struct Lease {
    started: Instant,
    /// Counts the sessions of this process, and the times without one. Entries carry it.
    era: AtomicU64,
    /// When the lease runs out, in microseconds since `started`; 0 without one.
    until_us: AtomicU64,
    granted: Mutex<Granted>,
    /// Told when a session ends before its time.
    ended: Notify,
}

struct Granted {
    session: Option<Session>,
    /// When a new leader last announced itself: a lease that was asked for before is not taken.
    ended_at: Option<Instant>,
}

/// How the lease stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseStats {
    /// Whether this frontend may answer from its cache now.
    pub held: bool,
    /// How long it still may, in milliseconds.
    pub remaining_ms: u64,
    /// The session's number, among those of its leader.
    pub session: Option<u64>,
    /// How many sessions there were.
    pub sessions: u64,
}

impl Lease {
    /// No lease yet.
    pub fn none() -> Lease {
        let now = Instant::now();
        Lease {
            started: now,
            era: AtomicU64::new(0),
            until_us: AtomicU64::new(0),
            granted: Mutex::new(Granted { session: None, ended_at: None }),
            ended: Notify::new(),
        }
    }

    /// The era that an entry filled from now on belongs to.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }

    /// Whether an entry of `era` that was taken before this call may be served.
    ///
    /// `still_holds` tells whether the entry was not invalidated, and is asked last.
    pub fn check(&self, era: u64, still_holds: impl FnOnce() -> bool) -> bool {
        self.is_held() && self.era() == era && still_holds()
    }

    /// The session to name when asking for the next lease.
    pub fn session(&self) -> Option<Session> {
        self.granted.lock().session
    }

    /// Takes a lease that was asked for at `asked_at`. Returns true if everything held must be dropped first;
    /// it is out of reach already.
    pub fn grant(&self, session: Session, asked_at: Instant, lease: Duration) -> bool {
        let mut granted = self.granted.lock();
        if granted.ended_at.is_some_and(|ended_at| asked_at <= ended_at) {
            return false;
        }
        let is_new = granted.session != Some(session);
        if is_new {
            // The era first: whoever sees the new session's lease must see that its entry is not of it.
            self.era.fetch_add(1, Ordering::SeqCst);
            granted.session = Some(session);
        }
        let until = asked_at + lease;
        let until_us = until.saturating_duration_since(self.started).as_micros() as u64;
        // Answers may arrive in another order than they were asked for.
        let until_us = if is_new { until_us } else { until_us.max(self.until_us.load(Ordering::SeqCst)) };
        self.until_us.store(until_us, Ordering::SeqCst);
        is_new
    }

    /// Ends the session: from now on nothing that is held is served, and no lease asked for before is taken.
    pub fn end(&self) {
        let mut granted = self.granted.lock();
        self.era.fetch_add(1, Ordering::SeqCst);
        self.until_us.store(0, Ordering::SeqCst);
        *granted = Granted { session: None, ended_at: Some(Instant::now()) };
        self.ended.notify_one();
    }

    /// Returns once a session was [ended](Self::end) since this last returned. For one caller.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// How the lease stands.
    pub fn stats(&self) -> LeaseStats {
        let session = self.session().map(|session| session.number);
        let remaining_us = self.until_us.load(Ordering::SeqCst).saturating_sub(self.now_us());
        LeaseStats { held: remaining_us > 0, remaining_ms: remaining_us / 1000, session, sessions: self.era() }
    }

    fn is_held(&self) -> bool {
        self.now_us() < self.until_us.load(Ordering::SeqCst)
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    fn session(number: u64) -> Session {
        Session { epoch: 7, number }
    }

    fn holds(lease: &Lease, era: u64) -> bool {
        lease.check(era, || true)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_served_without_a_lease_or_after_it() {
        let lease = Lease::none();
        assert!(!holds(&lease, lease.era()));
        assert!(lease.grant(session(1), Instant::now(), LEASE));
        let era = lease.era();
        assert!(holds(&lease, era));
        tokio::time::advance(LEASE).await;
        assert!(!holds(&lease, era));
        assert!(!lease.grant(session(1), Instant::now(), LEASE));
        assert!(holds(&lease, era));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_runs_from_the_question_and_not_from_the_answer() {
        let lease = Lease::none();
        let asked_at = Instant::now();
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        lease.grant(session(1), asked_at, LEASE);
        assert!(holds(&lease, lease.era()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!holds(&lease, lease.era()));
    }

    #[tokio::test(start_paused = true)]
    async fn another_session_puts_everything_out_of_reach() {
        let lease = Lease::none();
        lease.grant(session(1), Instant::now(), LEASE);
        let era = lease.era();
        assert!(lease.grant(session(2), Instant::now(), LEASE));
        assert!(!holds(&lease, era));
        // Even one that had been held before.
        assert!(lease.grant(session(1), Instant::now(), LEASE));
        assert!(!holds(&lease, era));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_asked_for_before_a_new_leader_announced_itself_is_not_taken() {
        let lease = Lease::none();
        let asked_at = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        lease.end();
        assert!(!lease.grant(session(1), asked_at, LEASE));
        assert!(!holds(&lease, lease.era()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(lease.grant(session(1), Instant::now(), LEASE));
        assert!(holds(&lease, lease.era()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_does_not_shorten_the_lease() {
        let lease = Lease::none();
        let first = Instant::now();
        lease.grant(session(1), first, LEASE);
        tokio::time::advance(LEASE / 2).await;
        lease.grant(session(1), Instant::now(), LEASE);
        lease.grant(session(1), first, LEASE);
        tokio::time::advance(LEASE * 3 / 4).await;
        assert!(holds(&lease, lease.era()));
    }
}
