//! The catalog's state as `replica` keeps it: commands in, tables out.
//!
//! | table | rows |
//! | --- | --- |
//! | `catalog.csv` | the books on sale |
//! | `ledger.csv` | what was decided under which idempotency key |

use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use imbl::{OrdMap, Vector};

use super::command::{Action, Command, Decision, Outcome};
use super::ledger::{Entry, Kept};
use super::state::{Scalars, State};
use crate::model::{Book, BookId, Order, UnixMillis, from_rfc3339, to_rfc3339};
use crate::replica::{Cut, Machine, MachineError, Saved, Swap};
use crate::store::{RowError, RowWriter, Table, books, read_rows};

/// A purchase has its columns, anything else those of a request and its outcome, in JSON.
const LEDGER_HEADER: &[&str] =
    &["idempotency_key", "decided_at", "last_order_id", "book_id", "title", "price", "request", "outcome"];

/// The catalog of one replica.
#[derive(Default)]
pub struct CatalogMachine {
    state: Arc<RwLock<State>>,
}

impl CatalogMachine {
    /// The state, to read from. Writers wait meanwhile.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for CatalogMachine {
    fn apply(&self, at_ms: UnixMillis, commands: &[Bytes]) -> Result<Vec<Bytes>, MachineError> {
        let unknown = |error: postcard::Error| MachineError(format!("not a command of the catalog: {error}"));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let command: Command = postcard::from_bytes(command).map_err(unknown)?;
            let reply = state.apply(at_ms, command);
            let reply = postcard::to_stdvec(&reply).expect("replies hold nothing that postcard cannot write");
            replies.push(reply.into());
        }
        Ok(replies)
    }

    fn cut(&self) -> Cut {
        let state = self.state();
        Cut {
            scalars: serde_json::to_value(state.scalars()).expect("numbers and truth values have a form in JSON"),
            tables: vec![
                Box::new(BookTable { books: state.books.clone(), generation: state.books_generation }),
                Box::new(LedgerTable { entries: state.ledger.entries(), generation: state.ledger.generation() }),
            ],
        }
    }

    fn restore(&self, saved: Saved) -> Result<Swap, MachineError> {
        let scalars: Scalars =
            serde_json::from_value(saved.scalars).map_err(|error| MachineError(format!("scalars: {error}")))?;
        let mut state = State::restoring(scalars, &self.state());
        let mut titles = Titles::default();
        for (name, text) in saved.tables {
            let read = match name.as_str() {
                "catalog" => books::read(text, |book| {
                    titles.0.push((book.id, book.title.clone()));
                    state.put(book);
                }),
                "ledger" => read_ledger(text, &titles, |decision| state.ledger.record(decision)),
                _ => return Err(MachineError(format!("there is no table {name}"))),
            };
            read.map_err(|error| MachineError(format!("table {name}, {error}")))?;
        }
        let present = self.state.clone();
        Ok(Box::new(move || {
            Box::new(std::mem::replace(&mut *present.write().unwrap_or_else(PoisonError::into_inner), state))
        }))
    }
}

struct BookTable {
    books: OrdMap<BookId, Arc<Book>>,
    generation: u64,
}

impl Table for BookTable {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn header(&self) -> &'static [&'static str] {
        books::HEADER
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

struct LedgerTable {
    entries: Vector<Kept>,
    generation: u64,
}

impl Table for LedgerTable {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn header(&self) -> &'static [&'static str] {
        LEDGER_HEADER
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
            .text(&to_rfc3339(order.placed_at_ms))?
            .value(order.order_id)?
            .value(order.book_id)?
            .text(&order.title)?
            .value(order.price)?
            .text("")?
            .text("")?
            .end_row(),
        Kept::Other(entry) => out
            .value(&entry.key)?
            .text(&to_rfc3339(entry.decision.at_ms))?
            .value(entry.last_order_id)?
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
struct Titles(Vec<(BookId, Arc<str>)>);

impl Titles {
    fn share(&self, book_id: BookId, title: &str) -> Arc<str> {
        let number = |(id, _): &(BookId, Arc<str>)| *id;
        // Most shops number their books without gaps.
        let guess = book_id.wrapping_sub(self.0.first().map_or(0, number)) as usize;
        let position = match self.0.get(guess) {
            Some(book) if number(book) == book_id => Ok(guess),
            _ => self.0.binary_search_by_key(&book_id, number),
        };
        match position.map(|position| &self.0[position].1) {
            Ok(known) if **known == *title => known.clone(),
            _ => title.into(),
        }
    }
}

fn read_ledger(text: impl io::Read, titles: &Titles, mut each: impl FnMut(Kept)) -> Result<(), RowError> {
    read_rows(text, LEDGER_HEADER, |row| {
        let (key, last_order_id) = (row.value(0)?, row.value(2)?);
        let at_ms = from_rfc3339(row.text(1)).ok_or_else(|| row.error(1, "not a moment"))?;
        if row.text(6).is_empty() {
            let (order_id, book_id) = (last_order_id, row.value(3)?);
            let (title, price) = (titles.share(book_id, row.text(4)), row.value(5)?);
            each(Kept::Sold(Order { order_id, book_id, title, price, placed_at_ms: at_ms, key }));
            return Ok(());
        }
        let action: Action = serde_json::from_str(row.text(6)).map_err(|error| row.error(6, error))?;
        let outcome: Outcome = serde_json::from_str(row.text(7)).map_err(|error| row.error(7, error))?;
        each(Entry { key, action, decision: Decision { at_ms, outcome }, last_order_id }.into());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::command::{SeedPart, Write};
    use crate::model::Cents;

    const NOW: UnixMillis = 1_800_000_000_000;

    fn encode(command: &Command) -> Bytes {
        postcard::to_stdvec(command).unwrap().into()
    }

    fn busy_machine() -> CatalogMachine {
        let machine = CatalogMachine::default();
        let book = |id: BookId, title: &str| Book {
            id,
            title: title.into(),
            topic: "a, \"b\"\n".into(),
            price: Cents(4550),
            quantity: 1,
        };
        let write = |key: &str, action| {
            encode(&Command::Writes(vec![Write {
                key: key.parse().unwrap(),
                sent_at_ms: NOW,
                recorded_order_id: 0,
                action,
            }]))
        };
        let commands = [
            encode(&Command::Seed(SeedPart {
                books: vec![book(1, "Ünï,code"), book(2, "two\nlines"), book(3, "\"")],
                is_first: true,
                is_last: true,
            })),
            write("a", Action::Purchase { book_id: 1 }),
            write("b", Action::Purchase { book_id: 1 }),
            write("c", Action::Purchase { book_id: 9 }),
            write("d", Action::Update { book_id: 2, price: Some(Cents(1)), quantity_change: Some(-9) }),
            write("e", Action::Update { book_id: 2, price: Some(Cents(101)), quantity_change: None }),
            write("f", Action::Remove { book_id: 3 }),
        ];
        machine.apply(NOW, &commands).unwrap();
        machine
    }

    fn saved(cut: &Cut) -> Saved {
        let reader = |text: Vec<u8>| Box::new(io::Cursor::new(text)) as Box<dyn io::Read + Send>;
        let tables = text(cut).into_iter().map(|(name, text)| (name, reader(text))).collect();
        Saved { scalars: cut.scalars.clone(), tables }
    }

    fn text(cut: &Cut) -> Vec<(String, Vec<u8>)> {
        let written = |table: &dyn Table| {
            let mut text = Vec::new();
            let mut out = RowWriter::new(&mut text);
            out.header(table.header()).unwrap();
            table.write(0..table.rows(), &mut out).unwrap();
            out.finish().unwrap();
            (table.name().to_owned(), text)
        };
        cut.tables.iter().map(|table| written(&**table)).collect()
    }

    #[test]
    fn a_restored_catalog_is_the_one_that_was_saved() {
        let machine = busy_machine();
        let cut = machine.cut();
        let restored = CatalogMachine::default();
        restored.restore(saved(&cut)).unwrap()();

        let again = restored.cut();
        assert_eq!((again.scalars.clone(), text(&again)), (cut.scalars.clone(), text(&cut)));

        // It goes on alike, too.
        let next = [encode(&Command::Writes(vec![Write {
            key: "a".parse().unwrap(),
            sent_at_ms: NOW,
            recorded_order_id: 0,
            action: Action::Purchase { book_id: 1 },
        }]))];
        assert_eq!(restored.apply(NOW, &next).unwrap(), machine.apply(NOW, &next).unwrap());
    }

    #[test]
    fn a_cut_does_not_change_with_the_state() {
        let machine = busy_machine();
        let cut = machine.cut();
        let before = text(&cut);
        let removal = Command::Writes(vec![Write {
            key: "z".parse().unwrap(),
            sent_at_ms: NOW,
            recorded_order_id: 0,
            action: Action::Remove { book_id: 1 },
        }]);
        machine.apply(NOW, &[encode(&removal)]).unwrap();
        assert_eq!(text(&cut), before);
        assert_ne!(text(&machine.cut()), before);
    }

    #[test]
    fn a_command_that_cannot_be_understood_is_an_error() {
        assert!(CatalogMachine::default().apply(NOW, &[Bytes::from_static(b"\xff")]).is_err());
    }
}
