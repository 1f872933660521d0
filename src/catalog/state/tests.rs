use proptest::prelude::*;

use super::*;
use crate::catalog::decisions::{MAX_CHANGES, MAX_REFUSALS, RETENTION_MS};
use crate::model::testing::{book_id, cents, change, copies, key, order_id, stock, text};
use crate::model::{Key, UnixMillis};
use crate::protocol::fence::Decisions;

/// When the shop is an hour old.
const NOW: u64 = 60 * 60 * 1000;

fn at(group_ms: u64) -> BatchTime {
    BatchTime { wall: UnixMillis::of_clock(1_800_000_000_000 + group_ms), group_ms }
}

fn seed(state: &mut State, books: Vec<Book>, is_first: bool, is_last: bool) {
    state.apply(at(NOW), Command::Seed(SeedPart { books, is_first, is_last }));
}

fn book(id: u64, topic: &str, quantity: u64) -> Book {
    let (title, topic) = (text(&format!("Book {id}")), text(topic));
    Book { id: book_id(id), title, topic, price: cents(3000), quantity: stock(quantity) }
}

fn shop() -> State {
    let mut state = State::default();
    seed(&mut state, vec![book(1, "Theory", 2), book(2, "theory", 0), book(3, "spring", 9)], true, true);
    state
}

/// By somebody who has heard of all that was decided.
fn write(state: &State, name: &str, action: Action) -> Write {
    let heard = state.ledger.decisions();
    Write { key: key(name), is_keyless: false, heard, recorded_orders: 0, action }
}

fn ask(state: &mut State, name: &str, action: Action) -> Reply {
    let write = write(state, name, action);
    decide(state, NOW, write)
}

fn decide(state: &mut State, group_ms: u64, write: Write) -> Reply {
    state.apply(at(group_ms), Command::Writes(vec![write])).remove(0)
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::Decided(decision) => decision.outcome,
        other => panic!("{other:?}"),
    }
}

fn buy(id: u64) -> Action {
    buy_many(id, 1)
}

fn buy_many(id: u64, quantity: u64) -> Action {
    Action::Purchase { book_id: book_id(id), quantity: copies(quantity) }
}

fn add(id: Option<u64>) -> Action {
    let (title, topic) = (text("New"), text("Spring"));
    Action::Add { book_id: id.map(book_id), title, topic, price: cents(5), quantity: stock(2) }
}

#[test]
fn a_purchase_takes_its_copies_and_the_next_order_number() {
    let mut state = shop();
    let bought = |number| Outcome::Bought { order_id: order_id(number), title: text("Book 1"), price: cents(3000) };
    assert_eq!(outcome(ask(&mut state, "a", buy(1))), bought(1));
    assert_eq!(outcome(ask(&mut state, "b", buy(1))), bought(2));
    assert_eq!(outcome(ask(&mut state, "c", buy(1))), Outcome::SoldOut { title: text("Book 1"), left: stock(0) });
    assert_eq!(outcome(ask(&mut state, "d", buy(8))), Outcome::UnknownBook);
    assert_eq!((state.books[&book_id(1)].quantity.get(), state.orders), (0, 2));
}

#[test]
fn a_repeated_key_repeats_the_answer_even_a_refusal() {
    let mut state = shop();
    let first = ask(&mut state, "a", buy(3));
    assert_eq!(ask(&mut state, "a", buy(3)), first);
    assert_eq!(state.books[&book_id(3)].quantity.get(), 8);

    let refused = ask(&mut state, "b", buy(2));
    ask(&mut state, "c", Action::Update { book_id: book_id(2), price: None, quantity_change: Some(change(5)) });
    assert_eq!(ask(&mut state, "b", buy(2)), refused);
}

#[test]
fn a_key_belongs_to_one_request() {
    let mut state = shop();
    ask(&mut state, "a", buy(3));
    assert_eq!(ask(&mut state, "a", buy(1)), Reply::KeyReused);
    assert_eq!(state.books[&book_id(1)].quantity.get(), 2);
}

/// A shop that has refused enough, and for long enough, to have forgotten the first of it.
fn forgetful_shop() -> State {
    let mut state = shop();
    (0..3000).for_each(|number| drop(ask(&mut state, &format!("old-{number}"), buy(9))));
    for (number, group_ms) in [(0, NOW + RETENTION_MS / 2), (1, NOW + 2 * RETENTION_MS)] {
        let write = write(&state, &format!("late-{number}"), buy(9));
        decide(&mut state, group_ms, write);
    }
    assert!(state.ledger.find(&key("old-0")).is_none());
    state
}

#[test]
fn a_delayed_duplicate_whose_key_is_forgotten_is_refused_and_a_new_request_is_not() {
    let mut state = forgetful_shop();
    let now = state.ledger.decisions();
    let duplicate = Write { heard: Decisions::default(), ..write(&state, "old-0", buy(3)) };
    assert_eq!(ask_again(&mut state, &duplicate), Reply::KeyExpired { now });
    assert_eq!(state.books[&book_id(3)].quantity, stock(9));
    // The refusal told the number; nothing had been done.
    let again = Write { heard: now, ..duplicate.clone() };
    let bought = ask_again(&mut state, &again);
    assert!(matches!(bought, Reply::Decided(_)), "{bought:?}");
    // Now the key is known, however little the sender had heard.
    assert_eq!(ask_again(&mut state, &duplicate), bought);
}

fn ask_again(state: &mut State, write: &Write) -> Reply {
    decide(state, NOW + 2 * RETENTION_MS, write.clone())
}

#[test]
fn who_has_heard_of_decisions_that_were_never_made_knows_another_shop() {
    let mut state = shop();
    let heard = Decisions { ledger: 1, keyless: 0 };
    let stranger = Write { heard, ..write(&state, "a", buy(3)) };
    assert_eq!(decide(&mut state, NOW, stranger), Reply::KeyExpired { now: Decisions::default() });
}

#[test]
fn no_wall_clock_decides_anything() {
    let mut state = shop();
    let first = ask(&mut state, "a", buy(3));
    for wall in [0, 1, 4_000_000_000_000, u64::MAX] {
        let time = BatchTime { wall: UnixMillis::of_clock(wall), group_ms: NOW + 1 };
        let writes = ["a", &format!("b-{wall}")].map(|name| write(&state, name, buy(3))).to_vec();
        let replies = state.apply(time, Command::Writes(writes));
        assert_eq!(replies[0], first);
        assert!(matches!(&replies[1], Reply::Decided(decision) if decision.at_ms == time.wall), "{replies:?}");
    }
}

#[test]
fn a_state_that_is_older_than_the_orders_gives_out_none_of_their_numbers() {
    let mut state = shop();
    let first = ask(&mut state, "first", buy(3));
    let later = Write { recorded_orders: 2, ..write(&state, "later", buy(3)) };
    assert_eq!(ask_again(&mut state, &later), Reply::OlderThanOrders { decided: 1 });
    assert_eq!((state.orders, state.recorded_orders, state.books[&book_id(3)].quantity), (1, 0, stock(8)));
    // What was decided stands, and a change of the books takes no number.
    let known = Write { recorded_orders: 2, ..write(&state, "first", buy(3)) };
    assert_eq!(ask_again(&mut state, &known), first);
    assert!(matches!(ask(&mut state, "another", add(None)), Reply::Decided(_)));
    let next = Write { recorded_orders: 1, ..later };
    assert!(matches!(outcome(ask_again(&mut state, &next)), Outcome::Bought { order_id: id, .. } if id == order_id(2)));
}

#[test]
fn a_purchase_is_not_forgotten_before_the_order_servers_have_recorded_it() {
    let mut state = shop();
    (0..3).for_each(|number| drop(ask(&mut state, &format!("buy-{number}"), buy(3))));
    (0..3000).for_each(|number| drop(ask(&mut state, &format!("other-{number}"), buy(9))));
    let late = Write { recorded_orders: 0, ..write(&state, "mark", buy(9)) };
    decide(&mut state, NOW + RETENTION_MS, late);
    let mut remembered_after = |name: &str, recorded_orders| {
        let write = Write { recorded_orders, ..write(&state, name, buy(9)) };
        decide(&mut state, NOW + 2 * RETENTION_MS, write);
        state.purchases_after(0, 10).iter().map(|order| order.order_id.get()).collect::<Vec<_>>()
    };
    assert_eq!(remembered_after("late-1", 2), [1, 2, 3]);
    assert!(remembered_after("late-2", 3).is_empty());
    // Whoever has not looked through these orders cannot know that a key is none of theirs.
    let deposed = Write { recorded_orders: 2, ..write(&state, "buy-2", buy(3)) };
    assert_eq!(ask_again(&mut state, &deposed), Reply::ListBehind);
}

#[test]
fn a_refusal_of_a_customer_without_a_key_leaves_nothing_for_a_day() {
    let mut state = shop();
    for number in 0..10 {
        let write = Write { is_keyless: true, ..write(&state, &format!("made-{number}"), buy(9)) };
        decide(&mut state, NOW, write);
    }
    assert_eq!(state.ledger.kept().0.len(), 0);
    // Its nodes may repeat it all the same.
    let sold_out = Write { is_keyless: true, ..write(&state, "made-x", buy(2)) };
    let refused = decide(&mut state, NOW, sold_out.clone());
    ask(&mut state, "restock", Action::Update { book_id: book_id(2), price: None, quantity_change: Some(change(5)) });
    assert_eq!(decide(&mut state, NOW, sold_out), refused);
}

#[test]
fn what_cannot_be_remembered_is_not_done() {
    let mut state = shop();
    for number in 0..MAX_REFUSALS.max(MAX_CHANGES) {
        ask(&mut state, &format!("refusal-{number}"), buy(9));
        ask(&mut state, &format!("change-{number}"), Action::Remove { book_id: book_id(9) });
    }
    let before = state.books.clone();
    assert_eq!(ask(&mut state, "a", buy(2)), Reply::NoRoom);
    assert_eq!(ask(&mut state, "b", Action::Remove { book_id: book_id(1) }), Reply::NoRoom);
    assert_eq!((state.books.clone(), state.ledger.find(&key("a"))), (before, None));
    // What was decided before is known, and a purchase that succeeds is always remembered.
    assert_eq!(outcome(ask(&mut state, "refusal-0", buy(9))), Outcome::UnknownBook);
    assert!(matches!(outcome(ask(&mut state, "c", buy(3))), Outcome::Bought { .. }));
    let keyless = Write { is_keyless: true, ..write(&state, "d", buy(2)) };
    assert!(matches!(outcome(decide(&mut state, NOW, keyless)), Outcome::SoldOut { .. }));
}

#[test]
fn an_update_that_cannot_be_changes_nothing() {
    let mut state = shop();
    let update = |price: Option<u64>, quantity| Action::Update {
        book_id: book_id(1),
        price: price.map(cents),
        quantity_change: Some(change(quantity)),
    };
    let quantity = stock(2);
    assert_eq!(outcome(ask(&mut state, "a", update(Some(1), -3))), Outcome::NotEnough { quantity });
    assert_eq!(outcome(ask(&mut state, "b", update(None, 1_000_000_000_000))), Outcome::TooMany { quantity });
    assert_eq!((state.books[&book_id(1)].price, state.books[&book_id(1)].quantity.get()), (cents(3000), 2));
    assert!(matches!(outcome(ask(&mut state, "c", update(Some(1), -2))), Outcome::Updated(_)));
    assert_eq!((state.books[&book_id(1)].price, state.books[&book_id(1)].quantity.get()), (cents(1), 0));
}

#[test]
fn the_number_of_a_removed_book_is_not_given_again() {
    let mut state = shop();
    ask(&mut state, "a", Action::Remove { book_id: book_id(3) });
    assert!(matches!(outcome(ask(&mut state, "b", add(None))), Outcome::Added(book) if book.id == book_id(4)));
    assert_eq!(outcome(ask(&mut state, "c", add(Some(4)))), Outcome::NumberTaken);
}

#[test]
fn a_search_is_case_insensitive_and_paged_by_number() {
    let mut state = shop();
    let ids = |state: &State, after, limit| -> Vec<u64> {
        state.search(&normalized("THEORY"), after, limit).iter().map(|book| book.id.get()).collect()
    };
    assert_eq!(ids(&state, 0, 10), [1, 2]);
    assert_eq!(ids(&state, 0, 1), [1]);
    assert_eq!(ids(&state, 1, 10), [2]);
    ask(&mut state, "a", Action::Remove { book_id: book_id(1) });
    assert_eq!(ids(&state, 0, 10), [2]);
    assert!(state.search("nothing", 0, 10).is_empty());
}

#[test]
fn a_shop_is_filled_once() {
    let mut state = shop();
    seed(&mut state, vec![], true, true);
    assert_eq!(state.books.len(), 3);
}

#[test]
fn a_shop_that_two_leaders_began_to_fill_has_the_books_of_the_second() {
    let mut state = State::default();
    seed(&mut state, vec![book(1, "theory", 2), book(9, "old", 2)], true, false);
    seed(&mut state, vec![book(1, "spring", 3)], true, false);
    assert!(!state.seeded);
    seed(&mut state, vec![book(2, "spring", 4)], false, true);
    assert!(state.seeded);
    assert_eq!(state.search("spring", 0, 10).len(), 2);
    assert!(state.search("theory", 0, 10).is_empty() && state.search("old", 0, 10).is_empty());
    ask(&mut state, "a", add(None));
    assert!(state.books.contains_key(&book_id(3)));
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..5u64, 1..4u64).prop_map(|(id, quantity)| buy_many(id, quantity)),
        2 => (1..5u64, prop::option::of(0..9u64), prop::option::of(-4..4i64)).prop_map(|(id, price, quantity)| {
            let (price, quantity_change) = (price.map(cents), quantity.map(change));
            Action::Update { book_id: book_id(id), price, quantity_change }
        }),
        1 => prop::option::of(1..6u64).prop_map(add),
        1 => (1..6u64).prop_map(|id| Action::Remove { book_id: book_id(id) }),
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
            state.books.values().map(|book| (book.id, i128::from(book.quantity.get()))).collect();
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
                (Outcome::Bought { order_id, .. }, Action::Purchase { book_id, quantity }) => {
                    orders.push(order_id.get());
                    *expected.get_mut(&book_id).unwrap() -= i128::from(quantity.get());
                }
                (Outcome::Updated(book), Action::Update { quantity_change, .. }) => {
                    *expected.get_mut(&book.id).unwrap() += i128::from(quantity_change.unwrap_or_default().get());
                }
                (Outcome::Added(book), _) => drop(expected.insert(book.id, i128::from(book.quantity.get()))),
                (Outcome::Removed(book), _) => drop(expected.remove(&book.id)),
                _ => {}
            }
        }
        prop_assert_eq!(&orders, &(1..=orders.len() as u64).collect::<Vec<_>>());
        let stock: HashMap<BookId, i128> =
            state.books.values().map(|book| (book.id, i128::from(book.quantity.get()))).collect();
        prop_assert_eq!(stock, expected);
        let purchases = state.purchases_after(0, 1000);
        prop_assert_eq!(purchases.iter().map(|order| order.order_id.get()).collect::<Vec<_>>(), orders);
    }
}

#[test]
fn keys_are_texts_of_any_client() {
    let mut state = shop();
    let key: Key = "0190f5b0-7a7e-7c3e-8a1b-000000000001".parse().unwrap();
    ask(&mut state, &key.to_string(), buy(3));
    assert!(state.ledger.find(&key).is_some());
}

#[test]
fn writes_of_one_command_are_decided_one_after_the_other() {
    let mut state = shop();
    let asked = [("a", 1), ("b", 9), ("a", 1), ("c", 1), ("a", 3), ("d", 1), ("e", 3)];
    let writes = asked.map(|(name, book)| write(&state, name, buy(book))).to_vec();
    let replies = state.apply(at(NOW), Command::Writes(writes));
    assert_eq!(replies[2], replies[0]);
    assert_eq!(replies[4], Reply::KeyReused);
    let order_id = |reply: &Reply| match outcome(reply.clone()) {
        Outcome::Bought { order_id, .. } => Some(order_id.get()),
        _ => None,
    };
    let numbers: Vec<_> = [0, 1, 3, 5, 6].map(|number: usize| order_id(&replies[number])).into();
    assert_eq!(numbers, [Some(1), None, Some(2), None, Some(3)]);
}

#[test]
fn a_purchase_of_many_takes_all_of_them_or_none() {
    let mut state = shop();
    assert!(matches!(outcome(ask(&mut state, "a", buy_many(3, 7))), Outcome::Bought { .. }));
    let sold_out = Outcome::SoldOut { title: text("Book 3"), left: stock(2) };
    assert_eq!(outcome(ask(&mut state, "b", buy_many(3, 3))), sold_out);
    assert_eq!(state.books[&book_id(3)].quantity, stock(2));
    assert_eq!(state.purchases_after(0, 9).iter().map(|order| order.quantity).collect::<Vec<_>>(), [copies(7)]);
    assert_eq!(ask(&mut state, "a", buy_many(3, 1)), Reply::KeyReused);
}

#[test]
fn a_shop_whose_last_number_was_given_refuses_and_goes_on() {
    let mut state = shop();
    let last = BookId::MOST.get();
    assert!(matches!(outcome(ask(&mut state, "a", add(Some(last)))), Outcome::Added(_)));
    assert_eq!(outcome(ask(&mut state, "b", add(None))), Outcome::NoNumberLeft);
    assert_eq!(outcome(ask(&mut state, "c", add(Some(last)))), Outcome::NumberTaken);
    assert!(matches!(outcome(ask(&mut state, "d", add(Some(9)))), Outcome::Added(_)));

    state.orders = OrderId::MOST.get();
    assert_eq!(outcome(ask(&mut state, "e", buy(3))), Outcome::NoNumberLeft);
    assert_eq!(state.books[&book_id(3)].quantity, stock(9));
}
