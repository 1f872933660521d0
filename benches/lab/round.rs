//! One run against a shop, with what it cost all processes; and the rounds of one case together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::common::cluster::Cluster;
use crate::common::cpu::{machine_cpu, process_cpu};
use crate::common::load::{Load, Target, run};
use crate::common::outcome::Outcome;
use crate::common::statistics::Spread;

/// Other processes that take more of the machine than this are told of.
const DISTURBANCE: f64 = 0.1;

/// Marks numbers that cannot be trusted.
const MARK: &str = " ?";

/// Cases with doubtful rounds that are told by name.
const SHOWN_CASES: usize = 4;

/// What came of one run, and what it cost.
pub struct Round {
    /// What the generator saw.
    pub outcome: Outcome,
    /// Cores that each role used; nothing where that cannot be known.
    pub cores: Option<Cores>,
}

/// How many cores were used, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The frontend.
    pub frontend: f64,
    /// All catalog servers together.
    pub catalog: f64,
    /// All order servers together.
    pub order: f64,
    /// The bench itself.
    pub generator: f64,
    /// Everything else on the machine, as a share of the whole machine.
    pub others_share: f64,
}

/// Runs a load against a shop.
pub fn measure(cluster: &Cluster, target: &Target, load: &Load) -> Result<Round> {
    let before = Usage::now(cluster);
    let outcome = run(target, load)?;
    let cores = before.zip(Usage::now(cluster)).map(|(before, after)| after.since(&before));
    Ok(Round { outcome, cores })
}

/// CPU time up to an instant.
struct Usage {
    at: Instant,
    roles: [Duration; 3],
    own: Duration,
    machine: Duration,
}

impl Usage {
    fn now(cluster: &Cluster) -> Option<Usage> {
        let nodes = cluster.cpu()?;
        let role = |role: &str| nodes.iter().filter(|(id, _)| id.starts_with(role)).map(|(_, time)| *time).sum();
        Some(Usage {
            at: Instant::now(),
            roles: ["frontend", "catalog", "order"].map(role),
            own: process_cpu(std::process::id())?,
            machine: machine_cpu()?,
        })
    }

    fn since(&self, before: &Usage) -> Cores {
        let elapsed = self.at.duration_since(before.at);
        let cores = |now: Duration, before: Duration| now.saturating_sub(before).div_duration_f64(elapsed);
        let [frontend, catalog, order] = [0, 1, 2].map(|role| cores(self.roles[role], before.roles[role]));
        let generator = cores(self.own, before.own);
        let all = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let others = cores(self.machine, before.machine) - frontend - catalog - order - generator;
        Cores { frontend, catalog, order, generator, others_share: (others / all).clamp(0.0, 1.0) }
    }
}

/// The rounds of one case.
#[derive(Default)]
pub struct Rounds(Vec<Round>);

impl Rounds {
    /// Adds one.
    pub fn push(&mut self, round: Round) {
        self.0.push(round);
    }

    /// Those that can be trusted; all, if none can.
    fn usable(&self) -> Vec<&Round> {
        let valid: Vec<&Round> = self.0.iter().filter(|round| round.outcome.doubt().is_none()).collect();
        if valid.is_empty() { self.0.iter().collect() } else { valid }
    }

    /// The spread of what is `read` from each.
    pub fn spread(&self, read: impl Fn(&Outcome) -> f64) -> Option<Spread> {
        Spread::of(self.usable().into_iter().map(|round| read(&round.outcome)))
    }

    /// The median of what is `read` from the CPU use of each.
    pub fn cores(&self, read: impl Fn(&Cores) -> f64) -> Option<f64> {
        Some(Spread::of(self.usable().into_iter().filter_map(|round| round.cores.as_ref().map(&read)))?.median)
    }

    /// All answers' times together.
    pub fn latency(&self) -> Option<Histogram<u64>> {
        let mut histograms = self.usable().into_iter().map(|round| &round.outcome.latency);
        let mut sum = histograms.next()?.clone();
        for histogram in histograms {
            sum.add(histogram).ok()?;
        }
        Some(sum)
    }

    /// The spread of what is `read` from each, as a cell of a table.
    pub fn cell(&self, read: impl Fn(&Outcome) -> f64) -> String {
        let is_doubtful = !self.0.is_empty() && self.0.iter().all(|round| round.outcome.doubt().is_some());
        shown(self.spread(read)) + if is_doubtful { MARK } else { "" }
    }

    /// The spread of a time in each, in milliseconds, as a cell of a table.
    pub fn cell_ms(&self, read: impl Fn(&Outcome) -> Duration) -> String {
        self.cell(|outcome| read(outcome).as_secs_f64() * 1e3)
    }
}

/// What speaks against the numbers of these cases, by their names.
pub fn remarks<'a>(cases: impl IntoIterator<Item = (String, &'a Rounds)>) -> Vec<String> {
    let (mut remarks, mut doubtful, mut reasons, mut others) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for (name, rounds) in cases {
        let mut failures = BTreeMap::new();
        for (failure, count) in rounds.0.iter().flat_map(|round| &round.outcome.failures) {
            *failures.entry(failure).or_insert(0) += count;
        }
        remarks
            .extend(failures.into_iter().map(|(failure, count)| format!("{name}: {count} requests failed: {failure}")));
        let doubts: Vec<String> = rounds.0.iter().filter_map(|round| round.outcome.doubt()).collect();
        if !doubts.is_empty() {
            doubtful.push(format!("{} of {} of {name}", doubts.len(), rounds.0.len()));
        }
        reasons.extend(doubts);
        let shares = rounds.0.iter().filter_map(|round| round.cores).map(|cores| cores.others_share);
        others = shares.fold(others, f64::max);
    }
    if let Some(reason) = reasons.first() {
        let shown = doubtful.len().min(SHOWN_CASES);
        let more =
            if doubtful.len() > shown { format!("; and of {} more", doubtful.len() - shown) } else { String::new() };
        let rounds = doubtful[..shown].join("; ") + &more;
        remarks.push(format!("These rounds measured the load generator and are left out (what had no other is marked{MARK}): {rounds}. For example, {reason}."));
    }
    if others > DISTURBANCE {
        let percent = 100.0 * others;
        remarks
            .push(format!("Other processes took up to {percent:.0} % of the machine: measure again when it is quiet."));
    }
    remarks
}

/// A spread, or a dash.
pub fn shown(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| spread.to_string())
}
