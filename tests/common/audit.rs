//! What must hold once all is quiet, whatever went on before.

use std::collections::BTreeMap;
use std::fs;

use super::cluster::Cluster;
use super::{until, until_some};

/// The tables of a group by file name, which all its replicas agree on.
pub type Tables = BTreeMap<&'static str, Vec<u8>>;

/// What the tables of both groups say.
#[derive(Debug, PartialEq, Eq)]
pub struct Books {
    /// Which book each order is of. The order numbers are 1, 2, 3, … without gaps.
    pub orders: Vec<u64>,
    /// How many copies each order is of.
    pub copies: Vec<u64>,
    /// Copies in stock, by book.
    pub stock: BTreeMap<u64, u64>,
}

impl Books {
    /// How many copies of a book the orders tell of.
    pub fn sold(&self, book: u64) -> u64 {
        self.orders.iter().zip(&self.copies).filter(|(ordered, _)| **ordered == book).map(|(_, copies)| copies).sum()
    }
}

impl Cluster {
    /// Waits until all running replicas of a group have written the same log position to their tables, and
    /// returns the tables, which must then be the same to the byte.
    pub fn agreed_tables(&self, role: &str) -> Tables {
        let names: &[&'static str] =
            if role == "catalog" { &["catalog.csv", "ledger.csv", "keyless.csv"] } else { &["orders.csv"] };
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

    /// Waits until every purchase that the catalog decided is recorded, and checks what must hold in any shop:
    /// replicas that agree, order numbers without gaps, and orders that are the purchases in the ledger.
    pub fn audit(&self) -> Books {
        let catalog = self.agreed_tables("catalog");
        let ledger = rows(&catalog["ledger.csv"]);
        let bought: Vec<_> = ledger.iter().filter(|row| !row[3].is_empty()).collect();
        let orders = until_some("all purchases are recorded", || {
            let orders = rows(&self.agreed_tables("order")["orders.csv"]);
            (orders.len() >= bought.len()).then_some(orders)
        });
        let number = |text: &str| text.parse::<u64>().unwrap();
        assert_eq!(orders.len(), bought.len(), "there are orders that the catalog did not decide");
        for ((position, order), purchase) in (1..).zip(&orders).zip(&bought) {
            assert_eq!(number(&order[0]), position, "order numbers have a gap or a double");
            // Number, key, book, title, price, quantity and moment.
            let as_decided = [2, 0, 3, 4, 5, 6, 1].map(|column| &purchase[column]);
            let as_recorded = [0, 6, 1, 2, 3, 4, 5].map(|column| &order[column]);
            assert_eq!(as_recorded, as_decided, "an order is not the purchase of its number");
        }
        Books {
            orders: orders.iter().map(|order| number(&order[1])).collect(),
            copies: orders.iter().map(|order| number(&order[4])).collect(),
            stock: rows(&catalog["catalog.csv"]).iter().map(|book| (number(&book[0]), number(&book[4]))).collect(),
        }
    }
}

/// The rows of a CSV file without its header.
pub fn rows(text: &[u8]) -> Vec<Vec<String>> {
    let records = csv::Reader::from_reader(text).into_records();
    records.map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}
