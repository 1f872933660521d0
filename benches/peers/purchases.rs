//! Writes that are kept: a purchase at bazar, a purchase at PostgreSQL, and a put at etcd, which is less than a purchase.
//!
//! Each is acknowledged only when it is on the disks of a majority: of three at bazar and etcd, of both at PostgreSQL. At
//! bazar two groups of three do so one after the other.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::bench::{Bench, COPIES};
use super::etcd::Etcd;
use super::pgbench;
use super::postgres::Postgres;
use super::rounds::{Contender, alternate};
use super::samples::{Metric, Sample};
use super::sections::{BAZAR, Section};
use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::load::{IoTimeout, Load, Target};
use crate::common::request::request;

/// Customers at once.
const CONNECTIONS: usize = 64;

const BOOKS: u64 = 7;

const METHOD: &str = "Closed loop. bazar: `POST /buy/{1..7}` at the frontend of three catalog and three order servers. \
    PostgreSQL: one statement that takes a copy and inserts an order, by pgbench over TCP, at a primary with a \
    synchronous standby. etcd: a put of 150 bytes to one of 64 keys through its JSON gateway, at the leader of three \
    members. All with default durability; the CPU time is that of all their processes.";

const METRICS: &[Metric] = &[Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu];

/// The servers that take writes: bazar always, the others if they are there.
struct Servers<'a> {
    shop: &'a Cluster,
    etcd: Option<Etcd>,
    postgres: Option<Postgres>,
}

/// Measures purchases of many customers at once, and of one.
pub fn measure(bench: &mut Bench) -> Result<Vec<Section>> {
    bench.progress.step("starting etcd and PostgreSQL");
    let (etcd, postgres) = (start_etcd(bench)?, start_postgres(bench)?);
    let servers = Servers { shop: &bench.shop, etcd, postgres };
    let (plan, progress) = (&bench.plan, &bench.progress);

    let title = format!("Purchases, {CONNECTIONS} at a time");
    let many = alternate(&title, &mut servers.contenders(CONNECTIONS), plan.rounds(plan.purchases), progress)?;
    let single_title = "Purchases, one at a time".to_owned();
    let single = alternate(&single_title, &mut servers.contenders(1), plan.rounds(plan.single_purchases), progress)?;
    servers.verify()?;

    let method = METHOD.to_owned();
    Ok(vec![
        Section { name: "purchases", title, method: method.clone(), metrics: METRICS, series: many },
        Section { name: "purchases-single", title: single_title, method, metrics: METRICS, series: single },
    ])
}

fn start_etcd(bench: &mut Bench) -> Result<Option<Etcd>> {
    let Some(program) = bench.programs.etcd.clone() else { return Ok(None) };
    let [clients, peers] = [0, 1].map(|_| [0, 1, 2].map(|_| bench.free_address()));
    bench.started("etcd", Etcd::start(&program, bench.folder(), &clients, &peers))
}

fn start_postgres(bench: &mut Bench) -> Result<Option<Postgres>> {
    let Some(programs) = bench.programs.postgres.clone() else { return Ok(None) };
    let (primary, standby) = (bench.free_address(), bench.free_address());
    bench.started("PostgreSQL", Postgres::start(&programs, bench.folder(), primary, standby))
}

impl Servers<'_> {
    fn contenders(&self, connections: usize) -> Vec<Contender<'_>> {
        let load = move |duration| Load { connections, pace: IoTimeout::Unlimited, warm_up: Duration::ZERO, duration };
        let etcd = self.etcd.as_ref().map(|etcd| {
            let put = move |duration| Sample::measure(&etcd.target()?, &load(duration), &etcd.pids());
            Contender::new("etcd", put)
        });
        let postgres = self.postgres.as_ref().map(|postgres| {
            Contender::new("PostgreSQL", move |duration| pgbench::measure(postgres, connections, duration))
        });
        let target = Target {
            addresses: vec![self.shop.frontend()],
            requests: (1..=BOOKS).map(|book| request(&format!("POST /buy/{book}"), None)).collect(),
            expected: vec![201],
        };
        let pids: Vec<u32> = self.shop.pids().into_values().collect();
        let bazar = Contender::new(BAZAR, move |duration| Sample::measure(&target, &load(duration), &pids));
        etcd.into_iter().chain(postgres).chain([bazar]).collect()
    }

    /// Fails unless everybody kept what was written.
    fn verify(&self) -> Result<()> {
        self.etcd.as_ref().map_or(Ok(()), Etcd::verify)?;
        self.postgres.as_ref().map_or(Ok(()), Postgres::verify)?;
        verify_shop(self.shop)
    }
}

/// Fails unless each copy that is gone is an order, and there are no others.
fn verify_shop(shop: &Cluster) -> Result<()> {
    let mut client = Client::new(shop.frontend());
    let mut sold = 0;
    for book in 1..=BOOKS {
        let stock = client.expect(200, &format!("GET /info/{book}"), None)?.json()?["quantity"].as_u64();
        sold += COPIES - stock.unwrap_or(0);
    }
    ensure!(sold > 0, "bazar sold nothing");
    client.expect(200, &format!("GET /orders/{sold}"), None)?;
    client.expect(404, &format!("GET /orders/{}", sold + 1), None)?;
    Ok(())
}
