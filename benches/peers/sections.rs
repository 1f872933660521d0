//! A section of the results: one kind of work, done by several servers, and its tables.

use super::samples::{Metric, Series};
use crate::common::report::Table;
use crate::common::statistics::Spread;

/// Whose numbers the others' are compared with.
pub const BAZAR: &str = "bazar";

/// One kind of work.
pub struct Section {
    /// Its name in files.
    pub name: &'static str,
    /// What was done.
    pub title: String,
    /// How.
    pub method: String,
    /// The numbers that mean something for this work.
    pub metrics: &'static [Metric],
    /// Who did it.
    pub series: Vec<Series>,
}

impl Section {
    /// The rounds of one server.
    pub fn of(&self, server: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.server == server)
    }

    /// Bazar's number divided by a peer's; nothing if one of them was not measured.
    pub fn ratio(&self, peer: &str, metric: Metric) -> Option<Spread> {
        self.of(BAZAR)?.ratio(self.of(peer)?, metric)
    }

    /// What was measured: medians, with the least and the greatest of all rounds.
    pub fn values(&self) -> Table {
        let rounds = self.series.first().map_or(0, |series| series.samples.len());
        let method = format!("{} Medians of {rounds} rounds (least–greatest).", self.method);
        let mut table = self.table(&self.title, &method, "server");
        for series in &self.series {
            let cells = self.metrics.iter().map(|metric| shown(series.spread(*metric)));
            table.row(std::iter::once(series.server.to_owned()).chain(cells));
        }
        table.remarks = self.series.iter().filter_map(Series::doubt).collect();
        table
    }

    /// Bazar's numbers divided by the others'.
    pub fn ratios(&self) -> Option<Table> {
        let title = format!("{}: bazar divided by the other", self.title);
        let method = "Round by round; the median (least–greatest). Of throughput more is better, of all else less.";
        let mut table = self.table(&title, method, "bazar ÷");
        self.of(BAZAR)?;
        for series in self.series.iter().filter(|series| series.server != BAZAR) {
            let cells = self.metrics.iter().map(|metric| shown(self.ratio(series.server, *metric)));
            table.row(std::iter::once(series.server.to_owned()).chain(cells));
        }
        (!table.rows.is_empty()).then_some(table)
    }

    fn table(&self, title: &str, method: &str, first: &str) -> Table {
        let titles = self.metrics.iter().map(|metric| metric.title());
        let columns: Vec<&str> = std::iter::once(first).chain(titles).collect();
        Table::new(self.name, title, method, &columns)
    }
}

fn shown(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| spread.to_string())
}
