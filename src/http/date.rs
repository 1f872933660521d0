//! The date of responses, written once a second.
//!
//! It is for people and proxies; nothing in bazar depends on it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

thread_local! {
    static LATEST: RefCell<Option<Written>> = const { RefCell::new(None) };
}

struct Written {
    text: String,
    /// When the next second begins.
    valid_until: Instant,
}

impl Written {
    fn at(now: Instant) -> Written {
        let wall = SystemTime::now();
        let into_second = wall.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        let left = Duration::from_secs(1) - Duration::from_nanos(into_second.into());
        Written { text: httpdate::fmt_http_date(wall), valid_until: now + left }
    }
}

/// Appends the date in the form of HTTP. `now` is a moment of this request.
pub fn write(out: &mut Vec<u8>, now: Instant) {
    LATEST.with_borrow_mut(|latest| {
        let written = match latest {
            Some(written) if now < written.valid_until => written,
            outdated => outdated.insert(Written::at(now)),
        };
        out.extend_from_slice(written.text.as_bytes());
    });
}
