//! The same work on bazar and on what people would use instead, side by side, in one run.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`reads`], [`purchases`] | the kinds of work that are compared |
//! | [`nginx`], [`haproxy`], [`floor`], [`etcd`], [`postgres`], [`pgbench`] | the peers, and what each is set to |
//! | [`programs`] | which of them are installed |
//! | [`process`], [`cpu_tree`], [`interruption`] | servers that do not outlive the bench; their CPU time; Ctrl-C |
//! | [`rounds`], [`samples`], [`sections`], [`targets`] | measuring alternately; numbers; tables; what is aimed at |
//!
//! A target that is missed is no failure: numbers depend on the machine. A wrong answer is.

#[path = "../common/mod.rs"]
mod common;
mod cpu_tree;
mod etcd;
mod floor;
mod haproxy;
mod interruption;
mod nginx;
mod pgbench;
mod postgres;
mod process;
mod programs;
mod purchases;
mod reads;
mod results;
mod rounds;
mod samples;
mod sections;
mod targets;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};
use common::cluster::{Cluster, Layout};
use common::ports::Ports;
use programs::Programs;
use rounds::Rounds;

/// Copies of each book: more than a run can sell.
const COPIES: u64 = 1_000_000_000;

/// PostgreSQL's user must be able to enter the folder that its own is in.
const FOLDER_MODE: u32 = 0o755;

/// How often and how long everything is measured.
struct Plan {
    rounds: usize,
    warm_up: Duration,
    cached_reads: Duration,
    paced_reads: Duration,
    misses: Duration,
    purchases: Duration,
    single_purchases: Duration,
}

/// Under four minutes with all peers, of which bazar's own share is small.
const FULL: Plan = Plan {
    rounds: 5,
    warm_up: Duration::from_millis(500),
    cached_reads: Duration::from_millis(1_800),
    paced_reads: Duration::from_millis(1_200),
    misses: Duration::from_millis(900),
    purchases: Duration::from_millis(3_000),
    single_purchases: Duration::from_millis(2_000),
};

/// Under one minute: whether everything works, not how fast.
const QUICK: Plan = Plan {
    rounds: 2,
    warm_up: Duration::from_millis(200),
    cached_reads: Duration::from_millis(500),
    paced_reads: Duration::from_millis(300),
    misses: Duration::from_millis(300),
    purchases: Duration::from_millis(1_000),
    single_purchases: Duration::from_millis(1_000),
};

impl Plan {
    fn rounds(&self, duration: Duration) -> Rounds {
        Rounds { count: self.rounds, duration, warm_up: self.warm_up }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [floor::FLAG, address, answer] => floor::serve(address, answer),
        // Cargo itself adds `--bench`.
        _ => plan_of(&arguments).and_then(|plan| compare(&plan)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan_of(arguments: &[&str]) -> Result<Plan> {
    let mut plan = FULL;
    for argument in arguments {
        match *argument {
            "--bench" => {}
            "--quick" => plan = QUICK,
            other => {
                bail!("unknown argument {other:?}; there is only --quick, a run that shows whether everything works")
            }
        }
    }
    Ok(plan)
}

fn compare(plan: &Plan) -> Result<()> {
    interruption::listen()?;
    let begins = Instant::now();
    let programs = Programs::find();
    programs.tell_missing();
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(FOLDER_MODE);
    let folder = tempfile::Builder::new().prefix("peers-").permissions(permissions).tempdir_in(parent);
    let folder = folder.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let mut ports = Ports::claim();

    eprintln!("Starting bazar with three catalog and three order servers.");
    let layout = Layout { name: "bazar", replicas: 3, settings: Vec::new(), copies: COPIES };
    let shop = Cluster::open(layout)?;
    let mut sections = reads::measure(&shop, &programs, folder.path(), &mut ports, plan)?;
    sections.extend(purchases::measure(&shop, COPIES, &programs, folder.path(), &mut ports, plan)?);
    results::write(&programs, &sections, folder.path(), begins.elapsed())
}

/// Goes on without a peer that could not be started, unless the run was interrupted.
fn leave_out(peer: &str, error: &Error) -> Result<()> {
    interruption::check()?;
    eprintln!("{peer} is left out, for it could not be started: {error:#}");
    Ok(())
}

fn free_address(ports: &mut Ports) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports.take()))
}
