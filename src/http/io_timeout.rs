//! Cuts connections whose peer is too slow, so that none is held for nothing.
//!
//! A timer for the header alone leaves a hole: a peer that never reads its response holds its
//! connection for ever. So the whole connection is watched. Its peer must send a request's header
//! within one time of its first byte, and move some byte in another; while the server itself is at
//! work on a request, the peer owes nothing. Knows nothing of HTTP but where a request starts and ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::platform::Stream;

/// How long a connection that the server closes still takes what the peer sends.
///
/// Closing with unread bytes resets the connection, and the peer may lose the response that says why.
const LINGER: Duration = Duration::from_millis(500);

/// Bytes of a lingering connection that are thrown away at a time.
const DISCARD_BYTES: usize = 8 * 1024;

/// Measures the peer of one connection.
pub struct IoTimeout {
    header_timeout: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
    asked_to_leave: Notify,
}

struct State {
    turn: Turn,
    since: Instant,
    /// Every byte of the answers so far was handed to the system.
    is_sent: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// The peer's, to begin its first request.
    Fresh,
    /// The peer's, to take the last response and to begin another request.
    Idle,
    /// The peer's, to complete the header of a request.
    Header,
    /// The peer's, to send more of a body. Whoever reads it says how long that may take.
    Body,
    /// The server's.
    Working,
}

impl IoTimeout {
    /// Begins to measure; the first header is due as if its first byte were here already.
    pub fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let state = State { turn: Turn::Fresh, since: Instant::now(), is_sent: true };
        IoTimeout { header_timeout, idle_timeout, state: Mutex::new(state), asked_to_leave: Notify::new() }
    }

    /// The header is here and the server works.
    pub fn working(&self) {
        self.update(|_| Some(Turn::Working));
    }

    /// The server needs more of a body.
    pub fn awaits_body(&self) {
        self.update(|turn| (turn == Turn::Working).then_some(Turn::Body));
    }

    /// More of a body is here, or there is no more.
    pub fn has_body(&self) {
        self.update(|turn| (turn == Turn::Body).then_some(Turn::Working));
    }

    /// The server has answered all that arrived; or all but the beginning of another header.
    pub fn answered(&self, is_all: bool, now: Instant) {
        let turn = if is_all { Turn::Idle } else { Turn::Header };
        *self.state.lock() = State { turn, since: now, is_sent: false };
    }

    /// As [`answered`](Self::answered), and what the server has said is handed to the system, too.
    pub fn all_sent(&self, is_all: bool, now: Instant) {
        let turn = if is_all { Turn::Idle } else { Turn::Header };
        *self.state.lock() = State { turn, since: now, is_sent: true };
    }

    /// The server has answered all that arrived until `now`, and the peer does not take it yet.
    pub fn holds_back(&self, now: Instant) {
        let mut state = self.state.lock();
        // Later than the first time, it is by what it took that its time counts.
        if state.is_sent {
            *state = State { turn: Turn::Idle, since: now, is_sent: false };
        }
    }

    /// All that the server has said is handed to the system.
    pub fn flushed(&self) {
        self.state.lock().is_sent = true;
    }

    /// Whether whatever is said now answers no request that reached the handler.
    pub fn owes_nothing(&self) -> bool {
        let state = self.state.lock();
        !matches!(state.turn, Turn::Working | Turn::Body) && state.is_sent
    }

    /// The header is here, and is about to reach the server.
    pub fn handed_on(&self) {
        self.update(|_| Some(Turn::Header));
    }

    /// Whether the server owes no answer.
    pub fn is_answered(&self) -> bool {
        self.state.lock().turn == Turn::Idle
    }

    /// Bytes arrived. Only the first after an answer begin anything.
    pub fn received(&self, now: Instant) {
        let mut current = self.state.lock();
        if let Turn::Idle | Turn::Fresh = current.turn {
            (current.turn, current.since) = (Turn::Header, now);
        }
    }

    /// Since when nothing has been under way; nothing if something is.
    pub fn idle_since(&self) -> Option<Instant> {
        let State { turn, since, is_sent } = *self.state.lock();
        (is_sent && matches!(turn, Turn::Idle | Turn::Fresh)).then_some(since)
    }

    /// Since when the server has had no work; nothing if it has.
    pub fn waiting_since(&self) -> Option<Instant> {
        let State { turn, since, .. } = *self.state.lock();
        (turn != Turn::Working).then_some(since)
    }

    /// Asks the connection to make room for another.
    pub fn ask_to_leave(&self) {
        self.asked_to_leave.notify_one();
    }

    /// Returns once the connection is asked to make room.
    pub async fn asked_to_leave(&self) {
        self.asked_to_leave.notified().await;
    }

    fn sent(&self) {
        self.update(Some);
    }

    /// Restarts the time if `next` gives the turn to someone.
    fn update(&self, next: impl FnOnce(Turn) -> Option<Turn>) {
        let mut current = self.state.lock();
        if let Some(turn) = next(current.turn) {
            (current.turn, current.since) = (turn, Instant::now());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let State { turn, since, .. } = *self.state.lock();
        match turn {
            Turn::Idle => Some(since + self.idle_timeout),
            Turn::Header | Turn::Fresh => Some(since + self.header_timeout),
            Turn::Working | Turn::Body => None,
        }
    }

    /// Returns once the peer has been too slow.
    pub async fn too_slow(&self) {
        // A deadline that arises during a sleep is at least the shorter timeout away, so none is missed.
        let look_again = self.header_timeout.min(self.idle_timeout);
        loop {
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => sleep_until(deadline.min(now + look_again)).await,
                None => sleep(look_again).await,
            }
        }
    }
}

/// A stream that tells its [`IoTimeout`] when bytes move, and closes without a reset.
pub struct TimedStream {
    stream: Box<dyn Stream>,
    io_timeout: Arc<IoTimeout>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    /// Watches `stream` for `io_timeout`.
    pub fn new(stream: Box<dyn Stream>, io_timeout: Arc<IoTimeout>) -> Self {
        TimedStream { stream, io_timeout, linger: None }
    }

    /// The stream itself, for whoever tells the pace by itself.
    pub fn unwatched(&mut self) -> Pin<&mut dyn Stream> {
        Pin::new(&mut *self.stream)
    }

    fn note_sent(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            self.io_timeout.sent();
        }
        outcome
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        // Old clients send an empty line after a body, which begins nothing.
        if buffer.filled()[before..].iter().any(|byte| !b"\r\n".contains(byte)) {
            self.io_timeout.received(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_sent(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_sent(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        let TimedStream { stream, linger, .. } = &mut *self;
        let end = linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut discarded = [0; DISCARD_BYTES];
        loop {
            if end.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // The peer has closed too, or is gone: nothing is left to be lost.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_header_that_begins_long_after_the_last_answer_has_its_own_time() {
        let io_timeout = Arc::new(IoTimeout::new(HEADER, IDLE));
        io_timeout.working();
        io_timeout.answered(true, Instant::now());
        let verdict = tokio::spawn({
            let io_timeout = io_timeout.clone();
            async move { io_timeout.too_slow().await }
        });
        sleep(IDLE / 2).await;
        io_timeout.received(Instant::now());
        let start = Instant::now();
        verdict.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), HEADER.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_may_work_as_long_as_it_likes() {
        let io_timeout = IoTimeout::new(HEADER, IDLE);
        io_timeout.working();
        assert!(tokio::time::timeout(IDLE * 10, io_timeout.too_slow()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_response_is_too_slow() {
        let (mine, _peer) = tokio::io::duplex(16);
        let io_timeout = Arc::new(IoTimeout::new(HEADER, IDLE));
        let mut stream = TimedStream::new(Box::new(mine), io_timeout.clone());
        io_timeout.working();
        io_timeout.answered(true, Instant::now());
        let response = [0; 64];
        tokio::select! {
            _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &response) => panic!("nobody read it"),
            () = io_timeout.too_slow() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_its_response_byte_by_byte_keeps_its_connection() {
        let (mine, mut peer) = tokio::io::duplex(1);
        let io_timeout = Arc::new(IoTimeout::new(HEADER, IDLE));
        let mut stream = TimedStream::new(Box::new(mine), io_timeout.clone());
        io_timeout.working();
        io_timeout.answered(true, Instant::now());
        let reader = tokio::spawn(async move {
            for _ in 0..8 {
                sleep(IDLE / 2).await;
                tokio::io::AsyncReadExt::read_u8(&mut peer).await.unwrap();
            }
        });
        tokio::select! {
            written = tokio::io::AsyncWriteExt::write_all(&mut stream, &[0; 8]) => written.unwrap(),
            () = io_timeout.too_slow() => panic!("bytes moved all the time"),
        }
        reader.await.unwrap();
    }
}
