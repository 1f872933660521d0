//! What every part of a run needs: the shop, the installed peers, a folder, ports, and the plan.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Error, Result};
use tempfile::TempDir;

use super::interruption;
use super::plan::Plan;
use super::programs::Programs;
use crate::common::cluster::{Cluster, DATA, Layout, PREFIX};
use crate::common::ports::Ports;
use crate::common::progress::Progress;

/// Copies of each book: more than a run can sell.
pub const COPIES: u64 = 1_000_000_000;

/// PostgreSQL's user must be able to enter the folder that its own is in.
const FOLDER_MODE: u32 = 0o755;

/// A run.
pub struct Bench {
    /// Three catalog and three order servers behind a frontend, set as by default.
    pub shop: Cluster,
    /// The peers that are installed.
    pub programs: Programs,
    /// How often and how long.
    pub plan: Plan,
    /// What is going on.
    pub progress: Progress,
    folder: TempDir,
    ports: Ports,
}

impl Bench {
    /// Starts the shop.
    pub fn open(programs: Programs, plan: Plan) -> Result<Bench> {
        let permissions = Permissions::from_mode(FOLDER_MODE);
        let prefix = format!("{PREFIX}{}-peers-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).permissions(permissions).tempdir_in(DATA);
        let folder = folder.with_context(|| format!("cannot make a folder in {DATA}"))?;
        let progress = Progress::begin();
        progress.step("starting bazar");
        let shop = Cluster::open(Layout { name: "bazar", replicas: 3, settings: Vec::new(), copies: COPIES })?;
        Ok(Bench { shop, programs, plan, progress, folder, ports: Ports::claim() })
    }

    /// Where peers keep their files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An address that nobody listens at.
    pub fn free_address(&mut self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.take()))
    }

    /// A peer that was started, or nothing if that failed: then it is told and the run goes on, unless it was interrupted.
    pub fn started<T>(&self, peer: &str, outcome: Result<T>) -> Result<Option<T>> {
        let leave_out = |error: Error| {
            interruption::check()?;
            self.progress.clear();
            eprintln!("{peer} is left out, for it could not be started: {error:#}");
            Ok(None)
        };
        outcome.map(Some).or_else(leave_out)
    }
}
