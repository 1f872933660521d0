//! How many connections a server has at a time, and which one makes room for another.
//!
//! A connection on which nothing is under way serves nobody: when all places are taken, those that were so for the
//! longest leave. Knows nothing of what is said on a connection.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::io_timeout::IoTimeout;

/// Of so many places one is made free when none is, at least one. Each look for the longest idle goes over all.
const PLACES_FOR_ONE_FREED: usize = 64;

/// Since when a connection could leave, if it can.
pub type MayLeave = fn(&IoTimeout) -> Option<Instant>;

/// The places of a server.
pub struct Places {
    limit: usize,
    may_leave: MayLeave,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next_number: u64,
    by_number: HashMap<u64, Arc<IoTimeout>>,
    /// Those that were asked to leave and are not gone yet. Their places are given to others already, so nobody else is
    /// asked meanwhile: else there could be any number of connections.
    leaving: HashMap<u64, Arc<IoTimeout>>,
}

/// A place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    /// So many places, from which those that `may_leave` can be asked away.
    pub fn new(limit: usize, may_leave: MayLeave) -> Arc<Places> {
        Arc::new(Places { limit, may_leave, taken: Mutex::default() })
    }

    /// A place for a connection, unless all are taken by those that cannot leave.
    pub fn take(self: &Arc<Self>, io_timeout: &Arc<IoTimeout>) -> Option<Place> {
        let mut taken = self.taken.lock();
        if taken.by_number.len() >= self.limit && taken.leaving.is_empty() {
            self.make_room(&mut taken);
        }
        if taken.by_number.len() >= self.limit {
            return None;
        }
        let number = taken.next_number;
        taken.next_number += 1;
        taken.by_number.insert(number, io_timeout.clone());
        Some(Place { places: self.clone(), number })
    }

    /// Whether some were asked to leave and are not gone yet.
    pub fn are_leaving(&self) -> bool {
        !self.taken.lock().leaving.is_empty()
    }

    /// Asks those away that could have left for the longest. Their places are free at once.
    fn make_room(&self, taken: &mut Taken) {
        let since =
            taken.by_number.iter().filter_map(|(number, io_timeout)| Some(((self.may_leave)(io_timeout)?, *number)));
        let mut candidates: Vec<(Instant, u64)> = since.collect();
        candidates.sort_unstable();
        for (_, number) in candidates.into_iter().take((self.limit / PLACES_FOR_ONE_FREED).max(1)) {
            if let Some(io_timeout) = taken.by_number.remove(&number) {
                io_timeout.ask_to_leave();
                taken.leaving.insert(number, io_timeout);
            }
        }
    }
}

impl Place {
    /// Whether a connection that was asked to leave may be cut off.
    pub fn may_leave(&self, io_timeout: &IoTimeout) -> bool {
        (self.places.may_leave)(io_timeout).is_some()
    }

    /// The connection was asked to leave, and does not.
    pub fn stay(&self) {
        let mut taken = self.places.taken.lock();
        if let Some(io_timeout) = taken.leaving.remove(&self.number) {
            taken.by_number.insert(self.number, io_timeout);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.by_number.remove(&self.number);
        taken.leaving.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn connection() -> Arc<IoTimeout> {
        Arc::new(IoTimeout::new(Duration::from_secs(1), Duration::from_secs(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_those_at_work_stay() {
        let places = Places::new(3, IoTimeout::idle_since);
        let connections = [connection(), connection(), connection()];
        let _taken = connections.each_ref().map(|io_timeout| places.take(io_timeout).unwrap());
        connections[0].working();
        for io_timeout in &connections[1..] {
            tokio::time::advance(Duration::from_millis(10)).await;
            io_timeout.answered(true, Instant::now());
            io_timeout.flushed();
        }
        let fourth = connection();
        fourth.working();
        let place = places.take(&fourth).unwrap();
        tokio::time::timeout(Duration::ZERO, connections[1].asked_to_leave()).await.unwrap();
        assert!(tokio::time::timeout(Duration::ZERO, connections[2].asked_to_leave()).await.is_err());

        connections[2].working();
        assert!(places.take(&connection()).is_none(), "all are at work");
        drop(place);
        assert!(places.take(&connection()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_else_is_asked_to_leave_before_those_who_were_are_gone_or_stay() {
        let places = Places::new(2, IoTimeout::idle_since);
        let connections = [connection(), connection()];
        let [first, second] = connections.each_ref().map(|io_timeout| places.take(io_timeout).unwrap());
        let third = connection();
        third.working();
        let _third = places.take(&third).unwrap();
        assert!(places.are_leaving());
        assert!(places.take(&connection()).is_none());
        // It was asked for something before it heard that it should leave.
        connections[0].working();
        first.stay();
        assert!(places.take(&connection()).is_none(), "there are more than may be");
        drop(second);
        assert!(places.take(&connection()).is_none());
        drop(first);
        assert!(places.take(&connection()).is_some());
    }
}
