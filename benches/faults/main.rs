//! How long is there no service after a fault?
//!
//! Customers buy, and read past the cache, at constant rates while something breaks in a shop of real processes with
//! the timings that bazar has by itself: a node dies, is stopped, stands still, or is cut off from others. Reported are
//! the longest time without an answer, the slowest answer (counted from when the request was due), and how many were
//! not answered as they should be.

#[path = "../common/mod.rs"]
mod common;
mod fault;
mod line;
mod shop;

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{Parser, ValueEnum as _};

use common::load::{IoTimeout, Load, Target, connect};
use common::outcome::Outcome;
use common::request::{request, request_with};
use common::statistics::Spread;
use fault::Fault;
use shop::Shop;

/// Purchases a second, and as many reads.
const PER_SECOND: f64 = 100.0;

/// Enough for what is due while nothing is answered.
const CONNECTIONS: usize = 256;

/// Asked before the fault.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures how long there is no service after a fault.
#[derive(Parser)]
#[command(name = "make faults")]
struct Arguments {
    /// How often each fault strikes.
    #[arg(long, default_value_t = 3)]
    trials: u32,

    /// Faults, instead of all.
    #[arg(value_enum)]
    faults: Vec<Fault>,

    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Under `cargo test --all-targets` it is only to be seen whether it works.
    let (trials, faults) = match (arguments.bench, &arguments.faults[..]) {
        (false, _) => (1, &[Fault::Nothing][..]),
        (true, []) => (arguments.trials, Fault::value_variants()),
        (true, faults) => (arguments.trials, faults),
    };
    let seconds: u64 = faults.iter().map(|fault| fault.watched_for().as_secs() + 2).sum();
    println!("Striking {} faults, {trials} times each: some {} s.\n", faults.len(), seconds * u64::from(trials));
    println!("Times in ms: the median of the trials (least–greatest).\n");
    println!(
        "{:<34} {:>24} {:>24} {:>24} {:>24}  failed",
        "fault", "no purchase for", "slowest", "no read for", "slowest"
    );
    let mut shop = Shop::open()?;
    for fault in faults {
        let mut kinds: [Vec<Outcome>; 2] = Default::default();
        let mut remarks = Vec::new();
        for _ in 0..trials {
            let (outcomes, remark) = trial(&mut shop, *fault).with_context(|| format!("{fault:?}"))?;
            outcomes.into_iter().zip(&mut kinds).for_each(|(outcome, kind)| kind.push(outcome));
            remarks.extend(remark);
        }
        report(*fault, &kinds, &remarks);
    }
    Ok(())
}

fn report(fault: Fault, kinds: &[Vec<Outcome>; 2], remarks: &[String]) {
    let shown = |spread: Option<Spread>| spread.map_or_else(String::new, |spread| spread.to_string());
    let columns = kinds.iter().flat_map(|outcomes| {
        let silences = outcomes.iter().map(|outcome| outcome.silence.lasts);
        [shown(Spread::of_ms(silences)), shown(Spread::of_ms(outcomes.iter().map(Outcome::max)))]
    });
    let columns: Vec<String> = columns.map(|column| format!("{column:>24}")).collect();
    let failures: Vec<String> = kinds
        .iter()
        .zip(["buy", "read"])
        .flat_map(|(outcomes, kind)| {
            outcomes.iter().flat_map(move |outcome| outcome.failures.iter().map(move |failure| (kind, failure)))
        })
        .map(|(kind, (failure, count))| format!("{kind}: {count} {failure}"))
        .collect();
    let name = fault.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    println!(
        "{name:<34} {}  {}",
        columns.join(" "),
        if failures.is_empty() { "0".to_owned() } else { failures.join(", ") }
    );
    remarks.iter().for_each(|remark| println!("  {remark}"));
}

/// What customers who buy and who read saw of one fault, and what is to be remarked.
fn trial(shop: &mut Shop, fault: Fault) -> Result<([Outcome; 2], Option<String>)> {
    shop.wait_whole()?;
    let term_before = fault.keeps_term_of().map(|role| shop.term(role)).transpose()?;
    let frontend = shop.address("frontend-1");
    let target = |requests, expected| Target { addresses: vec![frontend], requests, expected: vec![expected] };
    let buy = target((1..=7).map(|book| request(&format!("POST /buy/{book}"), None)).collect(), 201);
    let past_cache = |book| request_with(&format!("GET /info/{book}"), &[("cache-control", "no-cache")], None);
    let read = target((1..=7).map(past_cache).collect(), 200);
    let duration = fault.watched_for();
    let load = Load { connections: CONNECTIONS, pace: IoTimeout::PerSecond(PER_SECOND), warm_up: WARM_UP, duration };
    let (buy, read) = (connect(&buy, &load)?, connect(&read, &load)?);
    let (buys, reads, struck) = thread::scope(|scope| {
        let buys = scope.spawn(|| buy.run());
        let reads = scope.spawn(|| read.run());
        thread::sleep(WARM_UP * 2);
        let struck = fault.strike(shop);
        (buys.join(), reads.join(), struck)
    });
    struck?;
    shop.wait_whole()?;
    let outcome = |joined: thread::Result<Result<Outcome>>| joined.map_err(|_| anyhow!("a customer panicked"))?;
    let term_after = fault.keeps_term_of().map(|role| shop.term(role)).transpose()?;
    let remark =
        (term_before != term_after).then(|| format!("the leader's term went from {term_before:?} to {term_after:?}"));
    Ok(([outcome(buys)?, outcome(reads)?], remark))
}
