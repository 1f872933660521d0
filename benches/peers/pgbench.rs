//! PostgreSQL's own load generator, read so that its numbers mean the same as those of the others.
//!
//! pgbench starts a server process per connection and reports averages over the whole run. Here it logs each
//! transaction, and those that ended within a window count, which opens when all connections have long been made.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::cpu_tree::cpu_of_trees;
use super::interruption;
use super::postgres::Postgres;
use super::samples::Sample;

/// Before the window opens: connecting takes a part of it.
const WARM_UP: Duration = Duration::from_millis(800);

/// After it closes, at least.
const COOL_DOWN: Duration = Duration::from_millis(200);

/// How much longer than asked pgbench may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Times are kept with this many digits.
const DIGITS: u8 = 3;

/// Has `connections` clients buy without a pause, and tells what came of the purchases within `duration`.
pub fn measure(postgres: &Postgres, connections: usize, duration: Duration) -> Result<Sample> {
    remove_logs(postgres)?;
    // It takes whole seconds only.
    let seconds = (WARM_UP + duration + COOL_DOWN).as_secs_f64().ceil();
    let (clients, seconds_text) = (connections.to_string(), format!("{seconds}"));
    let options = ["-c", &clients, "-j", "1", "-T", &seconds_text, "-l", "--log-prefix", "purchases"];
    let mut command = postgres.pgbench(&options);
    let mut pgbench = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + Duration::from_secs_f64(seconds) + PATIENCE;

    thread::sleep(WARM_UP);
    let (opens, cpu_before) = (SystemTime::now(), cpu_of_trees(&postgres.pids()));
    thread::sleep(duration);
    let (closes, cpu_after) = (SystemTime::now(), cpu_of_trees(&postgres.pids()));
    while pgbench.try_wait()?.is_none() {
        if interruption::check().is_err() || Instant::now() > deadline {
            pgbench.kill()?;
            pgbench.wait()?;
            interruption::check()?;
            bail!("pgbench did not end within {PATIENCE:?} after its time");
        }
        thread::sleep(LOOK_INTERVAL);
    }
    let output = pgbench.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench ended with {}: {}", output.status, errors.trim());

    let latency = transactions_between(postgres, opens, closes)?;
    let cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Sample::new(&latency, closes.duration_since(opens)?, cpu))
}

/// The nanoseconds that those transactions took that ended within a window.
fn transactions_between(postgres: &Postgres, opens: SystemTime, closes: SystemTime) -> Result<Histogram<u64>> {
    let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH);
    let window = since_epoch(opens)?..since_epoch(closes)?;
    let mut latency = Histogram::new(DIGITS)?;
    for path in logs(postgres)? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for line in text.lines() {
            let (ended, took) = parse(line).with_context(|| format!("pgbench logged {line:?}"))?;
            if window.contains(&ended) {
                latency.record(took.as_nanos() as u64)?;
            }
        }
    }
    Ok(latency)
}

/// When a transaction ended, since the epoch, and how long it took.
fn parse(line: &str) -> Option<(Duration, Duration)> {
    // client, transaction, latency in µs, script, and the time of its end: seconds, µs
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [_, _, latency_us, _, ended_s, ended_us, ..] = fields[..] else { return None };
    let ended = Duration::from_secs(ended_s) + Duration::from_micros(ended_us);
    Some((ended, Duration::from_micros(latency_us)))
}

fn logs(postgres: &Postgres) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(&postgres.folder)?.flatten().map(|entry| entry.path());
    let is_log = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("purchases."))
    };
    Ok(files.filter(is_log).collect())
}

fn remove_logs(postgres: &Postgres) -> Result<()> {
    for path in logs(postgres)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
