//! The date of responses, written once a second.
//!
//! It is for people and proxies; nothing in bazar depends on it.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::UnixMillis;
use crate::platform::{Clock, SystemClock};

thread_local! {
    static LATEST: RefCell<Option<Written>> = const { RefCell::new(None) };
}

struct Written {
    text: String,
    /// When the next second begins.
    valid_until: Instant,
}

impl Written {
    fn at(now: Instant, wall: UnixMillis) -> Written {
        let since_epoch = Duration::from_millis(wall.get());
        // It panics before 1970 and after 9999: no such moment is a `UnixMillis`.
        let text = httpdate::fmt_http_date(UNIX_EPOCH + since_epoch);
        Written { text, valid_until: now + Duration::from_millis(1000 - wall.get() % 1000) }
    }
}

/// Appends the date in the form of HTTP. `now` is a moment of this request.
pub fn write(out: &mut Vec<u8>, now: Instant) {
    LATEST.with_borrow_mut(|latest| {
        let written = match latest {
            Some(written) if now < written.valid_until => written,
            outdated => outdated.insert(Written::at(now, SystemClock.wall_ms())),
        };
        out.extend_from_slice(written.text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_the_clock_says_there_is_a_date_for_it() {
        let dates =
            [0, 1_790_000_000_500, u64::MAX].map(|clock| Written::at(Instant::now(), UnixMillis::of_clock(clock)));
        assert_eq!(dates[0].text, "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(dates[1].text, "Mon, 21 Sep 2026 14:13:20 GMT");
        assert_eq!(dates[2].text, "Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(dates[1].valid_until <= Instant::now() + Duration::from_millis(500));
    }
}
