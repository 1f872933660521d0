//! bazar

pub mod config;
pub mod error;
pub mod http;
pub mod model;
pub mod platform;
pub mod replica;
pub mod store;
