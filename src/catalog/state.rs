//! The catalog as a pure function: books, stock, and what was decided under which key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{Action, Command, Decision, LeaseHolder, Outcome, Reply, SeedPart, Write};
use super::ledger::{Entry, Kept, Ledger};
use crate::coherence::normalized;
use crate::model::{Book, BookId, MAX_QUANTITY, Order, OrderId, UnixMillis};

/// How long a key is remembered at least, and how old a request may be: a duplicate that is delayed for
/// longer is refused rather than carried out twice.
pub const KEY_RETENTION_MS: u64 = 24 * 60 * 60 * 1000;

/// How much longer than that keys are kept, for clocks that differ between senders and the leader.
const CLOCK_SLACK_MS: u64 = 60 * 60 * 1000;

/// The state of the shop. Clones of its parts share memory with it.
#[derive(Default)]
pub struct State {
    /// Whether the books of the first day were put in.
    pub seeded: bool,
    /// The books on sale.
    pub books: OrdMap<BookId, Arc<Book>>,
    /// Changes with every change of `books`.
    pub books_generation: u64,
    /// The highest book number ever given; none is given twice.
    pub last_book_id: BookId,
    /// The highest order number given.
    pub last_order_id: OrderId,
    /// The highest order number that the order servers are known to have recorded. Purchases after it are not
    /// forgotten, however old: nobody else knows of them.
    pub recorded_order_id: OrderId,
    /// What was decided under which key.
    pub ledger: Ledger,
    /// By the frontend's name: the process that may have a lease.
    pub lease_holders: BTreeMap<String, LeaseHolder>,
    /// By the topic in lower case. Follows from `books`.
    topics: HashMap<String, Topic>,
}

/// The books of a topic.
struct Topic {
    /// How one of them spells it. Those that spell it alike share the text.
    name: Arc<str>,
    books: BTreeSet<BookId>,
}

/// The parts of a [`State`] that its tables do not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalars {
    seeded: bool,
    last_book_id: BookId,
    last_order_id: OrderId,
    recorded_order_id: OrderId,
    lease_holders: BTreeMap<String, LeaseHolder>,
}

impl State {
    /// Applies one command, and replies to each write in it.
    pub fn apply(&mut self, at_ms: UnixMillis, command: Command) -> Vec<Reply> {
        match command {
            Command::Seed(part) => {
                self.seed(part);
                Vec::new()
            }
            Command::Writes(writes) => writes.into_iter().map(|write| self.write(at_ms, write)).collect(),
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

    fn write(&mut self, at_ms: UnixMillis, write: Write) -> Reply {
        self.recorded_order_id = self.recorded_order_id.max(write.recorded_order_id.min(self.last_order_id));
        if let Some((action, decision)) = self.ledger.find(&write.key).map(Kept::decided) {
            return match action == write.action {
                true => Reply::Decided(decision),
                false => Reply::KeyReused,
            };
        }
        if write.sent_at_ms.saturating_add(KEY_RETENTION_MS) < at_ms {
            return Reply::KeyExpired;
        }
        let decision = Decision { at_ms, outcome: self.decide(&write.action) };
        self.ledger.record(Entry {
            key: write.key,
            action: write.action,
            decision: decision.clone(),
            last_order_id: self.last_order_id,
        });
        let old = at_ms.saturating_sub(KEY_RETENTION_MS + CLOCK_SLACK_MS);
        self.ledger.forget_before(old, self.recorded_order_id);
        Reply::Decided(decision)
    }

    fn decide(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Purchase { book_id } => self.purchase(*book_id),
            Action::Update { book_id, price, quantity_change } => {
                let Some(mut book) = self.book(*book_id) else { return Outcome::UnknownBook };
                let quantity = book.quantity;
                book.price = price.unwrap_or(book.price);
                book.quantity = match quantity.checked_add_signed(quantity_change.unwrap_or(0)) {
                    None => return Outcome::NotEnough { quantity },
                    Some(changed) if changed > MAX_QUANTITY => return Outcome::TooMany { quantity },
                    Some(changed) => changed,
                };
                self.put(book.clone());
                Outcome::Updated(book)
            }
            Action::Add { book_id, title, topic, price, quantity } => {
                let id = book_id.unwrap_or(self.last_book_id + 1);
                if self.books.contains_key(&id) {
                    return Outcome::NumberTaken;
                }
                let (title, topic) = (title.as_str().into(), topic.as_str().into());
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

    fn purchase(&mut self, book_id: BookId) -> Outcome {
        let Some(book) = self.books.get_mut(&book_id).map(Arc::make_mut) else { return Outcome::UnknownBook };
        if book.quantity == 0 {
            return Outcome::SoldOut { title: book.title.clone() };
        }
        book.quantity -= 1;
        self.books_generation += 1;
        self.last_order_id += 1;
        Outcome::Bought { order_id: self.last_order_id, title: book.title.clone(), price: book.price }
    }

    /// Puts a book in, or in the place of the one with its number.
    pub fn put(&mut self, mut book: Book) {
        self.last_book_id = self.last_book_id.max(book.id);
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
            last_order_id: self.last_order_id,
            recorded_order_id: self.recorded_order_id,
            lease_holders: self.lease_holders.clone(),
        }
    }

    /// The state of a snapshot, before its books and decisions are put in. Its tables are none that `before` had.
    pub fn restoring(scalars: Scalars, before: &State) -> State {
        let Scalars { seeded, last_book_id, last_order_id, recorded_order_id, lease_holders } = scalars;
        State {
            seeded,
            last_book_id,
            last_order_id,
            recorded_order_id,
            lease_holders,
            books_generation: before.books_generation + 1,
            ledger: Ledger::new(before.ledger.generation() + 1),
            ..State::default()
        }
    }

    /// Up to `limit` books of a topic with numbers above `after`, in order of their numbers.
    pub fn search(&self, topic: &str, after: BookId, limit: usize) -> Vec<Book> {
        let Some(topic) = self.topics.get(topic) else { return Vec::new() };
        let ids = topic.books.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        ids.filter_map(|id| self.book(*id)).take(limit).collect()
    }

    /// A book that is on sale.
    pub fn book(&self, book_id: BookId) -> Option<Book> {
        self.books.get(&book_id).map(|book| (**book).clone())
    }

    /// The purchases after order number `after`, in order, at most `limit` of them.
    pub fn purchases_after(&self, after: OrderId, limit: usize) -> Vec<Order> {
        self.ledger.purchases_after(after, limit)
    }
}

#[cfg(test)]
mod tests;
