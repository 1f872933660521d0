//! What was recorded: a table of `baseline.toml` for each architecture, whose instructions are its own.

use std::env::consts::ARCH;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::operations::Operation;

/// The file.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost/baseline.toml");

/// The key of the compiler.
const COMPILER: &str = "rustc";

/// What was recorded for this architecture.
pub struct Baseline(Table);

impl Baseline {
    /// Reads it, if there is one.
    pub fn read() -> Result<Option<Baseline>> {
        Ok(read()?.get(ARCH).and_then(Item::as_table).cloned().map(Baseline))
    }

    /// The instructions of an operation, if they were recorded.
    pub fn of(&self, operation: Operation) -> Option<u64> {
        self.0.get(operation.name())?.as_integer()?.try_into().ok()
    }

    /// The compiler it was recorded with, if that is not this one.
    pub fn other_compiler(&self) -> Option<&str> {
        let recorded = self.0.get(COMPILER)?.as_str()?;
        (compiler().ok()? != recorded).then_some(recorded)
    }
}

/// Records what was counted, in the place of what was recorded for this architecture.
pub fn record(counts: &[(Operation, u64)]) -> Result<()> {
    let mut document = read()?;
    let table = document.entry(ARCH).or_insert(toml_edit::table()).as_table_mut();
    let table = table.with_context(|| format!("{ARCH} is no table in {FILE}"))?;
    table.clear();
    table.insert(COMPILER, value(compiler()?));
    for (operation, instructions) in counts {
        table.insert(operation.name(), value(i64::try_from(*instructions).context("too many instructions")?));
    }
    fs::write(FILE, document.to_string()).with_context(|| format!("cannot write {FILE}"))
}

fn read() -> Result<DocumentMut> {
    let text = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    text.parse().with_context(|| format!("{FILE} is no TOML"))
}

/// What the compiler calls itself.
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot ask rustc for its version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
