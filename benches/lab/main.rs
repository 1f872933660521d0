//! Answers the lab's questions with numbers.

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use anyhow::Result;
use common::load::{Load, Pace, Target, run};

fn main() -> Result<()> {
    let address = std::env::var("ADDR")?.parse()?;
    let target = Target {
        addresses: vec![address],
        requests: vec![common::request::request(&std::env::var("LINE")?, None)],
        expected: vec![200, 201],
    };
    let rate: f64 = std::env::var("RATE")?.parse()?;
    let n: usize = std::env::var("N")?.parse()?;
    let pace = if rate == 0.0 { Pace::Unlimited } else { Pace::PerSecond(rate) };
    let load = Load { connections: n, pace, warm_up: Duration::from_millis(300), duration: Duration::from_secs(3) };
    let o = run(&target, &load)?;
    println!(
        "{} answered {:.0}/s mean {:?} p50 {:?} p99 {:?} p999 {:?} max {:?} failures {:?} cpu {:.2} late p50 {} p99 {} max {} doubt {:?} silence {:?}",
        o.answered,
        o.throughput(),
        o.mean(),
        o.quantile(0.5),
        o.quantile(0.99),
        o.quantile(0.999),
        o.max(),
        o.failures,
        o.generator_share,
        o.lateness.value_at_quantile(0.5),
        o.lateness.value_at_quantile(0.99),
        o.lateness.max(),
        o.doubt(),
        o.silence.lasts
    );
    Ok(())
}
