//! Reads that the frontend does not answer itself, beside the same reads asked of the catalog servers directly.
//!
//! The frontend asks the catalog servers in turn, and one that does not lead asks the leader, so they are asked alike.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::bench::Bench;
use super::rounds::{Contender, alternate};
use super::samples::{Metric, Sample};
use super::sections::{BAZAR, Section};
use crate::common::load::{self, IoTimeout, Load, Target};
use crate::common::request::{request, request_with};

/// Times are kept with this many digits.
const DIGITS: u8 = 3;

const LINE: &str = "GET /info/1";

/// Measures one read at a time.
pub fn measure(bench: &Bench) -> Result<Section> {
    let shop = &bench.shop;
    let asking = |id: &str, request: Vec<u8>| Target {
        addresses: vec![shop.address(id)],
        requests: vec![request],
        expected: vec![200],
    };
    let frontend = asking("frontend-1", request_with(LINE, &[("cache-control", "no-cache")], None));
    let replicas: Vec<Target> = shop.group("catalog").iter().map(|id| asking(id, request(LINE, None))).collect();
    let pids: Vec<u32> = shop.pids().into_values().collect();
    let single = |duration| Load { connections: 1, pace: IoTimeout::Unlimited, warm_up: Duration::ZERO, duration };

    let ask_replicas = |duration: Duration| {
        let mut latency = Histogram::new(DIGITS)?;
        for replica in &replicas {
            latency.add(load::run(replica, &single(duration / replicas.len() as u32))?.latency)?;
        }
        Ok(Sample::new(&latency, duration, None))
    };
    let mut contenders = [
        Contender::new("replicas", ask_replicas),
        Contender::new(BAZAR, |duration| Sample::measure(&frontend, &single(duration), &pids)),
    ];
    let title = "Reads that are not cached, one at a time";
    let series = alternate(title, &mut contenders, bench.plan.rounds(bench.plan.misses), &bench.progress)?;
    Ok(Section {
        name: "misses",
        title: title.to_owned(),
        method: format!(
            "`{LINE}` with `Cache-Control: no-cache` of the frontend (bazar), and without of each catalog server \
             (replicas), over one connection."
        ),
        metrics: &[Metric::Throughput, Metric::P50, Metric::P99],
        series,
    })
}
