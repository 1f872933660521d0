//! bazar

pub mod catalog;
pub mod coherence;
pub mod config;
pub mod error;
pub mod frontend;
pub mod http;
pub mod model;
pub mod node;
pub mod order;
pub mod platform;
pub mod replica;
pub mod request;
pub mod store;
pub mod supervisor;
pub mod telemetry;
