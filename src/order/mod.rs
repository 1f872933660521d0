//! The orders: purchases that the catalog decided, recorded for ever.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`state`] | the pure function: a list that only grows, without gaps |
//! | [`application`] | the state as a CSV table, and back |
//! | [`purchase`] | a purchase, as the order leader makes it |
//! | [`sequencer`] | what the catalog decided, recorded in the order of the numbers |
//! | [`catalog_link`] | how the order servers reach the catalog |
//! | [`routes`] | what an order server answers over HTTP |

mod application;
mod catalog_link;
mod purchase;
mod routes;
mod sequencer;
mod state;

use std::sync::Arc;
use std::time::Duration;

use self::application::OrderApplication;
use self::catalog_link::CatalogLink;
use self::purchase::OrderLeader;
use self::sequencer::Sequencer;
use crate::cluster::{Probes, Timing};
use crate::http::client::Client;
use crate::platform::Platform;
use crate::protocol::fence::Heard;
use crate::reads::Reads;
use crate::replica::{self, Member, Replica, StartError};

/// How an order server is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its replication.
    pub replica: replica::Settings,
    /// The catalog servers.
    pub catalogs: Vec<Member>,
    /// How long the catalog is waited for.
    pub catalog_timing: Timing,
    /// How its servers are probed.
    pub catalog_probes: Probes,
    /// Whether reads are answered, and marked, when the group has no majority.
    pub may_answer_stale: bool,
    /// How long a purchase waits for the group to have a leader.
    pub patience: Duration,
    /// The longest body of a client's request, in bytes.
    pub max_body_bytes: usize,
    /// How long it may take to arrive.
    pub body_timeout: Duration,
}

/// An order server.
pub struct OrderServer {
    replica: Replica,
    reads: Reads<OrderApplication>,
    platform: Platform,
    /// How many decisions of the catalog it has heard of.
    heard: Heard,
    patience: Duration,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl OrderServer {
    /// Restores the server's state from its disk.
    ///
    /// # Errors
    /// If it cannot be restored.
    pub async fn open(platform: &Platform, client: &Client, settings: Settings) -> Result<OrderServer, StartError> {
        let application = Arc::new(OrderApplication::default());
        let opened = replica::open(platform, client, settings.replica, application.clone()).await?;
        let Settings { catalogs, catalog_timing, catalog_probes, .. } = settings;
        let catalog = Arc::new(CatalogLink::start(client.clone(), catalogs, catalog_timing, catalog_probes));
        let sequencer = Sequencer::start(opened.consensus(), application.clone(), catalog.clone());
        let leader = OrderLeader::start(application.clone(), sequencer, catalog);
        let replica = opened.start(Arc::new(leader));
        Ok(OrderServer {
            reads: Reads::new(replica.clone(), application, settings.may_answer_stale, settings.patience),
            replica,
            platform: platform.clone(),
            heard: Heard::default(),
            patience: settings.patience,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
        })
    }

    /// Its replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
}
