//! Who refuses whose messages, and why: told ever more seldom while it lasts, and shown by `/cluster`.
//!
//! A replica at another's address, or of another shop, does no harm, for each message names whom it is for. But
//! unless somebody says so, nobody finds out why there is no majority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::telemetry::Trouble;

/// How long a refusal is remembered after the last message that was refused. Who is still refused asks again far sooner;
/// from a stranger nothing ever comes that is accepted.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// Which messages were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What a peer sent here.
    From,
    /// What was sent to a peer.
    To,
}

/// What is refused between this replica and its peers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals {
    current: Arc<Mutex<BTreeMap<(Direction, String), Refusal>>>,
    /// Whether there are any, for those who look at each message.
    any: Arc<AtomicBool>,
}

struct Refusal {
    reason: String,
    last_at: Instant,
    /// Whether no message went through since.
    lasts: bool,
    trouble: Trouble,
}

impl Refusals {
    /// Takes note that messages from or to `peer` are refused now.
    pub fn note(&self, direction: Direction, peer: &str, reason: &str) {
        let mut current = self.lock();
        self.any.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let refusal = current.entry((direction, peer.to_owned())).or_insert_with(|| Refusal {
            reason: String::new(),
            last_at: now,
            lasts: true,
            trouble: Trouble::default(),
        });
        (refusal.last_at, refusal.lasts) = (now, true);
        if refusal.reason != reason {
            reason.clone_into(&mut refusal.reason);
        }
        if let Some(times) = refusal.trouble.met() {
            match direction {
                Direction::From => tracing::warn!(peer, reason, times, "refused a message of this peer"),
                Direction::To => tracing::warn!(peer, reason, times, "this peer refuses what is sent to it"),
            }
        }
    }

    /// Takes note that a message from or to `peer` was not refused.
    pub fn clear(&self, direction: Direction, peer: impl FnOnce() -> String) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut current = self.lock();
        let key = (direction, peer());
        if let Some(refusal) = current.get_mut(&key) {
            refusal.lasts = false;
            if let Some(times) = refusal.trouble.gone() {
                tracing::info!(peer = key.1, times, "nothing between this replica and that is refused any more");
                current.remove(&key);
            }
        }
        self.any.store(!current.is_empty(), Ordering::Relaxed);
    }

    /// All that is refused now, in words.
    pub fn list(&self) -> Vec<String> {
        let current = self.lock();
        let lasting = current.iter().filter(|(_, refusal)| refusal.lasts);
        lasting.map(|(key, refusal)| in_words(key, refusal)).collect()
    }

    /// What is remembered still.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Direction, String), Refusal>> {
        let mut current = self.current.lock();
        current.retain(|_, refusal| refusal.last_at.elapsed() < REMEMBERED_FOR);
        current
    }
}

fn in_words((direction, peer): &(Direction, String), refusal: &Refusal) -> String {
    match direction {
        Direction::From => format!("refused a message of {peer}: {}", refusal.reason),
        Direction::To => format!("{peer} refuses: {}", refusal.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "catalog-2";

    fn clear(refusals: &Refusals) {
        refusals.clear(Direction::From, || PEER.to_owned());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_shown_until_a_message_goes_through() {
        let refusals = Refusals::default();
        refusals.note(Direction::From, PEER, "it is for catalog-3");
        refusals.note(Direction::To, PEER, "another shop");
        let told = ["refused a message of catalog-2: it is for catalog-3", "catalog-2 refuses: another shop"];
        assert_eq!(refusals.list(), told);
        clear(&refusals);
        assert_eq!(refusals.list(), told[1..]);
        refusals.note(Direction::From, PEER, "it is for catalog-4");
        assert_eq!(refusals.list()[0], "refused a message of catalog-2: it is for catalog-4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_came_once_is_soon_forgotten() {
        let refusals = Refusals::default();
        refusals.note(Direction::From, "a stranger", "it is for catalog-3");
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(refusals.list().is_empty());
        clear(&refusals);
        assert!(!refusals.any.load(Ordering::Relaxed), "messages take no lock any more");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_refused_and_heard_by_turns_writes_few_lines() {
        let refusals = Refusals::default();
        let key = (Direction::From, PEER.to_owned());
        for _ in 0..1000 {
            refusals.note(Direction::From, PEER, "it is for catalog-3");
            clear(&refusals);
        }
        let mut trouble = std::mem::take(&mut refusals.lock().get_mut(&key).unwrap().trouble);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(trouble.gone(), Some(1000), "it was one trouble");
    }
}
