//! The frontend: what customers talk to. It caches what the catalog says, and balances over the replicas.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`routes`] | what a frontend answers, and where each request goes |
//! | [`answer`] | an answer of the catalog, and what a customer sees of it |
//! | [`cache`] | answers that are dropped when what they tell changes |
//! | [`lease`] | whether it may answer from its cache |
//! | [`renewal`] | asking for the lease |
//! | [`flight`] | identical questions share one answer |
//! | [`balancer`] | which replica is asked next |
//! | [`upstream`] | asking replicas until one answers |
//! | [`courier`] | purchases that have gathered share a request |
//! | [`overview`] | the cluster as all its nodes see it |

mod answer;
mod balancer;
mod cache;
mod courier;
mod flight;
mod lease;
mod overview;
mod renewal;
mod routes;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use crate::http::body::Incoming;

use self::balancer::Balancer;
use self::cache::{Cache, CacheKey, Noted};
pub use self::cache::{CacheLimits, CacheStats};
use self::courier::Courier;
use self::flight::Flights;
use self::routes::Fetched;
use self::upstream::Upstream;
use crate::error::ApiError;
use crate::http::client::Client;
use crate::http::prepared::Prepared;
use crate::http::reply::Response;
use crate::platform::Platform;
use crate::replica::Member;

/// How a frontend is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The catalog servers.
    pub catalogs: Vec<Member>,
    /// The order servers.
    pub orders: Vec<Member>,
    /// Its name.
    pub id: String,
    /// The bounds of the cache.
    pub cache: CacheLimits,
    /// How long leases are expected to last.
    pub lease: Duration,
    /// How often each replica that is in use is probed.
    pub probe_interval: Duration,
    /// How long a probe may take.
    pub probe_timeout: Duration,
    /// How long one replica may take to answer.
    pub attempt_timeout: Duration,
    /// How long a read may take in all.
    pub read_deadline: Duration,
    /// How long a write may take in all.
    pub write_deadline: Duration,
    /// The longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// How long it may take to arrive.
    pub body_timeout: Duration,
}

/// A frontend.
pub struct Frontend {
    platform: Platform,
    cache: Arc<Cache>,
    flights: Flights<(CacheKey, Noted), Fetched>,
    catalog: Upstream,
    orders: Upstream,
    /// One for each order server, by its position in the balancer.
    couriers: Vec<Courier>,
    probe_timeout: Duration,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Frontend {
    /// Starts a frontend with an empty cache.
    pub fn start(platform: &Platform, client: &Client, settings: Settings) -> Frontend {
        let upstream = |name, members: Vec<Member>| {
            let balancer = Balancer::new(members);
            let probes = balancer.clone().probe(client.clone(), settings.probe_interval, settings.probe_timeout);
            tokio::spawn(probes);
            Upstream {
                name,
                balancer,
                client: client.clone(),
                attempt_timeout: settings.attempt_timeout,
                read_deadline: settings.read_deadline,
                write_deadline: settings.write_deadline,
            }
        };
        let cache = Arc::new(Cache::new(settings.cache));
        let catalog = upstream("catalog", settings.catalogs.clone());
        if settings.cache.enabled {
            tokio::spawn(renewal::keep_lease(settings.id.clone(), cache.clone(), catalog.clone(), settings.lease));
        }
        let orders = upstream("order", settings.orders.clone());
        Frontend {
            platform: platform.clone(),
            cache,
            flights: Flights::default(),
            catalog,
            couriers: Courier::start_all(&orders),
            orders,
            probe_timeout: settings.probe_timeout,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
        }
    }

    /// Whether reads and purchases can be served: some server of each group is ready.
    pub async fn is_ready(&self) -> bool {
        let (catalog, orders) = tokio::join!(self.has_ready(&self.catalog), self.has_ready(&self.orders));
        catalog && orders
    }

    /// The cached answer to a plain GET, if there is one that holds.
    pub fn at_once(&self, target: &str) -> Option<Prepared> {
        self.cache.get_prepared(&CacheKey::of(target)?)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn handle(&self, request: hyper::Request<Incoming>) -> Result<Response, ApiError> {
        self.route(request).await
    }
}
