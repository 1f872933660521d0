//! Who refuses whose messages, and why: said once for each change, and shown by `/cluster`.
//!
//! A replica at another's address, or of another shop, does no harm, for each message names whom it is for. But
//! unless somebody says so, nobody finds out why there is no majority.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refusal is shown after it was last seen. Whoever is refused asks again far sooner, and from a stranger
/// nothing ever comes that is accepted.
const SHOWN: Duration = Duration::from_secs(30);

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
    last_seen: Instant,
}

impl Refusals {
    /// Takes note that messages from or to `peer` are refused now.
    pub fn note(&self, direction: Direction, peer: &str, reason: &str) {
        let mut current = self.lock();
        self.any.store(true, Ordering::Relaxed);
        current.retain(|_, refusal| refusal.last_seen.elapsed() < SHOWN);
        let refusal = Refusal { reason: reason.to_owned(), last_seen: Instant::now() };
        let before = current.insert((direction, peer.to_owned()), refusal);
        if before.is_none_or(|before| before.reason != reason) {
            match direction {
                Direction::From => tracing::warn!(peer, reason, "refused a message of this peer"),
                Direction::To => tracing::warn!(peer, reason, "this peer refuses what is sent to it"),
            }
        }
    }

    /// Takes note that a message from or to `peer` was not refused.
    pub fn clear(&self, direction: Direction, peer: impl FnOnce() -> String) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut current = self.lock();
        let peer = peer();
        if current.remove(&(direction, peer.clone())).is_some() {
            tracing::info!(peer, "nothing between this replica and that is refused any more");
        }
        self.any.store(!current.is_empty(), Ordering::Relaxed);
    }

    /// All that is refused now, in words.
    pub fn list(&self) -> Vec<String> {
        let told = |((direction, peer), refusal): (&(Direction, String), &Refusal)| match direction {
            Direction::From => format!("refused a message of {peer}: {}", refusal.reason),
            Direction::To => format!("{peer} refuses: {}", refusal.reason),
        };
        let mut current = self.lock();
        current.retain(|_, refusal| refusal.last_seen.elapsed() < SHOWN);
        current.iter().map(told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Direction, String), Refusal>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
