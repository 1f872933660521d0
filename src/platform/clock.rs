//! The wall clock: what time it is for people. Durations are measured with tokio's clock instead.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::UnixMillis;

/// Tells the time of day. It may jump; nothing that must be ordered may rest on it alone.
pub trait Clock: Send + Sync {
    /// Now.
    fn wall_ms(&self) -> UnixMillis;
}

/// The operating system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> UnixMillis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::of_clock(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
