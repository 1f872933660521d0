//! The catalog as a pure function: books, stock, and what was decided under which key.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{Action, Command, Decision, Outcome, Reply, Write};
use super::ledger::{Entry, Ledger};
use crate::coherence::normalized;
use crate::model::{Book, BookId, MAX_QUANTITY, OrderId, UnixMillis};

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
    pub books: OrdMap<BookId, Book>,
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
    /// The books of each topic, by the topic in lower case. Follows from `books`.
    topics: HashMap<String, BTreeSet<BookId>>,
}

/// The parts of a [`State`] that its tables do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalars {
    seeded: bool,
    last_book_id: BookId,
    last_order_id: OrderId,
    recorded_order_id: OrderId,
}

impl State {
    /// Applies one command.
    pub fn apply(&mut self, at_ms: UnixMillis, command: Command) -> Option<Reply> {
        match command {
            Command::Seed(books) => {
                if !std::mem::replace(&mut self.seeded, true) {
                    books.into_iter().for_each(|book| self.put(book));
                }
                None
            }
            Command::Write(write) => Some(self.write(at_ms, write)),
        }
    }

    fn write(&mut self, at_ms: UnixMillis, write: Write) -> Reply {
        self.recorded_order_id = self.recorded_order_id.max(write.recorded_order_id.min(self.last_order_id));
        if let Some(known) = self.ledger.find(&write.key) {
            return match known.action == write.action {
                true => Reply::Decided(known.decision.clone()),
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
                let Some(mut book) = self.books.get(book_id).cloned() else { return Outcome::UnknownBook };
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
                Outcome::Removed(book)
            }
        }
    }

    fn purchase(&mut self, book_id: BookId) -> Outcome {
        let Some(book) = self.books.get_mut(&book_id) else { return Outcome::UnknownBook };
        if book.quantity == 0 {
            return Outcome::SoldOut { title: book.title.clone() };
        }
        book.quantity -= 1;
        self.books_generation += 1;
        self.last_order_id += 1;
        Outcome::Bought { order_id: self.last_order_id, title: book.title.clone(), price: book.price }
    }

    /// Puts a book in, or in the place of the one with its number.
    fn put(&mut self, book: Book) {
        self.last_book_id = self.last_book_id.max(book.id);
        self.books_generation += 1;
        self.enter_topic(&book);
        self.books.insert(book.id, book);
    }

    fn enter_topic(&mut self, book: &Book) {
        self.topics.entry(normalized(&book.topic)).or_default().insert(book.id);
    }

    fn leave_topic(&mut self, book: &Book) {
        let topic = normalized(&book.topic);
        if let Some(books) = self.topics.get_mut(&topic) {
            books.remove(&book.id);
            if books.is_empty() {
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
        }
    }

    /// Becomes the state that a snapshot tells of.
    pub fn replace(&mut self, scalars: Scalars, books: Vec<Book>, ledger: Ledger) {
        let Scalars { seeded, last_book_id, last_order_id, recorded_order_id } = scalars;
        *self = State {
            seeded,
            last_book_id,
            last_order_id,
            recorded_order_id,
            ledger,
            books_generation: self.books_generation + 1,
            ..State::default()
        };
        books.iter().for_each(|book| self.enter_topic(book));
        self.books = books.into_iter().map(|book| (book.id, book)).collect();
    }

    /// Up to `limit` books of a topic with numbers above `after`, in order of their numbers.
    pub fn search(&self, topic: &str, after: BookId, limit: usize) -> Vec<Book> {
        let Some(books) = self.topics.get(topic) else { return Vec::new() };
        let ids = books.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        ids.filter_map(|id| self.books.get(id).cloned()).take(limit).collect()
    }

    /// The purchases after order number `after`, in order, at most `limit` of them.
    pub fn purchases_after(&self, after: OrderId, limit: usize) -> Vec<Arc<Entry>> {
        self.ledger.purchases_after(after, limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Cents, Key};

    const NOW: UnixMillis = 1_800_000_000_000;

    fn shop() -> State {
        let book = |id, topic: &str, quantity| Book {
            id,
            title: format!("Book {id}").into(),
            topic: topic.into(),
            price: Cents(3000),
            quantity,
        };
        let mut state = State::default();
        state.apply(NOW, Command::Seed(vec![book(1, "Theory", 2), book(2, "theory", 0), book(3, "spring", 9)]));
        state
    }

    fn ask(state: &mut State, key: &str, action: Action) -> Reply {
        ask_at(state, NOW, NOW, key, action)
    }

    fn ask_at(state: &mut State, at_ms: UnixMillis, sent_at_ms: UnixMillis, key: &str, action: Action) -> Reply {
        let write = Write { key: key.parse().unwrap(), sent_at_ms, recorded_order_id: 0, action };
        state.apply(at_ms, Command::Write(write)).unwrap()
    }

    fn outcome(reply: Reply) -> Outcome {
        match reply {
            Reply::Decided(decision) => decision.outcome,
            other => panic!("{other:?}"),
        }
    }

    fn buy(book_id: BookId) -> Action {
        Action::Purchase { book_id }
    }

    #[test]
    fn a_purchase_takes_one_copy_and_the_next_order_number() {
        let mut state = shop();
        let bought = |order_id| Outcome::Bought { order_id, title: "Book 1".into(), price: Cents(3000) };
        assert_eq!(outcome(ask(&mut state, "a", buy(1))), bought(1));
        assert_eq!(outcome(ask(&mut state, "b", buy(1))), bought(2));
        assert_eq!(outcome(ask(&mut state, "c", buy(1))), Outcome::SoldOut { title: "Book 1".into() });
        assert_eq!(outcome(ask(&mut state, "d", buy(8))), Outcome::UnknownBook);
        assert_eq!((state.books[&1].quantity, state.last_order_id), (0, 2));
    }

    #[test]
    fn a_repeated_key_repeats_the_answer_even_a_refusal() {
        let mut state = shop();
        let first = ask(&mut state, "a", buy(3));
        assert_eq!(ask(&mut state, "a", buy(3)), first);
        assert_eq!(state.books[&3].quantity, 8);

        let refused = ask(&mut state, "b", buy(2));
        ask(&mut state, "c", Action::Update { book_id: 2, price: None, quantity_change: Some(5) });
        assert_eq!(ask(&mut state, "b", buy(2)), refused);
    }

    #[test]
    fn a_key_belongs_to_one_request() {
        let mut state = shop();
        ask(&mut state, "a", buy(3));
        assert_eq!(ask(&mut state, "a", buy(1)), Reply::KeyReused);
        assert_eq!(state.books[&1].quantity, 2);
    }

    #[test]
    fn a_request_older_than_keys_are_remembered_is_refused() {
        let mut state = shop();
        let late = NOW + KEY_RETENTION_MS;
        assert!(matches!(ask_at(&mut state, late, NOW, "a", buy(3)), Reply::Decided(_)));
        assert_eq!(ask_at(&mut state, late + 1, NOW, "b", buy(3)), Reply::KeyExpired);
    }

    #[test]
    fn a_known_key_is_answered_however_old_the_request_is() {
        let mut state = shop();
        let first = ask(&mut state, "a", buy(3));
        assert_eq!(ask_at(&mut state, NOW + 2 * KEY_RETENTION_MS, NOW, "a", buy(3)), first);
    }

    #[test]
    fn a_purchase_is_not_forgotten_before_the_order_servers_have_recorded_it() {
        let mut state = shop();
        (0..3).for_each(|number| drop(ask(&mut state, &format!("buy-{number}"), buy(3))));
        (0..3000).for_each(|number| drop(ask(&mut state, &format!("other-{number}"), buy(9))));
        let late = NOW + 2 * KEY_RETENTION_MS;
        let mut remembered_after = |key: &str, recorded_order_id| {
            let write = Write { key: key.parse().unwrap(), sent_at_ms: late, recorded_order_id, action: buy(9) };
            state.apply(late, Command::Write(write));
            state.purchases_after(0, 10).iter().map(|entry| entry.last_order_id).collect::<Vec<_>>()
        };
        assert_eq!(remembered_after("late-1", 2), [1, 2, 3]);
        assert!(remembered_after("late-2", 3).is_empty());
    }

    #[test]
    fn a_key_is_remembered_for_as_long_as_its_request_is_accepted() {
        let mut state = shop();
        let first = ask(&mut state, "a", buy(3));
        let late = NOW + KEY_RETENTION_MS;
        for number in 0..5000 {
            ask_at(&mut state, late, late, &format!("filler-{number}"), buy(2));
        }
        assert_eq!(ask_at(&mut state, late, NOW, "a", buy(3)), first);
    }

    #[test]
    fn an_update_that_cannot_be_changes_nothing() {
        let mut state = shop();
        let update = |price, quantity_change| Action::Update { book_id: 1, price, quantity_change };
        assert_eq!(outcome(ask(&mut state, "a", update(Some(Cents(1)), Some(-3)))), Outcome::NotEnough { quantity: 2 });
        assert_eq!(outcome(ask(&mut state, "b", update(None, Some(i64::MAX)))), Outcome::TooMany { quantity: 2 });
        assert_eq!((state.books[&1].price, state.books[&1].quantity), (Cents(3000), 2));
        assert!(matches!(outcome(ask(&mut state, "c", update(Some(Cents(1)), Some(-2)))), Outcome::Updated(_)));
        assert_eq!((state.books[&1].price, state.books[&1].quantity), (Cents(1), 0));
    }

    #[test]
    fn the_number_of_a_removed_book_is_not_given_again() {
        let mut state = shop();
        ask(&mut state, "a", Action::Remove { book_id: 3 });
        let add = |book_id| Action::Add {
            book_id,
            title: "New".into(),
            topic: "Spring".into(),
            price: Cents(100),
            quantity: 1,
        };
        assert!(matches!(outcome(ask(&mut state, "b", add(None))), Outcome::Added(book) if book.id == 4));
        assert_eq!(outcome(ask(&mut state, "c", add(Some(4)))), Outcome::NumberTaken);
    }

    #[test]
    fn a_search_is_case_insensitive_and_paged_by_number() {
        let mut state = shop();
        let ids = |state: &State, after, limit| -> Vec<BookId> {
            state.search(&normalized("THEORY"), after, limit).iter().map(|book| book.id).collect()
        };
        assert_eq!(ids(&state, 0, 10), [1, 2]);
        assert_eq!(ids(&state, 0, 1), [1]);
        assert_eq!(ids(&state, 1, 10), [2]);
        ask(&mut state, "a", Action::Remove { book_id: 1 });
        assert_eq!(ids(&state, 0, 10), [2]);
        assert!(state.search("nothing", 0, 10).is_empty());
    }

    #[test]
    fn a_shop_is_filled_once() {
        let mut state = shop();
        state.apply(NOW, Command::Seed(vec![]));
        assert_eq!(state.books.len(), 3);
    }

    fn any_action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => (1..5u64).prop_map(buy),
            2 => (1..5u64, prop::option::of(0..9u64), prop::option::of(-4..4i64)).prop_map(
                |(book_id, price, quantity_change)| Action::Update { book_id, price: price.map(Cents), quantity_change }
            ),
            1 => prop::option::of(1..6u64).prop_map(|book_id| Action::Add {
                book_id, title: "T".into(), topic: "Spring".into(), price: Cents(5), quantity: 2,
            }),
            1 => (1..6u64).prop_map(|book_id| Action::Remove { book_id }),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order, with keys that repeat.
        #[test]
        fn stock_is_what_came_minus_what_went_and_order_numbers_have_no_gaps(
            requests in prop::collection::vec((0..12u8, any_action()), 1..60)
        ) {
            let mut state = shop();
            let mut expected: HashMap<BookId, i128> =
                state.books.values().map(|book| (book.id, i128::from(book.quantity))).collect();
            let mut answers: HashMap<u8, (Action, Reply)> = HashMap::new();
            let mut orders = Vec::new();
            for (key, action) in requests {
                let reply = ask(&mut state, &format!("key-{key}"), action.clone());
                if let Some((first_action, first_reply)) = answers.get(&key) {
                    let repeated = if *first_action == action { first_reply.clone() } else { Reply::KeyReused };
                    prop_assert_eq!(reply, repeated);
                    continue;
                }
                answers.insert(key, (action.clone(), reply.clone()));
                match (outcome(reply), action) {
                    (Outcome::Bought { order_id, .. }, Action::Purchase { book_id }) => {
                        orders.push(order_id);
                        *expected.get_mut(&book_id).unwrap() -= 1;
                    }
                    (Outcome::Updated(book), Action::Update { quantity_change, .. }) => {
                        *expected.get_mut(&book.id).unwrap() += i128::from(quantity_change.unwrap_or(0));
                    }
                    (Outcome::Added(book), _) => drop(expected.insert(book.id, i128::from(book.quantity))),
                    (Outcome::Removed(book), _) => drop(expected.remove(&book.id)),
                    _ => {}
                }
            }
            prop_assert_eq!(&orders, &(1..=orders.len() as u64).collect::<Vec<_>>());
            let stock: HashMap<BookId, i128> =
                state.books.values().map(|book| (book.id, i128::from(book.quantity))).collect();
            prop_assert_eq!(stock, expected);
            let purchases = state.purchases_after(0, 1000);
            prop_assert_eq!(purchases.iter().map(|entry| entry.last_order_id).collect::<Vec<_>>(), orders);
        }
    }

    #[test]
    fn keys_are_texts_of_any_client() {
        let mut state = shop();
        let key: Key = "0190f5b0-7a7e-7c3e-8a1b-000000000001".parse().unwrap();
        ask(&mut state, &key.to_string(), buy(3));
        assert!(state.ledger.find(&key).is_some());
    }
}
