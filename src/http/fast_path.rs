//! The fast path: plain GETs that need no waiting are answered below hyper.
//!
//! Most of a read's cost, once its answer is at hand, is in taking the request apart and the response together.
//! So between two requests this layer looks first: if the next one is a plain GET and the handler has its answer
//! [prepared](super::serialized), that goes out, and hyper never learns of it. Everything else is given to hyper
//! unchanged, one request at a time, and this layer looks again once hyper's response is sent. A connection on
//! which something other than a request without a body arrives is hyper's from then on.
//!
//! It decides nothing: the handler says what can be answered at once, and to whatever it is in doubt about, hyper
//! gives the answer. While all that arrives can be answered here, hyper is not even called.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use hyper::header::{CONNECTION, HeaderValue};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::answers::Answers;
use super::io_timeout::{IoTimeout, TimedStream};
use super::serialized::SerializedResponse;
use super::server::Handler;
use super::{reply, rules};
use crate::error::ApiError;

/// The free space before each read, in bytes: room for a few requests of common size.
const READ_BYTES: usize = 2 * 1024;

/// What may wait to be looked at, in bytes. A header beyond it is hyper's to refuse.
const MAX_WAITING_BYTES: usize = 16 * 1024;

/// The greatest length of a body that hyper takes, in bytes.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// The most headers of a request that is looked at.
const MAX_HEADERS: usize = 32;

/// A stream of which hyper sees only what it must answer.
struct FastPath<H> {
    stream: TimedStream,
    io_timeout: Arc<IoTimeout>,
    handler: Arc<H>,
    lane: Lane,
    /// What has arrived and was given to nobody yet.
    waiting: BytesMut,
    /// When the last of it arrived.
    arrived_at: Instant,
    /// The client will send nothing more.
    is_at_end: bool,
    answers: Answers,
    max_body_bytes: usize,
    /// What arrived was refused, which is the last that is said.
    has_refused: bool,
    /// What hyper has yet to be told.
    failure: Option<io::Error>,
}

/// Who has the word.
enum Lane {
    /// All requests so far are answered, and the answers were handed to the system.
    Between,
    /// Hyper works on one request, of whose header it has yet to be given so many bytes.
    Hyper { missing_bytes: usize },
    /// Hyper reads and writes by itself, until the end.
    HyperForGood,
}

/// What is to be done once the answers are sent.
enum Next {
    /// Answer what still waits.
    Answer,
    /// Read more.
    Read,
    /// Give the rest to hyper.
    Give(Lane),
}

/// What stands at the front of the bytes that wait.
enum Front<'a> {
    /// No whole header yet.
    Partial,
    /// A GET in which nothing asks for more than the usual.
    Plain { target: &'a str, request_id: Option<&'a [u8]>, header_bytes: usize },
    /// Another request without a body.
    Bodiless { header_bytes: usize },
    /// What is no request of HTTP/1.1.
    Broken,
    /// A request with a body that is longer than any.
    TooLong,
    /// Something else.
    Other,
}

impl<H: Handler> FastPath<H> {
    fn new(stream: TimedStream, io_timeout: Arc<IoTimeout>, handler: Arc<H>, max_body_bytes: usize) -> Self {
        FastPath {
            stream,
            io_timeout,
            handler,
            lane: Lane::Between,
            waiting: BytesMut::new(),
            arrived_at: Instant::now(),
            is_at_end: false,
            answers: Answers::default(),
            max_body_bytes,
            has_refused: false,
            failure: None,
        }
    }

    /// Answers what it can until it must wait, or until hyper must take over.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Those of the last time first: no more is answered than the client takes.
            ready!(self.poll_send(context))?;
            let next = self.answer_waiting();
            ready!(self.poll_send(context))?;
            match next {
                Next::Answer => {}
                Next::Read if self.is_at_end => return Poll::Ready(Ok(())),
                Next::Read => ready!(self.poll_fill(context))?,
                Next::Give(lane) => {
                    self.io_timeout.handed_on();
                    self.lane = lane;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Writes the answers to the requests at the front.
    fn answer_waiting(&mut self) -> Next {
        self.skip_empty_lines();
        while !self.waiting.is_empty() {
            match front(&self.waiting) {
                Front::Plain { target, request_id, header_bytes } => {
                    let Some(prepared) = self.handler.try_fast(target) else {
                        return Next::Give(Lane::Hyper { missing_bytes: header_bytes });
                    };
                    if !self.answers.add(&prepared, target, request_id, self.arrived_at) {
                        // There it is refused.
                        return Next::Give(Lane::Hyper { missing_bytes: header_bytes });
                    }
                    self.waiting.advance(header_bytes);
                    if self.answers.are_many() {
                        return Next::Answer;
                    }
                    self.skip_empty_lines();
                }
                Front::Bodiless { header_bytes } => return Next::Give(Lane::Hyper { missing_bytes: header_bytes }),
                Front::Partial if self.waiting.len() < MAX_WAITING_BYTES => return Next::Read,
                Front::Broken => return self.end_with(&not_http()),
                Front::TooLong => {
                    return self.end_with(&ApiError::BodyTooLarge { limit_bytes: self.max_body_bytes });
                }
                Front::Partial | Front::Other => return Next::Give(Lane::HyperForGood),
            }
        }
        Next::Read
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answers.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.answers.is_empty() {
            let Poll::Ready(sent) = self.answers.poll_write(self.stream.unwatched(), context) else {
                // From here on the client has its time to take them.
                self.io_timeout.holds_back(self.arrived_at);
                return Poll::Pending;
            };
            if sent? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if !self.answers.is_empty() {
                self.io_timeout.answered(true, Instant::now());
            }
        }
        self.io_timeout.all_sent(self.waiting.is_empty(), self.arrived_at);
        Poll::Ready(Ok(()))
    }

    /// Reads more, or notes that there is no more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting.reserve(READ_BYTES);
        let read_bytes = ready!(poll_read_buf(self.stream.unwatched(), context, &mut self.waiting))?;
        self.arrived_at = Instant::now();
        self.is_at_end = read_bytes == 0;
        self.skip_empty_lines();
        if !self.waiting.is_empty() {
            self.io_timeout.received(self.arrived_at);
        }
        Poll::Ready(Ok(()))
    }

    /// Old clients send an empty line after a request; nothing begins with it.
    fn skip_empty_lines(&mut self) {
        while let [b'\n', ..] | [b'\r', b'\n', ..] = self.waiting[..] {
            self.waiting.advance(if self.waiting[0] == b'\n' { 1 } else { 2 });
        }
    }

    /// Refuses what waits, and answers nothing more.
    fn end_with(&mut self, error: &ApiError) -> Next {
        self.refuse(error);
        self.waiting.clear();
        self.is_at_end = true;
        Next::Read
    }

    fn refuse(&mut self, error: &ApiError) {
        self.has_refused = true;
        let mut refusal = reply::problem(error, "");
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        // A refusal is small, and fits always.
        self.answers.add(&SerializedResponse::new(refusal), "", None, Instant::now());
    }

    /// Whether `text`, which hyper says, is its own refusal of what it was given. That is answered here instead, for
    /// hyper's has no body.
    fn takes_for_refusal(&mut self, text: &[u8]) -> bool {
        if !self.has_refused && self.io_timeout.owes_nothing() && text.starts_with(b"HTTP/1.") {
            self.refuse(&match text.get(9..12) {
                Some(b"431" | b"414") => ApiError::HeaderTooLarge,
                _ => not_http(),
            });
        }
        self.has_refused
    }

    /// Whether the client has left while hyper works; what it asks next waits meanwhile.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_at_end && self.waiting.len() < MAX_WAITING_BYTES {
            ready!(self.poll_fill(context))?;
        }
        // With requests that wait, it has left no sooner than they are answered.
        if self.is_at_end && self.waiting.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Gives hyper up to `limit` bytes of those that wait.
    fn give(&mut self, limit: usize, buffer: &mut ReadBuf<'_>) -> usize {
        let given = limit.min(buffer.remaining()).min(self.waiting.len());
        buffer.put_slice(&self.waiting[..given]);
        self.waiting.advance(given);
        given
    }
}

fn not_http() -> ApiError {
    ApiError::Malformed("this is no request of HTTP/1.1".to_owned())
}

/// Looks at the request that `bytes` begin with.
fn front(bytes: &[u8]) -> Front<'_> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let header_bytes = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(header_bytes)) => header_bytes,
        Ok(httparse::Status::Partial) => return Front::Partial,
        Err(httparse::Error::TooManyHeaders) => return Front::Other,
        // Hyper reads with the same parser, and would say the same.
        Err(_) => return Front::Broken,
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Front::Other;
    };
    let mut is_plain = method == "GET" && version == 1 && rules::is_plain_target(target);
    let mut request_id = None;
    let mut hosts = 0;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // By length first: most headers are none of these.
        match header.name.len() {
            4 if is("host") => {
                hosts += 1;
                is_plain &= rules::is_host(header.value);
            }
            6 if is("expect") => return Front::Other,
            7 if is("upgrade") => return Front::Other,
            10 if is("connection") => is_plain &= header.value.eq_ignore_ascii_case(b"keep-alive"),
            12 if is("x-request-id") => request_id = request_id.or(Some(header.value)),
            13 if is("cache-control") => is_plain = false,
            14 if is("content-length") && header.value != b"0" => {
                // Hyper takes such a number for a header that is too long.
                let is_number = !header.value.is_empty() && header.value.iter().all(u8::is_ascii_digit);
                let length = str::from_utf8(header.value).ok().and_then(|text| text.parse::<u64>().ok());
                let is_beyond_all = is_number && length.is_none_or(|length| length > MAX_LENGTH);
                return if is_beyond_all { Front::TooLong } else { Front::Other };
            }
            17 if is("transfer-encoding") => return Front::Other,
            _ => {}
        }
    }
    match is_plain && hosts == 1 {
        true => Front::Plain { target, request_id, header_bytes },
        false => Front::Bodiless { header_bytes },
    }
}

/// Hyper's side of the stream.
pub struct HyperSide<H>(Arc<Mutex<FastPath<H>>>);

/// This layer's side of the stream.
pub struct FastPathSide<H>(Arc<Mutex<FastPath<H>>>);

/// Puts the lane between `stream` and hyper. `io_timeout` watches the stream, and learns when hyper has answered.
pub fn split<H: Handler>(
    stream: TimedStream,
    io_timeout: Arc<IoTimeout>,
    handler: Arc<H>,
    max_body_bytes: usize,
) -> (FastPathSide<H>, HyperSide<H>) {
    let fast_path = Arc::new(Mutex::new(FastPath::new(stream, io_timeout, handler, max_body_bytes)));
    (FastPathSide(fast_path.clone()), HyperSide(fast_path))
}

impl<H: Handler> FastPathSide<H> {
    /// Answers what can be answered. Ready when hyper has something to do.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut fast_path = self.0.lock();
        if let Lane::Between = fast_path.lane
            && fast_path.failure.is_none()
            && let Err(failure) = ready!(fast_path.poll_answer(context))
        {
            fast_path.failure = Some(failure);
        }
        Poll::Ready(())
    }
}

impl<H: Handler> AsyncRead for HyperSide<H> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let fast_path = &mut *self.0.lock();
        if let Some(failure) = fast_path.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if let Lane::Between = fast_path.lane {
            ready!(fast_path.poll_answer(context))?;
        }
        match fast_path.lane {
            Lane::Between => Poll::Ready(Ok(())),
            Lane::Hyper { missing_bytes: 0 } => fast_path.poll_end(context),
            Lane::Hyper { missing_bytes } => {
                let given = fast_path.give(missing_bytes, buffer);
                fast_path.lane = Lane::Hyper { missing_bytes: missing_bytes - given };
                Poll::Ready(Ok(()))
            }
            Lane::HyperForGood if !fast_path.waiting.is_empty() => {
                fast_path.give(usize::MAX, buffer);
                Poll::Ready(Ok(()))
            }
            Lane::HyperForGood if fast_path.is_at_end => Poll::Ready(Ok(())),
            Lane::HyperForGood => Pin::new(&mut fast_path.stream).poll_read(context, buffer),
        }
    }
}

impl<H: Handler> AsyncWrite for HyperSide<H> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let fast_path = &mut *self.0.lock();
        if fast_path.takes_for_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut fast_path.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let fast_path = &mut *self.0.lock();
        if fast_path.takes_for_refusal(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut fast_path.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fast_path = &mut *self.0.lock();
        if fast_path.has_refused {
            return fast_path.poll_send(context);
        }
        ready!(Pin::new(&mut fast_path.stream).poll_flush(context))?;
        fast_path.io_timeout.flushed();
        // Hyper flushes once it has written all it has, and a response is whole when the handler has answered.
        if let Lane::Hyper { missing_bytes: 0 } = fast_path.lane
            && fast_path.io_timeout.is_answered()
        {
            fast_path.lane = Lane::Between;
            if !fast_path.waiting.is_empty() {
                // Hyper was told that nothing is there, and waits to be called.
                context.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fast_path = &mut *self.0.lock();
        fast_path.lane = Lane::HyperForGood;
        ready!(fast_path.poll_send(context))?;
        Pin::new(&mut fast_path.stream).poll_shutdown(context)
    }
}
