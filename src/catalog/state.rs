//! The catalog as a pure function: books, stock, and what was decided under which key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{Command, LeaseHolder, SeedPart};
use super::decisions::{self, DecisionLog, Entry, Kept};
use crate::model::{Book, BookId, CannotChange, Copies, Order, OrderId, Text};
use crate::protocol::cache::normalized;
use crate::protocol::catalog::{Action, Decision, Outcome, Reply, Write};
use crate::replica::BatchTime;

/// The state of the shop. Clones of its parts share memory with it.
#[derive(Default)]
pub struct State {
    /// Whether the books of the first day were put in.
    pub seeded: bool,
    /// The books on sale.
    pub books: OrdMap<BookId, Arc<Book>>,
    /// Changes with every change of `books`.
    pub books_generation: u64,
    /// The highest book number ever given, 0 before the first; none is given twice.
    pub last_book_id: u64,
    /// How many orders there are, which is also the number of the last.
    pub orders: u64,
    /// How many of these the order servers are known to have recorded. Purchases after them are not forgotten, however
    /// old: nobody else knows of them.
    pub recorded_orders: u64,
    /// What was decided under which key.
    pub ledger: DecisionLog,
    /// By the frontend's name: the process that may have a lease.
    pub lease_holders: BTreeMap<String, LeaseHolder>,
    /// By the topic in lower case. Follows from `books`.
    topics: HashMap<String, Topic>,
}

/// The books of a topic.
struct Topic {
    /// How one of them spells it. Those that spell it alike share the text.
    name: Text,
    books: BTreeSet<BookId>,
}

/// The parts of a [`State`] that its tables do not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalars {
    seeded: bool,
    last_book_id: u64,
    orders: u64,
    recorded_orders: u64,
    lease_holders: BTreeMap<String, LeaseHolder>,
    ledger: decisions::Scalars,
}

impl State {
    /// Applies one command, and replies to each write in it.
    pub fn apply(&mut self, time: BatchTime, command: Command) -> Vec<Reply> {
        match command {
            Command::Seed(part) => {
                self.seed(part);
                Vec::new()
            }
            Command::Writes(writes) => writes.into_iter().map(|write| self.write(time, write)).collect(),
            Command::LeaseHolder { frontend, holder } => {
                match holder {
                    Some(holder) => self.lease_holders.insert(frontend, holder),
                    None => self.lease_holders.remove(&frontend),
                };
                Vec::new()
            }
        }
    }

    fn seed(&mut self, SeedPart { books, is_first, is_last }: SeedPart) {
        if self.seeded {
            return;
        }
        if is_first {
            // What an earlier leader did not bring to its end.
            let books = std::mem::take(&mut self.books);
            books.values().for_each(|book| self.leave_topic(book));
            self.last_book_id = 0;
        }
        books.into_iter().for_each(|book| self.put(book));
        self.seeded = is_last;
    }

    fn write(&mut self, time: BatchTime, write: Write) -> Reply {
        if write.recorded_orders <= self.orders {
            self.recorded_orders = self.recorded_orders.max(write.recorded_orders);
        }
        if let Some((action, decision)) = self.ledger.find(&write.key).map(Kept::decided) {
            return match action == write.action {
                true => Reply::Decided(decision),
                false => Reply::KeyReused,
            };
        }
        if write.recorded_orders > self.orders {
            return Reply::OlderThanOrders { decided: self.orders };
        }
        if !self.ledger.is_surely_new(&write) {
            return Reply::KeyExpired { now: self.ledger.decisions() };
        }
        if self.ledger.is_list_behind(&write) {
            return Reply::ListBehind;
        }
        self.ledger.forget_old(time.group_ms, self.recorded_orders);
        let has_room = self.ledger.has_room(&write);
        // A purchase that is refused changes nothing, so it can still be left undecided.
        if !has_room && !matches!(write.action, Action::Purchase { .. }) {
            return Reply::NoRoom;
        }
        let outcome = self.decide(&write.action);
        if !has_room && !matches!(outcome, Outcome::Bought { .. }) {
            return Reply::NoRoom;
        }
        let decision = Decision { at_ms: time.wall, outcome };
        let Write { key, is_keyless, action, .. } = write;
        let entry = Entry { key, action, decision: decision.clone(), orders: self.orders };
        self.ledger.record(time.group_ms, is_keyless, entry);
        Reply::Decided(decision)
    }

    fn decide(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Purchase { book_id, quantity } => self.purchase(*book_id, *quantity),
            Action::Update { book_id, price, quantity_change } => {
                let Some(mut book) = self.book(*book_id) else { return Outcome::UnknownBook };
                let quantity = book.quantity;
                book.price = price.unwrap_or(book.price);
                book.quantity = match quantity.changed(quantity_change.unwrap_or_default()) {
                    Ok(changed) => changed,
                    Err(CannotChange::BelowZero) => return Outcome::NotEnough { quantity },
                    Err(CannotChange::TooMany) => return Outcome::TooMany { quantity },
                };
                self.put(book.clone());
                Outcome::Updated(book)
            }
            Action::Add { book_id, title, topic, price, quantity } => {
                let Some(id) = book_id.or_else(|| BookId::after(self.last_book_id)) else {
                    return Outcome::NoNumberLeft;
                };
                if self.books.contains_key(&id) {
                    return Outcome::NumberTaken;
                }
                let (title, topic) = (title.clone(), topic.clone());
                let book = Book { id, title, topic, price: *price, quantity: *quantity };
                self.put(book.clone());
                Outcome::Added(book)
            }
            Action::Remove { book_id } => {
                let Some(book) = self.books.remove(book_id) else { return Outcome::UnknownBook };
                self.books_generation += 1;
                self.leave_topic(&book);
                Outcome::Removed(Arc::unwrap_or_clone(book))
            }
        }
    }

    fn purchase(&mut self, book_id: BookId, copies: Copies) -> Outcome {
        let Some(book) = self.books.get(&book_id) else { return Outcome::UnknownBook };
        let Some(left) = book.quantity.less(copies) else {
            return Outcome::SoldOut { title: book.title.clone(), left: book.quantity };
        };
        let Some(order_id) = OrderId::after(self.orders) else { return Outcome::NoNumberLeft };
        let bought = Outcome::Bought { order_id, title: book.title.clone(), price: book.price };
        if let Some(book) = self.books.get_mut(&book_id).map(Arc::make_mut) {
            book.quantity = left;
        }
        self.books_generation += 1;
        self.orders = order_id.get();
        bought
    }

    /// Puts a book in, or in the place of the one with its number.
    pub fn put(&mut self, mut book: Book) {
        self.last_book_id = self.last_book_id.max(book.id.get());
        self.books_generation += 1;
        let new_topic = || Topic { name: book.topic.clone(), books: BTreeSet::new() };
        let topic = self.topics.entry(normalized(&book.topic)).or_insert_with(new_topic);
        topic.books.insert(book.id);
        if topic.name == book.topic {
            book.topic = topic.name.clone();
        }
        self.books.insert(book.id, Arc::new(book));
    }

    fn leave_topic(&mut self, book: &Book) {
        let topic = normalized(&book.topic);
        if let Some(entry) = self.topics.get_mut(&topic) {
            entry.books.remove(&book.id);
            if entry.books.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }

    /// What the tables do not tell.
    pub fn scalars(&self) -> Scalars {
        Scalars {
            seeded: self.seeded,
            last_book_id: self.last_book_id,
            orders: self.orders,
            recorded_orders: self.recorded_orders,
            lease_holders: self.lease_holders.clone(),
            ledger: self.ledger.scalars(),
        }
    }

    /// The state of a snapshot, before its books and decisions are put in.
    ///
    /// # Errors
    /// If its parts cannot be.
    pub fn restoring(scalars: Scalars) -> Result<State, String> {
        let Scalars { seeded, last_book_id, orders, recorded_orders, lease_holders, ledger } = scalars;
        if last_book_id > BookId::MOST.get() {
            return Err(format!("there is no book {last_book_id}"));
        }
        if recorded_orders > orders {
            return Err(format!("of {orders} orders, {recorded_orders} are recorded"));
        }
        let ledger = DecisionLog::restoring(ledger)?;
        Ok(State { seeded, last_book_id, orders, recorded_orders, lease_holders, ledger, ..State::default() })
    }

    /// Checks a state of a snapshot, once all is put in.
    ///
    /// # Errors
    /// If its parts contradict each other.
    pub fn check_restored(&self) -> Result<(), String> {
        let decided = self.ledger.last_order();
        match decided == self.orders {
            true => self.ledger.check_restored(),
            false => Err(format!("{} orders are counted, and {decided} were decided", self.orders)),
        }
    }

    /// Takes note that this state comes in the place of `before`: its tables are none that that one had.
    pub fn succeed(&mut self, before: &State) {
        self.books_generation = before.books_generation + 1;
        self.ledger.succeed(&before.ledger);
    }

    /// Up to `limit` books of a topic with numbers above `after`, in order of their numbers.
    pub fn search(&self, topic: &str, after: u64, limit: usize) -> Vec<Book> {
        let (Some(topic), Some(first)) = (self.topics.get(topic), BookId::after(after)) else { return Vec::new() };
        let ids = topic.books.range(first..);
        ids.filter_map(|id| self.book(*id)).take(limit).collect()
    }

    /// A book that is on sale.
    pub fn book(&self, book_id: BookId) -> Option<Book> {
        self.books.get(&book_id).map(|book| (**book).clone())
    }

    /// The purchases after the first `after`, in order, at most `limit` of them.
    pub fn purchases_after(&self, after: u64, limit: usize) -> Vec<Order> {
        self.ledger.purchases_after(after, limit)
    }
}

#[cfg(test)]
mod tests;
