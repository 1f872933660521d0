//! Measuring several servers alternately, one at a time, so that what changes on the machine changes for all.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::interruption;
use super::samples::{Sample, Series};
use crate::common::progress::Progress;

/// Between two measurements: what the server before still does in the background is not the next one's.
const SETTLE: Duration = Duration::from_millis(200);

/// A server to be measured.
pub struct Contender<'a> {
    /// What it is called.
    pub server: &'static str,
    /// Measures it for this long.
    pub measure: Box<dyn FnMut(Duration) -> Result<Sample> + 'a>,
}

impl<'a> Contender<'a> {
    /// A server and how it is measured.
    pub fn new(server: &'static str, measure: impl FnMut(Duration) -> Result<Sample> + 'a) -> Contender<'a> {
        Contender { server, measure: Box::new(measure) }
    }
}

/// How long measurements take.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// How many rounds count.
    pub count: usize,
    /// One measurement of one server.
    pub duration: Duration,
    /// One round before them that does not count.
    pub warm_up: Duration,
}

/// Measures all contenders in each round, after a round that does not count.
pub fn alternate(what: &str, contenders: &mut [Contender], rounds: Rounds, progress: &Progress) -> Result<Vec<Series>> {
    for contender in contenders.iter_mut() {
        progress.step(&format!("{what}: warming up {}", contender.server));
        measure(contender, rounds.warm_up)?;
    }
    let empty = |contender: &Contender| Series { server: contender.server, samples: Vec::new() };
    let mut series: Vec<Series> = contenders.iter().map(empty).collect();
    for round in 1..=rounds.count {
        for (contender, series) in contenders.iter_mut().zip(&mut series) {
            progress.step(&format!("{what}: round {round} of {}, {}", rounds.count, contender.server));
            series.samples.push(measure(contender, rounds.duration)?);
        }
    }
    Ok(series)
}

fn measure(contender: &mut Contender, duration: Duration) -> Result<Sample> {
    interruption::check()?;
    thread::sleep(SETTLE);
    (contender.measure)(duration).with_context(|| format!("cannot measure {}", contender.server))
}
