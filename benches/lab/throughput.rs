//! How many requests can be answered, by the number of clients?

use anyhow::Result;

use crate::common::load::{IoTimeout, Load};
use crate::common::outcome::Outcome;
use crate::common::plot::{self, Axis, Series};
use crate::common::report::{Report, Table};
use crate::requests;
use crate::round::{Rounds, measure, remarks};
use crate::shops::{Lab, purchases, reads};

const METHOD: &str = "Closed loop: each client asks again as soon as it is answered, over a connection of its own. \
    Answers a second: the median of the rounds (least–greatest). Clients, load generator and all nodes share \
    the machine's cores.";

const KINDS: [&str; 3] = ["info, cache hit", "info, no cache", "buy"];

/// Measures, and adds to the report.
pub fn report(lab: &Lab, report: &mut Report) -> Result<()> {
    let kinds = [
        (&lab.cached, reads(lab.cached.frontend(), requests::info())),
        (&lab.uncached, reads(lab.uncached.frontend(), requests::info())),
        (&lab.cached, purchases(lab.cached.frontend(), requests::buy())),
    ];
    let mut cases: Vec<[Rounds; 3]> = lab.plan.clients.iter().map(|_| Default::default()).collect();
    for round in 1..=lab.plan.sweep_rounds {
        for (clients, case) in lab.plan.clients.iter().zip(&mut cases) {
            let of = lab.plan.sweep_rounds;
            lab.progress.step(&format!("throughput, round {round} of {of}: {clients} clients"));
            let (warm_up, duration) = (lab.plan.warm_up / 2, lab.plan.throughput_window);
            let load = Load { connections: *clients, pace: IoTimeout::Unlimited, warm_up, duration };
            for ((cluster, target), rounds) in kinds.iter().zip(case) {
                rounds.push(measure(cluster, target, &load)?);
            }
        }
    }
    lab.progress.clear();
    let columns = [&["clients"], &KINDS[..]].concat();
    let mut table = Table::new("throughput", "Answers a second, by number of clients", METHOD, &columns);
    for (clients, case) in lab.plan.clients.iter().zip(&cases) {
        let cells = case.iter().map(|rounds| rounds.cell(Outcome::throughput));
        table.row([clients.to_string()].into_iter().chain(cells));
    }
    let mut named = Vec::new();
    for (clients, case) in lab.plan.clients.iter().zip(&cases) {
        named.extend(case.iter().zip(KINDS).map(|(rounds, kind)| (format!("{kind}, {clients} clients"), rounds)));
    }
    table.remarks = remarks(named);
    table.plot = Some("throughput.svg".to_owned());
    plot(&lab.plan.clients, &cases, report)?;
    report.add(&table)
}

fn plot(clients: &[usize], cases: &[[Rounds; 3]], report: &Report) -> Result<()> {
    let x =
        Axis::logarithmic("clients", clients.iter().map(|clients| (*clients as f64, clients.to_string())).collect());
    let line = |kind: usize| {
        let throughput = |case: &[Rounds; 3]| case[kind].spread(Outcome::throughput);
        let points = clients.iter().zip(cases);
        let points = points.filter_map(|(clients, case)| Some((*clients as f64, throughput(case)?.median)));
        Series { name: KINDS[kind].to_owned(), points: points.filter(|(_, y)| *y > 0.0).collect() }
    };
    let series = [0, 1, 2].map(line);
    let values = || series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let y = Axis::decades("answers a second", values().fold(1e6, f64::min), values().fold(1.0, f64::max));
    plot::write(&report.path("throughput.svg"), "Throughput, closed loop", &x, &y, &series)
}
