//! The wall clock: what time it is for people. Durations are measured with tokio's clock instead.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::UnixMillis;

/// Tells the time of day. It may jump; nothing that must be ordered may rest on it alone.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since the Unix epoch.
    fn wall_ms(&self) -> UnixMillis;
}

/// The operating system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> UnixMillis {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMillis)
    }
}
