//! Nodes that do what a test says, where it looks at the other half of the protocol.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bazar::http::body;
use bazar::http::body::Incoming;
use bazar::http::reply::{self, Response};
use bazar::http::server::{Handler, Limits, serve};
use bazar::platform::{Network, TcpNetwork};
use bazar::protocol::cache::{Invalidation, LEASE, LeaseReply, LeaseRequest, ProcessId, Session};
use bazar::replica::{Leading, STANDING, Standing};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shop::PATIENCE;

const LIMITS: Limits = Limits {
    max_connections: 64,
    max_body_bytes: 1 << 20,
    header_timeout: PATIENCE,
    request_timeout: PATIENCE,
    idle_timeout: PATIENCE,
    drain_timeout: Duration::ZERO,
};

const CACHEABLE: HeaderName = HeaderName::from_static("bazar-cacheable");

async fn play(address: &str, part: impl Handler) {
    let listener = TcpNetwork.listen(address).await.unwrap();
    tokio::spawn(serve(listener, Arc::new(part), LIMITS, CancellationToken::new()));
}

async fn next<T>(what: &str, waiting: &mut mpsc::UnboundedReceiver<T>) -> T {
    let next = tokio::time::timeout(PATIENCE, waiting.recv()).await;
    next.unwrap_or_else(|_| panic!("waited in vain for {what}")).unwrap()
}

/// A catalog server that answers when, and what, the test says.
pub struct ScriptedCatalog {
    questions: mpsc::UnboundedReceiver<Question>,
    lease: Arc<Mutex<LeaseReply>>,
    asked_for_lease: Arc<Mutex<Option<ProcessId>>>,
}

/// A question that waits for its answer.
pub struct Question {
    pub path: String,
    /// The id of the request that it is a part of.
    pub request_id: Option<HeaderValue>,
    answer: oneshot::Sender<Response>,
}

impl ScriptedCatalog {
    /// Grants no lease before it is told to.
    pub async fn play(address: &str) -> ScriptedCatalog {
        let (asked, questions) = mpsc::unbounded_channel();
        let lease = Arc::new(Mutex::new(LeaseReply::NotNow));
        let asked_for_lease = Arc::<Mutex<Option<ProcessId>>>::default();
        play(address, CatalogPart { asked, lease: lease.clone(), asked_for_lease: asked_for_lease.clone() }).await;
        ScriptedCatalog { questions, lease, asked_for_lease }
    }

    /// The process that asked for a lease last.
    pub fn process(&self) -> ProcessId {
        self.asked_for_lease.lock().unwrap().unwrap()
    }

    /// Grants this session to whoever asks from now on.
    pub fn grant(&self, number: u64, lease: Duration) {
        let session = Session { epoch: 7, number };
        self.say(LeaseReply::Granted { session, lease_ms: lease.as_millis() as u64 });
    }

    /// Grants no lease from now on.
    pub fn refuse(&self) {
        self.say(LeaseReply::NotNow);
    }

    /// The next question of the frontend's.
    pub async fn question(&mut self) -> Question {
        next("a question to the catalog", &mut self.questions).await
    }

    fn say(&self, reply: LeaseReply) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }
}

impl Question {
    /// Answers it, as read while no write was under way or while one was.
    pub fn answer(self, text: &'static str, is_settled: bool) {
        let mut response = reply::content(StatusCode::OK, "application/json", Bytes::from_static(text.as_bytes()));
        let cacheable = HeaderValue::from_static(if is_settled { "true" } else { "false" });
        response.headers_mut().insert(CACHEABLE, cacheable);
        assert!(self.answer.send(response).is_ok(), "the frontend waits for the answer");
    }
}

struct CatalogPart {
    asked: mpsc::UnboundedSender<Question>,
    lease: Arc<Mutex<LeaseReply>>,
    asked_for_lease: Arc<Mutex<Option<ProcessId>>>,
}

impl Handler for CatalogPart {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            STANDING => {
                let leader = Some(Leading { id: "catalog-1".to_owned(), term: 1 });
                let cluster = Some("a shop".to_owned());
                reply::json(
                    StatusCode::OK,
                    &Standing { id: "catalog-1".to_owned(), cluster, leader, serves: true, hindrance: None },
                )
            }
            "/cluster" => reply::json(StatusCode::OK, &"as the test says"),
            LEASE => {
                let body = body::read(request.into_body(), usize::MAX, PATIENCE).await.unwrap();
                let request: LeaseRequest = postcard::from_bytes(&body).unwrap();
                *self.asked_for_lease.lock().unwrap() = Some(request.process);
                let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
                binary(postcard::to_stdvec(&lease).unwrap())
            }
            _ => {
                let (answer, answered) = oneshot::channel();
                let request_id = request.headers().get("x-request-id").cloned();
                self.asked.send(Question { path, request_id, answer }).unwrap();
                answered.await.unwrap()
            }
        }
    }
}

/// A frontend that confirms whatever reaches it, and takes leases only as the test does for it.
pub struct ScriptedFrontend {
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// What the catalog's leader told a frontend, and when.
pub struct Heard {
    pub at: Instant,
    pub what: What,
}

/// See [`Heard`].
#[derive(Debug, PartialEq)]
pub enum What {
    Announcement,
    Invalidation(Invalidation),
}

impl ScriptedFrontend {
    pub async fn play(address: &str) -> ScriptedFrontend {
        let (heard, waiting) = mpsc::unbounded_channel();
        play(address, FrontendPart { heard }).await;
        ScriptedFrontend { heard: waiting }
    }

    /// The next that the leader says.
    pub async fn hear(&mut self) -> Heard {
        next("a word of the catalog's leader", &mut self.heard).await
    }
}

struct FrontendPart {
    heard: mpsc::UnboundedSender<Heard>,
}

impl Handler for FrontendPart {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        let is_announcement = request.uri().path() == bazar::protocol::cache::ANNOUNCE;
        let body = body::read(request.into_body(), usize::MAX, PATIENCE).await.unwrap();
        let what = match is_announcement {
            true => What::Announcement,
            false => What::Invalidation(postcard::from_bytes(&body).unwrap()),
        };
        let _ = self.heard.send(Heard { at: Instant::now(), what });
        binary(Vec::new())
    }
}

fn binary(body: Vec<u8>) -> Response {
    reply::content(StatusCode::OK, "application/octet-stream", body.into())
}
