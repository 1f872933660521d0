//! Tables as CSV files, and CSV files as tables.
//!
//! A [`Table`] is an immutable view of books or orders; a [`TableFile`] keeps one file equal to it;
//! [`books`] and [`orders`] say how one row reads; [`read_seed`] takes in what a person wrote. The
//! same rows give the same bytes everywhere, so replicas can be compared file by file.
//!
//! This module knows what a book and an order are. It knows nothing of replication: when a table is
//! written, under which name and next to what, is for its callers to decide.

pub mod books;
mod column;
mod interner;
pub mod orders;
mod rows;
mod seed;
mod table;
mod table_file;
#[cfg(test)]
mod testing;

pub use column::Column;
pub use rows::{Readers, Row, RowError, RowWriter, read_rows};
pub use seed::{SeedErrors, read_seed};
pub use table::Table;
pub use table_file::{Prefix, TableFile, TableFileError, is_unreadable};
