//! Bazar: an online bookstore of replicated catalog and order servers behind caching frontends.
//!
//! Dependencies point one way, from the roles down to the machine:
//!
//! ```text
//! supervisor              runs a whole cluster on one machine
//! node                    one process: a role, served over HTTP
//! frontend catalog order  the roles
//! cluster  reads          asking a group: who is asked next, when it is given up on; a replica's state, only
//!                         together with how fresh it is
//! lists                   how many lists a node asks for, or makes, at once
//! protocol                what nodes say to each other
//! replica                 a group that agrees and survives; knows no role
//! api                     what nodes answer: the one table of endpoints
//! http                    HTTP on both sides
//! csv  config             tables as CSV files; settings
//! certainty  codec  error  telemetry  key_index
//!                         whether it happened; how a message is written; what can be wrong; what is logged; finding
//!                         what has a key
//! platform                network, clock, disk and threads
//! model                   the words of the shop
//! ```
//!
//! `tests/layers.rs` holds every file to that order.
//!
//! **The life of a read.** A customer asks a frontend for a book ([`frontend::Frontend`]). If the cache has
//! it, that is the answer. If not, the frontend asks the next catalog server in turn, which makes sure that
//! its own state is current ([`replica::Replica::wait_until_current`]) and answers from it. The frontend keeps
//! the answer, unless a write to the book was under way.
//!
//! **The life of a purchase.** The frontend gives it a key and sends it, with others that came at the same time
//! ([`protocol::purchase`]), to the order servers' leader; any order server passes it on to that one
//! ([`replica::Replica::call_leader`]). The order leader has the catalog's leader decide it, which has every frontend forget the book, and then commits one command that takes a
//! copy from the stock, gives out the order number and remembers both under the key. The order leader
//! commits the order to its own group and answers. If anything fails on the way, whoever waits asks again
//! with the same key.
//!
//! `ARCHITECTURE.md` tells the same at length, with the reasons.

// They panic where the output is full or closed, and a panic ends the process.
#![deny(clippy::print_stdout, clippy::print_stderr)]

/// The version of bazar, with the commit that it was built from, if that is known.
pub const VERSION: &str = env!("VERSION_AND_COMMIT");

pub mod api;
pub mod catalog;
pub mod certainty;
pub mod cluster;
mod codec;
pub mod config;
pub mod csv;
pub mod error;
pub mod frontend;
pub mod http;
mod key_index;
mod lists;
pub mod model;
pub mod node;
pub mod order;
pub mod platform;
pub mod protocol;
pub mod reads;
pub mod replica;
pub mod supervisor;
pub mod telemetry;
