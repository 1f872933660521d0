//! How long do search, info and buy take, with the cache and without?
//!
//! Both shops get the same load, half of what the slower of the two can do at most: so it is the cache that is
//! compared, and not a busy shop with an idle one.

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::common::load::{IoTimeout, Load, Target, run};
use crate::common::outcome::Outcome;
use crate::common::plot::{self, Axis, Series};
use crate::common::report::{Report, Table};
use crate::common::statistics::three_digits;
use crate::requests;
use crate::round::{Rounds, measure, remarks};
use crate::shops::{Lab, purchases, reads};

/// Clients that find out what a shop can do.
const CAPACITY_CLIENTS: usize = 32;

/// The load, as a share of what the slower shop can do.
const LOAD: f64 = 0.5;

/// Requests that can be on their way at once.
const CONNECTIONS: usize = 64;

const METHOD: &str = "Open loop: requests are due at a constant rate, and times count from when they were due. The rate is half \
    of what the slower of the two shops managed in a closed loop. Times are in milliseconds: the median of the rounds \
    (least–greatest). The requests go over all books and topics in turn; with the cache, search and info are hits.";

const CPU_METHOD: &str = "CPU time per second of the rounds above, as cores: 1.0 is one core at work all the time. \
    *µs per request* is that of all nodes together. *Sent late* is how long after they were due the generator sent the \
    requests: the median, and the latest of a hundred, in microseconds.";

/// One kind of request to one shop.
struct Case {
    name: String,
    has_cache: bool,
    rate: f64,
    target: Target,
    rounds: Rounds,
}

/// Measures, and adds to the report.
pub fn report(lab: &Lab, report: &mut Report) -> Result<()> {
    let mut cases = Vec::new();
    for kind in ["search", "info", "buy"] {
        cases.extend(find_rate(lab, kind)?);
    }
    for round in 1..=lab.plan.rounds {
        for case in &mut cases {
            lab.progress.step(&format!("response times, round {round} of {}: {}", lab.plan.rounds, case.name));
            let cluster = if case.has_cache { &lab.cached } else { &lab.uncached };
            let pace = IoTimeout::PerSecond(case.rate);
            let load = Load { connections: CONNECTIONS, pace, warm_up: lab.plan.warm_up, duration: lab.plan.window };
            case.rounds.push(measure(cluster, &case.target, &load)?);
        }
    }
    lab.progress.clear();
    plot(&cases, report)?;
    report.add(&times(&cases))?;
    report.add(&cpu(&cases))
}

/// Finds out what both shops can do, and makes a case of each.
fn find_rate(lab: &Lab, kind: &str) -> Result<[Case; 2]> {
    let target = |address| match kind {
        "search" => reads(address, requests::search()),
        "info" => reads(address, requests::info()),
        _ => purchases(address, requests::buy()),
    };
    let [cached, uncached] = lab.both().map(|shop| target(shop.frontend()));
    let mut capacity = f64::INFINITY;
    for target in [&cached, &uncached] {
        lab.progress.step(&format!("finding out how many {kind} requests a second are half of what can be done"));
        let (warm_up, duration) = (lab.plan.warm_up, lab.plan.throughput_window);
        let load = Load { connections: CAPACITY_CLIENTS, pace: IoTimeout::Unlimited, warm_up, duration };
        capacity = capacity.min(run(target, &load)?.throughput());
    }
    let rate = (LOAD * capacity).round().max(1.0);
    let case = |has_cache, target| {
        let name = format!("{kind}, {}", if has_cache { "cache" } else { "no cache" });
        Case { name, has_cache, rate, target, rounds: Rounds::default() }
    };
    Ok([case(true, cached), case(false, uncached)])
}

fn times(cases: &[Case]) -> Table {
    let columns = ["request", "rate/s", "mean", "p50", "p99", "p99.9", "max"];
    let mut table = Table::new("response-times", "Response times in ms, with and without cache", METHOD, &columns);
    for Case { name, rate, rounds, .. } in cases {
        let quantile = |share| rounds.cell_ms(|outcome| outcome.quantile(share));
        table.row([
            name.clone(),
            format!("{rate:.0}"),
            rounds.cell_ms(Outcome::mean),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            rounds.cell_ms(Outcome::max),
        ]);
    }
    table.remarks = remarks(cases.iter().map(|case| (case.name.clone(), &case.rounds)));
    table.plot = Some("response-times.svg".to_owned());
    table
}

fn cpu(cases: &[Case]) -> Table {
    let columns =
        ["request", "rate/s", "frontend", "3 catalogs", "3 orders", "generator", "µs per request", "sent late"];
    let mut table = Table::new("cpu", "Cores at work meanwhile", CPU_METHOD, &columns);
    for Case { name, rate, rounds, .. } in cases {
        let cores = |value: Option<f64>| value.map_or("n/a".to_owned(), |value| format!("{value:.2}"));
        let late = |share| {
            let late = rounds.spread(|outcome| outcome.lateness.value_at_quantile(share) as f64 / 1e3);
            late.map_or("–".to_owned(), |late| three_digits(late.median))
        };
        let nodes = rounds.cores(|cores| cores.frontend + cores.catalog + cores.order);
        table.row([
            name.clone(),
            format!("{rate:.0}"),
            cores(rounds.cores(|cores| cores.frontend)),
            cores(rounds.cores(|cores| cores.catalog)),
            cores(rounds.cores(|cores| cores.order)),
            cores(rounds.cores(|cores| cores.generator)),
            nodes.map_or("n/a".to_owned(), |nodes| three_digits(1e6 * nodes / rate)),
            format!("{} / {}", late(0.5), late(0.99)),
        ]);
    }
    table
}

/// Times by how many of the requests were as fast: the tail to the right.
fn plot(cases: &[Case], report: &Report) -> Result<()> {
    let ticks = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %"), (1000.0, "99.9 %")];
    let x =
        Axis::logarithmic("of the requests were answered within", ticks.map(|(at, text)| (at, text.to_owned())).into());
    let series: Vec<Series> = cases
        .iter()
        .filter_map(|case| Some(Series { name: case.name.clone(), points: curve(&case.rounds.latency()?) }))
        .collect();
    let times = || series.iter().flat_map(|series| &series.points).map(|(_, time)| *time);
    let (min, max) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    if max == 0.0 {
        return Ok(());
    }
    let y = Axis::decades("milliseconds", min, max);
    plot::write(&report.path("response-times.svg"), "Response times, open loop", &x, &y, &series)
}

/// Points of a curve whose x is 1 / (1 - share).
fn curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_DECADE: u32 = 20;
    let steps = (0..=3 * STEPS_PER_DECADE).map(|step| 10_f64.powf(f64::from(step) / f64::from(STEPS_PER_DECADE)));
    steps.map(|x| (x, latency.value_at_quantile(1.0 - 1.0 / x) as f64 / 1e6)).filter(|(_, ms)| *ms > 0.0).collect()
}
