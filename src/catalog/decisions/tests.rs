use super::*;
use crate::model::testing::{book_id, key, order_id, text};
use crate::model::{Cents, Copies, UnixMillis};

fn purchase() -> Action {
    Action::Purchase { book_id: book_id(1), quantity: Copies::ONE }
}

fn refusal(number: u64, orders: u64) -> Entry {
    let decision = Decision { at_ms: UnixMillis::default(), outcome: Outcome::UnknownBook };
    Entry { key: key(&format!("key-{number}")), action: purchase(), decision, orders }
}

fn sale(number: u64) -> Entry {
    let outcome = Outcome::Bought { order_id: order_id(number), title: text("Spring"), price: Cents::MOST };
    let decision = Decision { at_ms: UnixMillis::default(), outcome };
    Entry { key: key(&format!("sale-{number}")), action: purchase(), decision, orders: number }
}

fn write(heard: Decisions, is_keyless: bool) -> Write {
    Write { key: key("new"), is_keyless, heard, recorded_orders: 0, action: purchase() }
}

fn heard(ledger: u64, keyless: u64) -> Decisions {
    Decisions { ledger, keyless }
}

/// Refusals at this time.
fn record(ledger: &mut DecisionLog, count: u64, group_ms: u64) {
    let first = ledger.decisions().ledger;
    let orders = ledger.kept.entries().last().map_or(0, Kept::orders);
    (first..first + count).for_each(|number| ledger.record(group_ms, false, refusal(number, orders)));
}

#[test]
fn decisions_are_forgotten_many_at_a_time_and_never_early() {
    let mut ledger = DecisionLog::default();
    record(&mut ledger, 2000, 0);
    let second_mark = MARK_INTERVAL_MS;
    record(&mut ledger, 1000, second_mark);
    ledger.forget_old(RETENTION_MS + second_mark - 1, 0);
    assert_eq!(ledger.kept().0.len(), 3000);
    ledger.forget_old(RETENTION_MS + second_mark, 0);
    let (kept, generation) = ledger.kept();
    assert_eq!((kept.len(), generation), (1000, 1));
    assert!(ledger.find(&key("key-1999")).is_none());
    assert_eq!(ledger.find(&key("key-2000")), Some(&refusal(2000, 0).into()));
    record(&mut ledger, 1, RETENTION_MS + second_mark);
    assert_eq!(ledger.find(&key("key-3000")), Some(&refusal(3000, 0).into()));
    assert_eq!(ledger.decisions(), heard(3001, 0));
}

#[test]
fn a_purchase_that_is_not_recorded_is_kept_with_all_that_came_after_it() {
    let mut ledger = DecisionLog::default();
    record(&mut ledger, 2000, 0);
    ledger.record(1, false, sale(1));
    record(&mut ledger, 2000, 2);
    record(&mut ledger, 1, MARK_INTERVAL_MS + 1);
    let late = 2 * RETENTION_MS;
    ledger.forget_old(late, 0);
    assert_eq!(ledger.kept().0.len(), 4002);
    ledger.forget_old(late, 1);
    assert_eq!((ledger.kept().0.len(), ledger.purchases_after(0, 9)), (1, vec![]));
    // Nobody here knows of order 1 any more. Only who looked for the key among the orders may buy under it.
    let buy = |recorded_orders| Write { recorded_orders, ..write(heard(4002, 0), false) };
    assert!(ledger.is_list_behind(&buy(0)) && !ledger.is_list_behind(&buy(1)));
}

#[test]
fn a_key_is_surely_new_only_to_those_who_heard_of_all_that_is_forgotten() {
    let mut ledger = DecisionLog::default();
    record(&mut ledger, 2000, 0);
    record(&mut ledger, 1, MARK_INTERVAL_MS);
    assert!(ledger.is_surely_new(&write(heard(0, 0), true)));
    ledger.forget_old(RETENTION_MS + MARK_INTERVAL_MS, 0);
    for (ledger_heard, is_new) in [(0, false), (1999, false), (2000, true), (2001, true), (2002, false)] {
        assert_eq!(ledger.is_surely_new(&write(heard(ledger_heard, 0), false)), is_new, "{ledger_heard}");
    }
}

#[test]
fn what_was_decided_under_a_nodes_own_key_is_soon_forgotten_and_the_key_not_taken_for_a_new_one() {
    let mut ledger = DecisionLog::default();
    for number in 0..10 * KEYLESS_KEPT as u64 {
        ledger.record(0, true, refusal(number, 0));
        assert!(ledger.keyless().0.len() < 2 * KEYLESS_KEPT && ledger.find(&key(&format!("key-{number}"))).is_some());
    }
    assert!(ledger.kept().0.is_empty() && ledger.has_room(&write(heard(0, 0), false)));
    let decided = ledger.decisions().keyless;
    let forgotten = decided - ledger.keyless().0.len() as u64;
    assert!(ledger.find(&key(&format!("key-{}", forgotten - 1))).is_none());
    assert!(!ledger.is_surely_new(&write(heard(0, forgotten - 1), true)));
    assert!(ledger.is_surely_new(&write(heard(0, forgotten), true)));
    // Its decisions are none of those under clients' keys.
    assert!(ledger.is_surely_new(&write(heard(0, 0), false)));
}

#[test]
fn a_sale_under_a_nodes_own_key_is_remembered_as_any_other() {
    let mut ledger = DecisionLog::default();
    ledger.record(0, true, sale(1));
    assert_eq!((ledger.purchases_after(0, 9).len(), ledger.decisions()), (1, heard(1, 0)));
}

#[test]
fn refusals_are_limited_and_room_comes_back_when_they_are_forgotten() {
    let mut ledger = DecisionLog::default();
    record(&mut ledger, MAX_REFUSALS as u64, 0);
    let keyed = write(heard(0, 0), false);
    assert!(!ledger.has_room(&keyed) && ledger.has_room(&write(heard(0, 0), true)));
    let remove = Action::Remove { book_id: book_id(1) };
    assert!(ledger.has_room(&Write { action: remove.clone(), ..keyed.clone() }));
    ledger.record(MARK_INTERVAL_MS, false, Entry { key: key("change"), action: remove, ..refusal(0, 0) });
    ledger.forget_old(RETENTION_MS + MARK_INTERVAL_MS, 0);
    assert!(ledger.has_room(&keyed));
    assert_eq!((ledger.refusals, ledger.changes), (0, 1));
}

#[test]
fn a_ledger_that_has_forgotten_is_restored_as_it_was() {
    let mut ledger = DecisionLog::default();
    record(&mut ledger, 2000, 0);
    (1..=3).for_each(|number| ledger.record(1, false, sale(number)));
    record(&mut ledger, 10, MARK_INTERVAL_MS + 1);
    (0..2 * KEYLESS_KEPT as u64).for_each(|number| ledger.record(2, true, refusal(10_000 + number, 3)));
    ledger.record(MARK_INTERVAL_MS + 2, false, sale(4));
    ledger.forget_old(RETENTION_MS + MARK_INTERVAL_MS + 1, 4);
    assert_eq!((ledger.forgotten_orders, ledger.last_order()), (3, 4));

    let mut restored = DecisionLog::restoring(ledger.scalars()).unwrap();
    ledger.kept().0.into_iter().for_each(|entry| restored.restore_kept(entry).unwrap());
    ledger.keyless().0.into_iter().for_each(|entry| restored.restore_keyless(entry).unwrap());
    assert_eq!(restored.check_restored(), Ok(()));
    assert_eq!((restored.scalars(), restored.decisions()), (ledger.scalars(), ledger.decisions()));
    assert_eq!((restored.last_order(), restored.kept().0), (4, ledger.kept().0));
}
