//! Whole clusters of real processes, as customers and operators meet them.
//!
//! One executable for all themes, since each takes long to link: run one with `cargo test --test cluster api`.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

mod api;
#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod failover;
mod machine;
mod replication;
