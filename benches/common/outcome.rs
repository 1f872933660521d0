//! What came of a run: times, failures, and whether the generator itself can be trusted with them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::load::{IoTimeout, Load};

/// Times are kept with this many digits.
const DIGITS: u8 = 3;

/// The longest time that is told from others.
const LONGEST: Duration = Duration::from_secs(120);

/// The timeline counts answers in slices of this length.
pub const SLICE: Duration = Duration::from_millis(50);

/// A generator that takes more of a core than this may be what limits a closed loop.
const BUSIEST: f64 = 0.9;

/// A generator that is late by more than this share of what it reports reports itself.
const LATE_SHARE: f64 = 0.1;

/// Lateness that does not count: a machine with other work to do can hardly do better.
const LATE: Duration = Duration::from_micros(100);

/// Why a request got no answer as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// It was answered with an unexpected status.
    Status(u16),
    /// The connection broke, or could not be made.
    Broken,
    /// No answer came within the time that is waited for.
    Unanswered,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => write!(formatter, "status {status}"),
            Failure::Broken => formatter.write_str("connection broken"),
            Failure::Unanswered => formatter.write_str("no answer"),
        }
    }
}

/// The longest time without an answer as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The last answer before it.
    pub begins: Instant,
    /// Until the next answer.
    pub lasts: Duration,
}

/// What came of a run.
pub struct Outcome {
    /// Nanoseconds from when a request was due (open loop) or sent (closed loop) to its expected answer.
    pub latency: Histogram<u64>,
    /// Nanoseconds by which requests were sent later than they were due and could have been sent.
    pub lateness: Histogram<u64>,
    /// Answers as they should be.
    pub answered: u64,
    /// All others.
    pub failures: BTreeMap<Failure, u64>,
    /// How long was counted.
    pub elapsed: Duration,
    /// The generator's own CPU time, among the wall time of the window and what was waited for after it.
    pub generator_share: f64,
    /// When the warm-up was over.
    pub began: Instant,
    /// The longest time without an expected answer.
    pub silence: Silence,
    /// Expected answers in each [`SLICE`] from `began` on.
    pub timeline: Vec<u32>,
    pace: IoTimeout,
    last_answer: Instant,
}

impl Outcome {
    pub(super) fn new(began: Instant, load: &Load) -> Result<Outcome> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, DIGITS);
        let slices = load.duration.div_duration_f64(SLICE).ceil() as usize;
        Ok(Outcome {
            latency: histogram().context("cannot make a histogram")?,
            lateness: histogram().context("cannot make a histogram")?,
            answered: 0,
            failures: BTreeMap::new(),
            elapsed: load.duration,
            generator_share: 0.0,
            began,
            silence: Silence { begins: began, lasts: Duration::ZERO },
            timeline: vec![0; slices],
            pace: load.pace,
            last_answer: began,
        })
    }

    pub(super) fn note(&mut self, latency: Duration, now: Instant, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                self.answered += 1;
                self.latency.saturating_record(latency.as_nanos() as u64);
                self.note_silence(now);
                let slice = now.duration_since(self.began).div_duration_f64(SLICE) as usize;
                if let Some(count) = self.timeline.get_mut(slice) {
                    *count += 1;
                }
            }
            Err(failure) => self.note_failure(failure),
        }
    }

    pub(super) fn note_failure(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(super) fn note_lateness(&mut self, lateness: Duration) {
        self.lateness.saturating_record(lateness.as_nanos() as u64);
    }

    fn note_silence(&mut self, now: Instant) {
        let lasts = now.saturating_duration_since(self.last_answer);
        if lasts > self.silence.lasts {
            self.silence = Silence { begins: self.last_answer, lasts };
        }
        self.last_answer = now;
    }

    pub(super) fn finish(&mut self, ends: Instant, now: Instant, cpu: Duration) {
        self.note_silence(ends);
        self.generator_share = cpu.div_duration_f64(now.duration_since(self.began));
    }

    /// Expected answers a second.
    pub fn throughput(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// The mean time of an answer.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.latency.mean() as u64)
    }

    /// The time within which this share of the answers came, as 0.99.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(share))
    }

    /// The time of the slowest answer.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    /// All requests that got no answer as it should be.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Why the generator may have measured itself, if it may have.
    pub fn doubt(&self) -> Option<String> {
        let late = Duration::from_nanos(self.lateness.value_at_quantile(0.99));
        match self.pace {
            _ if self.generator_share > BUSIEST => {
                Some(format!("the load generator took {:.0} % of a core", 100.0 * self.generator_share))
            }
            IoTimeout::PerSecond(_) if late > LATE.max(self.quantile(0.99).mul_f64(LATE_SHARE)) => {
                Some(format!("the load generator sent {late:.1?} late (p99)"))
            }
            _ => None,
        }
    }
}
