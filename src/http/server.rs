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
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::Incoming;
use super::envelope;
use super::express;
use super::pace::{Pace, Paced};
use super::prepared::Prepared;
use super::reply::{self, Response};
use crate::error::ApiError;
use crate::platform::{Listener, Stream};

pub use super::envelope::X_REQUEST_ID;

/// The longest request line and header together, in bytes; more is answered with 431.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The largest piece of a body that is read or written at a time, in bytes.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Connections beyond the limit that are told so at the same time; more are dropped without a word.
const MAX_REFUSALS: usize = 64;

/// How long a connection beyond the limit may take to send the request that is refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting rests when it fails time after time, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    fn at_once(&self, _target: &str) -> Option<Prepared> {
        None
    }

    /// The longest body that a request to `path` may have, where it is read before the request is handled; the server's
    /// limit is `usual`. Nothing if [`handle`](Self::handle) reads the body as it comes, with bounds of its own.
    fn body_limit(&self, _path: &str, usual: usize) -> Option<usize> {
        Some(usual)
    }

    /// How long this request may take once its body is there, where the server's limit is `usual`.
    fn request_timeout(&self, _request: &Request<Incoming>, usual: Duration) -> Duration {
        usual
    }
}

/// The bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time. Those beyond it are answered 503 and closed.
    pub max_connections: usize,
    /// The longest body that is read before a request is handled, in bytes.
    pub max_body_bytes: usize,
    /// From a request's first byte, or the connection's start, to the end of its header; the same for its body.
    pub header_timeout: Duration,
    /// From a request's header to its response; then 504 is answered and the handler dropped.
    pub request_timeout: Duration,
    /// How long a connection may wait for its next request, or for the peer to take any byte of a response.
    pub idle_timeout: Duration,
    /// How long the requests under way at shutdown may take to finish.
    pub drain_timeout: Duration,
}

/// Serves until `shutdown`, then closes the listener, lets the requests under way finish within the
/// drain timeout, and returns. Dropping the future cuts all connections at once.
pub async fn serve<H: Handler>(
    mut listener: Box<dyn Listener>,
    handler: Arc<H>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut connections = JoinSet::new();

    while let Some(stream) = next_connection(&mut *listener, &shutdown).await {
        while connections.try_join_next().is_some() {}
        // A token of its own: connections that share one would contend for its lock.
        let stop = shutdown.child_token();
        if let Ok(place) = places.clone().try_acquire_owned() {
            let handler = handler.clone();
            connections.spawn(async move {
                converse(stream, handler, true, limits, stop).await;
                drop(place);
            });
        } else if let Ok(place) = refusals.clone().try_acquire_owned() {
            let limits = Limits { header_timeout: REFUSAL_TIMEOUT, idle_timeout: REFUSAL_TIMEOUT, ..limits };
            connections.spawn(async move {
                converse(stream, Arc::new(Full), false, limits, stop).await;
                drop(place);
            });
        }
    }

    drop(listener);
    let drained =
        tokio::time::timeout(limits.drain_timeout, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "requests that did not finish in time are dropped");
        connections.shutdown().await;
    }
}

/// The next connection; nothing once `shutdown` is asked for.
async fn next_connection(listener: &mut dyn Listener, shutdown: &CancellationToken) -> Option<Box<dyn Stream>> {
    let accept = async {
        let mut failures = 0_u64;
        loop {
            match listener.accept().await {
                Ok((stream, _from)) => return stream,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "could not accept a connection");
                    // A single failure is a client's that left; repeated ones are the machine's.
                    if failures > 1 {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        stream = accept => Some(stream),
    }
}

/// Answers the requests of one connection until it ends.
async fn converse<H: Handler>(
    stream: Box<dyn Stream>,
    handler: Arc<H>,
    keep_alive: bool,
    limits: Limits,
    stop: CancellationToken,
) {
    let pace = Arc::new(Pace::new(limits.header_timeout, limits.idle_timeout));
    let (express, stream) = express::split(Paced::new(stream, pace.clone()), pace.clone(), handler.clone());
    let service = service_fn(|request| {
        let (handler, pace) = (handler.clone(), pace.clone());
        async move {
            pace.working();
            let response = envelope::answer(&*handler, request, &limits).await;
            pace.answered(true, Instant::now());
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
    let mut watch = FuturesUnordered::from_iter([watch(&pace, Some(&stop))]);
    let mut is_stopping = false;
    loop {
        let answered = std::future::poll_fn(|context| {
            // An idle connection is hyper's to close.
            match express.poll(context) {
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
                Verdict::Stop => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                    watch.push(self::watch(&pace, None));
                }
            }
        }
    }
}

/// What may end a connection from outside.
enum Verdict {
    TooSlow,
    Stop,
}

/// Waits for the peer to be too slow, and for `stop` if there is one.
async fn watch(pace: &Pace, stop: Option<&CancellationToken>) -> Verdict {
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = pace.too_slow() => Verdict::TooSlow,
        () = stopped => Verdict::Stop,
    }
}

/// Answers where there is no place left.
struct Full;

impl Handler for Full {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        reply::problem(&ApiError::Overloaded("there are too many connections".into()), request.uri().path())
    }
}
