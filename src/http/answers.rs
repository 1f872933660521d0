//! Prepared answers on their way to a client that may be slow to take them.
//!
//! Knows no request but what its answer repeats.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::budget::UNTAKEN;
use super::request_context;
use super::serialized::SerializedResponse;
use crate::platform::Stream;

/// Answers that are gathered before they are sent, in bytes.
const MAX_ANSWERS_BYTES: usize = 64 * 1024;

/// The longest body that is copied to be sent with others, in bytes. Clients that do not read hold such copies.
const MAX_COPIED_BYTES: usize = 8 * 1024;

/// Answers that wait to be sent. Small ones are gathered; of a large one the body is not copied, and nothing is gathered
/// behind it.
#[derive(Default)]
pub struct Answers {
    gathered: Vec<u8>,
    last_body: Bytes,
    /// Of the gathered.
    sent_bytes: usize,
}

impl Answers {
    /// Adds an answer, completed like any other, unless customers have yet to take too much already. Whether it did.
    pub fn add(
        &mut self,
        prepared: &SerializedResponse,
        target: &str,
        request_id: Option<&[u8]>,
        start: Instant,
    ) -> bool {
        let body = prepared.body_bytes();
        if body.len() > MAX_COPIED_BYTES {
            let Ok(counted) = UNTAKEN.count(prepared.body()) else { return false };
            self.last_body = counted;
        }
        request_context::write_head(&mut self.gathered, prepared, target, request_id, start);
        if body.len() <= MAX_COPIED_BYTES {
            self.gathered.extend_from_slice(body);
        }
        true
    }

    /// Whether they are to be sent before there are more.
    pub fn are_many(&self) -> bool {
        !self.last_body.is_empty() || self.gathered.len() >= MAX_ANSWERS_BYTES
    }

    /// Whether all are sent.
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.last_body.is_empty()
    }

    /// Sends some of them, and says how many bytes.
    pub fn poll_write(&mut self, stream: Pin<&mut dyn Stream>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let rest = &self.gathered[self.sent_bytes..];
        let sent = match self.last_body.is_empty() {
            true => ready!(stream.poll_write(context, rest))?,
            false => {
                let parts = [IoSlice::new(rest), IoSlice::new(&self.last_body)];
                ready!(stream.poll_write_vectored(context, &parts))?
            }
        };
        self.sent_bytes += sent;
        if let Some(of_body) = self.sent_bytes.checked_sub(self.gathered.len()) {
            self.last_body.advance(of_body);
            self.gathered.clear();
            self.sent_bytes = 0;
        }
        Poll::Ready(Ok(sent))
    }
}
