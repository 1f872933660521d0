//! What was acknowledged is kept, by every replica alike.

mod crash;
mod disk;
mod rejoin;
mod seed;
mod snapshot;
mod tables;
