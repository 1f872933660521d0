//! bazar
pub mod model;
pub mod platform;
pub mod store;
