//! Answers with numbers what the lab asks of a bazar that is replicated, cached and consistent.
//!
//! It starts shops of its own as processes, asks them as customers do, and writes a report: tables on the terminal, and
//! as Markdown and CSV with plots in a folder. Each part answers one question and stands in a file of its own:
//!
//! | part | its question |
//! | --- | --- |
//! | [`response_times`] | how long do search, info and buy take, with the cache and without? |
//! | [`throughput`] | how many requests are answered, by the number of clients? |
//! | [`mixed`] | how often is the cache hit while customers buy? |
//! | [`consistency`] | what does it cost that a cached answer is never old? |
//! | [`failover`] | how long is there no service after a leader was killed? |

#[path = "../common/mod.rs"]
mod common;
mod consistency;
mod failover;
mod mixed;
mod plan;
mod requests;
mod response_times;
mod round;
mod shops;
mod throughput;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use common::cluster::DATA;
use common::machine::facts;
use common::progress::Progress;
use common::report::Report;
use plan::Plan;
use shops::Lab;

/// Measures bazar on this machine, and writes a report.
#[derive(Parser)]
#[command(name = "make bench")]
struct Arguments {
    /// Only see whether everything works, in half a minute; the numbers say little.
    #[arg(long)]
    quick: bool,

    /// Folder of the report.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    out: PathBuf,

    /// Parts to measure, instead of all.
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    ResponseTimes,
    Throughput,
    Mixed,
    Consistency,
    Failover,
}

impl Part {
    fn report(self, lab: &mut Lab, report: &mut Report) -> Result<()> {
        match self {
            Part::ResponseTimes => response_times::report(lab, report),
            Part::Throughput => throughput::report(lab, report),
            Part::Mixed => mixed::report(lab, report),
            Part::Consistency => consistency::report(lab, report),
            Part::Failover => failover::report(lab, report),
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Under `cargo test --all-targets` it is only to be seen whether it works.
    let is_quick = arguments.quick || !arguments.bench;
    let plan = if is_quick { Plan::quick() } else { Plan::full() };
    println!("Measuring bazar takes {}.\n", if is_quick { "half a minute" } else { "under three minutes" });

    let facts = facts(Path::new(DATA))?;
    for (what, value) in &facts {
        println!("{what}: {value}");
    }
    println!();
    let mut report = Report::begin(&arguments.out, "Bazar, measured", &facts)?;
    let mut lab = Lab::open(plan, Progress::begin())?;
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts[..] };
    for part in parts {
        if let Err(error) = part.report(&mut lab, &mut report) {
            lab.progress.clear();
            let ended = lab.cached.obituaries() + &lab.uncached.obituaries();
            return Err(error.context(format!("could not measure everything{ended}")));
        }
    }

    let folder = std::path::absolute(&arguments.out).context("cannot tell where the report is")?;
    println!("Measured in {} s. The report is {}.", lab.progress.seconds(), folder.join("report.md").display());
    println!("The tables are beside it as CSV, the plots as SVG: open them in a spreadsheet and a browser.");
    Ok(())
}
