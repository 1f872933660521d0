//! How often is the cache hit while customers read and buy, and what does that do to reads?

use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::load::{IoTimeout, Load, run};
use crate::common::outcome::Outcome;
use crate::common::plot::{self, Axis, Series};
use crate::common::report::{Report, Table};
use crate::common::statistics::{Spread, three_digits};
use crate::requests;
use crate::round::{Round, Rounds, remarks};
use crate::shops::{Lab, purchases, reads};

/// Clients that find out how many purchases a second can be done.
const CAPACITY_CLIENTS: usize = 32;

/// Requests a second, purchases included, as a share of the purchases that can be done.
const LOAD: f64 = 0.5;

/// Requests that can be on their way at once, of each kind.
const CONNECTIONS: usize = 32;

const METHOD: &str = "Open loop, reads and purchases at constant rates at the same time. One read in five is a search; \
    the n-th book is asked for 1/n times as often as the first. A purchase makes the frontend forget the book and its \
    topic. The hit rate is the frontend's own count. Times are in milliseconds: the median of the rounds \
    (least–greatest).";

/// What came of one share of purchases.
#[derive(Default)]
struct Case {
    hit_rates: Vec<f64>,
    cached: Rounds,
    uncached: Rounds,
    buys: Rounds,
}

/// Measures, and adds to the report.
pub fn report(lab: &Lab, report: &mut Report) -> Result<()> {
    lab.progress.step("mixed workload: finding out how many purchases a second can be done");
    let (warm_up, duration) = (lab.plan.warm_up, lab.plan.throughput_window);
    let load = Load { connections: CAPACITY_CLIENTS, pace: IoTimeout::Unlimited, warm_up, duration };
    let capacity = run(&purchases(lab.cached.frontend(), requests::buy()), &load)?.throughput();
    let rate = (LOAD * capacity).round().max(1.0);
    let mut cases: Vec<Case> = lab.plan.shares_percent.iter().map(|_| Case::default()).collect();
    for round in 1..=lab.plan.sweep_rounds {
        for (share, case) in lab.plan.shares_percent.iter().zip(&mut cases) {
            let of = lab.plan.sweep_rounds;
            lab.progress.step(&format!("mixed workload, round {round} of {of}: {share} % purchases"));
            fill(&lab.cached)?;
            let before = counts(&lab.cached)?;
            let (reads, buys) = mix(lab, &lab.cached, rate, *share)?;
            let after = counts(&lab.cached)?;
            let (hits, misses) = (after.0 - before.0, after.1 - before.1);
            case.hit_rates.push(hits / (hits + misses));
            case.cached.push(reads);
            buys.into_iter().for_each(|buys| case.buys.push(buys));
            case.uncached.push(mix(lab, &lab.uncached, rate, *share)?.0);
        }
    }
    lab.progress.clear();
    plot(&lab.plan.shares_percent, &cases, report)?;
    report.add(&table(&lab.plan.shares_percent, &cases, rate))
}

/// Reads and purchases at the same time.
fn mix(lab: &Lab, cluster: &Cluster, rate: f64, share_percent: u32) -> Result<(Round, Option<Round>)> {
    let load = |share_percent: u32| Load {
        connections: CONNECTIONS,
        pace: IoTimeout::PerSecond(rate * f64::from(share_percent) / 100.0),
        warm_up: lab.plan.warm_up,
        duration: lab.plan.mix_window,
    };
    let read = reads(cluster.frontend(), requests::popular_reads());
    let buy = purchases(cluster.frontend(), requests::buy());
    let (reads, buys) = thread::scope(|scope| {
        let buys = (share_percent > 0).then(|| scope.spawn(|| run(&buy, &load(share_percent))));
        let reads = run(&read, &load(100 - share_percent));
        (reads, buys.map(|buys| buys.join().map_err(|_| anyhow!("the thread that buys panicked"))))
    });
    let round = |outcome: Outcome| Round { outcome, cores: None };
    Ok((round(reads?), buys.transpose()?.transpose()?.map(round)))
}

/// Has everything read that can be, so that what is counted are misses after purchases.
fn fill(cluster: &Cluster) -> Result<()> {
    let mut client = Client::new(cluster.frontend());
    let reads = requests::info().into_iter().chain(requests::search());
    reads.map(|read| client.ask_raw(&read)).try_for_each(|reply| reply.map(drop))
}

/// Hits and misses so far.
fn counts(cluster: &Cluster) -> Result<(f64, f64)> {
    let stats = cluster.cache_stats()?;
    let count = |name: &str| stats[name].as_f64().with_context(|| format!("/cache-stats has no {name}: {stats}"));
    Ok((count("hits")?, count("misses")?))
}

fn table(shares: &[u32], cases: &[Case], rate: f64) -> Table {
    let title = format!("A mixed workload of {rate:.0} requests a second");
    let columns =
        ["purchases", "hit rate", "read: mean", "read: p99", "no cache, read: mean", "no cache, read: p99", "buy: p50"];
    let mut table = Table::new("mixed-workload", &title, METHOD, &columns);
    for (share, case) in shares.iter().zip(cases) {
        let p99 = |outcome: &Outcome| outcome.quantile(0.99);
        let hit_rate = Spread::of(case.hit_rates.iter().map(|rate| 100.0 * rate));
        table.row([
            format!("{share} %"),
            hit_rate.map_or("–".to_owned(), |rate| format!("{} %", three_digits(rate.median))),
            case.cached.cell_ms(Outcome::mean),
            case.cached.cell_ms(p99),
            case.uncached.cell_ms(Outcome::mean),
            case.uncached.cell_ms(p99),
            case.buys.cell_ms(|outcome| outcome.quantile(0.5)),
        ]);
    }
    let mut named = Vec::new();
    for (share, case) in shares.iter().zip(cases) {
        let kinds = [(&case.cached, "read"), (&case.uncached, "no cache, read"), (&case.buys, "buy")];
        named.extend(kinds.map(|(rounds, kind)| (format!("{kind} at {share} % purchases"), rounds)));
    }
    table.remarks = remarks(named);
    table.plot = Some("mixed-workload.svg".to_owned());
    table
}

fn plot(shares: &[u32], cases: &[Case], report: &Report) -> Result<()> {
    let points = shares.iter().zip(cases);
    let points = points.filter_map(|(share, case)| {
        Some((f64::from(*share), 100.0 * Spread::of(case.hit_rates.iter().copied())?.median))
    });
    let series = Series { name: "hit rate".to_owned(), points: points.collect() };
    let most = shares.iter().copied().max().unwrap_or(0);
    let x = Axis::linear("purchases among the requests, %", f64::from(most));
    let y = Axis::linear("reads answered from the cache, %", 100.0);
    plot::write(&report.path("mixed-workload.svg"), "Cache hits under a mixed workload", &x, &y, &[series])
}
