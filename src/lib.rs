//! bazar
pub mod model;
pub mod platform;
pub mod replica;
pub mod store;
