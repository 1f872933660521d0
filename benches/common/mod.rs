//! What the benches share.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`load`] | the load generator: open and closed loop |
//! | [`outcome`] | what came of a run, and whether to trust it |
//! | [`connection`], [`response`], [`timer`] | its parts: one connection, the end of an answer, waiting precisely |
//! | [`request`] | requests as bytes |
//! | [`client`] | one question after the other |
//! | [`cluster`], [`ports`] | a shop of real processes, and ports for it |
//! | [`machine`] | what the numbers were measured on |
//! | [`progress`] | what is going on |
//! | [`statistics`], [`report`], [`plot`] | what rounds say together; tables; plots |
//! | [`cpu`] | CPU time of threads, processes and the machine |

// Each bench uses what it needs.
#![allow(dead_code)]

pub mod client;
pub mod cluster;
pub mod connection;
pub mod cpu;
pub mod load;
pub mod machine;
pub mod outcome;
pub mod plot;
#[path = "../../tests/common/ports.rs"]
pub mod ports;
pub mod progress;
pub mod report;
pub mod request;
pub mod response;
pub mod statistics;
pub mod timer;
