//! Reads of one book: from caches, and past bazar's.
//!
//! All caches stand before the same catalog servers and so serve the same body, which is checked before and after. The
//! proxies cache for an hour and never ask; bazar's frontend holds a lease and forgets what changes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use super::nginx::Form;
use super::process::Process;
use super::programs::Programs;
use super::rounds::{Contender, Rounds, alternate};
use super::samples::{Metric, Sample};
use super::sections::{BAZAR, Section};
use super::{Plan, floor, free_address, haproxy, leave_out, nginx};
use crate::common::client::{Client, Reply};
use crate::common::cluster::Cluster;
use crate::common::load::{self, Load, Pace, Target};
use crate::common::ports::Ports;
use crate::common::request::{request, request_with};

/// Connections to one cache.
const CONNECTIONS: usize = 32;

/// Of the slowest cache's rate, what all are asked for in the open loop: none is overloaded then.
const PACED_SHARE: f64 = 0.5;

const LINE: &str = "GET /info/1";

/// A cache that serves.
struct Cache {
    server: &'static str,
    address: SocketAddr,
    pids: Vec<u32>,
    /// The header field that tells a hit, and its value.
    hit: Option<(&'static str, &'static str)>,
    /// Ends with this.
    _process: Option<Process>,
}

/// Measures caches one after the other, and then what a miss costs.
pub fn measure(
    shop: &Cluster,
    programs: &Programs,
    folder: &Path,
    ports: &mut Ports,
    plan: &Plan,
) -> Result<Vec<Section>> {
    let caches = start(shop, programs, folder, ports)?;
    check(shop, &caches)?;

    let what = format!("Cached reads, closed loop, {CONNECTIONS} connections");
    let target = |cache: &Cache| Target {
        addresses: vec![cache.address],
        requests: vec![request(LINE, None)],
        expected: vec![200],
    };
    let contenders = |pace: Pace| -> Vec<Contender> {
        let contender = |cache: &Cache| {
            let (target, pids) = (target(cache), cache.pids.clone());
            Contender::new(cache.server, move |duration| {
                let load = Load { connections: CONNECTIONS, pace, warm_up: Duration::ZERO, duration };
                Sample::measure(&target, &load, &pids)
            })
        };
        caches.iter().map(contender).collect()
    };
    let closed = alternate(&what, &mut contenders(Pace::Unlimited), plan.rounds(plan.cached_reads))?;
    let medians = closed.iter().filter_map(|series| series.spread(Metric::Throughput));
    let slowest = medians.map(|spread| spread.median).min_by(f64::total_cmp).context("no cache was measured")?;
    let rate = two_digits(PACED_SHARE * slowest);
    let paced_what = format!("Cached reads at {rate:.0} a second");
    let paced = alternate(&paced_what, &mut contenders(Pace::PerSecond(rate)), plan.rounds(plan.paced_reads))?;
    check(shop, &caches)?;

    let accounting = "The CPU time is that of the cache alone, without the catalog servers behind it.";
    let closed = Section {
        name: "cached-reads",
        title: what,
        method: format!("`{LINE}`, each connection asking again as soon as it is answered. {accounting}"),
        metrics: &[Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu],
        series: closed,
    };
    let paced = Section {
        name: "cached-reads-paced",
        title: paced_what,
        method: format!("The same asked at a constant rate, about half of what the slowest can do. {accounting}"),
        metrics: &[Metric::P50, Metric::P99, Metric::Cpu],
        series: paced,
    };
    Ok(vec![closed, paced, misses(shop, plan)?])
}

/// Starts all caches that are installed, before the same catalog server.
fn start(shop: &Cluster, programs: &Programs, folder: &Path, ports: &mut Ports) -> Result<Vec<Cache>> {
    let upstream = shop.address("catalog-1");
    let mut caches = Vec::new();
    let mut add = |server, hit, address, started: Result<Process>| match started {
        Ok(process) => {
            caches.push(Cache { server, address, pids: vec![process.pid()], hit, _process: Some(process) });
            Ok(())
        }
        Err(error) => leave_out(server, &error),
    };
    if let Some(program) = &programs.nginx {
        for (server, form) in [("nginx", Form::Packaged), ("nginx, tuned", Form::Tuned)] {
            let address = free_address(ports);
            add(server, Some(("x-cache", "HIT")), address, nginx::start(program, folder, form, address, upstream))?;
        }
    }
    if let Some(program) = &programs.haproxy {
        let address = free_address(ports);
        add("HAProxy", Some(("x-cache", "HIT")), address, haproxy::start(program, folder, address, upstream))?;
    }
    let hit = hit_of(shop)?;
    let address = free_address(ports);
    add("floor", None, address, floor::start(folder, address, &[hit.head, hit.body].concat()))?;

    let frontend = shop.pids()["frontend-1"];
    let hit = Some(("x-cache-hit", "true"));
    caches.push(Cache { server: BAZAR, address: shop.frontend(), pids: vec![frontend], hit, _process: None });
    Ok(caches)
}

/// An answer out of the cache of bazar's frontend.
fn hit_of(shop: &Cluster) -> Result<Reply> {
    let mut client = Client::new(shop.frontend());
    client.expect(200, LINE, None)?;
    client.expect(200, LINE, None)
}

/// Fails unless every cache answers with what the catalog has, and out of its cache.
fn check(shop: &Cluster, caches: &[Cache]) -> Result<()> {
    let catalog = Client::new(shop.address("catalog-1")).expect(200, LINE, None)?;
    for cache in caches {
        let mut client = Client::new(cache.address);
        // The first may be a miss.
        client.expect(200, LINE, None)?;
        let reply = client.expect(200, LINE, None)?;
        let (server, body) = (cache.server, String::from_utf8_lossy(&reply.body));
        ensure!(reply.body == catalog.body, "{server} answers with another body than the catalog: {body}");
        if let Some((header, value)) = cache.hit {
            let found = reply.header(header);
            ensure!(found == Some(value), "{server} does not answer from its cache: {header} is {found:?}");
        }
    }
    Ok(())
}

/// What a read costs that the frontend does not answer itself, beside the same read asked of the catalog servers.
fn misses(shop: &Cluster, plan: &Plan) -> Result<Section> {
    let past_the_cache = request_with(LINE, &[("cache-control", "no-cache")], None);
    let frontend = Target { addresses: vec![shop.frontend()], requests: vec![past_the_cache], expected: vec![200] };
    let replicas: Vec<Target> = shop.group("catalog").iter().map(|id| asking(shop.address(id))).collect();
    let pids: Vec<u32> = shop.pids().into_values().collect();
    let single = |duration| Load { connections: 1, pace: Pace::Unlimited, warm_up: Duration::ZERO, duration };

    let what = "Reads that are not cached, one at a time";
    let mut contenders = [
        Contender::new("replicas", |duration| {
            // The frontend asks them in turn, and only a leader answers without asking another.
            let mut latency = Histogram::<u64>::new(3)?;
            for replica in &replicas {
                latency.add(load::run(replica, &single(duration / replicas.len() as u32))?.latency)?;
            }
            Sample::new(&latency, duration, None)
        }),
        Contender::new(BAZAR, |duration| Sample::measure(&frontend, &single(duration), &pids)),
    ];
    let series =
        alternate(what, &mut contenders, Rounds { warm_up: Duration::from_millis(300), ..plan.rounds(plan.misses) })?;
    Ok(Section {
        name: "misses",
        title: what.to_owned(),
        method: format!(
            "`{LINE}` with `Cache-Control: no-cache` of the frontend (bazar), and without of each catalog server \
             (replicas), over one connection."
        ),
        metrics: &[Metric::Throughput, Metric::P50, Metric::P99],
        series,
    })
}

fn asking(address: SocketAddr) -> Target {
    Target { addresses: vec![address], requests: vec![request(LINE, None)], expected: vec![200] }
}

/// The number with all but its first two digits zero.
fn two_digits(number: f64) -> f64 {
    let unit = 10_f64.powf(number.log10().floor() - 1.0);
    (number / unit).floor() * unit
}
