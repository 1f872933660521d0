//! A report: the same tables on the terminal, in Markdown and as CSV.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A table, with what it shows and what is to be known of it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name as a file.
    pub name: &'static str,
    /// What it shows.
    pub title: String,
    /// How it was measured.
    pub method: String,
    /// The heads of its columns; units stand here.
    pub columns: Vec<String>,
    /// Its rows: as many cells as columns.
    pub rows: Vec<Vec<String>>,
    /// What to hold against it: rounds that cannot be trusted, failures.
    pub remarks: Vec<String>,
    /// The file name of a plot of it.
    pub plot: Option<String>,
}

impl Table {
    /// An empty table.
    pub fn new(name: &'static str, title: &str, method: &str, columns: &[&str]) -> Table {
        Table {
            name,
            title: title.to_owned(),
            method: method.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
            remarks: Vec::new(),
            plot: None,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl ToString>) {
        self.rows.push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }

    /// As people read it on a terminal: the first column to the left, the others to the right.
    pub fn to_terminal(&self) -> String {
        let lines = || std::iter::once(&self.columns).chain(&self.rows);
        let width = |column: usize| lines().filter_map(|line| Some(line.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..self.columns.len()).filter_map(width).collect();
        let mut text = format!("{}\n", self.title);
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            text += &format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        for remark in &self.remarks {
            text += &format!("  ! {remark}\n");
        }
        text
    }

    /// As a section of a Markdown document.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("## {}\n\n{}\n\n{}", self.title, self.method, line(&self.columns));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(self.columns.len() - 1));
        text.extend(self.rows.iter().map(|row| line(row)));
        if !self.remarks.is_empty() {
            text += "\n";
            text.extend(self.remarks.iter().map(|remark| format!("- **Mind:** {remark}\n")));
        }
        if let Some(plot) = &self.plot {
            let _ = write!(text, "\n![{}]({plot})\n", self.title);
        }
        text
    }

    /// As CSV.
    fn write_csv(&self, path: &Path) -> Result<()> {
        let mut writer = csv::Writer::from_path(path)?;
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        Ok(writer.flush()?)
    }
}

/// A folder of results.
pub struct Report {
    folder: PathBuf,
    markdown: String,
}

impl Report {
    /// Begins a report in a folder, which is made if it is not there.
    pub fn begin(folder: &Path, title: &str, facts: &[(String, String)]) -> Result<Report> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut markdown = format!("# {title}\n\n");
        markdown.extend(facts.iter().map(|(what, value)| format!("- {what}: {value}\n")));
        Ok(Report { folder: folder.to_owned(), markdown })
    }

    /// Where a file of this name goes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Adds a table, and shows it. What is there is written at once, so that nothing is lost if a later part fails.
    pub fn add(&mut self, table: &Table) -> Result<()> {
        println!("{}", table.to_terminal());
        let path = self.path(&format!("{}.csv", table.name));
        table.write_csv(&path).with_context(|| format!("cannot write {}", path.display()))?;
        self.markdown += &format!("\n{}", table.to_markdown());
        let path = self.path("report.md");
        fs::write(&path, &self.markdown).with_context(|| format!("cannot write {}", path.display()))
    }
}
