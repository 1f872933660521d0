//! Whether a key that is not known was never decided about, or was forgotten: told by counting, not by any clock.
//!
//! The catalog's decisions have positions, 1, 2, 3 and so on, and are forgotten from the first on. Whoever sends a
//! write says how many it had heard of when it first sent it. What is decided about this write comes after all these.
//! So as long as no more decisions are forgotten than its sender had heard of, a key that is not known is new.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// How many decisions a catalog server knows of, on its answers; how many a sender had heard of, on a write.
pub const DECISIONS: HeaderName = HeaderName::from_static("bazar-decisions");

/// How many decisions somebody knows to have been made. Those under keys that nobody but bazar's own nodes knows are
/// counted for themselves, for they are forgotten sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// In the ledger.
    pub ledger: u64,
    /// Under keys that a node made.
    pub keyless: u64,
}

impl Decisions {
    /// As a header's value: `42 7`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::try_from(format!("{} {}", self.ledger, self.keyless)).expect("digits are visible ASCII")
    }

    /// What a message's headers say, if they do.
    pub fn of(headers: &HeaderMap) -> Option<Decisions> {
        let (ledger, keyless) = headers.get(DECISIONS)?.to_str().ok()?.split_once(' ')?;
        Some(Decisions { ledger: ledger.parse().ok()?, keyless: keyless.parse().ok()? })
    }
}

/// How many decisions this node has heard of.
#[derive(Default)]
pub struct Heard {
    ledger: AtomicU64,
    keyless: AtomicU64,
}

impl Heard {
    /// What was heard until now.
    pub fn so_far(&self) -> Decisions {
        Decisions { ledger: self.ledger.load(Ordering::Relaxed), keyless: self.keyless.load(Ordering::Relaxed) }
    }

    /// Takes note of what an answer of a catalog server says. Answers may come in any order.
    pub fn take_note(&self, headers: &HeaderMap) {
        if let Some(decisions) = Decisions::of(headers) {
            self.ledger.fetch_max(decisions.ledger, Ordering::Relaxed);
            self.keyless.fetch_max(decisions.keyless, Ordering::Relaxed);
        }
    }

    /// Takes the catalog's word in place of all that was heard: it refused a write for what this node had heard, which
    /// may have been of a catalog that was since restored from an older backup.
    pub fn replace(&self, decisions: Decisions) {
        self.ledger.store(decisions.ledger, Ordering::Relaxed);
        self.keyless.store(decisions.keyless, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(decisions: Decisions) -> HeaderMap {
        [(DECISIONS, decisions.header())].into_iter().collect()
    }

    #[test]
    fn what_is_heard_never_becomes_less_unless_the_catalog_refused_for_it() {
        let heard = Heard::default();
        heard.take_note(&headers(Decisions { ledger: 7, keyless: 2 }));
        heard.take_note(&headers(Decisions { ledger: 5, keyless: 3 }));
        heard.take_note(&HeaderMap::new());
        assert_eq!(heard.so_far(), Decisions { ledger: 7, keyless: 3 });
        heard.replace(Decisions { ledger: 1, keyless: 1 });
        assert_eq!(heard.so_far(), Decisions { ledger: 1, keyless: 1 });
    }

    #[test]
    fn a_header_that_is_none_of_a_nodes_says_nothing() {
        for text in ["", "7", "7 -1", "7,2", "18446744073709551616 0"] {
            let headers = [(DECISIONS, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(Decisions::of(&headers), None, "{text}");
        }
    }
}
