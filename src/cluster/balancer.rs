//! What is known of each replica of a group, and which is asked next: reads go to those that can make them current, in
//! strict rotation, writes to their leader first.
//!
//! Any replica takes any request, but passes a write on to its group's leader. Every answer tells which one that is, as
//! far as whoever answered knows; to be wrong costs a message, no more.
//!
//! What is known comes from answers, from failures and from [probes](super::probe). A replica that fails is left out at
//! once, and comes back when a probe finds that it serves: no customer's request is spent on finding that out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::replica::{Leading, Member, Standing};
use crate::telemetry::Trouble;

/// A group of which no server has answered for this long is given up on until one does.
const GROUP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a replica that failed a request is left out, even if its probes succeed; twice as long after each further
/// failure, up to the longest, and half to one and a half times that by chance.
const FIRST_BAR: Duration = Duration::from_millis(100);

/// See [`FIRST_BAR`].
const LONGEST_BAR: Duration = Duration::from_secs(5);

/// What is known of a replica. The better ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Condition {
    /// It can make reads current.
    Serves,
    /// It answers, but does not serve: it is asked if nobody does, for it may answer from what it holds.
    Behind,
    /// It does not answer.
    Silent,
    /// Somebody else answers at its address.
    Stranger,
}

impl Condition {
    const ALL: [Condition; 4] = [Condition::Serves, Condition::Behind, Condition::Silent, Condition::Stranger];
}

/// The replicas of one group. Cheap to clone.
#[derive(Clone)]
pub struct Balancer {
    inner: Arc<Inner>,
}

struct Inner {
    replicas: Box<[Replica]>,
    turn: AtomicUsize,
    leader: Mutex<Leader>,
    /// Who told of that leader: the position of a replica.
    teller: AtomicUsize,
    /// Since when no replica answers.
    silent_since: Mutex<Option<Instant>>,
    /// Told whenever what is known of the leader or of a replica changes.
    changes: watch::Sender<()>,
}

/// Who leads, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leader {
    /// Of two statements, the one with the higher term is newer.
    pub term: u64,
    /// The leader's position; nothing while it is not known.
    pub position: Option<usize>,
}

/// One replica, as the balancer sees it.
pub struct Replica {
    /// Its name and address.
    pub member: Member,
    condition: AtomicU8,
    record: Mutex<Record>,
    /// Told whenever it is about to be asked for something.
    pub(super) wanted: Notify,
    /// Told when its standing must be known now.
    pub(super) in_doubt: Notify,
}

/// What a replica has done so far.
#[derive(Default)]
struct Record {
    /// Whether it has ever answered: until then its silence is a start, not a failure.
    has_answered: bool,
    /// Why it does not serve.
    trouble: Option<String>,
    /// Requests that it has failed, one not long after another.
    failures: u32,
    /// Its probes do not count before this.
    barred_until: Option<Instant>,
    /// The group that it belongs to.
    cluster: Option<String>,
    /// Its failures and recoveries, as they are logged: one that comes and goes is one trouble.
    outage: Trouble,
}

impl Balancer {
    /// Balances over these replicas, all of which are taken to serve.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Balancer {
        let replica = |member| Replica {
            member,
            condition: AtomicU8::new(Condition::Serves as u8),
            record: Mutex::default(),
            wanted: Notify::new(),
            in_doubt: Notify::new(),
        };
        Balancer {
            inner: Arc::new(Inner {
                replicas: members.into_iter().map(replica).collect(),
                turn: AtomicUsize::new(0),
                leader: Mutex::default(),
                teller: AtomicUsize::new(0),
                silent_since: Mutex::default(),
                changes: watch::Sender::new(()),
            }),
        }
    }

    /// All replicas, whatever their condition.
    pub fn replicas(&self) -> &[Replica] {
        &self.inner.replicas
    }

    /// The next replica in turn, of those in the best condition that are not among those `tried` already.
    pub fn next(&self, tried: &[usize]) -> Option<usize> {
        let best = self.best(tried)?;
        let candidates = || self.candidates(tried).filter(|position| self.condition(*position) == best);
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        // Its condition may have changed since.
        let position =
            candidates().nth(turn % candidates().count().max(1)).or_else(|| self.candidates(tried).next())?;
        self.replicas()[position].wanted.notify_one();
        Some(position)
    }

    /// The replica that leads, if it is known, answers and is not among those `tried` already; else the next in turn.
    pub fn leader_or_next(&self, tried: &[usize]) -> Option<usize> {
        match self.leader().position {
            Some(leader) if self.condition(leader) <= Condition::Behind && !tried.contains(&leader) => {
                self.replicas()[leader].wanted.notify_one();
                Some(leader)
            }
            _ => self.next(tried),
        }
    }

    /// Whether there is any replica to ask that is not among those `tried` already.
    pub fn has_others(&self, tried: &[usize]) -> bool {
        self.best(tried).is_some()
    }

    /// Whether no replica has answered for so long that none is expected to.
    pub fn is_given_up(&self) -> bool {
        self.inner.silent_since.lock().is_some_and(|since| since.elapsed() >= GROUP_PATIENCE)
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Leader {
        *self.inner.leader.lock()
    }

    /// What changes: who leads, or a replica's condition.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.inner.changes.subscribe()
    }

    /// Has all replicas probed now.
    pub fn look_around(&self) {
        self.replicas().iter().for_each(|replica| replica.in_doubt.notify_one());
    }

    /// Takes note of the replica that leads, as the one at position `teller` says, unless that is known to be over.
    pub fn note_leader(&self, teller: usize, id: &str, term: u64) {
        let Some(position) = self.replicas().iter().position(|replica| replica.member.id == id) else { return };
        let former = {
            let mut leader = self.inner.leader.lock();
            if term < leader.term || leader.position == Some(position) && leader.term == term {
                return;
            }
            self.inner.teller.store(teller, Ordering::Relaxed);
            std::mem::replace(&mut *leader, Leader { term, position: Some(position) })
        };
        if let Some(former) = former.position.filter(|former| *former != position) {
            let replica = &self.replicas()[former];
            if replica.condition() == Condition::Serves {
                self.turn_to(former, Condition::Behind, Some(format!("{id} leads in its place")));
            }
        }
        self.inner.changes.send_replace(());
    }

    /// Takes note that a replica answered a request.
    pub fn note_answer(&self, position: usize) {
        let replica = &self.replicas()[position];
        // What follows is rare, and locks.
        if replica.condition() <= Condition::Behind {
            return;
        }
        self.turn_to(position, Condition::Behind, Some("it has just answered again".to_owned()));
        replica.in_doubt.notify_one();
    }

    /// Takes note that a replica failed a request.
    pub fn note_failure(&self, position: usize, reason: String) {
        let replica = &self.replicas()[position];
        {
            let mut record = replica.record();
            if record.barred_until.is_none_or(|until| until.elapsed() > LONGEST_BAR) {
                record.failures = 0;
            }
            let bar = FIRST_BAR * 2_u32.saturating_pow(record.failures.min(16));
            record.failures += 1;
            record.barred_until = Some(Instant::now() + bar.min(LONGEST_BAR).mul_f64(0.5 + fastrand::f64()));
        }
        self.turn_to(position, Condition::Silent, Some(reason));
        replica.in_doubt.notify_one();
    }

    /// Takes note of how a replica stands, as it said to a probe, or why it did not.
    pub(super) fn note_standing(&self, position: usize, standing: Result<Standing, String>) {
        let replica = &self.replicas()[position];
        let standing = match standing {
            Err(reason) => return self.turn_to(position, Condition::Silent, Some(reason)),
            Ok(standing) => standing,
        };
        if let Some(stranger) = self.stranger(position, &standing) {
            return self.turn_to(position, Condition::Stranger, Some(stranger));
        }
        if let Some(Leading { id, term }) = &standing.leader {
            self.note_leader(position, id, *term);
        }
        // It is left out in favour of others, not for nobody.
        if replica.condition() == Condition::Silent && replica.record().is_barred() && !self.is_silent() {
            return;
        }
        let is_old = standing.leader.as_ref().is_some_and(|leader| leader.term < self.leader().term);
        let trouble = match &standing {
            Standing { cluster: None, .. } => "it is part of no group yet",
            Standing { serves: false, hindrance: Some(hindrance), .. } => hindrance,
            Standing { leader: None, .. } => "it knows no leader",
            Standing { serves: false, .. } => "it cannot make reads current",
            _ if is_old => "its leader was replaced",
            _ => return self.turn_to(position, Condition::Serves, None),
        };
        self.turn_to(position, Condition::Behind, Some(trouble.to_owned()));
    }

    /// Why to wait no longer for the answer of a replica, of which `leader` and `condition` were known when it was asked.
    pub(super) fn hopeless(&self, position: usize, leader: Leader, condition: Condition) -> Option<String> {
        let now = self.leader();
        if leader.position == Some(position) && now.term > leader.term && now.position != Some(position) {
            return Some("another replica leads now".to_owned());
        }
        let replica = &self.replicas()[position];
        let has_vanished = condition <= Condition::Behind && replica.condition() >= Condition::Silent;
        has_vanished.then(|| replica.trouble().unwrap_or_default())
    }

    /// What somebody at a replica's address has to be to be another than that replica.
    fn stranger(&self, position: usize, standing: &Standing) -> Option<String> {
        let replica = &self.replicas()[position];
        replica.record().cluster.clone_from(&standing.cluster);
        if standing.id != replica.member.id {
            return Some(format!("{} answers at its address", standing.id));
        }
        let clusters: Vec<String> =
            self.replicas().iter().filter_map(|replica| replica.record().cluster.clone()).collect();
        let count = |cluster: &String| clusters.iter().filter(|other| *other == cluster).count();
        let own = standing.cluster.as_ref()?;
        let is_outnumbered = clusters.iter().any(|other| count(other) > count(own));
        is_outnumbered.then(|| "it belongs to another group than the others".to_owned())
    }

    fn condition(&self, position: usize) -> Condition {
        self.replicas()[position].condition()
    }

    fn candidates<'a>(&'a self, tried: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        (0..self.replicas().len()).filter(|position| !tried.contains(position))
    }

    /// The best condition of those that may be asked. The silent ones are asked only while all are silent, and not for
    /// long.
    fn best(&self, tried: &[usize]) -> Option<Condition> {
        let best = self.candidates(tried).map(|position| self.condition(position)).min()?;
        match best {
            Condition::Serves | Condition::Behind => Some(best),
            Condition::Silent => (self.is_silent() && !self.is_given_up()).then_some(best),
            Condition::Stranger => None,
        }
    }

    /// Whether no replica answers.
    fn is_silent(&self) -> bool {
        self.replicas().iter().all(|replica| replica.condition() >= Condition::Silent)
    }

    fn turn_to(&self, position: usize, condition: Condition, trouble: Option<String>) {
        let replica = &self.replicas()[position];
        let former = Condition::ALL[usize::from(replica.condition.swap(condition as u8, Ordering::Relaxed))];
        replica.record().note(&replica.member.id, former, condition, trouble);
        if former == condition {
            return;
        }
        let is_silent = {
            // Looked at under the lock: the last to look sees what all others have changed.
            let mut silent_since = self.inner.silent_since.lock();
            let is_silent = self.is_silent();
            *silent_since = is_silent.then(|| silent_since.unwrap_or_else(Instant::now));
            is_silent
        };
        let mut leader = self.inner.leader.lock();
        let was_misled = condition == Condition::Stranger && self.inner.teller.load(Ordering::Relaxed) == position;
        // A group that comes back may have begun anew, with lower terms; and a stranger spoke of another group.
        if is_silent || was_misled {
            *leader = Leader::default();
        }
        drop(leader);
        self.inner.changes.send_replace(());
    }
}

impl Replica {
    /// What is known of it.
    pub fn condition(&self) -> Condition {
        Condition::ALL[usize::from(self.condition.load(Ordering::Relaxed))]
    }

    /// Why it does not serve, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.record().trouble.clone()
    }

    /// Whether it has never answered.
    pub(super) fn is_new(&self) -> bool {
        !self.record().has_answered
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock()
    }
}

impl Record {
    /// Takes note that replica `id` turned from one condition to another, or stays in one, and tells what is worth it.
    fn note(&mut self, id: &str, former: Condition, condition: Condition, trouble: Option<String>) {
        let was_known = self.has_answered;
        self.has_answered |= condition <= Condition::Behind;
        self.trouble = trouble;
        let trouble = self.trouble.as_deref().unwrap_or_default();
        match condition {
            Condition::Serves => {
                if let Some(failures) = self.outage.gone() {
                    tracing::info!(replica = id, failures, "a replica serves again and is taken back");
                }
            }
            _ if former == condition => {}
            Condition::Behind | Condition::Silent if !was_known => {
                tracing::debug!(replica = id, ?condition, trouble, "asked for the first time");
            }
            Condition::Behind if former > condition => {
                tracing::debug!(replica = id, trouble, "a replica answers again, and does not serve yet");
            }
            Condition::Behind => {
                if let Some(failures) = self.outage.met() {
                    tracing::info!(replica = id, trouble, failures, "a replica is asked only if no other serves");
                }
            }
            Condition::Silent => {
                if let Some(failures) = self.outage.met() {
                    tracing::warn!(replica = id, trouble, failures, "a replica does not answer and is left out");
                }
            }
            Condition::Stranger => {
                if let Some(failures) = self.outage.met() {
                    tracing::warn!(replica = id, trouble, failures, "a stranger answers in a replica's place");
                }
            }
        }
    }

    fn is_barred(&self) -> bool {
        self.barred_until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests;
