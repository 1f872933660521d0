//! What the numbers were measured on: without it they say little.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::statistics::Spread;

/// Writes with `fdatasync` that tell how fast a disk is.
const SYNCS: usize = 50;

/// Bytes of each of them: about an entry of the log.
const SYNC_BYTES: usize = 256;

/// What is known of machine, system, disk and build, as lines of a report.
pub fn facts(folder: &Path) -> Result<Vec<(String, String)>> {
    let cores = std::thread::available_parallelism().map_or("?".to_owned(), |cores| cores.to_string());
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let memory = memory.map_or("?".to_owned(), |kilobytes| format!("{:.0} GiB", kilobytes / 1024.0 / 1024.0));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let commit = output("git", &["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown commit".to_owned());
    let fsync = fsync_ms(folder)?.map_or("?".to_owned(), |spread| format!("{spread} ms, median of {SYNCS} (min–max)"));
    let now = chrono::DateTime::<chrono::Utc>::from(SystemTime::now());
    let fact = |what: &str, value: String| (what.to_owned(), value);
    Ok(vec![
        fact("Measured", format!("{} UTC", now.format("%Y-%m-%d %H:%M"))),
        fact("Bazar", format!("{} ({commit})", env!("CARGO_PKG_VERSION"))),
        fact("Machine", format!("{cores} cores of {model}, {memory} of memory")),
        fact("System", format!("{} {}", std::env::consts::OS, kernel.trim())),
        fact("An fdatasync on its disk", fsync),
    ])
}

/// How long it takes until a small write is on the disk. That is most of what a purchase waits for.
fn fsync_ms(folder: &Path) -> Result<Option<Spread>> {
    let path = folder.join("fsync-probe");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut times: Vec<Duration> = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begins = Instant::now();
        file.write_all(&[0; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(begins.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(Spread::of_ms(times))
}

/// The first value of a name in one of the kernel's lists.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
