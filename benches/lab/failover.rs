//! How long is there no service after a leader was killed?

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::common::load::{IoTimeout, Load, connect};
use crate::common::outcome::{Outcome, SLICE};
use crate::common::plot::{self, Axis, Series};
use crate::common::report::{Report, Table};
use crate::common::statistics::Spread;
use crate::requests;
use crate::round::shown;
use crate::shops::{Lab, purchases, reads};

/// Purchases a second; so many that a gap is seen to 5 ms, so few that they do not matter otherwise.
const BUYS_PER_SECOND: f64 = 200.0;

/// Reads a second.
const READS_PER_SECOND: f64 = 200.0;

/// Enough for what is due in an outage of half a second. If it lasts longer, requests wait for a connection, and that counts.
const CONNECTIONS: usize = 128;

const METHOD: &str = "Customers read and buy at constant rates (200 a second each) while the leader of a group is killed \
    with `kill -9`; after each trial it is started again and catches up. *Without service* is the longest time \
    between two answers; *slowest* counts from when the request was due. Times are in milliseconds: the median of the \
    trials (least–greatest). *Failed* are all requests of all trials that were not answered as they should be.";

const KINDS: [&str; 2] = ["buy", "read"];

/// Measures, and adds to the report.
pub fn report(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let columns = ["killed", "customers", "without service", "slowest", "answered", "failed"];
    let title = "After kill -9 of a leader, in ms";
    let mut table = Table::new("failover", title, METHOD, &columns);
    let mut lines = Vec::new();
    for role in ["catalog", "order"] {
        let mut kinds: [Vec<Outcome>; 2] = Default::default();
        for trial in 1..=lab.plan.trials {
            lab.progress.step(&format!("failover, {role}: trial {trial} of {}", lab.plan.trials));
            for (outcome, outcomes) in trial_of(lab, role)?.into_iter().zip(&mut kinds) {
                outcomes.push(outcome);
            }
        }
        for (outcomes, kind) in kinds.iter().zip(KINDS) {
            table.row([
                format!("leader of the {role} group"),
                kind.to_owned(),
                shown(Spread::of_ms(outcomes.iter().map(|outcome| outcome.silence.lasts))),
                shown(Spread::of_ms(outcomes.iter().map(Outcome::max))),
                outcomes.iter().map(|outcome| outcome.answered).sum::<u64>().to_string(),
                outcomes.iter().map(Outcome::failed).sum::<u64>().to_string(),
            ]);
            let mut failures = BTreeMap::new();
            for (failure, count) in outcomes.iter().flat_map(|outcome| &outcome.failures) {
                *failures.entry(failure).or_insert(0) += count;
            }
            let remark = |(failure, count)| format!("{role}, {kind}: {count} requests failed: {failure}");
            table.remarks.extend(failures.into_iter().map(remark));
            if let Some(last) = outcomes.last() {
                lines.push(timeline(&format!("{role} dies: {kind}"), last));
            }
        }
    }
    lab.progress.clear();
    table.plot = Some("failover.svg".to_owned());
    let x = Axis::linear("seconds", lab.plan.trial_window.as_secs_f64());
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, count)| *count).fold(0.0, f64::max);
    let y = Axis::linear("answers a second", most);
    let title = format!("A leader is killed after {:.1} s (one trial each)", lab.plan.kill_after.as_secs_f64());
    plot::write(&report.path("failover.svg"), &title, &x, &y, &lines)?;
    report.add(&table)
}

/// What customers who buy and who read saw of one death.
fn trial_of(lab: &mut Lab, role: &str) -> Result<[Outcome; 2]> {
    let frontend = lab.cached.frontend();
    let load = |rate| Load {
        connections: CONNECTIONS,
        pace: IoTimeout::PerSecond(rate),
        warm_up: lab.plan.warm_up,
        duration: lab.plan.trial_window,
    };
    let (buy, buy_load) = (purchases(frontend, requests::buy()), load(BUYS_PER_SECOND));
    let (read, read_load) = (reads(frontend, requests::popular_reads()), load(READS_PER_SECOND));
    let (buy, read) = (connect(&buy, &buy_load)?, connect(&read, &read_load)?);
    let leader = lab.cached.leader(role)?;
    let kill_at = lab.plan.warm_up + lab.plan.kill_after;
    let cluster = &mut lab.cached;
    let (buys, reads, killed) = thread::scope(|scope| {
        let buys = scope.spawn(|| buy.run());
        let reads = scope.spawn(|| read.run());
        thread::sleep(kill_at);
        let killed = cluster.kill(&leader);
        (buys.join(), reads.join(), killed)
    });
    let killed_at = killed?;
    cluster.start(&leader)?;
    cluster.wait_ready()?;
    let outcome = |joined: thread::Result<Result<Outcome>>| joined.map_err(|_| anyhow!("a customer panicked"))?;
    let outcomes = [outcome(buys)?, outcome(reads)?];
    for outcome in &outcomes {
        let window = outcome.began..outcome.began + lab.plan.trial_window;
        ensure!(window.contains(&killed_at), "the machine is too busy: {leader} was killed outside of what is counted");
    }
    Ok(outcomes)
}

fn timeline(name: &str, outcome: &Outcome) -> Series {
    let point = |(number, count): (u32, &u32)| {
        ((SLICE * number + SLICE / 2).as_secs_f64(), f64::from(*count) / SLICE.as_secs_f64())
    };
    Series { name: name.to_owned(), points: (0..).zip(&outcome.timeline).map(point).collect() }
}
