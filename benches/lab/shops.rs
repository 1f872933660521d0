//! The shops that are measured, and what is common to all measurements.

use std::net::SocketAddr;

use anyhow::Result;

use crate::common::cluster::{Cluster, Layout};
use crate::common::load::Target;
use crate::common::progress::Progress;
use crate::plan::Plan;

/// More than can be bought.
const COPIES: u64 = 1_000_000_000;

/// What all measurements need.
pub struct Lab {
    /// How much is measured.
    pub plan: Plan,
    /// Tells what is going on.
    pub progress: Progress,
    /// Three catalog and three order servers behind a frontend with a cache.
    pub cached: Cluster,
    /// The same without the cache, and so without leases and invalidations.
    pub uncached: Cluster,
}

impl Lab {
    /// Opens the shops.
    pub fn open(plan: Plan, progress: Progress) -> Result<Lab> {
        progress.step("starting a shop with a cache: 1 frontend, 3 catalog and 3 order servers");
        let cached = Cluster::open(layout("cached", 3, true))?;
        progress.step("starting the same without a cache");
        let uncached = Cluster::open(layout("uncached", 3, false))?;
        Ok(Lab { plan, progress, cached, uncached })
    }

    /// Both shops, the cached one first.
    pub fn both(&self) -> [&Cluster; 2] {
        [&self.cached, &self.uncached]
    }
}

/// How a shop of the lab is laid out.
pub fn layout(name: &'static str, replicas: usize, has_cache: bool) -> Layout {
    Layout { name, replicas, settings: vec![("cache.enabled", has_cache.to_string())], copies: COPIES }
}

/// Reads of one server, which all must succeed.
pub fn reads(address: SocketAddr, requests: Vec<Vec<u8>>) -> Target {
    Target { addresses: vec![address], requests, expected: vec![200] }
}

/// Purchases from one server, which all must succeed.
pub fn purchases(address: SocketAddr, requests: Vec<Vec<u8>>) -> Target {
    Target { addresses: vec![address], requests, expected: vec![201] }
}
