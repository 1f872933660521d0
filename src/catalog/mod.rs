//! The catalog: books, prices, stock, and what was decided about each purchase.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`command`] | what the log says |
//! | [`state`] | the pure function from commands to the shop's state |
//! | [`decisions`] | what was decided under which idempotency key |
//! | [`memory`] | decisions that are found by their keys |
//! | [`application`] | the state as a group replicates it: commands in, tables out |
//! | [`tables`] | the state as CSV tables, and back |
//! | [`leader`] | what only the leader does: decide writes |
//! | [`footprint`] | what a write may change for readers |
//! | [`invalidation`] | before a write, every frontend forgets what it changes |
//! | [`sessions`] | which frontends may hold what, and until when |
//! | [`routes`] | what a catalog server answers over HTTP |

mod application;
pub mod command;
mod decisions;
mod footprint;
mod invalidation;
mod leader;
mod memory;
pub mod routes;
mod sessions;
mod state;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::http::body::Incoming;

use self::application::{CatalogApplication, DecisionCounter};
use self::leader::CatalogLeader;
pub use self::leader::LeaderRequest;
pub use self::sessions::LeaseTerms;
use crate::api::Call;
use crate::error::ApiError;
use crate::http::client::Client;
use crate::http::reply::{self, Response};
use crate::platform::Platform;
use crate::protocol::fence::DECISIONS;
use crate::reads::Reads;
use crate::replica::{self, Member, Replica, StartError};

/// How a catalog server is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its replication.
    pub replica: replica::Settings,
    /// The books of a new shop.
    pub seed: PathBuf,
    /// The frontends that may cache.
    pub frontends: Vec<Member>,
    /// How long they may rely on what they hold.
    pub lease: LeaseTerms,
    /// Whether reads are answered, and marked, when the group has no majority.
    pub may_answer_stale: bool,
    /// How long a write waits for the group to have a leader.
    pub patience: Duration,
    /// The longest body of a client's request, in bytes.
    pub max_body_bytes: usize,
    /// How long it may take to arrive.
    pub body_timeout: Duration,
}

/// A catalog server.
pub struct Catalog {
    replica: Replica,
    reads: Reads<CatalogApplication>,
    decisions: DecisionCounter,
    platform: Platform,
    patience: Duration,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Catalog {
    /// Restores the server's state from its disk.
    ///
    /// # Errors
    /// If it cannot be restored.
    pub async fn open(platform: &Platform, client: &Client, settings: Settings) -> Result<Catalog, StartError> {
        let application = Arc::new(CatalogApplication::default());
        let opened = replica::open(platform, client, settings.replica, application.clone()).await?;
        let leader = CatalogLeader {
            application: application.clone(),
            consensus: opened.consensus(),
            invalidator: invalidation::Invalidator::start(client, settings.frontends, settings.lease),
            platform: platform.clone(),
            seed: settings.seed,
            told: Mutex::default(),
        };
        let replica = opened.start(Arc::new(leader));
        Ok(Catalog {
            reads: Reads::new(replica.clone(), application.clone(), settings.may_answer_stale, settings.patience),
            decisions: DecisionCounter(application),
            replica,
            platform: platform.clone(),
            patience: settings.patience,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
        })
    }

    /// Its replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn handle(&self, call: &Call<'_>, request: hyper::Request<Incoming>) -> Result<Response, ApiError> {
        let path = (!request.method().is_safe()).then(|| request.uri().path().to_owned());
        let answer = self.route(call, request).await;
        let Some(path) = path else { return answer };
        let mut response = match answer {
            // Who hears of too few decisions is told how many there are.
            Err(expired @ ApiError::KeyExpired(_)) => reply::problem(&expired, &path),
            other => other?,
        };
        response.headers_mut().insert(DECISIONS, self.decisions.count().header());
        Ok(response)
    }
}
