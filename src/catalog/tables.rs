//! The catalog's tables: how its state reads as CSV, and is read back.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use imbl::{OrdMap, Vector};

use super::decisions::{Entry, Kept, OutOfPlace};
use crate::csv::{Column, RowError, RowWriter, Table, books, read_rows};
use crate::model::{Book, BookId, Order, Text};
use crate::protocol::catalog::{Action, Decision, Outcome};

/// A purchase has its columns, anything else those of a request and its outcome, in JSON.
const LEDGER_COLUMNS: &[Column] = &[
    Column::new("idempotency_key"),
    Column::new("decided_at"),
    Column::new("last_order_id"),
    Column::new("book_id"),
    Column::new("title"),
    Column::new("price"),
    Column::new("quantity"),
    Column::new("request"),
    Column::new("outcome"),
];

/// The books on sale.
pub struct BookTable {
    pub books: OrdMap<BookId, Arc<Book>>,
    pub generation: u64,
}

impl Table for BookTable {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn columns(&self) -> &'static [Column] {
        books::COLUMNS
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn rows(&self) -> u64 {
        self.books.len() as u64
    }

    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()> {
        let length = (rows.end - rows.start) as usize;
        self.books.values().skip(rows.start as usize).take(length).try_for_each(|book| books::write_book(out, book))
    }
}

/// What was decided.
pub struct DecisionTable {
    pub name: &'static str,
    pub entries: Vector<Kept>,
    pub generation: u64,
}

impl Table for DecisionTable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn columns(&self) -> &'static [Column] {
        LEDGER_COLUMNS
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn rows(&self) -> u64 {
        self.entries.len() as u64
    }

    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()> {
        let rows = self.entries.focus().narrow(rows.start as usize..rows.end as usize);
        rows.into_iter().try_for_each(|entry| write_entry(out, entry))
    }
}

fn write_entry(out: &mut RowWriter<'_>, entry: &Kept) -> io::Result<()> {
    match entry {
        Kept::Sold(order) => out
            .value(&order.key)?
            .value(order.placed_at_ms)?
            .value(order.order_id)?
            .value(order.book_id)?
            .text(&order.title)?
            .value(order.price)?
            .value(order.quantity)?
            .text("")?
            .text("")?
            .end_row(),
        Kept::Other(entry) => out
            .value(&entry.key)?
            .value(entry.decision.at_ms)?
            .value(entry.orders)?
            .text("")?
            .text("")?
            .text("")?
            .text("")?
            .text(&serde_json::to_string(&entry.action)?)?
            .text(&serde_json::to_string(&entry.decision.outcome)?)?
            .end_row(),
    }
}

/// The titles of the books on sale, in the order of their numbers, for the decisions about them to share.
#[derive(Default)]
pub struct Titles(Vec<(BookId, Text)>);

impl Titles {
    /// Takes note of a book; they come in the order of their numbers.
    pub fn note(&mut self, book: &Book) {
        self.0.push((book.id, book.title.clone()));
    }

    fn share(&self, book_id: BookId, title: Text) -> Text {
        let number = |(id, _): &(BookId, Text)| *id;
        // Most shops number their books without gaps.
        let guess = self.0.first().and_then(|first| book_id.get().checked_sub(number(first).get()));
        let position = match guess.map(|guess| (guess as usize, self.0.get(guess as usize))) {
            Some((guess, Some(book))) if number(book) == book_id => Ok(guess),
            _ => self.0.binary_search_by_key(&book_id, number),
        };
        match position.map(|position| &self.0[position].1) {
            Ok(known) if *known == title => known.clone(),
            _ => title,
        }
    }
}

/// Reads what [`DecisionTable`] wrote, in its order.
///
/// # Errors
/// The first row that it did not write, or that `restore` refuses; or that the text cannot be read.
pub fn read_decisions(
    text: impl io::Read,
    titles: &Titles,
    mut restore: impl FnMut(Kept) -> Result<(), OutOfPlace>,
) -> Result<(), RowError> {
    read_rows(text, LEDGER_COLUMNS, |row| {
        let (key, at_ms) = (row.value(0)?, row.value(1)?);
        if row.text(7).is_empty() {
            let (order_id, book_id) = (row.value(2)?, row.value(3)?);
            let title = titles.share(book_id, row.value(4)?);
            let (price, quantity) = (row.value(5)?, row.value(6)?);
            let order = Order { order_id, book_id, title, price, quantity, placed_at_ms: at_ms, key };
            return restore(Kept::Sold(order)).map_err(|error| row.error(2, error));
        }
        let action: Action = serde_json::from_str(row.text(7)).map_err(|error| row.error(7, error))?;
        let outcome: Outcome = serde_json::from_str(row.text(8)).map_err(|error| row.error(8, error))?;
        let entry = Entry { key, action, decision: Decision { at_ms, outcome }, orders: row.value(2)? };
        restore(entry.into()).map_err(|error| row.error(2, error))
    })
}
