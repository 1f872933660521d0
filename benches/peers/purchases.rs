//! Writes that are kept: a purchase at bazar, a purchase at PostgreSQL, and a put at etcd, which is less than a purchase.
//!
//! Each is acknowledged only when it is on the disks of a majority: of three at bazar and etcd, of both at PostgreSQL. At
//! bazar two groups of three do so one after the other.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::etcd::Etcd;
use super::postgres::Postgres;
use super::programs::Programs;
use super::rounds::{Contender, alternate};
use super::samples::{Metric, Sample};
use super::sections::{BAZAR, Section};
use super::{Plan, free_address, leave_out, pgbench};
use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::load::{Load, Pace, Target};
use crate::common::ports::Ports;
use crate::common::request::request;

/// Customers at once.
const CONNECTIONS: usize = 64;

const BOOKS: u64 = 7;

/// Measures purchases of many customers at once, and of one.
pub fn measure(
    shop: &Cluster,
    copies: u64,
    programs: &Programs,
    folder: &Path,
    ports: &mut Ports,
    plan: &Plan,
) -> Result<Vec<Section>> {
    let etcd = programs.etcd.as_ref().map(|program| Etcd::start(program, folder, || free_address(ports)));
    let etcd = started("etcd", etcd)?;
    let addresses = (free_address(ports), free_address(ports));
    let postgres =
        programs.postgres.as_ref().map(|programs| Postgres::start(programs, folder, addresses.0, addresses.1));
    let postgres = started("PostgreSQL", postgres)?;

    let bazar = Target {
        addresses: vec![shop.frontend()],
        requests: (1..=BOOKS).map(|book| request(&format!("POST /buy/{book}"), None)).collect(),
        expected: vec![201],
    };
    let bazar_pids: Vec<u32> = shop.pids().into_values().collect();
    let contenders = |connections: usize| -> Vec<Contender> {
        let load = move |duration| Load { connections, pace: Pace::Unlimited, warm_up: Duration::ZERO, duration };
        let mut contenders = Vec::new();
        if let Some(etcd) = &etcd {
            let put = move |duration| Sample::measure(&etcd.target()?, &load(duration), &etcd.pids());
            contenders.push(Contender::new("etcd", put));
        }
        if let Some(postgres) = &postgres {
            let buy = move |duration| pgbench::measure(postgres, connections, duration);
            contenders.push(Contender::new("PostgreSQL", buy));
        }
        let (bazar, bazar_pids) = (&bazar, &bazar_pids);
        contenders.push(Contender::new(BAZAR, move |duration| Sample::measure(bazar, &load(duration), bazar_pids)));
        contenders
    };

    let many_title = format!("Purchases, {CONNECTIONS} at a time");
    let many = alternate(&many_title, &mut contenders(CONNECTIONS), plan.rounds(plan.purchases))?;
    let one_title = "Purchases, one at a time";
    let one = alternate(one_title, &mut contenders(1), plan.rounds(plan.single_purchases))?;

    etcd.as_ref().map_or(Ok(()), Etcd::verify)?;
    postgres.as_ref().map_or(Ok(()), Postgres::verify)?;
    verify(shop, copies)?;

    let method = "bazar: `POST /buy/{1..7}`, three catalog and three order servers. PostgreSQL: one statement that takes \
                  a copy and inserts an order, by pgbench over TCP, a primary and a synchronous standby. etcd: a put of \
                  150 bytes to one of 64 keys through its JSON gateway, three members, asked at the leader. All with \
                  default durability, and all processes' CPU time. Closed loop.";
    let metrics = &[Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu];
    Ok(vec![
        Section { name: "purchases", title: many_title, method: method.to_owned(), metrics, series: many },
        Section {
            name: "purchases-single",
            title: one_title.to_owned(),
            method: method.to_owned(),
            metrics,
            series: one,
        },
    ])
}

/// The peer if it could be started, nothing if it is not there or could not.
fn started<T>(peer: &'static str, outcome: Option<Result<T>>) -> Result<Option<T>> {
    match outcome {
        Some(Err(error)) => leave_out(peer, &error).map(|()| None),
        started => started.transpose(),
    }
}

/// Fails unless each copy that is gone is an order, and there are no others.
fn verify(shop: &Cluster, copies: u64) -> Result<()> {
    let mut client = Client::new(shop.frontend());
    let mut sold = 0;
    for book in 1..=BOOKS {
        let stock = client.expect(200, &format!("GET /info/{book}"), None)?.json()?["quantity"].as_u64();
        sold += copies - stock.unwrap_or(0);
    }
    ensure!(sold > 0, "bazar sold nothing");
    client.expect(200, &format!("GET /orders/{sold}"), None)?;
    client.expect(404, &format!("GET /orders/{}", sold + 1), None)?;
    Ok(())
}
