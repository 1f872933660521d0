//! bazar
pub mod model;
pub mod platform;
