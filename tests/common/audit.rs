//! What must hold once all is quiet, whatever went on before.

use std::collections::BTreeMap;
use std::fs;

use super::cluster::Cluster;
use super::until;

/// The tables of a group by file name, which all its replicas agree on.
pub type Tables = BTreeMap<&'static str, Vec<u8>>;

/// What the tables of both groups say.
#[derive(Debug, PartialEq, Eq)]
pub struct Books {
    /// Which book each order is of. The order numbers are 1, 2, 3, … without gaps.
    pub orders: Vec<u64>,
    /// Copies in stock, by book.
    pub stock: BTreeMap<u64, u64>,
}

impl Books {
    /// How many copies of a book the orders tell of.
    pub fn sold(&self, book: u64) -> u64 {
        self.orders.iter().filter(|ordered| **ordered == book).count() as u64
    }
}

impl Cluster {
    /// Waits until all running replicas of a group have written the same log position to their tables, and
    /// returns the tables, which must then be the same to the byte.
    pub fn agreed_tables(&self, role: &str) -> Tables {
        let names: &[&'static str] = if role == "catalog" { &["catalog.csv", "ledger.csv"] } else { &["orders.csv"] };
        until(&format!("the {role} replicas have all written the same position"), || {
            let statuses: Option<Vec<_>> = self.running(role).map(|id| self.status(id)).collect();
            let positions = statuses.into_iter().flatten().flat_map(|status| {
                ["last_log_index", "applied_index", "tables_index"].map(|index| status[index].as_u64().unwrap())
            });
            let positions: Vec<u64> = positions.collect();
            !positions.is_empty() && positions.iter().all(|position| *position == positions[0])
        });
        let read = |id: &str| -> Tables {
            let table = |name: &&'static str| (*name, fs::read(self.data(id).join("tables").join(name)).unwrap());
            names.iter().map(table).collect()
        };
        let ids: Vec<&str> = self.running(role).collect();
        let first = read(ids[0]);
        for id in &ids[1..] {
            for (name, text) in read(id) {
                assert!(text == first[name], "{name} of {id} differs from that of {}", ids[0]);
            }
        }
        first
    }

    /// Reads the tables of both groups and checks what must hold in any shop: replicas that agree, order
    /// numbers without gaps, and a ledger that tells of the same purchases.
    pub fn audit(&self) -> Books {
        let orders = rows(&self.agreed_tables("order")["orders.csv"]);
        let tables = self.agreed_tables("catalog");
        let number = |text: &str| text.parse::<u64>().unwrap();
        for (position, row) in orders.iter().enumerate() {
            assert_eq!(number(&row[0]), position as u64 + 1, "order numbers have a gap or a double");
        }
        let ledger = rows(&tables["ledger.csv"]);
        let bought = ledger.iter().filter(|row| row[4].starts_with(r#"{"bought""#));
        let bought: Vec<(&str, &str)> = bought.map(|row| (row[2].as_str(), row[0].as_str())).collect();
        let ordered: Vec<(&str, &str)> = orders.iter().map(|row| (row[0].as_str(), row[5].as_str())).collect();
        assert!(ordered == bought, "the orders are not the purchases that the catalog decided");
        Books {
            orders: orders.iter().map(|row| number(&row[1])).collect(),
            stock: rows(&tables["catalog.csv"]).iter().map(|row| (number(&row[0]), number(&row[4]))).collect(),
        }
    }
}

/// The rows of a CSV file without its header.
pub fn rows(text: &[u8]) -> Vec<Vec<String>> {
    let records = csv::Reader::from_reader(text).into_records();
    records.map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}
