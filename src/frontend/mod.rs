//! The frontend: what customers talk to. It caches what the catalog says, and balances over the replicas.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`index_page`] | what stands at `/` |
//! | [`routes`] | what a frontend answers, and where each request goes |
//! | [`cached_response`] | an answer of the catalog, and what a customer sees of it |
//! | [`cache`] | answers that are dropped when what they tell changes |
//! | [`lease`] | whether it may answer from its cache |
//! | [`lease_renewal`] | asking for the lease |
//! | [`single_flight`] | identical questions share one answer |
//! | [`purchase_batcher`] | purchases that have gathered share a request |
//! | [`once_more`] | what to do when the catalog cannot tell that a key is new |
//! | [`cluster_status`] | the cluster as all its nodes see it |

mod cache;
mod cached_response;
mod cluster_status;
mod index_page;
mod lease;
mod lease_renewal;
mod once_more;
mod purchase_batcher;
mod routes;
mod single_flight;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::cache::{Cache, CacheKey, Noted};
pub use self::cache::{CacheLimits, CacheStats};
use self::lease_renewal::LeaseRenewal;
use self::purchase_batcher::PurchaseBatcher;
use self::routes::Fetched;
use self::single_flight::SingleFlights;
use crate::cluster::{Probes, Timing, Upstream};
use crate::http::client::Client;
use crate::http::reply::Response;
use crate::http::serialized::SerializedResponse;
use crate::lists::Lists;
use crate::platform::Platform;
use crate::protocol::cache::ProcessId;
use crate::protocol::fence::Heard;
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
    /// How replicas are probed.
    pub probes: Probes,
    /// How long either group is waited for.
    pub timing: Timing,
    /// The longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// How long it may take to arrive.
    pub body_timeout: Duration,
}

/// A frontend.
pub struct Frontend {
    platform: Platform,
    /// This process: only who knows it speaks to the cache.
    process: ProcessId,
    cache: Arc<Cache>,
    /// Whether caching has begun, or is not to be waited for.
    has_begun: watch::Receiver<bool>,
    single_flights: SingleFlights<(CacheKey, Noted), Fetched>,
    overviews: SingleFlights<(), Response>,
    looks: SingleFlights<(), Result<(), String>>,
    lists: Arc<Lists>,
    catalog: Upstream,
    orders: Upstream,
    /// How many decisions of the catalog it has heard of.
    heard: Arc<Heard>,
    /// One for each order server, by its position in the balancer.
    batchers: Vec<PurchaseBatcher>,
    probe_timeout: Duration,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Frontend {
    /// Starts a frontend with an empty cache, which is used until `stopping`; and what ends once its lease is given back.
    pub fn start(
        platform: &Platform,
        client: &Client,
        settings: Settings,
        stopping: CancellationToken,
    ) -> (Frontend, JoinHandle<()>) {
        let upstream = |name, members| Upstream::start(name, members, client.clone(), settings.timing, settings.probes);
        let cache = Arc::new(Cache::new(settings.cache));
        let catalog = upstream("catalog", settings.catalogs.clone());
        let process = ProcessId::fresh();
        let (begun, has_begun) = watch::channel(!settings.cache.enabled);
        let (lease, frontend) = (settings.lease, settings.id.clone());
        let heard = Arc::<Heard>::default();
        let renewal = LeaseRenewal {
            frontend,
            process,
            cache: cache.clone(),
            catalog: catalog.clone(),
            heard: heard.clone(),
            lease,
            begun,
        };
        let left = match settings.cache.enabled {
            true => tokio::spawn(renewal.run(stopping)),
            false => tokio::spawn(std::future::ready(())),
        };
        let orders = upstream("order", settings.orders.clone());
        let frontend = Frontend {
            platform: platform.clone(),
            process,
            cache,
            has_begun,
            single_flights: SingleFlights::default(),
            overviews: SingleFlights::default(),
            looks: SingleFlights::default(),
            lists: Arc::new(Lists::new(settings.timing.read_deadline)),
            catalog,
            batchers: PurchaseBatcher::start_all(&orders),
            orders,
            heard,
            probe_timeout: settings.probes.timeout,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
        };
        (frontend, left)
    }

    /// The cached answer to a plain GET, if there is one that holds.
    pub fn try_fast(&self, target: &str) -> Option<SerializedResponse> {
        self.cache.get_prepared(&CacheKey::of(target)?)
    }
}
