//! What was measured of one server: rounds of the same numbers, whatever measured them.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::common::load::{Load, Target, connect};
use crate::common::outcome::Outcome;
use crate::common::statistics::Spread;

use super::cpu_tree::cpu_of_trees;

/// One round of one server.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Requests answered each second.
    pub per_second: f64,
    /// The median of the times to the answer; nothing if there was none.
    pub p50: Option<Duration>,
    /// 99 of 100 answers took no longer.
    pub p99: Option<Duration>,
    /// CPU time of the server's processes for each request; nothing where that cannot be known.
    pub cpu_per_request: Option<Duration>,
    /// What to hold against it.
    pub doubt: Option<String>,
}

/// All rounds of one server.
#[derive(Clone, Debug)]
pub struct Series {
    /// The server's name.
    pub server: &'static str,
    /// Its rounds, in order.
    pub samples: Vec<Sample>,
}

/// A number of a sample that servers are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests answered each second.
    Throughput,
    /// The median of the times to the answer.
    P50,
    /// 99 of 100 answers took no longer.
    P99,
    /// CPU time of the server for each request.
    Cpu,
}

impl Sample {
    /// From the nanoseconds that each answer took, within `elapsed`, for which the server took `cpu`.
    pub fn new(latency: &Histogram<u64>, elapsed: Duration, cpu: Option<Duration>) -> Sample {
        let answered = latency.len();
        // A disk that hangs may well leave a whole round without an answer.
        let any = |value: Duration| (answered > 0).then_some(value);
        let quantile = |share: f64| any(Duration::from_nanos(latency.value_at_quantile(share)));
        Sample {
            per_second: answered as f64 / elapsed.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            cpu_per_request: cpu.and_then(any).map(|cpu| cpu.div_f64(answered as f64)),
            doubt: (answered == 0).then(|| format!("nothing was answered within {elapsed:.1?}")),
        }
    }

    /// Asks the target as the load says while watching the CPU time of the server's processes.
    pub fn measure(target: &Target, load: &Load, pids: &[u32]) -> Result<Sample> {
        let ready = connect(target, load)?;
        let before = cpu_of_trees(pids);
        let outcome = ready.run()?;
        let cpu = cpu_of_trees(pids).zip(before).map(|(after, before)| after.saturating_sub(before));
        let sample = Sample::new(&outcome.latency, outcome.elapsed, cpu);
        Ok(Sample { doubt: sample.doubt.or(doubt_of(&outcome)), ..sample })
    }

    /// The number for this metric, in [`Metric::unit`].
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let us = |duration: Duration| duration.as_secs_f64() * 1e6;
        match metric {
            Metric::Throughput => Some(self.per_second),
            Metric::P50 => self.p50.map(us),
            Metric::P99 => self.p99.map(us),
            Metric::Cpu => self.cpu_per_request.map(us),
        }
    }
}

fn doubt_of(outcome: &Outcome) -> Option<String> {
    if outcome.failures.is_empty() {
        return outcome.doubt();
    }
    let failures = outcome.failures.iter().map(|(failure, count)| format!("{count} × {failure}"));
    Some(format!("of {} requests some failed: {}", outcome.answered, failures.collect::<Vec<_>>().join(", ")))
}

impl Series {
    /// The median round and how far apart the rounds are.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(|sample| sample.value(metric)))
    }

    /// This server's number divided by another's, round by round: what disturbs a round mostly disturbs both.
    pub fn ratio(&self, other: &Series, metric: Metric) -> Option<Spread> {
        let rounds = self.samples.iter().zip(&other.samples);
        let ratios = rounds.filter_map(|(one, other)| Some(one.value(metric)? / other.value(metric)?));
        Spread::of(ratios.filter(|ratio| ratio.is_finite()))
    }

    /// What to hold against some rounds, with their number.
    pub fn doubt(&self) -> Option<String> {
        let doubts: Vec<&String> = self.samples.iter().filter_map(|sample| sample.doubt.as_ref()).collect();
        let last = doubts.last()?;
        Some(format!("{}, {} of {} rounds: {last}", self.server, doubts.len(), self.samples.len()))
    }
}

impl Metric {
    /// What it is called, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Throughput => "requests/s",
            Metric::P50 => "p50, µs",
            Metric::P99 => "p99, µs",
            Metric::Cpu => "CPU, µs/request",
        }
    }

    /// What it is called in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Throughput => "throughput",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::Cpu => "CPU per request",
        }
    }
}
