//! The server loop: accepts connections, bounds them, and drains them at shutdown.
//!
//! Every wait has an end: for a free place, for a header, for the handler, for the peer to take its
//! response, for the last requests at shutdown. Knows no path: a [`Handler`] answers the requests.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{Arriving, Incoming};
use super::fast_path;
use super::io_timeout::{IoTimeout, TimedStream};
use super::places::{Place, Places};
use super::reply::Response;
use super::request_context;
use super::serialized::SerializedResponse;
use crate::error::ApiError;
use crate::platform::{Listener, Stream};
use crate::telemetry::Trouble;

pub use super::request_context::X_REQUEST_ID;

/// The longest request line and header together, in bytes; more is answered with 431.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The largest piece of a body that is read or written at a time, in bytes.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Connections beyond the limit, at most: what is vital is answered on them, and all else refused. More are dropped
/// without a word.
const MAX_RESERVE: usize = 128;

/// Of so many connections within the limit, one may be beyond it.
const PLACES_FOR_ONE_RESERVED: usize = 8;

/// How long a connection beyond the limit may take to send its request, or to take the answer.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting rests when it fails time after time, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection that was made just before the listener was closed may take to send its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(50);

/// So long before the drain timeout is over, what is still under way is answered that its outcome is unknown, or that
/// nothing was done: a connection that breaks says less.
const FAREWELL: Duration = Duration::from_millis(100);

/// How long connections that wait to be accepted are accepted after the server was asked to stop.
const LAST_CONNECTIONS_TIMEOUT: Duration = Duration::from_millis(50);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// The future is dropped at any of its waits if the connection breaks or the request's time runs out:
    /// work that must come to its end belongs in a task of its own. A response to HEAD is made as the
    /// one to GET; its body is not sent.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response> + Send;

    /// The answer to a plain GET of `target` (path and query as they stand in the request), if it is at hand.
    ///
    /// "Plain" means that none of its headers asks for anything that this server heeds.
    fn try_fast(&self, _target: &str) -> Option<SerializedResponse> {
        None
    }

    /// Whether requests to `path` are answered even when there are too many connections.
    fn is_vital(&self, _path: &str) -> bool {
        false
    }

    /// Why requests to `path` are refused, whatever their bodies are, if they are.
    fn refusal(&self, _path: &str) -> Option<ApiError> {
        None
    }

    /// Whether other nodes of the cluster say something at `path`. [`handle`](Self::handle) then reads the body as it comes,
    /// with bounds of its own, and the answer gets nothing that is for people.
    fn is_for_nodes(&self, _path: &str) -> bool {
        false
    }

    /// How long this request may take once its body is there, where the server's limit is `usual`.
    fn request_timeout(&self, _request: &Request<Incoming>, usual: Duration) -> Duration {
        usual
    }
}

/// The bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time. When all are taken, idle ones make room; where none is idle, further ones are
    /// answered 503 and closed, unless they ask for what is vital.
    pub max_connections: usize,
    /// The longest body that is read before a request is handled, in bytes.
    pub max_body_bytes: usize,
    /// From a request's first byte, or the connection's start, to the end of its header; the same for its body.
    pub header_timeout: Duration,
    /// From a request's header to its response; then 504 is answered and the handler dropped.
    pub request_timeout: Duration,
    /// How long a connection may wait for its next request, or for the peer to take any byte of a response.
    pub idle_timeout: Duration,
    /// How long the requests under way at shutdown may take to finish. Just before it is over, they are answered that
    /// they did not.
    pub drain_timeout: Duration,
}

/// Serves until `shutdown`, then closes the listener, lets the requests under way finish within the
/// drain timeout, and returns. Dropping the future cuts all connections at once.
pub async fn serve<H: Handler>(
    listener: Box<dyn Listener>,
    handler: Arc<H>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let places = Places::new(limits.max_connections, IoTimeout::idle_since);
    let reserved = (limits.max_connections / PLACES_FOR_ONE_RESERVED).clamp(1, MAX_RESERVE);
    let reserve = Places::new(reserved, IoTimeout::waiting_since);
    let reserve_handler = Arc::new(Reserve(handler.clone()));
    let reserve_limits = Limits { header_timeout: RESERVE_TIMEOUT, idle_timeout: RESERVE_TIMEOUT, ..limits };
    let mut entrance = Entrance { listener, trouble: Trouble::default(), closes_at: None };
    let mut connections = JoinSet::new();
    let stopping = CancellationToken::new();

    while let Some(stream) = entrance.next(&shutdown).await {
        while connections.try_join_next().is_some() {}
        // A token of its own: connections that share one would contend for its lock.
        let stop = stopping.child_token();
        let io_timeout = Arc::new(IoTimeout::new(limits.header_timeout, limits.idle_timeout));
        let mut place = places.take(&io_timeout);
        if place.is_none() && places.are_leaving() {
            // Those that were asked to leave have their turn before somebody is refused.
            tokio::task::yield_now().await;
            place = places.take(&io_timeout);
        }
        if let Some(place) = place {
            let handler = handler.clone();
            connections.spawn(converse(stream, io_timeout, place, handler, true, limits, stop));
            continue;
        }
        let io_timeout = Arc::new(IoTimeout::new(RESERVE_TIMEOUT, RESERVE_TIMEOUT));
        if let Some(place) = reserve.take(&io_timeout) {
            let handler = reserve_handler.clone();
            connections.spawn(converse(stream, io_timeout, place, handler, false, reserve_limits, stop));
        }
    }

    drop(entrance);
    // A connection that is told to stop before its first request is closed at once.
    if !connections.is_empty() {
        tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
    }
    stopping.cancel();
    let drained =
        tokio::time::timeout(limits.drain_timeout, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "requests that did not finish in time are dropped");
        connections.shutdown().await;
    }
}

/// Where connections come in.
struct Entrance {
    listener: Box<dyn Listener>,
    trouble: Trouble,
    /// When no connection is accepted any more.
    closes_at: Option<Instant>,
}

impl Entrance {
    /// The next connection; nothing once `shutdown` is asked for and those that waited then are accepted, for closing the
    /// listener resets them. Whoever goes on coming does not keep it open.
    async fn next(&mut self, shutdown: &CancellationToken) -> Option<Box<dyn Stream>> {
        if shutdown.is_cancelled() {
            let closes_at = *self.closes_at.get_or_insert_with(|| Instant::now() + LAST_CONNECTIONS_TIMEOUT);
            if Instant::now() >= closes_at {
                return None;
            }
        }
        tokio::select! {
            biased;
            stream = self.accept() => Some(stream),
            () = shutdown.cancelled() => None,
        }
    }

    async fn accept(&mut self) -> Box<dyn Stream> {
        let mut has_failed = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, _from)) => {
                    if let Some(failures) = self.trouble.gone() {
                        tracing::info!(failures, "connections are accepted again");
                    }
                    return stream;
                }
                Err(error) => {
                    if let Some(failures) = self.trouble.met() {
                        tracing::warn!(%error, failures, "connections cannot be accepted");
                    }
                    // A single failure is a client's that left; repeated ones are the machine's.
                    if std::mem::replace(&mut has_failed, true) {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Answers the requests of one connection until it ends.
async fn converse<H: Handler>(
    stream: Box<dyn Stream>,
    io_timeout: Arc<IoTimeout>,
    place: Place,
    handler: Arc<H>,
    keep_alive: bool,
    limits: Limits,
    stop: CancellationToken,
) {
    let (fast_path, stream) = fast_path::split(
        TimedStream::new(stream, io_timeout.clone()),
        io_timeout.clone(),
        handler.clone(),
        limits.max_body_bytes,
    );
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let request = request.map(|body| Arriving::new(body, io_timeout.clone()));
        let (handler, io_timeout, stop) = (handler.clone(), io_timeout.clone(), &stop);
        async move {
            io_timeout.working();
            let farewell = async {
                stop.cancelled().await;
                tokio::time::sleep(limits.drain_timeout.saturating_sub(FAREWELL)).await;
            };
            let response = request_context::answer(&*handler, request, &limits, farewell).await;
            io_timeout.answered(true, Instant::now());
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .keep_alive(keep_alive)
            // A client that has said all it has to say still waits for its answers.
            .half_close(true)
            // Hyper's own timer knows one time for both an idle connection and a slow header.
            .header_read_timeout(None)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    // A set of one: it is looked at only when it was woken itself, and not each time that the connection moves.
    let mut watch = FuturesUnordered::from_iter([watch(&io_timeout, Some(&stop))]);
    let mut is_stopping = false;
    loop {
        let answered = std::future::poll_fn(|context| {
            // An idle connection is hyper's to close.
            match fast_path.poll(context) {
                Poll::Pending if !is_stopping => Poll::Pending,
                _ => connection.as_mut().poll(context),
            }
        });
        tokio::select! {
            biased;
            outcome = answered => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            Some(verdict) = watch.next() => match verdict {
                Verdict::TooSlow => {
                    tracing::debug!("cut a connection whose peer was too slow");
                    return;
                }
                Verdict::Leave if place.may_leave(&io_timeout) => return,
                Verdict::Leave if !is_stopping => {
                    // It was asked for something meanwhile, and is one of those that stay.
                    place.stay();
                    watch.push(self::watch(&io_timeout, Some(&stop)));
                }
                Verdict::Stop | Verdict::Leave => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                    watch.push(self::watch(&io_timeout, None));
                }
            }
        }
    }
}

/// What may end a connection from outside.
enum Verdict {
    TooSlow,
    Leave,
    Stop,
}

/// Waits for the peer to be too slow, and for `stop` if there is one.
async fn watch(io_timeout: &IoTimeout, stop: Option<&CancellationToken>) -> Verdict {
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = io_timeout.too_slow() => Verdict::TooSlow,
        () = io_timeout.asked_to_leave() => Verdict::Leave,
        () = stopped => Verdict::Stop,
    }
}

/// Answers where there is no place left: only what is vital.
struct Reserve<H>(Arc<H>);

impl<H: Handler> Handler for Reserve<H> {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        self.0.handle(request).await
    }

    fn refusal(&self, path: &str) -> Option<ApiError> {
        match self.0.is_vital(path) {
            true => self.0.refusal(path),
            false => Some(ApiError::Overloaded("there are too many connections".into())),
        }
    }

    fn is_for_nodes(&self, path: &str) -> bool {
        self.0.is_vital(path) && self.0.is_for_nodes(path)
    }

    fn request_timeout(&self, request: &Request<Incoming>, usual: Duration) -> Duration {
        self.0.request_timeout(request, usual)
    }
}
