//! Connections to other nodes, kept between requests.
//!
//! Whoever asks drives the connection while it asks, and nobody does in between: no task and no timer stands by for
//! it, as would with a general client's pool. So what a kept connection has come to, closed by the other side
//! perhaps, shows only when it is taken again; it is looked at before anything is sent on it. Those that nobody takes
//! again are looked at from time to time, by one task for all.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::RequestBody;
use crate::platform::Stream;

/// How long an unused connection is kept. A server that closes idle connections sooner costs calls that
/// end unknown.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Unused connections that are kept to one address.
const MAX_IDLE_CONNECTIONS: usize = 256;

type Message = hyper::Request<RequestBody>;

/// Connections that nobody uses now, by address. Clones are the same.
#[derive(Clone, Default)]
pub struct Connections {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Of each address the one used last is the last.
    by_address: HashMap<String, Vec<Idle>>,
    is_watched: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Connections {
    /// A connection that can be used, if one was kept.
    pub fn take(&self, address: &str) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.kept.lock().by_address.get_mut(address)?.pop()?;
            if since.elapsed() >= IDLE_TIMEOUT {
                // Those below it are older.
                self.kept.lock().by_address.get_mut(address)?.clear();
                return None;
            }
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, if it can bear one.
    pub fn keep(&self, address: &str, mut connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let mut all = self.kept.lock();
        if !std::mem::replace(&mut all.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.kept)));
        }
        let kept = match all.by_address.get_mut(address) {
            Some(kept) => kept,
            None => all.by_address.entry(address.to_owned()).or_default(),
        };
        if kept.len() == MAX_IDLE_CONNECTIONS || kept.first().is_some_and(|idle| idle.since.elapsed() >= IDLE_TIMEOUT) {
            kept.remove(0);
        }
        kept.push(Idle { connection, since: Instant::now() });
    }

    /// Lets go of those that are kept to one address.
    pub fn let_go_of(&self, address: &str) {
        let kept = self.kept.lock().by_address.get_mut(address).map(std::mem::take);
        // Closing them takes a while, in which others want theirs.
        drop(kept);
    }

    /// Lets go of all that are kept, where something else needs their descriptors.
    pub fn let_go(&self) {
        self.kept.lock().by_address.clear();
    }
}

/// Lets go of connections that are of no use, as long as any are kept.
async fn watch(kept: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut all = kept.lock();
        all.by_address.retain(|_, idle| {
            idle.retain_mut(|idle| idle.since.elapsed() < IDLE_TIMEOUT && idle.connection.is_usable());
            !idle.is_empty()
        });
        all.is_watched = !all.by_address.is_empty();
        if !all.is_watched {
            return;
        }
    }
}

/// A connection to a node.
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// Large, and moved with whatever asks.
    driver: Box<http1::Connection<TokioIo<Box<dyn Stream>>, RequestBody>>,
    has_ended: bool,
    /// Where it goes, as requests say it.
    pub host: HeaderValue,
}

/// Why an exchange failed.
pub enum Failure {
    /// Nothing of the message was sent: here it is again, with the reason.
    Unsent(Box<Message>, hyper::Error),
    /// It may have arrived.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl Connection {
    /// A connection on a stream that was just opened.
    ///
    /// # Errors
    /// As hyper's.
    pub async fn new(stream: Box<dyn Stream>, host: HeaderValue) -> hyper::Result<Connection> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver: Box::new(driver), has_ended: false, host })
    }

    /// Sends a message and reads the whole answer, whose body may have `limit_bytes`.
    pub async fn exchange(&mut self, message: Message, limit_bytes: usize) -> Result<hyper::Response<Bytes>, Failure> {
        let answer = self.sender.try_send_request(message);
        let answer = async {
            let answer = answer.await.map_err(|mut error| match error.take_message() {
                Some(message) => Failure::Unsent(Box::new(message), error.into_error()),
                None => Failure::Broken(error.into_error().into()),
            })?;
            let (head, body) = answer.into_parts();
            let is_empty = body.size_hint().exact() == Some(0);
            let body = match is_empty {
                true => Bytes::new(),
                false => Limited::new(body, limit_bytes).collect().await.map_err(Failure::Broken)?.to_bytes(),
            };
            Ok(hyper::Response::from_parts(head, body))
        };
        let mut answer = std::pin::pin!(answer);
        let (driver, has_ended) = (&mut self.driver, &mut self.has_ended);
        std::future::poll_fn(|context| {
            if !*has_ended {
                *has_ended = Pin::new(&mut *driver).poll(context).is_ready();
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Whether it can bear a request now.
    fn is_usable(&mut self) -> bool {
        // Nobody waits for what the connection does next, so there is nobody to wake.
        let mut context = Context::from_waker(std::task::Waker::noop());
        if !self.has_ended {
            self.has_ended = Pin::new(&mut self.driver).poll(&mut context).is_ready();
        }
        !self.has_ended && matches!(self.sender.poll_ready(&mut context), Poll::Ready(Ok(())))
    }
}
