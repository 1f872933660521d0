//! What does it cost that a cached answer is never old?
//!
//! A change has the frontend forget before it takes effect; the read after it is a miss. What follows from what
//! happened before is asked in sequence by one customer of a shop where nothing else goes on, so the times are those
//! of the work itself, without any queue.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::common::client::{Client, Reply};
use crate::common::cluster::Cluster;
use crate::common::report::{Report, Table};
use crate::common::statistics::Spread;
use crate::requests::BOOKS;
use crate::round::shown;
use crate::shops::{Lab, layout};

const METHOD: &str = "One customer asks one thing after the other, and nothing else goes on: these are times of service, without \
    queues. A sequence is: read a book into the cache, change its price, read it (a miss), read it again (a hit), read \
    it from catalog servers directly, buy it. Times are in milliseconds: the median of the rounds (least–greatest).";

/// What is timed, in the order of the table.
const STEPS: [&str; 6] = [
    "change a price",
    "buy",
    "read after a change",
    "read once more",
    "read from a catalog server that follows",
    "read from the catalog server that leads",
];

/// Times of each step, in one round of one shop.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// Measures, and adds to the report.
pub fn report(lab: &Lab, report: &mut Report) -> Result<()> {
    lab.progress.step("starting two shops without replicas: 1 frontend, 1 catalog and 1 order server each");
    let alone = Cluster::open(layout("cache, 1 replica", 1, true))?;
    let alone_uncached = Cluster::open(layout("no cache, 1 replica", 1, false))?;
    let shops = [
        ("3 replicas, cache", &lab.cached),
        ("3 replicas, no cache", &lab.uncached),
        ("1 replica, cache", &alone),
        ("1 replica, no cache", &alone_uncached),
    ];
    let mut rounds: [Vec<Times>; 4] = Default::default();
    for round in 1..=lab.plan.rounds {
        for ((name, shop), times) in shops.iter().zip(&mut rounds) {
            lab.progress.step(&format!("cost of consistency, round {round} of {}: {name}", lab.plan.rounds));
            times.push(sequences(shop, lab.plan.sequences)?);
        }
    }
    lab.progress.clear();
    let columns = ["request", "shop", "mean", "p50", "p99", "samples"];
    let mut table = Table::new("consistency", "What consistency costs, in ms", METHOD, &columns);
    for step in STEPS {
        for ((shop, _), rounds) in shops.iter().zip(&rounds) {
            let samples: Vec<&Vec<Duration>> = rounds.iter().filter_map(|times| times.get(step)).collect();
            if samples.is_empty() {
                continue;
            }
            let spread =
                |read: fn(&[Duration]) -> Duration| shown(Spread::of_ms(samples.iter().map(|samples| read(samples))));
            let count: usize = samples.iter().map(|samples| samples.len()).sum();
            let cells = [spread(mean), spread(|times| quantile(times, 0.5)), spread(|times| quantile(times, 0.99))];
            let cells = cells.into_iter().chain([count.to_string()]);
            table.row([describe(step, shop), (*shop).to_owned()].into_iter().chain(cells));
        }
    }
    report.add(&table)
}

/// What happens in a step, as it depends on the shop.
fn describe(step: &str, shop: &str) -> String {
    let has_cache = shop.ends_with(", cache");
    match step {
        "change a price" | "buy" if has_cache => format!("{step}, frontend forgets first"),
        "read after a change" if has_cache => format!("{step}: a miss"),
        "read once more" if has_cache => format!("{step}: a hit"),
        _ => step.to_owned(),
    }
}

/// Runs the sequence so many times, over all books.
fn sequences(shop: &Cluster, count: usize) -> Result<Times> {
    let has_cache = shop.cache_stats()?["enabled"] == true;
    let leader = shop.leader("catalog")?;
    let follower = shop.group("catalog").into_iter().find(|id| *id != leader);
    let mut frontend = Client::new(shop.frontend());
    let mut leader = Client::new(shop.address(&leader));
    let mut follower = follower.map(|id| Client::new(shop.address(&id)));
    let mut times = Times::new();
    for (number, book) in (0..count).zip(BOOKS.cycle()) {
        let mut note = |step, reply: Reply| times.entry(step).or_default().push(reply.took);
        let read = format!("GET /info/{book}");
        frontend.expect(200, &read, None)?;
        let price = json!({ "price": 10 + number % 50 });
        note("change a price", frontend.expect(200, &format!("PUT /update/{book}/price"), Some(&price))?);
        let miss = frontend.expect(200, &read, None)?;
        let hit = frontend.expect(200, &read, None)?;
        for (reply, is_hit) in [(&miss, false), (&hit, has_cache)] {
            let told = reply.header("x-cache-hit").context("an answer does not say whether it is a hit")?;
            if told != is_hit.to_string() {
                bail!("a read of book {book} came with x-cache-hit: {told}, not {is_hit}");
            }
        }
        note("read after a change", miss);
        if has_cache {
            note("read once more", hit);
        }
        if let Some(follower) = &mut follower {
            note("read from a catalog server that follows", follower.expect(200, &read, None)?);
        }
        note("read from the catalog server that leads", leader.expect(200, &read, None)?);
        note("buy", frontend.expect(201, &format!("POST /buy/{book}"), None)?);
    }
    Ok(times)
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len().max(1) as u32
}

/// The time within which this share of them lies.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let position = (share * times.len() as f64).ceil() as usize;
    times.get(position.saturating_sub(1)).copied().unwrap_or_default()
}
