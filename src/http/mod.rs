//! HTTP/1.1 as both sides of bazar speak it: to customers, and between the nodes.
//!
//! | module | does |
//! | --- | --- |
//! | [`server`] | accepts connections, bounds them, and drains them at shutdown |
//! | `places` | says how many connections there are, and which makes room for another |
//! | `io_timeout` | cuts connections whose peer is too slow |
//! | `fast_path` | answers plain GETs whose answer is at hand, below hyper |
//! | `rules` | checks what HTTP asks of every request |
//! | `answers` | sends prepared responses, and copies no large one |
//! | [`serialized`] | responses that are written down once, to be sent many times |
//! | `request_context` | gives each request its id, deadline, timing and log line |
//! | [`path`] | takes apart the path and the query |
//! | [`body`] | reads bodies, up to a size and a deadline |
//! | [`budget`] | bounds what is held for all connections together |
//! | [`reply`] | makes responses, and problem details of errors |
//! | [`client`] | sends requests to other nodes, and says whether a failed one may have been carried out |
//! | `connections` | those that the client keeps |
//!
//! The layer knows no path, no role and no book. A node's routes are a [`server::Handler`].

mod answers;
pub mod body;
pub mod budget;
pub mod client;
mod connections;
mod date;
mod fast_path;
mod io_timeout;
pub mod path;
mod places;
pub mod reply;
mod request_context;
mod rules;
pub mod serialized;
pub mod server;
#[cfg(test)]
pub mod testing;
