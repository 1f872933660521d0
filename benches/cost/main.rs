//! A guard against slow decay: what the shop's most frequent operations cost, in instructions.
//!
//! `make cost` counts them and compares with `baseline.toml`, which is renewed on purpose only. So decay that comes in
//! steps too small to be noticed fails here once it has added up. Instructions are counted and not time measured, as
//! time differs from run to run and from machine to machine by more than such steps. What instructions do not show
//! (waiting for the disk, caches that miss, contended locks, system calls) is not guarded.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`operations`] | what is guarded, and how often it is done |
//! | [`counting`] | this executable under valgrind, of which only the part that matters counts |
//! | [`baseline`] | what was recorded |
//! | [`shop`] | a whole shop in one thread, in which everything happens in the same order each time |
//! | [`wires`] | its network |

mod baseline;
mod counting;
mod operations;
mod shop;
mod wires;

use std::env::consts::ARCH;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use baseline::Baseline;
use operations::Operation;

/// As the executable that is guarded.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// By how many per cent an operation may cost more than was recorded. Runs of one executable differ by at most two
/// per cent; but which functions the compiler puts into one another changes with code that has nothing to do with
/// them, and with its version, and that is worth a few. What should be noticed, as a copy or an encoding too many in
/// a cached read, costs more than ten.
const TOLERANCE_PERCENT: u64 = 10;

/// Counts the instructions of what the shop does most often.
#[derive(Parser)]
#[command(name = "make cost")]
struct Arguments {
    /// Record what is counted, instead of comparing it with what was recorded.
    #[arg(long)]
    record: bool,

    /// Only do it, under valgrind.
    #[arg(long, hide = true, value_name = "OPERATION")]
    perform: Option<Operation>,

    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(operation) = arguments.perform {
        counting::perform(operation)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.bench {
        // Under `cargo test --all-targets` it is only to be seen whether it works.
        Operation::value_variants().iter().try_for_each(|operation| counting::perform(*operation))?;
        return Ok(ExitCode::SUCCESS);
    }
    let counts = counting::count_all()?;
    if arguments.record {
        baseline::record(&counts)?;
    }
    Ok(report(&counts, Baseline::read()?))
}

/// Prints what was counted beside what was recorded, and tells whether that is well.
fn report(counts: &[(Operation, u64)], baseline: Option<Baseline>) -> ExitCode {
    println!("Instructions for each, which may be {TOLERANCE_PERCENT} % more than the baseline:\n");
    println!("{:<14}{:>12}{:>12}{:>11}", "operation", "now", "baseline", "change");
    let (mut too_many, mut fewer) = (Vec::new(), Vec::new());
    for &(operation, now) in counts {
        let Some(recorded) = baseline.as_ref().and_then(|baseline| baseline.of(operation)) else {
            println!("{:<14}{now:>12}{:>12}", operation.name(), "none");
            too_many.push(operation);
            continue;
        };
        let change = (now as f64 / recorded as f64 - 1.0) * 100.0;
        println!("{:<14}{now:>12}{recorded:>12}{change:>+9.1} %", operation.name());
        if now * 100 > recorded * (100 + TOLERANCE_PERCENT) {
            too_many.push(operation);
        } else if now * 100 < recorded * (100 - TOLERANCE_PERCENT) {
            fewer.push(operation);
        }
    }
    println!();
    let Some(baseline) = baseline else {
        println!("NOT CHECKED: nothing was recorded for this architecture, {ARCH}.");
        println!("To record it: make cost RECORD=1");
        return ExitCode::SUCCESS;
    };
    if let Some(compiler) = baseline.other_compiler() {
        println!("The baseline was recorded with another compiler, {compiler}.");
    }
    if !fewer.is_empty() {
        println!("Costs so much less that a later rise could hide in it: {}.", names(&fewer));
        println!("Renew the baseline: make cost RECORD=1");
    }
    if too_many.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("COSTS TOO MUCH, or was never recorded: {}.", names(&too_many));
    println!("To see which functions cost what, here and, for comparison, at an earlier commit:");
    for operation in too_many {
        println!("  callgrind_annotate --inclusive=yes {}", counting::profile(operation).display());
    }
    println!("If it is meant, record it, and say in the commit what it is worth: make cost RECORD=1");
    ExitCode::FAILURE
}

fn names(operations: &[Operation]) -> String {
    operations.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
}
