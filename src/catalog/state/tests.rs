use proptest::prelude::*;

use super::*;
use crate::model::{Cents, Key};

const NOW: UnixMillis = 1_800_000_000_000;

fn seed(state: &mut State, books: Vec<Book>, is_first: bool, is_last: bool) {
    state.apply(NOW, Command::Seed(SeedPart { books, is_first, is_last }));
}

fn book(id: BookId, topic: &str, quantity: u64) -> Book {
    Book { id, title: format!("Book {id}").into(), topic: topic.into(), price: Cents(3000), quantity }
}

fn shop() -> State {
    let mut state = State::default();
    seed(&mut state, vec![book(1, "Theory", 2), book(2, "theory", 0), book(3, "spring", 9)], true, true);
    state
}

fn ask(state: &mut State, key: &str, action: Action) -> Reply {
    ask_at(state, NOW, NOW, key, action)
}

fn ask_at(state: &mut State, at_ms: UnixMillis, sent_at_ms: UnixMillis, key: &str, action: Action) -> Reply {
    let write = Write { key: key.parse().unwrap(), sent_at_ms, recorded_order_id: 0, action };
    state.apply(at_ms, Command::Writes(vec![write])).remove(0)
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
        state.apply(late, Command::Writes(vec![write]));
        state.purchases_after(0, 10).iter().map(|order| order.order_id).collect::<Vec<_>>()
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
    let add =
        |book_id| Action::Add { book_id, title: "New".into(), topic: "Spring".into(), price: Cents(100), quantity: 1 };
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
    let added = Action::Add { book_id: None, title: "t".into(), topic: "t".into(), price: Cents(1), quantity: 1 };
    ask(&mut state, "a", added);
    assert!(state.books.contains_key(&3));
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
        prop_assert_eq!(purchases.iter().map(|order| order.order_id).collect::<Vec<_>>(), orders);
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
    let write = |key: &str, action| Write { key: key.parse().unwrap(), sent_at_ms: NOW, recorded_order_id: 0, action };
    let writes = vec![
        write("a", buy(1)),
        write("b", buy(9)),
        write("a", buy(1)),
        write("c", buy(1)),
        write("a", buy(3)),
        write("d", buy(1)),
        write("e", buy(3)),
    ];
    let replies = state.apply(NOW, Command::Writes(writes));
    assert_eq!(replies[2], replies[0]);
    assert_eq!(replies[4], Reply::KeyReused);
    let order_id = |reply: &Reply| match outcome(reply.clone()) {
        Outcome::Bought { order_id, .. } => Some(order_id),
        _ => None,
    };
    let numbers: Vec<_> = [0, 1, 3, 5, 6].map(|number: usize| order_id(&replies[number])).into();
    assert_eq!(numbers, [Some(1), None, Some(2), None, Some(3)]);
}
