//! The dangerous interleavings of cached reads and of purchases, forced on the code that ships.
//!
//! Nodes run in this process as they run alone, each with a runtime of its own, on a network that holds what the
//! tests say. Where only one half of the protocol is looked at, a scripted node plays the other.
//!
//! | file | what is forced |
//! | --- | --- |
//! | [`fills`] | answers that come after what they tell has changed |
//! | [`sessions`] | frontends that do not hear of a write, or may not cache |
//! | [`leaders`] | leaders that are deposed, killed, or cannot tell what became of a write |
//! | [`elections`] | replicas that are cut off, slow or behind, and leave their leader in peace |
//! | [`joining`] | replicas that lost their disk, and whose leader dies while they come back |
//! | [`frontends`] | two frontends that know each other only through the catalog |
//! | [`purchases`] | purchases whose answers do not arrive |
//! | [`topics`] | search pages, while books come and go |
//! | [`outages`] | servers that hang, are cut off or are gone |
//! | [`reads`] | replicas that are cut off from their group |
//! | [`power`] | servers that lose their power, all at once |
//! | [`durability`] | disks that are slow to confirm |
//! | [`clocks`] | wall clocks that differ and jump |

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

#[path = "../common/ports.rs"]
mod ports;
#[path = "../common/switchboard.rs"]
mod switchboard;

mod clocks;
mod durability;
mod elections;
mod fills;
mod frontends;
mod held_disk;
mod joining;
mod leaders;
mod lossy_disk;
mod outages;
mod power;
mod purchases;
mod reads;
mod scripted;
mod sessions;
mod shop;
mod topics;
mod wrong_clock;
