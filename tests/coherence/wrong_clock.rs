//! A wall clock that is as wrong as a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bazar::model::UnixMillis;
use bazar::platform::{Clock, SystemClock};

/// The machine's clock, and what is added to it. Cheap to clone.
#[derive(Clone, Default)]
pub struct WrongClock {
    ahead_ms: Arc<AtomicI64>,
}

impl WrongClock {
    /// Makes it jump until it is so many hours ahead of the right time, or behind.
    pub fn jump(&self, ahead_hours: i64) {
        self.ahead_ms.store(ahead_hours * 60 * 60 * 1000, Ordering::Relaxed);
    }
}

impl Clock for WrongClock {
    fn wall_ms(&self) -> UnixMillis {
        let right = SystemClock.wall_ms().get();
        UnixMillis::of_clock(right.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }
}
