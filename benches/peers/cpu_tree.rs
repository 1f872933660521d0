//! CPU time of a server: of a process and all that descend from it, those that ended included.
//!
//! A server that forks for each client, as PostgreSQL does, has its past in its parent: a process that was waited for
//! is counted among the time of its parent's children. Known on Linux only.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// What `/proc/<pid>/stat` tells of a process.
struct Stat {
    parent: u32,
    /// Its own time and that of the children that it has waited for, in the kernel's ticks.
    ticks: u64,
}

/// CPU time that these processes and their descendants have taken so far; nothing where that cannot be known.
pub fn cpu_of_trees(roots: &[u32]) -> Option<Duration> {
    let stats = all_stats()?;
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in &stats {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut ticks = 0;
    let mut pending = roots.to_vec();
    while let Some(pid) = pending.pop() {
        ticks += stats.get(&pid)?.ticks;
        pending.extend(children.get(&pid).into_iter().flatten());
    }
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn all_stats() -> Option<HashMap<u32, Stat>> {
    let mut stats = HashMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        stats.extend(parse(&text).map(|stat| (pid, stat)));
    }
    Some(stats)
}

fn parse(text: &str) -> Option<Stat> {
    // The second field, the name, may hold anything, and ends with the last parenthesis.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // From the third field on: state, parent, …; utime, stime, cutime and cstime are the 14th to 17th.
    let ticks: Option<Vec<u64>> = fields.get(11..15)?.iter().map(|field| field.parse().ok()).collect();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: ticks?.iter().sum() })
}
