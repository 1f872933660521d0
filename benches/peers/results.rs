//! The results of a run: on the terminal, as Markdown, and every round as CSV.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::output_of;
use super::programs::Programs;
use super::samples::Metric;
use super::sections::Section;
use super::targets;
use crate::common::report::Table;

/// Where results go.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench-results");

const METRICS: [Metric; 4] = [Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu];

/// Shows and writes everything.
pub fn write(programs: &Programs, sections: &[Section], data: &Path, took: Duration) -> Result<()> {
    let mut tables: Vec<Table> =
        sections.iter().flat_map(|section| [Some(section.values()), section.ratios()]).flatten().collect();
    tables.push(targets::table(sections));

    let facts = facts(programs, data, took);
    let mut markdown = "# Bazar beside its peers\n\n".to_owned();
    markdown.extend(facts.iter().map(|fact| format!("- {fact}\n")));
    println!("\n{}\n", facts.join("\n"));
    for table in &tables {
        println!("{}", table.to_terminal());
        markdown += &format!("\n{}", table.to_markdown());
    }

    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {FOLDER}"))?;
    let (document, rounds) = (folder.join("peers.md"), folder.join("peers.csv"));
    fs::write(&document, markdown).with_context(|| format!("cannot write {}", document.display()))?;
    write_rounds(&rounds, sections).with_context(|| format!("cannot write {}", rounds.display()))?;
    println!("Written to {} and, every round, to {}", document.display(), rounds.display());
    Ok(())
}

/// Where and with what it was measured.
fn facts(programs: &Programs, data: &Path, took: Duration) -> Vec<String> {
    let cores = thread::available_parallelism().map_or("an unknown number of".to_owned(), |cores| cores.to_string());
    let mut facts = vec![
        format!("On {cores} cores ({}), everything with the load generator on one machine", processor()),
        format!("bazar {}", env!("CARGO_PKG_VERSION")),
    ];
    facts.extend(programs.versions());
    if is_in_memory(data) {
        facts.push(format!("MIND: {} is in memory, where fsync costs nothing", data.display()));
    }
    facts.push(format!("The run took {:.0} s", took.as_secs_f64()));
    facts
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("processor unknown".to_owned(), |(_, name)| name.to_owned())
}

fn is_in_memory(folder: &Path) -> bool {
    let file_system = output_of(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder));
    file_system.is_ok_and(|name| name.trim() == "tmpfs")
}

fn write_rounds(path: &Path, sections: &[Section]) -> Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    let head = ["work", "server", "round", "requests_per_s", "p50_us", "p99_us", "cpu_us_per_request"];
    writer.write_record(head)?;
    for section in sections {
        for series in &section.series {
            for (round, sample) in (1..).zip(&series.samples) {
                let numbers =
                    METRICS.map(|metric| sample.value(metric).map_or(String::new(), |value| format!("{value:.3}")));
                let round: u32 = round;
                let names = [section.name.to_owned(), series.server.to_owned(), round.to_string()];
                writer.write_record(names.iter().chain(&numbers))?;
            }
        }
    }
    Ok(writer.flush()?)
}
