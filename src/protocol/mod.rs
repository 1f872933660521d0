//! What nodes say to each other, and what a customer sees of it.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`cache`] | frontends and the catalog's leader: leases, invalidations |
//! | [`catalog`] | what the catalog is asked to do, and what it answers |
//! | [`purchase`] | frontends and order servers: purchases and their outcomes |
//! | [`request`] | what requests and answers carry besides their content |
//! | [`fence`] | whether a key that is not known was never decided about |

pub mod cache;
pub mod catalog;
pub mod fence;
pub mod purchase;
pub mod request;
