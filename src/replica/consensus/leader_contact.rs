//! Whether this replica hears a leader.
//!
//! A leader counts as lost once nothing was heard of it for the shortest election timeout. Only time in which a
//! word could have been heard counts: a timer that fires late tells that this replica stood still, and what was
//! said meanwhile waits in its sockets; and while it does what the leader told it (stores entries, takes a
//! snapshot over), the leader speaks, however long the disk takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// What this replica hears of a leader.
pub struct LeaderContact {
    /// When a leader, or a candidate that got this replica's vote, was heard last.
    heard: watch::Sender<Instant>,
    is_lost: watch::Sender<bool>,
    /// What the leader told this replica to do and is not done yet.
    tasks: AtomicUsize,
}

/// How long silence lasts until the leader counts as lost.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// As long, if the timer that measures it fires in time.
    pub limit: Duration,
    /// How often a leader makes itself heard. A timer that is late by half as long proves nothing, and another such
    /// interval is waited for.
    pub heartbeat: Duration,
}

impl LeaderContact {
    /// A leader may have been heard just now.
    pub fn new() -> LeaderContact {
        LeaderContact {
            heard: watch::Sender::new(Instant::now()),
            is_lost: watch::Sender::new(false),
            tasks: AtomicUsize::new(0),
        }
    }

    /// Takes note that it was heard.
    pub fn note(&self) {
        self.heard.send_replace(Instant::now());
        if *self.is_lost.borrow() {
            self.is_lost.send_replace(false);
        }
    }

    /// Takes the leader for lost, whatever was heard, until it is heard again.
    pub fn lose(&self) {
        self.is_lost.send_replace(true);
        // Whoever waits for it to be lost looks only then.
        self.heard.send_modify(|_| {});
    }

    /// Takes note that it is heard until what is returned is dropped.
    pub fn engage(&self) -> Engaged<'_> {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        Engaged { contact: self }
    }

    /// Whether nothing was heard for so long that the leader may be gone.
    pub fn is_lost(&self) -> bool {
        *self.is_lost.borrow()
    }

    /// Tells of each change of [`is_lost`](Self::is_lost).
    pub fn watch_lost(&self) -> watch::Receiver<bool> {
        self.is_lost.subscribe()
    }

    /// Returns once the leader counts as lost. Somebody must wait here for it to be found out.
    pub async fn lost(&self, silence: Silence) {
        let mut heard = self.heard.subscribe();
        let mut due = *heard.borrow_and_update() + silence.limit;
        while !self.is_lost() {
            // To be put off at each word of the leader costs less than to run out in vain: that wakes the process.
            match tokio::time::timeout_at(due, heard.changed()).await {
                Ok(_) => due = *heard.borrow_and_update() + silence.limit,
                Err(_) => match silence.judge(due, Instant::now(), self.tasks.load(Ordering::Relaxed)) {
                    Some(later) => due = later,
                    None => {
                        self.is_lost.send_replace(true);
                    }
                },
            }
        }
    }

    /// Returns once the leader does not count as lost.
    pub async fn found(&self) {
        let mut is_lost = self.is_lost.subscribe();
        // The sender is this one's own: it lives.
        let _ = is_lost.wait_for(|is_lost| !is_lost).await;
    }
}

impl Silence {
    /// A timer for `due` fired `now`, while this many tasks of the leader's are not done. Until when to wait on, unless
    /// the leader counts as lost.
    fn judge(self, due: Instant, now: Instant, tasks: usize) -> Option<Instant> {
        if tasks > 0 {
            return Some(now + self.limit);
        }
        (now.saturating_duration_since(due) > self.heartbeat / 2).then(|| now + self.heartbeat)
    }
}

/// This replica does what the leader told it.
pub struct Engaged<'a> {
    contact: &'a LeaderContact,
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        self.contact.tasks.fetch_sub(1, Ordering::Relaxed);
        self.contact.note();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Silence = Silence { limit: Duration::from_millis(450), heartbeat: Duration::from_millis(200) };

    fn later(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_not_heard_for_the_limit_is_lost() {
        let contact = LeaderContact::new();
        let start = Instant::now();
        let words = async {
            for _ in 0..3 {
                tokio::time::sleep(later(400)).await;
                contact.note();
            }
        };
        tokio::join!(contact.lost(SILENCE), words);
        assert_eq!(start.elapsed(), later(3 * 400 + 450));
        assert!(contact.is_lost());
        contact.note();
        assert!(!contact.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_heard_while_this_replica_does_what_it_said() {
        let contact = LeaderContact::new();
        let start = Instant::now();
        let task = async {
            let _engaged = contact.engage();
            tokio::time::sleep(later(2000)).await;
        };
        tokio::join!(contact.lost(SILENCE), task);
        assert_eq!(start.elapsed(), later(2000 + 450));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_this_replica_stood_still_does_not_count() {
        let contact = LeaderContact::new();
        let lost = contact.lost(SILENCE);
        tokio::pin!(lost);
        assert!(futures_util::poll!(&mut lost).is_pending());
        // Nothing runs meanwhile.
        tokio::time::advance(later(3000)).await;
        assert!(futures_util::poll!(&mut lost).is_pending());
        let woke_at = Instant::now();
        contact.note();
        lost.await;
        assert_eq!(woke_at.elapsed(), later(450));
    }

    #[test]
    fn a_timer_that_fires_late_waits_for_one_more_heartbeat() {
        let due = Instant::now();
        assert_eq!(SILENCE.judge(due, due + later(5), 0), None);
        assert_eq!(SILENCE.judge(due, due + later(100), 0), None);
        assert_eq!(SILENCE.judge(due, due + later(101), 0), Some(due + later(301)));
        assert_eq!(SILENCE.judge(due, due + later(5), 1), Some(due + later(455)));
    }
}
