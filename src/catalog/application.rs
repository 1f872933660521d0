//! The catalog's state as `replica` keeps it: commands in, tables out.
//!
//! | table | rows |
//! | --- | --- |
//! | `catalog.csv` | the books on sale |
//! | `ledger.csv` | what was decided under which idempotency key |
//! | `keyless.csv` | the latest refusals and changes under keys that nodes made |

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};

use super::command::Command;
use super::state::{Scalars, State};
use super::tables::{BookTable, DecisionTable, Titles, read_decisions};
use crate::codec::encode;
use crate::csv::books;
use crate::protocol::fence::Decisions;
use crate::replica::{Application, ApplicationError, BatchTime, SnapshotReader, SnapshotView, Swap};

/// The catalog of one replica.
#[derive(Default)]
pub struct CatalogApplication {
    state: Arc<RwLock<State>>,
}

impl CatalogApplication {
    /// The state, to read from. Writers wait meanwhile.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }
}

/// Tells how many decisions a replica knows of, and nothing else of its state.
pub struct DecisionCounter(pub Arc<CatalogApplication>);

impl DecisionCounter {
    /// How many there are by now.
    pub fn count(&self) -> Decisions {
        self.0.state().ledger.decisions()
    }
}

impl Application for CatalogApplication {
    fn check(&self, command: &Bytes) -> Result<(), ApplicationError> {
        understood(command).map(drop)
    }

    fn apply(&self, time: BatchTime, commands: &[Bytes]) -> Result<Vec<Bytes>, ApplicationError> {
        let commands: Vec<Command> = commands.iter().map(understood).collect::<Result<_, _>>()?;
        let mut state = self.state.write();
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            replies.push(encode(&state.apply(time, command)));
        }
        Ok(replies)
    }

    fn unfinished(&self) -> Option<&'static str> {
        (!self.state().seeded).then_some("this replica does not hold the first books of the shop yet")
    }

    fn cut(&self) -> SnapshotView {
        let state = self.state();
        let decisions = |name, (entries, generation)| Box::new(DecisionTable { name, entries, generation });
        SnapshotView {
            scalars: serde_json::to_value(state.scalars()).expect("numbers and truth values have a form in JSON"),
            tables: vec![
                Box::new(BookTable { books: state.books.clone(), generation: state.books_generation }),
                decisions("ledger", state.ledger.kept()),
                decisions("keyless", state.ledger.keyless()),
            ],
        }
    }

    fn restore(&self, saved: SnapshotReader) -> Result<Swap, ApplicationError> {
        let scalars: Scalars =
            serde_json::from_value(saved.scalars).map_err(|error| ApplicationError(format!("scalars: {error}")))?;
        let mut state = State::restoring(scalars).map_err(|error| ApplicationError(format!("scalars: {error}")))?;
        let mut titles = Titles::default();
        for (name, text) in saved.tables {
            let read = match name.as_str() {
                "catalog" => books::read(text, |book| {
                    titles.note(&book);
                    state.put(book);
                }),
                "ledger" => read_decisions(text, &titles, |decision| state.ledger.restore_kept(decision)),
                "keyless" => read_decisions(text, &titles, |decision| state.ledger.restore_keyless(decision)),
                _ => return Err(ApplicationError(format!("there is no table {name}"))),
            };
            read.map_err(|error| ApplicationError(format!("table {name}, {error}")))?;
        }
        state.check_restored().map_err(ApplicationError)?;
        let present = self.state.clone();
        Ok(Box::new(move || {
            let mut present = present.write();
            state.succeed(&present);
            Box::new(std::mem::replace(&mut *present, state))
        }))
    }
}

fn understood(command: &Bytes) -> Result<Command, ApplicationError> {
    let unknown = |error| ApplicationError(format!("not a command of the catalog: {error}"));
    Command::decode(command).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::catalog::command::{LeaseHolder, SeedPart};
    use crate::csv::{Readers, RowWriter, Table};
    use crate::model::testing::{book_id, cents, change, key, stock, text as words};
    use crate::model::{Book, Copies, UnixMillis};
    use crate::protocol::cache::ProcessId;
    use crate::protocol::catalog::{Action, Write};

    fn now() -> BatchTime {
        BatchTime { wall: UnixMillis::of_clock(1_800_000_000_000), group_ms: 5 }
    }

    fn buy(number: u64) -> Action {
        Action::Purchase { book_id: book_id(number), quantity: Copies::ONE }
    }

    fn busy_machine() -> CatalogApplication {
        let application = CatalogApplication::default();
        let book = |id, title| Book {
            id: book_id(id),
            title: words(title),
            topic: words("a, \"b\""),
            price: cents(4550),
            quantity: stock(1),
        };
        let update =
            |price, quantity_change| Action::Update { book_id: book_id(2), price: Some(cents(price)), quantity_change };
        let write = |text: &str, action| {
            let (heard, recorded_orders) = (Decisions::default(), 0);
            Command::Writes(vec![Write { key: key(text), is_keyless: false, heard, recorded_orders, action }]).encode()
        };
        let commands = [
            Command::Seed(SeedPart {
                books: vec![book(1, "Ünï,code"), book(2, "=two,lines"), book(3, "\"")],
                is_first: true,
                is_last: true,
            })
            .encode(),
            write("a", buy(1)),
            write("b", buy(1)),
            write("c", buy(9)),
            write("d", update(1, Some(change(-9)))),
            write("e", update(101, None)),
            write("f", Action::Remove { book_id: book_id(3) }),
        ];
        application.apply(now(), &commands).unwrap();
        application
    }

    fn saved(cut: &SnapshotView) -> SnapshotReader {
        let reader = |text: Vec<u8>| Box::new(io::Cursor::new(text)) as Box<dyn io::Read + Send>;
        let tables = text(cut).into_iter().map(|(name, text)| (name, reader(text))).collect();
        SnapshotReader { scalars: cut.scalars.clone(), tables }
    }

    fn text(cut: &SnapshotView) -> Vec<(String, Vec<u8>)> {
        let written = |table: &dyn Table| {
            let mut text = Vec::new();
            let mut out = RowWriter::new(&mut text, Readers::Bazar);
            out.header(table.columns()).unwrap();
            table.write(0..table.rows(), &mut out).unwrap();
            out.finish().unwrap();
            (table.name().to_owned(), text)
        };
        cut.tables.iter().map(|table| written(&**table)).collect()
    }

    #[test]
    fn a_restored_catalog_is_the_one_that_was_saved() {
        let application = busy_machine();
        let cut = application.cut();
        let restored = CatalogApplication::default();
        restored.restore(saved(&cut)).unwrap()();

        let again = restored.cut();
        assert_eq!((again.scalars.clone(), text(&again)), (cut.scalars.clone(), text(&cut)));

        // It goes on alike, too.
        let (heard, recorded_orders) = (Decisions::default(), 0);
        let again = Write { key: key("a"), is_keyless: false, heard, recorded_orders, action: buy(1) };
        let next = [Command::Writes(vec![again]).encode()];
        assert_eq!(restored.apply(now(), &next).unwrap(), application.apply(now(), &next).unwrap());
    }

    #[test]
    fn a_snapshot_that_contradicts_itself_or_counts_beyond_all_numbers_is_refused() {
        let cut = busy_machine().cut();
        type Forge = fn(&mut serde_json::Value);
        let forgeries: [(&str, Forge); 11] = [
            ("more orders than are sold", |scalars| scalars["orders"] = 2.into()),
            ("all numbers", |scalars| scalars["orders"] = u64::MAX.into()),
            ("more recorded than there are", |scalars| scalars["recorded_orders"] = 2.into()),
            ("no such book's number", |scalars| scalars["last_book_id"] = u64::MAX.into()),
            ("orders forgotten that are there", |scalars| scalars["ledger"]["forgotten_orders"] = 1.into()),
            ("forgotten beyond all numbers", |scalars| scalars["ledger"]["forgotten"]["ledger"] = u64::MAX.into()),
            ("the same of others", |scalars| scalars["ledger"]["forgotten"]["keyless"] = u64::MAX.into()),
            ("a mark of what was not decided", |scalars| scalars["ledger"]["marks"][0]["position"] = 99.into()),
            ("a mark beyond all time", |scalars| scalars["ledger"]["marks"][0]["group_ms"] = u64::MAX.into()),
            ("marks that go back", |scalars| {
                scalars["ledger"]["marks"] = serde_json::json!([
                    { "group_ms": 5, "position": 1 },
                    { "group_ms": 4, "position": 2 },
                ]);
            }),
            ("a lease for ever", |scalars| {
                let (process, address) = (ProcessId::fresh(), "127.0.0.1:1".to_owned());
                let holder = LeaseHolder { process, address, surely_over_ms: u64::MAX };
                scalars["lease_holders"]["frontend-1"] = serde_json::to_value(holder).unwrap();
            }),
        ];
        for (what, forge) in forgeries {
            let mut forged = saved(&cut);
            forge(&mut forged.scalars);
            assert_ne!(forged.scalars, cut.scalars, "{what}");
            assert!(CatalogApplication::default().restore(forged).is_err(), "{what}");
        }
    }

    #[test]
    fn a_snapshot_whose_decisions_do_not_follow_on_each_other_is_refused() {
        let cut = busy_machine().cut();
        let with = |table: &str, change: &dyn Fn(&str) -> String| {
            let reader = |text: String| Box::new(io::Cursor::new(text.into_bytes())) as Box<dyn io::Read + Send>;
            let tables = text(&cut).into_iter().map(|(name, text)| {
                let text = String::from_utf8(text).unwrap();
                let changed = if name == table { change(&text) } else { text };
                (name, reader(changed))
            });
            let saved = SnapshotReader { scalars: cut.scalars.clone(), tables: tables.collect() };
            CatalogApplication::default().restore(saved).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(with("ledger", &|text| text.to_owned()), Ok(()));
        let rows = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let without_first = |text: &str| rows(text)[..1].join("\n") + "\n" + &rows(text)[2..].join("\n") + "\n";
        let twice = |text: &str| text.to_owned() + &rows(text)[1] + "\n";
        let in_another_order = |text: &str| {
            let mut rows = rows(text);
            rows[1..].reverse();
            rows.join("\n") + "\n"
        };
        for change in [&without_first as &dyn Fn(&str) -> String, &twice, &in_another_order] {
            let refusal = with("ledger", change).unwrap_err();
            assert!(refusal.contains("order"), "{refusal}");
        }
        assert!(with("keyless", &|text| text.to_owned() + "key,1970-01-01T00:00:00.000Z,2,1,a,1,1,,\n").is_err());
    }

    #[test]
    fn a_cut_does_not_change_with_the_state() {
        let application = busy_machine();
        let cut = application.cut();
        let before = text(&cut);
        let removal = Command::Writes(vec![Write {
            key: key("z"),
            is_keyless: false,
            heard: Decisions::default(),
            recorded_orders: 0,
            action: Action::Remove { book_id: book_id(1) },
        }]);
        application.apply(now(), &[removal.encode()]).unwrap();
        assert_eq!(text(&cut), before);
        assert_ne!(text(&application.cut()), before);
    }

    #[test]
    fn a_command_that_cannot_be_understood_is_an_error() {
        assert!(CatalogApplication::default().apply(now(), &[Bytes::from_static(b"\xff")]).is_err());
    }
}
