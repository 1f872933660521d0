//! The same work on bazar and on what people would use instead, side by side, in one run.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`reads`], [`misses`], [`purchases`] | the kinds of work that are compared |
//! | [`nginx`], [`haproxy`], [`floor`], [`etcd`], [`postgres`], [`pgbench`] | the peers, and what each is set to |
//! | [`bench`], [`plan`], [`programs`] | what a run needs; how long it measures; which peers are installed |
//! | [`process`], [`cpu_tree`], [`interruption`] | servers that do not outlive the bench; their CPU time; Ctrl-C |
//! | [`rounds`], [`samples`], [`sections`] | measuring alternately; numbers; tables |
//! | [`targets`], [`results`] | what is aimed at; the report |
//!
//! A target that is missed is no failure: numbers depend on the machine. A wrong answer is.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod cpu_tree;
mod etcd;
mod floor;
mod haproxy;
mod interruption;
mod misses;
mod nginx;
mod pgbench;
mod plan;
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

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bench::Bench;
use clap::Parser;
use common::cluster::DATA;
use common::cpu::machine_cpu;
use common::machine;
use cpu_tree::cpu_of_trees;
use plan::Plan;
use programs::Programs;

/// Other processes that use more of what is used are told to be in the way.
const DISTURBANCE: f64 = 0.1;

/// Measures bazar beside nginx, HAProxy, etcd and PostgreSQL on this machine, and writes a report.
#[derive(Parser)]
#[command(name = "make bench-peers")]
struct Arguments {
    /// Only see whether everything works, in under a minute; the numbers say little.
    #[arg(long)]
    quick: bool,

    /// Folder of the report.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    out: PathBuf,

    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,

    /// Be the floor instead: listen at this address, and answer with what is in this file.
    #[arg(long, hide = true, num_args = 2, value_names = ["ADDRESS", "FILE"])]
    floor: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.floor.as_deref() {
        Some([address, file]) => floor::serve(address, file),
        // Under `cargo test --all-targets` it is only to be seen whether it works.
        _ => compare(arguments.quick || !arguments.bench, &arguments.out),
    }
}

fn compare(is_quick: bool, out: &Path) -> Result<()> {
    interruption::listen()?;
    let programs = Programs::find();
    programs.tell_missing();
    println!("Comparing takes {}.\n", if is_quick { "under a minute" } else { "under four minutes" });

    let mut facts = machine::facts(Path::new(DATA))?;
    facts.extend(programs.versions());
    let before = usage();
    let mut bench = Bench::open(programs, if is_quick { Plan::QUICK } else { Plan::FULL })?;
    let mut sections = reads::measure(&mut bench)?;
    sections.push(misses::measure(&bench)?);
    sections.extend(purchases::measure(&mut bench)?);
    bench.progress.clear();

    if let Some(share) = before.zip(usage()).and_then(|(before, after)| others_share(before, after)) {
        let advice = if share > DISTURBANCE { "; measure again while the machine does nothing else" } else { "" };
        let share = format!("{:.0} % of all CPU time used{advice}", 100.0 * share);
        facts.push(("Other processes".to_owned(), share));
    }
    facts.push(("Measured in".to_owned(), format!("{} s", bench.progress.seconds())));
    results::write(&std::path::absolute(out)?, &facts, &sections)
}

/// CPU time so far: of the whole machine, and of this process with all that it started.
fn usage() -> Option<[Duration; 2]> {
    Some([machine_cpu()?, cpu_of_trees(&[std::process::id()])?])
}

/// What others used between two looks, of all that was used.
fn others_share(before: [Duration; 2], after: [Duration; 2]) -> Option<f64> {
    let [machine, own] = [0, 1].map(|index| after[index].saturating_sub(before[index]));
    (!machine.is_zero()).then(|| machine.saturating_sub(own).div_duration_f64(machine))
}
