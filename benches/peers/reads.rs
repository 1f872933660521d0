//! Reads of one book out of a cache.
//!
//! All caches stand before the same catalog servers and so serve the same body, which is checked before and after. The
//! proxies cache for an hour and never ask; bazar's frontend holds a lease and forgets what changes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::bench::Bench;
use super::nginx::Form;
use super::process::Process;
use super::rounds::{Contender, alternate};
use super::samples::{Metric, Sample};
use super::sections::{BAZAR, Section};
use super::{floor, haproxy, nginx};
use crate::common::client::{Client, Reply};
use crate::common::cluster::Cluster;
use crate::common::load::{IoTimeout, Load, Target};
use crate::common::request::request;

/// Connections to one cache.
const CONNECTIONS: usize = 32;

/// Of the slowest cache's rate, what all are asked for in the open loop: none is overloaded then.
const PACED_SHARE: f64 = 0.5;

const LINE: &str = "GET /info/1";

/// A cache that serves.
struct Cache {
    server: &'static str,
    address: SocketAddr,
    pid: u32,
    /// The header field that tells a hit, and its value.
    hit: Option<(&'static str, &'static str)>,
    /// Ends with this.
    _process: Option<Process>,
}

/// Measures how much all caches can do, and then how fast they answer when asked for less.
pub fn measure(bench: &mut Bench) -> Result<Vec<Section>> {
    let caches = start(bench)?;
    check(&bench.shop, &caches)?;
    let (plan, progress) = (&bench.plan, &bench.progress);

    let title = format!("Cached reads, {CONNECTIONS} at a time");
    let mut contenders = contenders(&caches, IoTimeout::Unlimited);
    let closed = alternate(&title, &mut contenders, plan.rounds(plan.cached_reads), progress)?;
    let medians = closed.iter().filter_map(|series| series.spread(Metric::Throughput));
    let slowest = medians.map(|spread| spread.median).min_by(f64::total_cmp).context("no cache was measured")?;

    let rate = two_digits(PACED_SHARE * slowest);
    let paced_title = format!("Cached reads, {rate:.0} a second");
    let mut contenders = self::contenders(&caches, IoTimeout::PerSecond(rate));
    let paced = alternate(&paced_title, &mut contenders, plan.rounds(plan.paced_reads), progress)?;
    check(&bench.shop, &caches)?;

    let accounting = "The CPU time is that of the cache alone, without the catalog servers behind it.";
    let closed = Section {
        name: "cached-reads",
        title,
        method: format!("`{LINE}`, each connection asking again as soon as it is answered. {accounting}"),
        metrics: &[Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu],
        series: closed,
    };
    let paced = Section {
        name: "cached-reads-paced",
        title: paced_title,
        method: format!("The same at a constant rate, about half of what the slowest can do. {accounting}"),
        metrics: &[Metric::P50, Metric::P99, Metric::Cpu],
        series: paced,
    };
    Ok(vec![closed, paced])
}

fn contenders(caches: &[Cache], pace: IoTimeout) -> Vec<Contender<'_>> {
    let contender = |cache: &Cache| {
        let (addresses, pid) = (vec![cache.address], cache.pid);
        let target = Target { addresses, requests: vec![request(LINE, None)], expected: vec![200] };
        Contender::new(cache.server, move |duration| {
            let load = Load { connections: CONNECTIONS, pace, warm_up: Duration::ZERO, duration };
            Sample::measure(&target, &load, &[pid])
        })
    };
    caches.iter().map(contender).collect()
}

/// Starts all caches that are installed, before the same catalog server.
fn start(bench: &mut Bench) -> Result<Vec<Cache>> {
    let upstream = bench.shop.address("catalog-1");
    let mut caches = Vec::new();
    let mut add = |bench: &Bench, server, address, hit, started: Result<Process>| -> Result<()> {
        if let Some(process) = bench.started(server, started)? {
            caches.push(Cache { server, address, pid: process.pid(), hit, _process: Some(process) });
        }
        Ok(())
    };
    let proxy_hit = Some(("x-cache", "HIT"));
    if let Some(program) = bench.programs.nginx.clone() {
        for (server, form) in [("nginx", Form::Packaged), ("nginx, tuned", Form::Tuned)] {
            let address = bench.free_address();
            add(bench, server, address, proxy_hit, nginx::start(&program, bench.folder(), form, address, upstream))?;
        }
    }
    if let Some(program) = bench.programs.haproxy.clone() {
        let address = bench.free_address();
        add(bench, "HAProxy", address, proxy_hit, haproxy::start(&program, bench.folder(), address, upstream))?;
    }
    let address = bench.free_address();
    let answer = hit_of(&bench.shop)?;
    add(bench, "floor", address, None, floor::start(bench.folder(), address, &[answer.head, answer.body].concat()))?;

    let (address, pid) = (bench.shop.frontend(), bench.shop.pids()["frontend-1"]);
    caches.push(Cache { server: BAZAR, address, pid, hit: Some(("x-cache-hit", "true")), _process: None });
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

/// The number with all but its first two digits zero.
fn two_digits(number: f64) -> f64 {
    let unit = 10_f64.powf(number.log10().floor() - 1.0);
    (number / unit).floor() * unit
}
