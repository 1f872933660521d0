//! The leader's half of cache coherence: before a write, every frontend forgets what it changes.
//!
//! A key that a write is about to change is *pending* from before its invalidation is sent until the
//! write has been applied; a frontend does not cache what it reads of a pending key. If nobody knows
//! whether the write happened, the key stays pending for as long as this replica leads.
//!
//! A frontend that does not confirm an invalidation is refused further leases and waited for until its last
//! one is surely over; then it holds nothing that it may serve. It gets leases again once it confirms something,
//! so one that asks but cannot be told delays one write and not all.
//!
//! A new leader does not know what its predecessors allowed, but to whom: before a process is granted its first lease,
//! the group's log notes it as a *holder*, with its address and the length of its leases. The new leader has every
//! holder drop everything, or waits until its lease is surely over, before it writes; whatever its own configuration says
//! of frontends, addresses and leases.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::command::LeaseHolder;
use super::footprint::{self, Arrival, Arrivals};
use super::sessions::{LeaseTerms, Sessions};
use crate::codec::encode;
use crate::http::client::{Client, Request};
use crate::model::BookId;
use crate::protocol::cache::{
    ANNOUNCE, Epoch, INVALIDATE, Invalidation, LeaseEnd, LeaseReply, LeaseRequest, MAX_INVALIDATION_BYTES, ProcessId,
    Tag,
};
use crate::protocol::catalog::Write;
use crate::replica::{LeaderEpoch, Member, WriteError};

/// Writes that may wait for one frontend to confirm.
const QUEUED_INVALIDATIONS: usize = 4096;

/// A frontend that has not confirmed after this part of a lease gets no further one until it does.
const CONFIRM_PART_OF_LEASE: u32 = 4;

/// How soon a frontend that did not confirm is told again, while its lease lasts.
const TELL_PAUSE: Duration = Duration::from_millis(10);

/// How often the frontends are told of further topics that a write touches, because books came meanwhile, before it is
/// refused.
const MAX_WIDENINGS: usize = 16;

/// How soon a frontend that has not heard of a new leader is told again.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(20);

/// Keeps the frontends' caches in step. Cheap to clone.
#[derive(Clone)]
pub struct Invalidator {
    frontends: Arc<[Frontend]>,
    client: Client,
    terms: LeaseTerms,
    shared: Arc<Mutex<Shared>>,
}

struct Frontend {
    member: Member,
    batcher: mpsc::Sender<Forget>,
}

struct Shared {
    leader_epoch: LeaderEpoch,
    /// Whether no frontend can hold anything of an earlier epoch any more.
    is_open: bool,
    sessions: Sessions,
    /// By position: the process that this leader knows to be noted in the log as the one that may have a lease. Nothing
    /// is known while that is about to change.
    holders: HashMap<usize, LeaseHolder>,
    /// Those that are about to be noted, and how many requests wait for it.
    entering: HashMap<usize, (ProcessId, u32)>,
    pending: HashMap<Tag, u32>,
    /// The books that pending writes add.
    arrivals: Arrivals,
}

struct Forget {
    tags: Arc<[Tag]>,
    /// Told when the frontend serves nothing of the old.
    forgotten: oneshot::Sender<()>,
}

impl Invalidator {
    /// Starts one task for each frontend of the configuration. No lease is granted before
    /// [`on_become_leader`](Self::on_become_leader).
    pub fn start(client: &Client, frontends: Vec<Member>, terms: LeaseTerms) -> Invalidator {
        let shared = Arc::new(Mutex::new(Shared::new(0, Sessions::new(0, terms))));
        let frontend = |(number, member): (usize, Member)| {
            let (batcher, waiting) = mpsc::channel(QUEUED_INVALIDATIONS);
            let carrier = Carrier {
                frontend: number,
                member: member.clone(),
                client: client.clone(),
                confirm_timeout: terms.lease / CONFIRM_PART_OF_LEASE,
                shared: shared.clone(),
            };
            tokio::spawn(carrier.run(waiting));
            Frontend { member, batcher }
        };
        let frontends = frontends.into_iter().enumerate().map(frontend).collect();
        Invalidator { frontends, client: client.clone(), terms, shared }
    }

    /// Begins an epoch: returns once no frontend serves anything that it was allowed to before, and tells which of the
    /// `holders` that the log notes had to be waited for. They have no lease any more.
    pub async fn on_become_leader(
        &self,
        leader_epoch: LeaderEpoch,
        holders: &BTreeMap<String, LeaseHolder>,
    ) -> Vec<String> {
        // Any lease was granted by a majority that had not elected this leader yet, so it began before now.
        let now = Instant::now();
        let epoch = uuid::Uuid::new_v4().as_u128();
        *self.shared.lock() = Shared::new(leader_epoch, Sessions::new(epoch, self.terms));
        let announcements = holders.iter().map(async |(frontend, holder)| {
            let is_confirmed = self.announce(frontend, holder, now).await;
            (!is_confirmed).then(|| frontend.clone())
        });
        let waited_for: Vec<String> = join_all(announcements).await.into_iter().flatten().collect();
        let mut shared = self.shared.lock();
        shared.is_open = shared.leader_epoch == leader_epoch;
        for (number, frontend) in self.frontends.iter().enumerate() {
            if let Some(holder) = holders.get(&frontend.member.id).filter(|_| !waited_for.contains(&frontend.member.id))
            {
                shared.holders.insert(number, holder.clone());
            }
        }
        waited_for
    }

    /// Lets a frontend's process in that asks for a lease, or tells why it gets none. No other process under its name is
    /// let in for as long as the [`Admission`] exists.
    ///
    /// # Errors
    /// The reply, if it is none.
    pub fn admit(&self, request: &LeaseRequest) -> Result<Admission, LeaseReply> {
        let position = self.frontends.iter().position(|frontend| frontend.member.id == request.frontend);
        let Some(frontend) = position else { return Err(LeaseReply::Stranger) };
        let mut shared = self.shared.lock();
        if let Some(refusal) = shared.sessions.refusal(frontend, request.process, Instant::now()) {
            return Err(refusal);
        }
        match shared.entering.get_mut(&frontend) {
            Some((process, _)) if *process != request.process => return Err(LeaseReply::HeldByAnother),
            Some((_, count)) => *count += 1,
            None => drop(shared.entering.insert(frontend, (request.process, 1))),
        }
        let holder = LeaseHolder {
            process: request.process,
            address: self.frontends[frontend].member.address.clone(),
            surely_over_ms: self.terms.surely_over().as_micros().div_ceil(1000) as u64,
        };
        let is_noted = shared.holders.get(&frontend) == Some(&holder);
        if !is_noted {
            // If nobody comes to know whether the log notes it, the next one to ask has itself noted after it.
            shared.holders.remove(&frontend);
        }
        let (leader_epoch, epoch) = (shared.leader_epoch, shared.sessions.epoch());
        Ok(Admission { invalidator: self.clone(), frontend, leader_epoch, epoch, holder, is_noted })
    }

    /// Answers a frontend that was let in. The caller has confirmed since that this replica leads, and that the log notes
    /// the process.
    pub fn grant(&self, request: &LeaseRequest, admission: Admission) -> LeaseReply {
        let mut shared = self.shared.lock();
        if shared.sessions.epoch() != admission.epoch {
            return LeaseReply::NotNow;
        }
        shared.holders.insert(admission.frontend, admission.holder.clone());
        shared.sessions.grant(admission.frontend, request.process, request.session, Instant::now())
    }

    /// A process has stopped to answer from its cache.
    pub fn end(&self, lease: &LeaseEnd) {
        if let Some(frontend) = self.frontends.iter().position(|frontend| frontend.member.id == lease.frontend) {
            self.shared.lock().sessions.end(frontend, lease.process);
        }
    }

    /// Whether a write to what `tag` names is under way.
    pub fn is_pending(&self, tag: &Tag) -> bool {
        self.shared.lock().pending.contains_key(tag)
    }

    /// Marks what `writes` may change as pending, has the frontends forget it, and proposes the writes by `propose` in
    /// the leader epoch that it is given; returns what that returned, and the mark. `topic_of` tells the topic, normalized, of
    /// a book in the state.
    ///
    /// What a write may change depends on which books are on their way. So that is looked at once more when the
    /// frontends have confirmed, in one step with the proposal, and whatever was not told yet is told first.
    ///
    /// # Errors
    /// `Overloaded` if too many writes wait for a frontend already, or too many books come meanwhile; `NotLeader` if this
    /// replica does not lead.
    pub async fn propose<T>(
        &self,
        writes: &[Write],
        topic_of: impl Fn(BookId) -> Option<String>,
        propose: impl Fn(LeaderEpoch) -> T,
    ) -> Result<(T, PendingWrite), WriteError> {
        let mut under_way = self.begin(writes)?;
        for _ in 0..MAX_WIDENINGS {
            let forgotten = {
                let mut shared = self.shared.lock();
                if shared.leader_epoch != under_way.leader_epoch {
                    return Err(WriteError::NotLeader);
                }
                if under_way.looked_at == Some(shared.arrivals.begun()) {
                    return Ok((propose(under_way.leader_epoch), under_way));
                }
                under_way.looked_at = Some(shared.arrivals.begun());
                let tags = footprint::tags(writes, &shared.arrivals, &topic_of);
                let new: Arc<[Tag]> = tags.into_iter().filter(|tag| !under_way.covers(tag)).collect();
                // Marked first: a frontend that comes back from now on reads that the key is pending.
                new.iter().for_each(|tag| *shared.pending.entry(tag.clone()).or_default() += 1);
                under_way.tags.push(new.clone());
                match new.is_empty() {
                    true => Ok(Vec::new()),
                    false => self.send(new, &mut shared),
                }
            };
            match forgotten {
                // The task answers always; one that is gone means that the process is going.
                Ok(confirmations) => drop(join_all(confirmations).await),
                Err(error) => {
                    under_way.finish();
                    return Err(error);
                }
            }
        }
        under_way.finish();
        Err(WriteError::Overloaded("too many books are being added".to_owned()))
    }

    fn begin(&self, writes: &[Write]) -> Result<PendingWrite, WriteError> {
        let mut shared = self.shared.lock();
        if !shared.is_open {
            return Err(WriteError::NotLeader);
        }
        let arrivals = Arrivals::of(writes);
        shared.arrivals.begin(&arrivals);
        let (invalidator, leader_epoch) = (self.clone(), shared.leader_epoch);
        Ok(PendingWrite { invalidator, leader_epoch, tags: Vec::new(), arrivals, looked_at: None })
    }

    /// Queues an invalidation for each frontend that may be answering from its cache. Each is confirmed by a message.
    fn send(&self, tags: Arc<[Tag]>, shared: &mut Shared) -> Result<Vec<oneshot::Receiver<()>>, WriteError> {
        let now = Instant::now();
        let mut confirmations = Vec::with_capacity(self.frontends.len());
        for (number, frontend) in self.frontends.iter().enumerate() {
            if shared.sessions.live(number, now).is_none() {
                continue;
            }
            let (forgotten, confirmation) = oneshot::channel();
            frontend.batcher.try_send(Forget { tags: tags.clone(), forgotten }).map_err(|_| {
                WriteError::Overloaded(format!("{QUEUED_INVALIDATIONS} writes wait for a frontend to confirm already"))
            })?;
            confirmations.push(confirmation);
        }
        Ok(confirmations)
    }

    /// Has a process drop everything that it holds, and tells whether it confirmed; if not, any lease of its that began
    /// before `began_before` is surely over by now.
    async fn announce(&self, frontend: &str, holder: &LeaseHolder, began_before: Instant) -> bool {
        let deadline = began_before + Duration::from_millis(holder.surely_over_ms);
        // Where it is by this leader's configuration, and where it was by another's: it says itself whether it is meant.
        let configured = self.frontends.iter().find(|known| known.member.id == frontend);
        let addresses: BTreeSet<&str> =
            configured.map(|known| &*known.member.address).into_iter().chain([&*holder.address]).collect();
        let announcements = addresses.into_iter().map(|address| self.announce_at(address, holder.process, deadline));
        let mut announcements: FuturesUnordered<_> = announcements.collect();
        while let Some(is_confirmed) = announcements.next().await {
            if is_confirmed {
                return true;
            }
        }
        tracing::warn!(frontend, "the frontend did not confirm the new leader; its lease has run out by now");
        false
    }

    async fn announce_at(&self, address: &str, process: ProcessId, deadline: Instant) -> bool {
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let (name, process) = process.header();
            let request = Request::post(ANNOUNCE, Bytes::new()).header(name, process);
            match self.client.send(address, request, left).await {
                Ok(reply) if reply.status.is_success() => return true,
                Ok(reply) => tracing::debug!(address, status = %reply.status, "announcement refused"),
                Err(error) => tracing::debug!(address, %error, "announcement not confirmed"),
            }
            tokio::time::sleep(ANNOUNCE_PAUSE.min(left)).await;
        }
        false
    }
}

impl Shared {
    fn new(leader_epoch: LeaderEpoch, sessions: Sessions) -> Shared {
        Shared {
            leader_epoch,
            is_open: false,
            sessions,
            holders: HashMap::new(),
            entering: HashMap::new(),
            pending: HashMap::new(),
            arrivals: Arrivals::default(),
        }
    }
}

/// A process that was let in to have a lease.
pub struct Admission {
    invalidator: Invalidator,
    frontend: usize,
    leader_epoch: LeaderEpoch,
    epoch: Epoch,
    holder: LeaseHolder,
    /// Whether the log notes the process as the holder.
    is_noted: bool,
}

impl Admission {
    /// What the log must note in this leader epoch before the lease is granted; nothing if it does.
    pub fn to_note(&self) -> Option<(LeaderEpoch, &LeaseHolder)> {
        (!self.is_noted).then_some((self.leader_epoch, &self.holder))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut shared = self.invalidator.shared.lock();
        if shared.leader_epoch != self.leader_epoch {
            return;
        }
        if let Some((_, count)) = shared.entering.get_mut(&self.frontend) {
            *count -= 1;
            if *count == 0 {
                shared.entering.remove(&self.frontend);
            }
        }
    }
}

/// A write whose keys are pending.
///
/// Dropping it without [`finish`](Self::finish) leaves them pending, as is right for an unknown outcome.
#[must_use]
pub struct PendingWrite {
    invalidator: Invalidator,
    /// The leader epoch in which the frontends were told. In the next one, others may have come that were not.
    leader_epoch: LeaderEpoch,
    /// What was told, step by step.
    tags: Vec<Arc<[Tag]>>,
    /// The books that the write adds.
    arrivals: Vec<Arrival>,
    /// How many books had been begun when the tags were last looked at.
    looked_at: Option<u64>,
}

impl PendingWrite {
    /// The write was applied, or certainly will not be.
    pub fn finish(self) {
        let mut shared = self.invalidator.shared.lock();
        if shared.leader_epoch != self.leader_epoch {
            return;
        }
        shared.arrivals.finish(&self.arrivals);
        for tag in self.tags.iter().flat_map(|tags| tags.iter()) {
            if let Some(count) = shared.pending.get_mut(tag) {
                *count -= 1;
                if *count == 0 {
                    shared.pending.remove(tag);
                }
            }
        }
    }

    fn covers(&self, tag: &Tag) -> bool {
        // Each round's come out of a sorted set.
        self.tags.iter().any(|told| told.binary_search(tag).is_ok())
    }
}

/// Carries invalidations to one frontend, all that have gathered at a time.
struct Carrier {
    frontend: usize,
    member: Member,
    client: Client,
    confirm_timeout: Duration,
    shared: Arc<Mutex<Shared>>,
}

impl Carrier {
    async fn run(self, mut waiting: mpsc::Receiver<Forget>) {
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut gathered, QUEUED_INVALIDATIONS) => {
                    if count == 0 {
                        return;
                    }
                    self.carry(&gathered).await;
                    for forget in gathered.drain(..) {
                        let _ = forget.forgotten.send(());
                    }
                }
                () = self.call_until_heard(), if self.deaf().is_some() => {}
            }
        }
    }

    /// Returns once a process that did not confirm, and whose last lease is over, confirms that it hears again.
    async fn call_until_heard(&self) {
        while let Some(process) = self.deaf() {
            tokio::time::sleep(self.confirm_timeout).await;
            if self.tell(process, nothing(), self.confirm_timeout).await.is_ok() {
                self.reopen(process);
            }
        }
    }

    fn deaf(&self) -> Option<ProcessId> {
        self.shared.lock().sessions.deaf(self.frontend)
    }

    fn reopen(&self, process: ProcessId) {
        tracing::info!(frontend = self.member.id, "the frontend confirms again and may have leases");
        self.shared.lock().sessions.reopen(self.frontend, process);
    }

    /// Returns once the frontend serves nothing of the old: it has confirmed, or its lease is over. It is told until then.
    async fn carry(&self, gathered: &[Forget]) {
        let live = self.shared.lock().sessions.live(self.frontend, Instant::now());
        let Some(process) = live else { return };
        let message = invalidation(gathered);
        let Err(reason) = self.tell(process, message.clone(), self.confirm_timeout).await else { return };
        let over_at = self.shared.lock().sessions.close(self.frontend, process, Instant::now());
        tracing::warn!(frontend = self.member.id, reason, "the frontend does not confirm: its lease must run out");
        let Some(over_at) = over_at else { return };
        while let Some(left) = over_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.tell(process, message.clone(), left.min(self.confirm_timeout)).await.is_ok() {
                self.reopen(process);
                return;
            }
            tokio::time::sleep(TELL_PAUSE.min(left)).await;
        }
    }

    /// Has a process forget, and tells why it did not confirm.
    async fn tell(&self, process: ProcessId, message: Bytes, timeout: Duration) -> Result<(), String> {
        let (name, process) = process.header();
        let request = Request::post(INVALIDATE, message).header(name, process);
        match self.client.send(&self.member.address, request, timeout).await {
            Ok(reply) if reply.status.is_success() => Ok(()),
            Ok(reply) => Err(format!("it answered {}", reply.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What must be forgotten, once each; everything, where that is too long to be told.
fn invalidation(gathered: &[Forget]) -> Bytes {
    let tags: BTreeSet<&Tag> = gathered.iter().flat_map(|forget| forget.tags.iter()).collect();
    let message = encode(&Invalidation::Tags(tags.into_iter().cloned().collect()));
    match message.len() <= MAX_INVALIDATION_BYTES {
        true => message,
        false => encode(&Invalidation::Everything),
    }
}

fn nothing() -> Bytes {
    encode(&Invalidation::Tags(Vec::new()))
}

#[cfg(test)]
mod tests;
