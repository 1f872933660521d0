//! One node: a role, served over HTTP.
//!
//! Here the configuration becomes each role's settings, and what all roles have in common is answered:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | 200 while the process runs |
//! | `GET /ready` | 200 once it can serve what it is for, 503 before |
//! | `GET /cluster` | how this replica stands (a frontend: how all do) |
//! | `GET /internal/v1/standing` | how this replica stands to its group, for those who balance over it |
//! | `POST /internal/v1/raft/…`, `/internal/v1/replica/…` | the replicas' conversation |

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{BETWEEN_NODES, Call, Endpoint};
use crate::catalog::{self, Catalog, LeaseTerms};
use crate::cluster::{Probes, Timing};
use crate::config::{Config, EvictionPolicy, Node, Role, WithoutMajority};
use crate::error::ApiError;
use crate::frontend::{self, CacheLimits, Frontend};
use crate::http::body::Incoming;
use crate::http::client::Client;
use crate::http::reply::{self, Response};
use crate::http::serialized::SerializedResponse;
use crate::http::server::{self, Handler, Limits};
use crate::order::{self, OrderServer};
use crate::platform::{Listener, Platform};
use crate::protocol::request::{LEADER, SERVED_BY};
use crate::replica::{self, BootstrapError, ElectionTimeout, Group, Member, ProposerLimits, Replica, StartError};

/// Files that a node may need besides its connections, and those beyond their limit.
const OWN_FILES: u64 = 256;

/// How long a frontend that stops tells each customer who asks that it closes the connection, before it closes those on
/// which nobody asks. A customer who asks while a connection is closed cannot know whether the request arrived.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a node is started, besides its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many files this process may have open; nothing if there is no limit.
    pub max_open_files: Option<u64>,
    /// A replica with an empty disk joins the group that exists already.
    pub join: bool,
}

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its address cannot be listened at.
    #[error(
        "{id} cannot listen at {address}: {source}. Is another process using it? (key `listen` or `address` of {id})"
    )]
    Listen {
        /// The node.
        id: String,
        /// The address.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Its data cannot be used.
    #[error("{id} cannot start: {source}")]
    Start {
        /// The node.
        id: String,
        /// Why.
        source: Box<StartError>,
    },
    /// It must not take part in its group.
    #[error("{id} cannot take part: {source}")]
    Bootstrap {
        /// The node.
        id: String,
        /// Why.
        source: BootstrapError,
    },
    /// It failed while it ran.
    #[error("{id} stopped, so as not to lose anything: {reason}")]
    Failed {
        /// The node.
        id: String,
        /// Why.
        reason: String,
    },
}

/// Runs one node until `shutdown`, or until it fails.
///
/// # Errors
/// Why it could not start or go on.
pub async fn run(
    platform: Platform,
    config: Arc<Config>,
    node: &Node,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let id = node.id.clone();
    let listener = listen_in_time(&platform, &node.listen).await;
    let listener =
        listener.map_err(|source| NodeError::Listen { id: id.clone(), address: node.listen.clone(), source })?;
    let client = Client::new(&platform);
    let failed_start = |source| NodeError::Start { id: id.clone(), source: Box::new(source) };
    let (leaving, draining) = (shutdown.child_token(), CancellationToken::new());
    let mut left = None;
    let service = match node.role {
        Role::Frontend => {
            let settings = frontend_settings(&config, node);
            let (frontend, lease_given_back) = Frontend::start(&platform, &client, settings, leaving.clone());
            left = Some(lease_given_back);
            Service::Frontend(Box::new(frontend))
        }
        Role::Catalog => {
            let catalog = Catalog::open(&platform, &client, catalog_settings(&config, node)).await;
            Service::Catalog(Box::new(catalog.map_err(failed_start)?))
        }
        Role::Order => {
            let order = OrderServer::open(&platform, &client, order_settings(&config, node)).await;
            Service::Order(Box::new(order.map_err(failed_start)?))
        }
    };
    let replica = service.replica().cloned();
    let served_by = HeaderValue::try_from(&id).unwrap_or(HeaderValue::from_static("bazar"));
    let handler = Arc::new(NodeHandler { service, served_by, leaving: leaving.clone() });
    tracing::info!(node = %id, address = %node.listen, "listening");

    let limits = http_limits(&config, options.max_open_files);
    if limits.max_connections < config.http.max_connections {
        tracing::warn!(
            node = %id,
            max_open_files = options.max_open_files,
            wanted = config.http.max_connections,
            granted = limits.max_connections,
            "http.max_connections does not fit the limit on open files (ulimit -n)"
        );
    }
    let serving = server::serve(listener, handler, limits, draining.clone());
    // All is answered meanwhile: others are ready to go on without this node before its requests are drained.
    let taking_leave = async {
        leaving.cancelled().await;
        match &replica {
            Some(replica) => replica.retire().await,
            None => tokio::time::sleep(FAREWELL).await,
        }
        draining.cancel();
        std::future::pending().await
    };
    let part = async {
        let Some(replica) = &replica else { return std::future::pending().await };
        // It may fail before it takes part.
        let taking_part = async {
            match replica.take_part(options.join).await {
                Err(source) => NodeError::Bootstrap { id: id.clone(), source },
                Ok(()) => std::future::pending().await,
            }
        };
        tokio::select! {
            error = taking_part => error,
            reason = replica.failed() => NodeError::Failed { id: id.clone(), reason },
        }
    };
    let outcome = tokio::select! {
        () = serving => Ok(()),
        error = part => Err(error),
        () = taking_leave => Ok(()),
    };
    if let Some(replica) = &replica {
        replica.stop().await;
    }
    if let Some(left) = left {
        leaving.cancel();
        // It ends by itself, soon.
        let _ = left.await;
    }
    outcome
}

/// Listens at an address, perhaps only once the process that had it is gone.
async fn listen_in_time(platform: &Platform, address: &str) -> io::Result<Box<dyn Listener>> {
    let patience_ends = Instant::now() + replica::PREDECESSOR_PATIENCE;
    let mut has_told = false;
    loop {
        match platform.network.listen(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience_ends => {
                if !std::mem::replace(&mut has_told, true) {
                    let patience_s = replica::PREDECESSOR_PATIENCE.as_secs();
                    tracing::info!(address, patience_s, "waiting for whoever listens at this node's address to leave");
                }
                tokio::time::sleep(replica::PREDECESSOR_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// What a node does.
enum Service {
    Frontend(Box<Frontend>),
    Catalog(Box<Catalog>),
    Order(Box<OrderServer>),
}

impl Service {
    fn role(&self) -> Role {
        match self {
            Service::Frontend(_) => Role::Frontend,
            Service::Catalog(_) => Role::Catalog,
            Service::Order(_) => Role::Order,
        }
    }

    fn replica(&self) -> Option<&Replica> {
        match self {
            Service::Frontend(_) => None,
            Service::Catalog(catalog) => Some(catalog.replica()),
            Service::Order(order) => Some(order.replica()),
        }
    }
}

struct NodeHandler {
    service: Service,
    served_by: HeaderValue,
    /// Cancelled when this node begins to stop.
    leaving: CancellationToken,
}

impl Handler for NodeHandler {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        let path = request.uri().path().to_owned();
        let call = Call::of(self.service.role(), request.method(), &path);
        let is_between_replicas = call.as_ref().is_ok_and(|call| call.endpoint.is_between_replicas());
        let answer = match call {
            Ok(call) => self.answer(&call, request).await,
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(|error| {
            if let ApiError::Internal(reason) = &error {
                tracing::error!(path, reason, "a request failed");
            }
            reply::problem(&error, &path)
        });
        // The replicas know by themselves whom they asked, and who leads.
        if is_between_replicas {
            return response;
        }
        let headers = response.headers_mut();
        headers.entry(SERVED_BY).or_insert_with(|| self.served_by.clone());
        if let Some(leader) = self.service.replica().and_then(Replica::leader)
            && let Ok(leader) = HeaderValue::try_from(leader.header())
        {
            headers.insert(LEADER, leader);
        }
        if self.service.replica().is_none() && self.leaving.is_cancelled() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn try_fast(&self, target: &str) -> Option<SerializedResponse> {
        match &self.service {
            Service::Frontend(frontend) => frontend.try_fast(target),
            Service::Catalog(_) | Service::Order(_) => None,
        }
    }

    fn is_vital(&self, path: &str) -> bool {
        is_between_nodes(path) || path == Endpoint::Health.path()
    }

    fn is_for_nodes(&self, path: &str) -> bool {
        is_between_nodes(path)
    }

    fn request_timeout(&self, request: &Request<Incoming>, usual: Duration) -> Duration {
        match replica::request_timeout(request.uri().path()) {
            Some(longer) => longer.max(usual),
            None => usual,
        }
    }
}

/// Whether the other nodes of the cluster say something at `path`, each with bounds of its own.
fn is_between_nodes(path: &str) -> bool {
    path.starts_with(BETWEEN_NODES)
}

impl NodeHandler {
    async fn answer(&self, call: &Call<'_>, request: Request<Incoming>) -> Result<Response, ApiError> {
        match (call.endpoint, self.service.replica()) {
            (Endpoint::Health, _) => Ok(reply::json(StatusCode::OK, &json!({ "status": "alive" }))),
            (Endpoint::Ready, _) => self.ready().await,
            (Endpoint::Cluster, Some(replica)) => Ok(reply::json(StatusCode::OK, &replica.status())),
            (Endpoint::Standing, Some(replica)) => {
                let is_tried = request.uri().query() == Some(replica::TRIED);
                Ok(reply::json(StatusCode::OK, &replica.standing(is_tried).await))
            }
            (endpoint, Some(replica)) if endpoint.is_between_replicas() => replica.handle(endpoint, request).await,
            _ => match &self.service {
                Service::Frontend(frontend) => frontend.handle(call, request).await,
                Service::Catalog(catalog) => catalog.handle(call, request).await,
                Service::Order(order) => order.handle(call, request).await,
            },
        }
    }

    async fn ready(&self) -> Result<Response, ApiError> {
        let ready = match &self.service {
            Service::Frontend(frontend) => frontend.ready().await,
            Service::Catalog(catalog) => catalog.replica().ready().await,
            Service::Order(order) => order.replica().ready().await,
        };
        ready.map_err(ApiError::Unavailable)?;
        Ok(reply::json(StatusCode::OK, &json!({ "status": "ready" })))
    }
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn members(nodes: &[Node]) -> Vec<Member> {
    nodes.iter().map(|node| Member { id: node.id.clone(), address: node.address.clone() }).collect()
}

/// How many connections a node takes that may have so many files open.
///
/// Of what is left beside its own files, half is for the connections that their requests need to other nodes.
fn connections_within(max_open_files: u64) -> usize {
    let own = OWN_FILES.min(max_open_files / 2);
    usize::try_from((max_open_files - own) / 2).unwrap_or(usize::MAX).max(1)
}

fn http_limits(config: &Config, max_open_files: Option<u64>) -> Limits {
    Limits {
        max_connections: config.http.max_connections.min(max_open_files.map_or(usize::MAX, connections_within)),
        max_body_bytes: config.http.max_body_bytes,
        header_timeout: millis(config.http.header_timeout_ms),
        request_timeout: millis(config.http.request_timeout_ms),
        idle_timeout: millis(config.http.idle_timeout_ms),
        drain_timeout: millis(config.http.drain_timeout_ms),
    }
}

fn replica_settings(config: &Config, node: &Node) -> replica::Settings {
    let replication = &config.replication;
    let member = |node: &Node| (node.number, Member { id: node.id.clone(), address: node.address.clone() });
    replica::Settings {
        group: Group {
            name: node.role.name(),
            own: node.number,
            members: config.group(node.role).iter().map(member).collect(),
        },
        folder: folder(config, node),
        heartbeat: millis(replication.heartbeat_ms),
        election_timeout: ElectionTimeout {
            min: millis(replication.election_timeout_min_ms),
            max: millis(replication.election_timeout_max_ms),
        },
        proposer: ProposerLimits {
            queue_commands: replication.queue_commands,
            batch_commands: replication.batch_commands,
            commit_timeout: millis(replication.commit_timeout_ms),
        },
        majority_wait: millis(config.reads.majority_wait_ms),
        log: replica::LogLimits { segment_bytes: replication.segment_bytes, cache_bytes: replication.cache_bytes },
        snapshot_log_bytes: replication.snapshot_log_bytes,
    }
}

/// Where a replica keeps its files.
pub fn folder(config: &Config, node: &Node) -> PathBuf {
    config.machine.data.join(&node.id)
}

fn probes(config: &Config, when_idle: bool) -> Probes {
    Probes {
        interval: millis(config.balancer.probe_interval_ms),
        timeout: millis(config.balancer.probe_timeout_ms),
        when_idle,
    }
}

fn may_answer_stale(config: &Config) -> bool {
    config.reads.without_majority == WithoutMajority::Stale
}

fn catalog_settings(config: &Config, node: &Node) -> catalog::Settings {
    catalog::Settings {
        replica: replica_settings(config, node),
        seed: config.machine.seed.clone(),
        frontends: members(&config.frontends),
        lease: LeaseTerms {
            lease: millis(config.cache.lease_ms),
            clock_drift_percent: config.cache.clock_drift_percent,
        },
        may_answer_stale: may_answer_stale(config),
        patience: millis(config.reads.majority_wait_ms),
        max_body_bytes: config.http.max_body_bytes,
        body_timeout: millis(config.http.header_timeout_ms),
    }
}

fn order_settings(config: &Config, node: &Node) -> order::Settings {
    order::Settings {
        replica: replica_settings(config, node),
        catalogs: members(&config.catalogs),
        // Shorter than a frontend's attempt, which would else give up on this server while the catalog is at fault; and as
        // long as that allows, so that a server that waits for a leader can say that it found none.
        catalog_timing: Timing {
            attempt_timeout: millis(config.balancer.attempt_timeout_ms * 5 / 6),
            read_deadline: millis(config.balancer.attempt_timeout_ms * 5 / 6),
            write_deadline: millis(config.balancer.attempt_timeout_ms * 5 / 6),
        },
        // Followers ask the catalog for nothing.
        catalog_probes: probes(config, false),
        may_answer_stale: may_answer_stale(config),
        patience: millis(config.reads.majority_wait_ms),
        max_body_bytes: config.http.max_body_bytes,
        body_timeout: millis(config.http.header_timeout_ms),
    }
}

fn frontend_settings(config: &Config, node: &Node) -> frontend::Settings {
    frontend::Settings {
        id: node.id.clone(),
        catalogs: members(&config.catalogs),
        orders: members(&config.orders),
        cache: CacheLimits {
            enabled: config.cache.enabled,
            capacity: config.cache.capacity,
            capacity_bytes: config.cache.capacity_bytes,
            ttl: millis(config.cache.ttl_ms),
            is_lru: config.cache.policy == EvictionPolicy::Lru,
        },
        lease: millis(config.cache.lease_ms),
        probes: probes(config, true),
        timing: Timing {
            attempt_timeout: millis(config.balancer.attempt_timeout_ms),
            read_deadline: millis(config.balancer.read_deadline_ms),
            write_deadline: millis(config.balancer.write_deadline_ms),
        },
        max_body_bytes: config.http.max_body_bytes,
        body_timeout: millis(config.http.header_timeout_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(connections_within(1024), 384);
        assert_eq!(connections_within(64), 16);
        assert_eq!(connections_within(0), 1);
        assert!(connections_within(u64::MAX) > 1_000_000);
    }
}
