//! Sends requests to other nodes, over connections that are kept for the next one.
//!
//! A failed call says whether the request may have been carried out: that decides whether it can be
//! sent elsewhere without harm. Knows nothing of what is sent, and never repeats a request that may
//! have left. (It takes another connection where a kept one turns out to be closed before a byte was sent.)

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode, Uri};

pub use super::connections::IDLE_TIMEOUT;
use super::connections::{Connection, Connections, Failure};
use crate::certainty::{Certain, Certainty};
use crate::platform::{Network, Platform, is_descriptor_shortage};

/// The longest body of a reply that is read, in bytes.
pub const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What is sent.
pub(super) type RequestBody =
    Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>>;

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

impl Certain for CallError {
    fn certainty(&self) -> Certainty {
        match self {
            CallError::NotSent { .. } => Certainty::NotDone,
            CallError::Unknown { .. } => Certainty::Unknown,
        }
    }
}

impl CallError {
    /// What happened, without where.
    pub fn reason(&self) -> &str {
        let (CallError::NotSent { reason, .. } | CallError::Unknown { reason, .. }) = self;
        reason
    }
}

/// Sends requests. Its clones share their connections.
#[derive(Clone)]
pub struct Client {
    network: Arc<dyn Network>,
    connections: Connections,
}

impl Client {
    /// A client without connections yet.
    pub fn new(platform: &Platform) -> Client {
        Client { network: platform.network.clone(), connections: Connections::default() }
    }

    /// Sends a request to `address` (`host:port`) and reads the whole reply, within `timeout`.
    ///
    /// # Errors
    /// See [`CallError`]. A reply with an error's status is no error here.
    pub async fn send(&self, address: &str, request: Request, timeout: Duration) -> Result<Reply, CallError> {
        let given_up = async {
            tokio::time::sleep(timeout).await;
            // What is sent on the others might be heard, and not answered: a leader that hears nobody would go on being
            // heard, and not be replaced.
            self.connections.let_go_of(address);
            format!("nothing within {} ms", timeout.as_millis())
        };
        self.send_unless(address, request, given_up).await
    }

    /// As [`send`](Self::send), for as long as `given_up` brings no reason not to wait any longer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send_unless(
        &self,
        address: &str,
        request: Request,
        given_up: impl Future<Output = String>,
    ) -> Result<Reply, CallError> {
        let not_sent = |reason: String| CallError::NotSent { address: address.to_owned(), reason };
        let path = request.path;
        let uri = Uri::try_from(path.as_str()).map_err(|error| not_sent(format!("{path:?} is no path: {error}")))?;
        let mut message = hyper::Request::new(request.body);
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        *message.headers_mut() = request.headers;

        let mut may_have_left = false;
        // Large, and moved with whatever asks.
        let exchange = Box::pin(self.exchange(address, message, &mut may_have_left));
        let reason = tokio::select! {
            biased;
            outcome = exchange => match outcome {
                Ok(reply) => return Ok(reply),
                Err(reason) => reason,
            },
            reason = given_up => reason,
        };
        match may_have_left {
            false => Err(not_sent(reason)),
            true => Err(CallError::Unknown { address: address.to_owned(), reason }),
        }
    }

    /// `may_have_left` is true at the end, and whenever this is broken off, if a byte may have been sent.
    async fn exchange(
        &self,
        address: &str,
        mut message: hyper::Request<RequestBody>,
        may_have_left: &mut bool,
    ) -> Result<Reply, String> {
        loop {
            let kept = self.connections.take(address);
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(address).await?,
            };
            message.headers_mut().insert(HOST, connection.host.clone());
            *may_have_left = true;
            match connection.exchange(message, MAX_REPLY_BYTES).await {
                Ok(response) => {
                    self.connections.keep(address, connection);
                    let (head, body) = response.into_parts();
                    return Ok(Reply { status: head.status, headers: head.headers, body });
                }
                Err(Failure::Unsent(unsent, error)) => {
                    *may_have_left = false;
                    // That a new one is closed at once is the server's answer.
                    if !was_kept {
                        return Err(chain(&error));
                    }
                    message = *unsent;
                }
                Err(Failure::Broken(error)) => return Err(chain(&*error)),
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Connection, String> {
        let host = HeaderValue::try_from(address).map_err(|error| format!("it is no address: {error}"))?;
        let connect = async {
            match self.network.connect(address).await {
                Err(error) if is_descriptor_shortage(&error) => {
                    self.connections.let_go();
                    self.network.connect(address).await
                }
                outcome => outcome,
            }
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(|error| chain(&error))?,
            Err(_) => return Err(format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis())),
        };
        Connection::new(stream, host).await.map_err(|error| chain(&error))
    }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn after_silence_on_one_kept_connection_none_of_the_others_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, mut questions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut question = [0; 1024];
                    let mut questions_here = 0;
                    while stream.read(&mut question).await.is_ok_and(|bytes| bytes > 0) {
                        questions_here += 1;
                        asked.send(number).unwrap();
                        // Both of the first connections are kept, and silent from then on.
                        if questions_here == 1 {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                        }
                    }
                });
            }
        });
        let client = Client::new(&Platform::system());
        let (soon, patient) = (Duration::from_millis(50), Duration::from_secs(60));
        let ask = |timeout| client.send(&address, Request::get("/"), timeout);
        let (first, second) = tokio::join!(ask(patient), ask(patient));
        assert!(first.is_ok() && second.is_ok());
        assert!(matches!(ask(soon).await, Err(CallError::Unknown { .. })));
        assert!(ask(patient).await.is_ok());
        let asked: Vec<u32> = std::iter::from_fn(|| questions.try_recv().ok()).collect();
        assert_eq!(asked.iter().max(), Some(&2), "{asked:?}");
    }
}
