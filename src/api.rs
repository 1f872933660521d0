//! The one table of what nodes answer: the path and the methods of each endpoint, which nodes have it, who may ask, and with
//! which statuses it answers.
//!
//! A request is looked up here once, in `node.rs`. Whoever sends one takes its path from here, too.

use hyper::Method;

use crate::VERSION;
use crate::config::Role;
use crate::error::ApiError;
use crate::http::path::Path;

use Caller::{Anyone, Node, Staff};
use Endpoint::*;

/// Who may ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Every customer, and every probe.
    Anyone,
    /// Who runs the shop.
    Staff,
    /// The other nodes of the cluster.
    Node,
}

/// What a node can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table says what each of them is")]
pub enum Endpoint {
    Index,
    Search,
    Info,
    Purchase,
    Buy,
    Orders,
    Order,
    Update,
    UpdatePrice,
    UpdateStock,
    AddBook,
    RemoveBook,
    InvalidateBook,
    InvalidateCache,
    CacheStats,
    Health,
    Ready,
    Cluster,
    Standing,
    CacheInvalidate,
    CacheAnnounce,
    CatalogDecide,
    CatalogPurchases,
    CatalogLease,
    CatalogEndLease,
    OrderPurchases,
    RaftAppend,
    RaftVote,
    RaftVoteForSuccessor,
    RaftPreVote,
    RaftHandOver,
    RaftStance,
    RaftCanServe,
    RaftSnapshot,
    ReadIndex,
    LeaderCall,
    BootstrapState,
    BootstrapPrepare,
    BootstrapJoin,
    BootstrapAdmit,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub endpoint: Endpoint,
    /// Its name in descriptions of the API and in metrics.
    pub operation_id: &'static str,
    /// Its methods, as `Allow` lists them.
    pub methods: &'static str,
    /// Its path. A segment in braces stands for any.
    pub path: &'static str,
    /// The nodes that have it.
    pub roles: &'static [Role],
    /// Who may ask.
    pub caller: Caller,
    /// The statuses of its own answers, besides those that [every](COMMON_STATUSES) request may get.
    pub statuses: &'static [u16],
}

/// Statuses that the answer to any request may have: it is malformed, late or too large; the server is overloaded, or at fault.
pub const COMMON_STATUSES: [u16; 12] = [400, 404, 405, 408, 413, 417, 431, 500, 501, 503, 504, 505];

const FRONTEND: &[Role] = &[Role::Frontend];
const CATALOG: &[Role] = &[Role::Catalog];
const ORDER: &[Role] = &[Role::Order];
const SELLS: &[Role] = &[Role::Frontend, Role::Order];
const LISTS: &[Role] = &[Role::Frontend, Role::Catalog];
const REPLICAS: &[Role] = &[Role::Catalog, Role::Order];
const ALL: &[Role] = &[Role::Frontend, Role::Catalog, Role::Order];

/// What the paths begin with at which only nodes ask; their version follows.
pub const BETWEEN_NODES: &str = "/internal/";

/// The version of what nodes say to each other. It changes whenever a node of another version could take a message for
/// something else than what is meant.
const NODES_VERSION: u32 = 1;

const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const PUT: &str = "PUT";

/// What replicas answer each other: it is not for this one, or does not agree with what it knows.
const BETWEEN_REPLICAS: &[u16] = &[200, 409, 421];

#[rustfmt::skip]
const TABLE: [Row; 40] = [
    row(Index, "index", GET, "/", FRONTEND, Anyone, &[200]),
    row(Search, "searchTopic", GET, "/search/{topic}", LISTS, Anyone, &[200, 422]),
    row(Info, "getBook", GET, "/info/{id}", LISTS, Anyone, &[200, 422]),
    row(Purchase, "purchaseBook", "POST, PUT", "/purchase/{id}", SELLS, Anyone, &[201, 409, 415, 422]),
    row(Buy, "buyBook", POST, "/buy/{id}", SELLS, Anyone, &[201, 409, 415, 422]),
    row(Orders, "listOrders", GET, "/orders", SELLS, Anyone, &[200, 422]),
    row(Order, "getOrder", GET, "/orders/{n}", SELLS, Anyone, &[200, 422]),
    row(Update, "updateBook", PUT, "/update/{id}", LISTS, Staff, &[200, 409, 415, 422]),
    row(UpdatePrice, "updatePrice", PUT, "/update/{id}/price", LISTS, Staff, &[200, 409, 415, 422]),
    row(UpdateStock, "updateStock", PUT, "/update/{id}/stock", LISTS, Staff, &[200, 409, 415, 422]),
    row(AddBook, "addBook", POST, "/books", LISTS, Staff, &[201, 409, 415, 422]),
    row(RemoveBook, "removeBook", "DELETE", "/books/{id}", LISTS, Staff, &[200, 409, 415, 422]),
    row(InvalidateBook, "invalidateBook", POST, "/invalidate/{id}", FRONTEND, Staff, &[200, 422]),
    row(InvalidateCache, "invalidateCache", POST, "/invalidate-cache", FRONTEND, Staff, &[200]),
    row(CacheStats, "getCacheStats", GET, "/cache-stats", FRONTEND, Anyone, &[200]),
    row(Health, "getHealth", GET, "/health", ALL, Anyone, &[200]),
    row(Ready, "getReady", GET, "/ready", ALL, Anyone, &[200]),
    row(Cluster, "getCluster", GET, "/cluster", ALL, Anyone, &[200]),
    row(Standing, "getStanding", GET, "/internal/v1/standing", REPLICAS, Node, &[200]),
    row(CacheInvalidate, "invalidateEntries", POST, "/internal/v1/cache/invalidate", FRONTEND, Node, &[200]),
    row(CacheAnnounce, "announceLeader", POST, "/internal/v1/cache/announce", FRONTEND, Node, &[200]),
    row(CatalogDecide, "decideWrites", POST, "/internal/v1/catalog/decide", CATALOG, Node, &[200]),
    row(CatalogPurchases, "listPurchases", POST, "/internal/v1/catalog/purchases", CATALOG, Node, &[200]),
    row(CatalogLease, "grantLease", POST, "/internal/v1/catalog/lease", CATALOG, Node, &[200]),
    row(CatalogEndLease, "endLease", POST, "/internal/v1/catalog/lease/end", CATALOG, Node, &[200]),
    row(OrderPurchases, "makePurchases", POST, "/internal/v1/order/purchases", ORDER, Node, &[200]),
    row(RaftAppend, "raftAppend", POST, "/internal/v1/raft/append", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftVote, "raftVote", POST, "/internal/v1/raft/vote", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftVoteForSuccessor, "raftVoteForSuccessor", POST, "/internal/v1/raft/vote-for-successor", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftPreVote, "raftPreVote", POST, "/internal/v1/raft/pre-vote", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftHandOver, "raftHandOver", POST, "/internal/v1/raft/hand-over", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftStance, "raftStance", POST, "/internal/v1/raft/stance", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftCanServe, "raftCanServe", POST, "/internal/v1/raft/can-serve", REPLICAS, Node, BETWEEN_REPLICAS),
    row(RaftSnapshot, "raftSnapshot", POST, "/internal/v1/raft/snapshot", REPLICAS, Node, BETWEEN_REPLICAS),
    row(ReadIndex, "readIndex", POST, "/internal/v1/replica/read-index", REPLICAS, Node, BETWEEN_REPLICAS),
    row(LeaderCall, "callLeader", POST, "/internal/v1/replica/leader", REPLICAS, Node, BETWEEN_REPLICAS),
    row(BootstrapState, "bootstrapState", POST, "/internal/v1/replica/origin", REPLICAS, Node, BETWEEN_REPLICAS),
    row(BootstrapPrepare, "bootstrapPrepare", POST, "/internal/v1/replica/prepare", REPLICAS, Node, BETWEEN_REPLICAS),
    row(BootstrapJoin, "bootstrapJoin", POST, "/internal/v1/replica/join", REPLICAS, Node, BETWEEN_REPLICAS),
    row(BootstrapAdmit, "bootstrapAdmit", POST, "/internal/v1/replica/admit", REPLICAS, Node, BETWEEN_REPLICAS),
];

const fn row(
    endpoint: Endpoint,
    operation_id: &'static str,
    methods: &'static str,
    path: &'static str,
    roles: &'static [Role],
    caller: Caller,
    statuses: &'static [u16],
) -> Row {
    Row { endpoint, operation_id, methods, path, roles, caller, statuses }
}

impl Row {
    fn allows(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Whether its path fits these segments, and where the one in braces is.
    fn fits(&self, segments: &[&str]) -> Option<Option<usize>> {
        let path = &self.path[1..];
        let Some(first) = segments.first() else { return path.is_empty().then_some(None) };
        // Most rows are told apart by this alone.
        if !path.starts_with(first) {
            return None;
        }
        let mut parameter = None;
        let mut position = 0;
        for wanted in path.split('/') {
            let segment = segments.get(position)?;
            match wanted.starts_with('{') {
                true => parameter = Some(position),
                false if wanted != *segment => return None,
                false => {}
            }
            position += 1;
        }
        (position == segments.len()).then_some(parameter)
    }
}

impl Endpoint {
    /// Its row of the table.
    pub const fn row(self) -> &'static Row {
        const ROWS: &[Row] = &TABLE;
        &ROWS[self as usize]
    }

    /// Its path, as nodes that ask for it write it.
    pub const fn path(self) -> &'static str {
        self.row().path
    }

    /// Whether it belongs to what the replicas of a group say to each other.
    pub fn is_between_replicas(self) -> bool {
        (RaftAppend as usize..=BootstrapAdmit as usize).contains(&(self as usize))
    }
}

/// What a request asks of a node.
pub struct Call<'a> {
    /// What it asks for.
    pub endpoint: Endpoint,
    path: Path<'a>,
    parameter: Option<usize>,
}

impl<'a> Call<'a> {
    /// Looks up a request to a node of this role. `path` is without its query.
    ///
    /// # Errors
    /// [`ApiError::UnknownPath`] if such a node has nothing there, [`ApiError::MethodNotAllowed`] if it has, for other
    /// methods, and what [`Path::parse`] says.
    pub fn of(role: Role, method: &Method, path: &'a str) -> Result<Call<'a>, ApiError> {
        // What nodes say to each other is frequent, and has one spelling.
        if path.starts_with(BETWEEN_NODES) {
            let row = TABLE.iter().find(|row| row.path == path && row.roles.contains(&role));
            let row = row.ok_or_else(|| unknown_between_nodes(path))?;
            return match row.allows(method) {
                true => Ok(Call { endpoint: row.endpoint, path: Path::default(), parameter: None }),
                false => Err(ApiError::MethodNotAllowed { allow: row.methods }),
            };
        }
        let parsed = Path::parse(path)?;
        let found = {
            let segments = parsed.segments();
            let rows = TABLE.iter().filter(|row| row.caller != Node && row.roles.contains(&role));
            rows.filter_map(|row| Some((row, row.fits(&segments)?))).next()
        };
        match found {
            Some((row, parameter)) if row.allows(method) => {
                Ok(Call { endpoint: row.endpoint, path: parsed, parameter })
            }
            Some((row, _)) => Err(ApiError::MethodNotAllowed { allow: row.methods }),
            None => Err(ApiError::UnknownPath),
        }
    }

    /// What stands in its path in the place of the segment in braces; nothing if there is none.
    pub fn parameter(&self) -> &str {
        self.parameter.map_or("", |position| self.path.segment(position))
    }
}

/// What is wrong with a path at which a node asked, and at which there is nothing.
fn unknown_between_nodes(path: &str) -> ApiError {
    let version: Option<u32> =
        path[BETWEEN_NODES.len()..].strip_prefix('v').and_then(|rest| rest.split('/').next()?.parse().ok());
    match version {
        Some(version) if version != NODES_VERSION => ApiError::Misdirected(format!(
            "bazar {VERSION} is asked in version {version} of the protocol between nodes, and knows version \
             {NODES_VERSION}: upgrade the older of the two nodes"
        )),
        _ => ApiError::UnknownPath,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn call(role: Role, method: Method, path: &str) -> Result<(Endpoint, String), ApiError> {
        Call::of(role, &method, path).map(|call| (call.endpoint, call.parameter().to_owned()))
    }

    #[test]
    fn the_rows_are_in_the_order_of_the_endpoints_and_no_two_are_alike() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.endpoint as usize, position, "{row:?}");
        }
        assert!(TABLE.iter().all(|row| (row.caller == Node) == row.path.starts_with(BETWEEN_NODES)));
        let names: BTreeSet<&str> = TABLE.iter().map(|row| row.operation_id).collect();
        let paths: BTreeSet<&str> = TABLE.iter().map(|row| row.path).collect();
        assert_eq!((names.len(), paths.len()), (TABLE.len(), TABLE.len()));
        let is_told_apart = |row: &Row| row.endpoint.is_between_replicas() == (row.statuses == BETWEEN_REPLICAS);
        assert!(TABLE.iter().all(is_told_apart));
    }

    #[test]
    fn each_endpoint_is_found_by_each_of_its_methods_at_each_node_that_has_it() {
        for (row, role) in TABLE.iter().flat_map(|row| Role::ALL.map(|role| (row, role))) {
            let path = row.path.replace("{id}", "7").replace("{n}", "7").replace("{topic}", "7");
            let parameter = if row.path.contains('{') { "7" } else { "" };
            for method in row.methods.split(", ") {
                let found = call(role, method.parse().unwrap(), &path);
                match row.roles.contains(&role) {
                    true => assert_eq!(found, Ok((row.endpoint, parameter.to_owned())), "{role} {path}"),
                    false => assert_eq!(found, Err(ApiError::UnknownPath), "{role} {path}"),
                }
            }
            if row.roles.contains(&role) {
                let refused = call(role, Method::PATCH, &path);
                assert_eq!(refused, Err(ApiError::MethodNotAllowed { allow: row.methods }), "{role} {path}");
            }
        }
    }

    #[test]
    fn customers_paths_have_an_alias_and_those_of_nodes_have_none() {
        let info = Ok((Endpoint::Info, "7".to_owned()));
        for path in ["/info/7", "/api/info/7", "/info/7/", "/%69nfo/7"] {
            assert_eq!(call(Role::Frontend, Method::GET, path), info, "{path}");
        }
        let path = Endpoint::CacheAnnounce.path();
        assert!(call(Role::Frontend, Method::POST, path).is_ok());
        for path in [format!("/api{path}"), format!("{path}/"), path.replace("cache", "%63ache")] {
            assert_eq!(call(Role::Frontend, Method::POST, &path), Err(ApiError::UnknownPath), "{path}");
        }
        for path in
            ["/internal/cache/announce", "/internal/v/cache", "/info", "/info/7/8", "/nothing", "/internal/v1/nothing"]
        {
            assert_eq!(call(Role::Frontend, Method::GET, path), Err(ApiError::UnknownPath), "{path}");
        }
    }

    #[test]
    fn a_node_that_is_asked_in_another_version_says_so() {
        let path = Endpoint::CacheAnnounce.path().replacen("v1", "v2", 1);
        let Err(ApiError::Misdirected(refusal)) = call(Role::Frontend, Method::POST, &path) else { panic!("{path}") };
        assert!(refusal.contains("in version 2") && refusal.contains("knows version 1"), "{refusal}");
        let is_versioned = |row: &Row| row.path.starts_with(&format!("{BETWEEN_NODES}v{NODES_VERSION}/"));
        assert!(TABLE.iter().all(|row| row.caller != Node || is_versioned(row)));
    }
}
