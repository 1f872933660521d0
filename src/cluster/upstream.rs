//! Asks a group of replicas until one answers, within a deadline: the one policy for all who ask a group.
//!
//! Reads go to the next replica when one fails or takes long. Writes go to the next when one fails: they carry a key, so a
//! write that was carried out without an answer is not carried out again but answered. How a write gets to a replica, alone
//! or with others, is not known here.
//!
//! Nobody waits for one that is known to hang. Whenever an attempt takes long, the whole group is
//! [probed](super::probe), and the attempt ends as soon as its replica is found not to answer, or to have led and been
//! replaced. What was sent to it has an unknown outcome then, until another replica tells.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{Answered, Ask, Rank};
use super::balancer::{Balancer, Condition, Replica};
use super::probe::Probes;
use crate::certainty::{Certain, Certainty};
use crate::error::ApiError;
use crate::http::client::{CallError, Client, Reply};
use crate::protocol::request::LEADER;
use crate::replica::{Leading, Member, WriteError};

/// The first pause before a retry; each further one is twice as long, up to the longest, and half to one and a half times
/// that by chance.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause before a retry.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// An attempt that takes longer than this has the group probed, and again each time that as much time has passed.
const SLOW_ATTEMPT: Duration = Duration::from_millis(150);

/// A read that takes longer than this is asked of another replica, too.
const HEDGE_AFTER: Duration = Duration::from_millis(150);

/// Reads that are asked of several replicas of a group at once, at most: where all are slow, asking more makes it worse.
const HEDGED_READS: usize = 64;

/// One group of replicas and how it is asked. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    /// What the group is called.
    pub name: &'static str,
    /// Who is asked next.
    pub balancer: Balancer,
    /// The connections.
    pub client: Client,
    /// How long to wait for what.
    pub timing: Timing,
    hedges: Arc<Semaphore>,
    /// How long a replica may take to say how it stands.
    probe_timeout: Duration,
}

/// How long a group is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long one replica may take to answer.
    pub attempt_timeout: Duration,
    /// How long a read may take in all.
    pub read_deadline: Duration,
    /// How long a write may take in all.
    pub write_deadline: Duration,
}

impl Upstream {
    /// A way to the group of these replicas, which are probed from now on.
    pub fn start(name: &'static str, members: Vec<Member>, client: Client, timing: Timing, probes: Probes) -> Upstream {
        let upstream = Upstream::unprobed(name, members, client, timing, probes.timeout);
        tokio::spawn(upstream.balancer.clone().probe(upstream.client.clone(), probes));
        upstream
    }

    fn unprobed(
        name: &'static str,
        members: Vec<Member>,
        client: Client,
        timing: Timing,
        probe_timeout: Duration,
    ) -> Upstream {
        let hedges = Arc::new(Semaphore::new(HEDGED_READS));
        Upstream { name, balancer: Balancer::new(members), client, timing, hedges, probe_timeout }
    }

    /// Finds out whether any replica serves, and says so as soon as one does. One that takes longer than most of a probe's
    /// time does not, for whoever asks wants to know soon; what is known of it stays as it was.
    ///
    /// # Errors
    /// What is the matter with each of them.
    pub async fn ready(&self) -> Result<(), String> {
        let replicas = self.balancer.replicas();
        let mut looks: FuturesUnordered<_> = (0..replicas.len())
            .map(|position| async move {
                self.balancer.try_out(position, &self.client, self.probe_timeout).await;
                replicas[position].condition()
            })
            .collect();
        let deadline = Instant::now() + self.probe_timeout * 3 / 5;
        while let Ok(Some(condition)) = tokio::time::timeout_at(deadline, looks.next()).await {
            if condition == Condition::Serves {
                return Ok(());
            }
        }
        let trouble = |replica: &Replica| {
            let trouble = replica.trouble().unwrap_or_else(|| "it has not yet said how it stands".to_owned());
            format!("{}: {trouble}", replica.member.id)
        };
        let troubles: Vec<String> = replicas.iter().map(trouble).collect();
        Err(format!("none of the {} servers serves ({})", self.name, troubles.join("; ")))
    }

    /// Returns once no replica is known to serve.
    pub async fn lost(&self) {
        let mut changes = self.balancer.changes();
        while self.balancer.replicas().iter().any(|replica| replica.condition() == Condition::Serves) {
            // The balancer, which tells of changes, is this one's.
            let _ = changes.changed().await;
        }
    }

    /// Finds out how a replica stands now.
    pub async fn look_at(&self, position: usize) {
        self.balancer.look_at(position, &self.client, self.probe_timeout).await;
    }

    /// Asks a question without effects: one attempt at each replica that answers, until one gives a current
    /// answer. A replica that is cut off from its group may only have a stale one, or an excuse, while the others
    /// know better. What is no GET only the leader can answer.
    ///
    /// # Errors
    /// If no replica answered.
    pub async fn read(&self, ask: &Ask) -> Result<Answered, ApiError> {
        let deadline = Instant::now() + self.timing.read_deadline;
        let mut tried = Vec::new();
        let mut second_best: Option<Answered> = None;
        let mut under_way = FuturesUnordered::new();
        let mut hedge = None;
        loop {
            let next = match ask.method.is_safe() {
                _ if Instant::now() >= deadline => None,
                true => self.balancer.next(&tried),
                false => self.balancer.leader_or_next(&tried),
            };
            if let Some(position) = next {
                tried.push(position);
                let time_left = self.time_left(deadline);
                under_way.push(async move { (position, self.attempt(ask, position, time_left).await) });
            }
            let may_hedge = next.is_some() && ask.method.is_safe();
            let answer = tokio::select! {
                biased;
                Some(answer) = under_way.next() => answer,
                () = tokio::time::sleep(HEDGE_AFTER), if may_hedge => {
                    hedge = hedge.or_else(|| self.hedges.try_acquire().ok());
                    match hedge.is_some() && self.balancer.has_others(&tried) {
                        true => continue,
                        false => match under_way.next().await {
                            Some(answer) => answer,
                            None => break,
                        },
                    }
                }
                else => break,
            };
            match answer {
                (position, Ok(reply)) => {
                    let answered = Answered { by: self.name_of(position), reply };
                    let rank = answered.rank();
                    if rank == Rank::Current {
                        return Ok(answered);
                    }
                    if second_best.as_ref().is_none_or(|best| best.rank() < rank) {
                        second_best = Some(answered);
                    }
                }
                (_, Err(error)) => tracing::debug!(%error, "a replica did not answer"),
            }
        }
        second_best.ok_or_else(|| self.nobody_answers().into())
    }

    /// Asks for something that must happen once. The request must carry a key.
    ///
    /// # Errors
    /// As [`write_through`](Self::write_through).
    pub async fn write(&self, ask: &Ask) -> Result<Answered, WriteError> {
        self.write_through(|position, timeout| self.attempt(ask, position, timeout)).await
    }

    /// Has something done that must happen once: `attempt` asks the replica at a position, within a time, through
    /// [`attempt`](Self::attempt). Every attempt must carry the same key.
    ///
    /// A replica that refuses for want of a majority did nothing; the others are asked before its word counts, for
    /// it may be cut off from them.
    ///
    /// # Errors
    /// `Unavailable` if it certainly did not happen, `Unknown` if that cannot be told.
    pub async fn write_through<A: Certain, F: Future<Output = Result<A, CallError>>>(
        &self,
        attempt: impl Fn(usize, Duration) -> F,
    ) -> Result<Answered<A>, WriteError> {
        let deadline = Instant::now() + self.timing.write_deadline;
        let mut pause = FIRST_RETRY_PAUSE;
        let mut may_have_happened = None;
        let mut tried = Vec::new();
        loop {
            let mut changes = self.balancer.changes();
            let error = match self.balancer.leader_or_next(&tried) {
                None => self.nobody_answers(),
                Some(position) => {
                    tried.push(position);
                    let outcome = attempt(position, self.time_left(deadline)).await;
                    let by = self.name_of(position);
                    match outcome {
                        Ok(reply) => match reply.certainty() {
                            Certainty::Decided => return Ok(Answered { by, reply }),
                            // The replica itself does not know: whoever is asked next, with the same key, will.
                            Certainty::Unknown => WriteError::Unknown(format!(
                                "{by} does not know yet whether the request was carried out"
                            )),
                            _ if may_have_happened.is_some() => {
                                WriteError::Unavailable(format!("{by} cannot tell now"))
                            }
                            Certainty::NotDone
                                if Instant::now() + pause < deadline && self.balancer.has_others(&tried) =>
                            {
                                continue;
                            }
                            Certainty::NotDone | Certainty::Overloaded => return Ok(Answered { by, reply }),
                        },
                        // By its name: where it is, is no customer's business.
                        Err(CallError::NotSent { reason, .. }) => {
                            WriteError::Unavailable(format!("{by} was not asked: {reason}"))
                        }
                        Err(CallError::Unknown { reason, .. }) => {
                            WriteError::Unknown(format!("{by} gave no answer: {reason}"))
                        }
                    }
                }
            };
            if error.certainty() == Certainty::Unknown {
                may_have_happened = Some(error.clone());
            }
            if may_have_happened.is_none() && self.balancer.is_given_up() {
                return Err(self.nobody_answers());
            }
            if Instant::now() + pause >= deadline {
                return Err(may_have_happened.unwrap_or(error));
            }
            if self.balancer.has_others(&tried) {
                continue;
            }
            // Whoever has changed meanwhile may know better.
            let _ = tokio::time::timeout(pause.mul_f64(0.5 + fastrand::f64()), changes.changed()).await;
            if Instant::now() >= deadline {
                return Err(may_have_happened.unwrap_or(error));
            }
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
            tried.clear();
        }
    }

    /// Sends a request to the replica at `position`, and takes note of what that says about the replica.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn attempt(&self, ask: &Ask, position: usize, timeout: Duration) -> Result<Reply, CallError> {
        let replica = &self.balancer.replicas()[position];
        let (leader, condition) = (self.balancer.leader(), replica.condition());
        let began = Instant::now();
        let given_up = async {
            let deadline = began + timeout;
            let mut look_at = Instant::now() + SLOW_ATTEMPT;
            tokio::time::sleep_until(look_at.min(deadline)).await;
            let mut changes = self.balancer.changes();
            loop {
                if let Some(reason) = self.balancer.hopeless(position, leader, condition) {
                    return reason;
                }
                let now = Instant::now();
                if now >= deadline {
                    return format!("nothing within {} ms", timeout.as_millis());
                }
                if now >= look_at {
                    self.balancer.look_around();
                    look_at = now + SLOW_ATTEMPT;
                }
                let _ = tokio::time::timeout_at(look_at.min(deadline), changes.changed()).await;
            }
        };
        match self.client.send_unless(&replica.member.address, ask.request(), given_up).await {
            Ok(reply) => {
                self.balancer.note_answer(position);
                if let Some((id, term)) = reply.headers.get(LEADER).and_then(|value| Leading::parse(value.as_bytes())) {
                    self.balancer.note_leader(position, id, term);
                }
                Ok(reply)
            }
            Err(error) => {
                // Where others found out what is wrong with it, it is known already. And who asks with little time left
                // finds out nothing.
                let had_time = began.elapsed() < timeout || timeout >= self.timing.attempt_timeout / 2;
                if had_time && self.balancer.hopeless(position, leader, condition).is_none() {
                    self.balancer.note_failure(position, error.reason().to_owned());
                }
                Err(error)
            }
        }
    }

    /// How long one attempt may take.
    fn time_left(&self, deadline: Instant) -> Duration {
        self.timing.attempt_timeout.min(deadline.saturating_duration_since(Instant::now()))
    }

    fn name_of(&self, position: usize) -> String {
        self.balancer.replicas()[position].member.id.clone()
    }

    fn nobody_answers(&self) -> WriteError {
        let names: Vec<&str> = self.balancer.replicas().iter().map(|replica| replica.member.id.as_str()).collect();
        WriteError::Unavailable(format!("none of the {} servers answers ({})", self.name, names.join(", ")))
    }
}

#[cfg(test)]
mod tests;
