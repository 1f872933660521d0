//! The results of a run: on the terminal, as Markdown, and every round as CSV.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::samples::Metric;
use super::sections::Section;
use super::targets;
use crate::common::report::Table;

const METRICS: [Metric; 4] = [Metric::Throughput, Metric::P50, Metric::P99, Metric::Cpu];

/// Shows and writes everything. `facts` are what must be known of it.
pub fn write(folder: &Path, facts: &[(String, String)], sections: &[Section]) -> Result<()> {
    let of = |section: &Section| [Some(section.values()), section.ratios()];
    let mut tables: Vec<Table> = sections.iter().flat_map(of).flatten().collect();
    tables.push(targets::table(sections));

    let mut markdown = "# Bazar beside its peers\n\n".to_owned();
    for (what, value) in facts {
        println!("{what}: {value}");
        markdown += &format!("- {what}: {value}\n");
    }
    println!();
    for table in &tables {
        println!("{}", table.to_terminal());
        markdown += &format!("\n{}", table.to_markdown());
    }

    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (document, rounds) = (folder.join("peers.md"), folder.join("peers.csv"));
    fs::write(&document, markdown).with_context(|| format!("cannot write {}", document.display()))?;
    write_rounds(&rounds, sections).with_context(|| format!("cannot write {}", rounds.display()))?;
    println!("The report is {}; {} has every round.", document.display(), rounds.display());
    Ok(())
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
