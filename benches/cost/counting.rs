//! Counting instructions: this executable runs itself under valgrind's callgrind, once for each operation.
//!
//! Callgrind collects only while one function runs, [`the_counted_part`], so that starting a shop does not count. What
//! it collected is kept as a profile, which tells where the instructions went. It shows every program much the same
//! processor, so which of its functions the C library takes hardly depends on the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tokio::runtime::{self, Runtime};

use crate::operations::Operation;
use crate::shop;

/// Where profiles are left.
const PROFILES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cost");

/// Where data costs no waiting: a disk in memory, if the system has one here.
const MEMORY_DISK: &str = "/dev/shm";

/// How often an operation is done before it counts: connections are made and caches filled.
const WARM_UP_TIMES: u32 = 10;

/// What callgrind says at its end, before the number of instructions.
const COLLECTED: &str = "Collected :";

/// Counts all operations, at the same time: counts, unlike times, do not suffer from it.
pub fn count_all() -> Result<Vec<(Operation, u64)>> {
    fs::create_dir_all(PROFILES).with_context(|| format!("cannot make the folder {PROFILES}"))?;
    thread::scope(|scope| {
        let counting =
            Operation::value_variants().iter().map(|&operation| (operation, scope.spawn(move || count(operation))));
        let counting: Vec<_> = counting.collect();
        let counted = counting.into_iter().map(|(operation, counting)| match counting.join() {
            Ok(count) => Ok((operation, count?)),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        counted.collect()
    })
}

/// Where the profile of an operation is left.
pub fn profile(operation: Operation) -> PathBuf {
    Path::new(PROFILES).join(format!("{}.callgrind", operation.name()))
}

/// How many instructions it takes to do `operation` once.
fn count(operation: Operation) -> Result<u64> {
    let this = env::current_exe().context("cannot tell which executable this is")?;
    let mut command = Command::new("valgrind");
    // The settings of whoever counts are not what is counted.
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command.args(["--tool=callgrind", "--toggle-collect=*the_counted_part*"]);
    command.arg(format!("--callgrind-out-file={}", profile(operation).display()));
    command.arg(this).args(["--perform", operation.name()]);
    let output = command.output().context(
        "cannot run valgrind, which counts the instructions. It is a package of most systems: apt-get install valgrind",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once(COLLECTED)?.1.trim().parse::<u64>().ok());
    match collected {
        Some(instructions @ 1..) if output.status.success() => Ok(instructions / operation.times()),
        _ => bail!("cannot count the instructions of {} ({}): {said}", operation.name(), output.status),
    }
}

/// Does an operation so often that it can be counted.
pub fn perform(operation: Operation) -> Result<()> {
    // Chance is the same each time, as far as that is in our hands.
    fastrand::seed(1);
    let disk = if Path::new(MEMORY_DISK).is_dir() { MEMORY_DISK.into() } else { env::temp_dir() };
    let folder = tempfile::tempdir_in(&disk).with_context(|| format!("cannot make a folder in {}", disk.display()))?;
    // The clock stands still while there is anything to do: no time runs out because valgrind is slow.
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.context("no runtime could be started")?;
    let mut customer = runtime.block_on(async {
        let mut customer = shop::open(folder.path()).await?;
        for _ in 0..WARM_UP_TIMES {
            operation.perform(&mut customer).await?;
        }
        operation.check(&customer)?;
        anyhow::Ok(customer)
    })?;
    {
        let work = pin!(async {
            for _ in 0..operation.times() {
                operation.perform(&mut customer).await?;
            }
            Ok(())
        });
        the_counted_part(&runtime, work)?;
    }
    operation.check(&customer)
}

/// While this runs, callgrind collects. Called once; no other function may have its name in its own.
#[inline(never)]
fn the_counted_part(runtime: &Runtime, work: Pin<&mut dyn Future<Output = Result<()>>>) -> Result<()> {
    runtime.block_on(work)
}
