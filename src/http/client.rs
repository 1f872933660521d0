//! Sends requests to other nodes, over connections that are kept for the next one.
//!
//! A failed call says whether the request may have been carried out: that decides whether it can be
//! sent elsewhere without harm. Knows nothing of what is sent, and never repeats a request that may
//! have left. (The pool underneath takes another connection where a kept one was closed before a byte
//! of the request, or of its body, was used.)

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::platform::{self, Network, Platform};

/// The longest body of a reply that is read, in bytes.
pub const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an unused connection is kept. A server that closes idle connections sooner costs calls that
/// end unknown.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Unused connections that are kept to one address.
const MAX_IDLE_CONNECTIONS: usize = 256;

type RequestBody = Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>>;

/// A request to another node.
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: RequestBody,
}

impl Request {
    /// A request with a body in memory. `path` starts with a slash, may have a query, and is encoded.
    pub fn new(method: Method, path: impl Into<String>, body: Bytes) -> Self {
        Request { method, path: path.into(), headers: HeaderMap::new(), body: Either::Left(Full::new(body)) }
    }

    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Request::new(Method::GET, path, Bytes::new())
    }

    /// A POST with a body in memory.
    pub fn post(path: impl Into<String>, body: Bytes) -> Self {
        Request::new(Method::POST, path, body)
    }

    /// A POST whose body is made while it is sent. If the stream fails, the request is broken off.
    pub fn post_stream(path: impl Into<String>, body: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        let body = Either::Right(StreamBody::new(Box::pin(body.map_ok(Frame::data)) as Pin<Box<_>>));
        Request { method: Method::POST, path: path.into(), headers: HeaderMap::new(), body }
    }

    /// Adds a header, or replaces the one of that name.
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}

/// A whole reply, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No byte of the request has left: it was certainly not carried out.
    #[error("{address} was not asked: {reason}")]
    NotSent {
        /// Where it should have gone.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The request may have arrived, and may have been carried out.
    #[error("{address} gave no answer: {reason}")]
    Unknown {
        /// Where it went.
        address: String,
        /// What happened.
        reason: String,
    },
}

/// Sends requests. Its clones share their connections.
#[derive(Clone)]
pub struct Client {
    pool: legacy::Client<Connector, RequestBody>,
}

impl Client {
    /// A client without connections yet.
    pub fn new(platform: &Platform) -> Client {
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .set_host(true)
            .build(Connector(platform.network.clone()));
        Client { pool }
    }

    /// Sends a request to `address` (`host:port`) and reads the whole reply, within `timeout`.
    ///
    /// # Errors
    /// See [`CallError`]. A reply with an error's status is no error here.
    pub async fn send(&self, address: &str, request: Request, timeout: Duration) -> Result<Reply, CallError> {
        let not_sent = |reason: String| CallError::NotSent { address: address.to_owned(), reason };
        let uri: Uri = format!("http://{address}{}", request.path)
            .parse()
            .map_err(|error| not_sent(format!("{:?} is no path: {error}", request.path)))?;
        let mut message = hyper::Request::new(request.body);
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        *message.headers_mut() = request.headers;

        // It is noted when a connection is chosen, which comes before anything is sent on it.
        let chosen = capture_connection(&mut message);
        let reason = match tokio::time::timeout(timeout, self.exchange(message)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(Failure::Connect(reason))) => return Err(not_sent(reason)),
            Ok(Err(Failure::Exchange(reason))) => reason,
            Err(_) => format!("nothing within {} ms", timeout.as_millis()),
        };
        if chosen.connection_metadata().is_none() {
            return Err(not_sent(reason));
        }
        Err(CallError::Unknown { address: address.to_owned(), reason })
    }

    async fn exchange(&self, message: hyper::Request<RequestBody>) -> Result<Reply, Failure> {
        let response = self.pool.request(message).await.map_err(|error| {
            let reason = chain(&error);
            if error.is_connect() { Failure::Connect(reason) } else { Failure::Exchange(reason) }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await;
        let body = body.map_err(|error| Failure::Exchange(chain(&*error)))?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

/// Where an exchange failed.
enum Failure {
    /// Before there was a connection.
    Connect(String),
    /// Perhaps later.
    Exchange(String),
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Makes the pool's connections through the platform.
#[derive(Clone)]
struct Connector(Arc<dyn Network>);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = platform::BoxFuture<'static, io::Result<TokioIo<Link>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let network = self.0.clone();
        Box::pin(async move {
            let address = uri.authority().map_or("", |authority| authority.as_str());
            match tokio::time::timeout(CONNECT_TIMEOUT, network.connect(address)).await {
                Ok(connected) => connected.map(|stream| TokioIo::new(Link(stream))),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

/// A stream in the form that the pool asks for.
struct Link(Box<dyn platform::Stream>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
