//! What was acknowledged is kept, by every replica alike.

mod addresses;
mod crash;
mod disk;
mod forging;
mod hearsay;
mod memory;
mod rejoin;
mod seed;
mod snapshot;
mod strangers;
mod tables;
