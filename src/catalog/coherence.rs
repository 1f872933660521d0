//! The leader's half of cache coherence: before a write, every frontend forgets what it changes.
//!
//! A key that a write is about to change is *pending* from before its invalidation is sent until the
//! write has been applied; a frontend does not cache what it reads of a pending key. If nobody knows
//! whether the write happened, the key stays pending for as long as this leader is in office.
//!
//! A frontend that does not confirm an invalidation is refused further leases and waited for until its last
//! one is surely over; then it holds nothing that it may serve. It gets leases again once it confirms something,
//! so one that asks but cannot be told delays one write and not all. A new leader does not know what its predecessor
//! allowed. It has every frontend drop everything, or waits until any lease is surely over, before it writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::command::Write;
use super::footprint::{self, Arrival, Arrivals};
use super::leader::encode;
use super::sessions::{LeaseTerms, Sessions};
use crate::coherence::{ANNOUNCE, Epoch, INVALIDATE, LeaseReply, LeaseRequest, Tag};
use crate::http::client::{Client, Request};
use crate::model::BookId;
use crate::replica::{Member, Tenure, WriteError};

/// Writes that may wait for one frontend to confirm.
const QUEUED_INVALIDATIONS: usize = 4096;

/// A frontend that has not confirmed after this part of a lease is not asked again.
const CONFIRM_PART_OF_LEASE: u32 = 4;

/// How often the frontends are told of further topics that a write touches, because books came meanwhile, before it is
/// refused.
const MAX_WIDENINGS: usize = 16;

/// How soon a frontend that has not heard of a new leader is told again.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(20);

/// Keeps the frontends' caches in step. Cheap to clone.
#[derive(Clone)]
pub struct Coherence {
    frontends: Arc<[Frontend]>,
    client: Client,
    terms: LeaseTerms,
    shared: Arc<Mutex<Shared>>,
}

struct Frontend {
    member: Member,
    courier: mpsc::Sender<Invalidation>,
}

struct Shared {
    tenure: Tenure,
    /// Whether no frontend can hold anything of an earlier epoch any more.
    is_open: bool,
    sessions: Sessions,
    pending: HashMap<Tag, u32>,
    /// The books that pending writes add.
    arrivals: Arrivals,
}

struct Invalidation {
    tags: Arc<[Tag]>,
    /// Told when the frontend serves nothing of the old.
    forgotten: oneshot::Sender<()>,
}

impl Coherence {
    /// Starts one courier for each frontend of the configuration. No lease is granted before
    /// [`take_office`](Self::take_office).
    pub fn start(client: &Client, frontends: Vec<Member>, terms: LeaseTerms) -> Coherence {
        let shared = Arc::new(Mutex::new(Shared::new(0, Sessions::new(0, terms))));
        let frontend = |(number, member): (usize, Member)| {
            let (courier, waiting) = mpsc::channel(QUEUED_INVALIDATIONS);
            let carrier = Carrier {
                frontend: number,
                member: member.clone(),
                client: client.clone(),
                confirm_timeout: terms.lease / CONFIRM_PART_OF_LEASE,
                shared: shared.clone(),
            };
            tokio::spawn(carrier.run(waiting));
            Frontend { member, courier }
        };
        let frontends = frontends.into_iter().enumerate().map(frontend).collect();
        Coherence { frontends, client: client.clone(), terms, shared }
    }

    /// Begins an epoch: returns once no frontend serves anything that it was allowed to before.
    pub async fn take_office(&self, tenure: Tenure) {
        // Any lease was granted by a majority that had not elected this leader yet, so it began before now.
        let deadline = Instant::now() + self.terms.surely_over();
        let epoch = uuid::Uuid::new_v4().as_u128();
        *self.lock() = Shared::new(tenure, Sessions::new(epoch, self.terms));
        let announcements = self.frontends.iter().map(|frontend| self.announce(&frontend.member, epoch, deadline));
        join_all(announcements).await;
        let mut shared = self.lock();
        shared.is_open = shared.tenure == tenure;
    }

    /// Answers a frontend that asks for a lease. The caller has confirmed, after the question came, that this
    /// replica leads; `epoch` is what [`epoch`](Self::epoch) said before it did.
    pub fn grant(&self, request: &LeaseRequest, epoch: Epoch) -> LeaseReply {
        let Some(frontend) = self.frontends.iter().position(|frontend| frontend.member.id == request.frontend) else {
            return LeaseReply::Stranger;
        };
        let mut shared = self.lock();
        match shared.sessions.epoch() == epoch {
            true => shared.sessions.grant(frontend, request.session, Instant::now()),
            false => LeaseReply::NotNow,
        }
    }

    /// The epoch that this leader is in.
    pub fn epoch(&self) -> Epoch {
        self.lock().sessions.epoch()
    }

    /// Whether a write to what `tag` names is under way.
    pub fn is_pending(&self, tag: &Tag) -> bool {
        self.lock().pending.contains_key(tag)
    }

    /// Marks what `writes` may change as pending, has the frontends forget it, and proposes the writes by `propose` in
    /// the tenure that it is given; returns what that returned, and the mark. `topic_of` tells the topic, normalized, of
    /// a book in the state.
    ///
    /// What a write may change depends on which books are on their way. So that is looked at once more when the
    /// frontends have confirmed, in one step with the proposal, and whatever was not told yet is told first.
    ///
    /// # Errors
    /// `Overloaded` if too many writes wait for a frontend already, or too many books come meanwhile; `NotLeader` if this
    /// replica is not in office.
    pub async fn propose<T>(
        &self,
        writes: &[Write],
        topic_of: impl Fn(BookId) -> Option<String>,
        propose: impl Fn(Tenure) -> T,
    ) -> Result<(T, PendingWrite), WriteError> {
        let mut under_way = self.begin(writes)?;
        for _ in 0..MAX_WIDENINGS {
            let forgotten = {
                let mut shared = self.lock();
                if shared.tenure != under_way.tenure {
                    return Err(WriteError::NotLeader);
                }
                if under_way.looked_at == Some(shared.arrivals.begun()) {
                    return Ok((propose(under_way.tenure), under_way));
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
                // A courier answers always; one that is gone means that the process is going.
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
        let mut shared = self.lock();
        if !shared.is_open {
            return Err(WriteError::NotLeader);
        }
        let arrivals = Arrivals::of(writes);
        shared.arrivals.begin(&arrivals);
        let (coherence, tenure) = (self.clone(), shared.tenure);
        Ok(PendingWrite { coherence, tenure, tags: Vec::new(), arrivals, looked_at: None })
    }

    /// Queues an invalidation for each frontend that may be answering from its cache. Each is confirmed by a message.
    fn send(&self, tags: Arc<[Tag]>, shared: &mut Shared) -> Result<Vec<oneshot::Receiver<()>>, WriteError> {
        let now = Instant::now();
        let mut confirmations = Vec::with_capacity(self.frontends.len());
        for (number, frontend) in self.frontends.iter().enumerate() {
            if !shared.sessions.is_live(number, now) {
                continue;
            }
            let (forgotten, confirmation) = oneshot::channel();
            frontend.courier.try_send(Invalidation { tags: tags.clone(), forgotten }).map_err(|_| {
                WriteError::Overloaded(format!("{QUEUED_INVALIDATIONS} writes wait for a frontend to confirm already"))
            })?;
            confirmations.push(confirmation);
        }
        Ok(confirmations)
    }

    async fn announce(&self, frontend: &Member, epoch: Epoch, deadline: Instant) {
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let request = Request::post(ANNOUNCE, encode(&epoch));
            match self.client.send(&frontend.address, request, left).await {
                Ok(reply) if reply.status.is_success() => return,
                Ok(reply) => tracing::debug!(frontend = frontend.id, status = %reply.status, "announcement refused"),
                Err(error) => tracing::debug!(frontend = frontend.id, %error, "announcement not confirmed"),
            }
            tokio::time::sleep(ANNOUNCE_PAUSE.min(left)).await;
        }
        tracing::warn!(frontend = frontend.id, "it did not confirm the new leader; its lease has run out by now");
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    fn new(tenure: Tenure, sessions: Sessions) -> Shared {
        Shared { tenure, is_open: false, sessions, pending: HashMap::new(), arrivals: Arrivals::default() }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write whose keys are pending.
///
/// Dropping it without [`finish`](Self::finish) leaves them pending, as is right for an unknown outcome.
#[must_use]
pub struct PendingWrite {
    coherence: Coherence,
    /// The tenure in which the frontends were told. In the next one, others may have come that were not.
    tenure: Tenure,
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
        let mut shared = self.coherence.lock();
        if shared.tenure != self.tenure {
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
        self.tags.iter().any(|told| told.contains(tag))
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
    async fn run(self, mut waiting: mpsc::Receiver<Invalidation>) {
        let mut invalidations = Vec::new();
        loop {
            tokio::select! {
                gathered = waiting.recv_many(&mut invalidations, QUEUED_INVALIDATIONS) => {
                    if gathered == 0 {
                        return;
                    }
                    self.carry(&invalidations).await;
                    for invalidation in invalidations.drain(..) {
                        let _ = invalidation.forgotten.send(());
                    }
                }
                () = self.call_until_heard(), if self.is_deaf() => {}
            }
        }
    }

    /// Returns once a frontend that did not confirm, and whose last lease is over, confirms that it hears again.
    async fn call_until_heard(&self) {
        while self.is_deaf() {
            tokio::time::sleep(self.confirm_timeout).await;
            if self.tell(&[]).await.is_ok() {
                tracing::info!(frontend = self.member.id, "it confirms again and may have leases");
                lock(&self.shared).sessions.reopen(self.frontend);
            }
        }
    }

    fn is_deaf(&self) -> bool {
        lock(&self.shared).sessions.is_deaf(self.frontend)
    }

    /// Returns once the frontend serves nothing of the old.
    async fn carry(&self, invalidations: &[Invalidation]) {
        if !lock(&self.shared).sessions.is_live(self.frontend, Instant::now()) {
            return;
        }
        let tags: Vec<&Tag> = invalidations.iter().flat_map(|invalidation| invalidation.tags.iter()).collect();
        let Err(reason) = self.tell(&tags).await else { return };
        let over_at = lock(&self.shared).sessions.close(self.frontend, Instant::now());
        tracing::warn!(frontend = self.member.id, reason, "it does not confirm: its lease must run out");
        if let Some(over_at) = over_at {
            tokio::time::sleep_until(over_at).await;
        }
    }

    /// Has the frontend forget, and tells why it did not confirm.
    async fn tell(&self, tags: &[&Tag]) -> Result<(), String> {
        let request = Request::post(INVALIDATE, encode(&tags));
        match self.client.send(&self.member.address, request, self.confirm_timeout).await {
            Ok(reply) if reply.status.is_success() => Ok(()),
            Ok(reply) => Err(format!("it answered {}", reply.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}
