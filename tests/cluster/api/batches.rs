//! Purchases that an order server is brought together, as frontends bring them.

use bazar::model::{BookId, Copies};
use bazar::protocol::fence::Decisions;
use bazar::protocol::purchase::{self, PURCHASES, Purchase, PurchaseOutcome, PurchaseReply};

use super::{Shop, new_book, shop};

fn purchase(key: &str, book: u64) -> Purchase {
    let (key, book_id) = (key.parse().unwrap(), BookId::new(book).unwrap());
    Purchase { key, is_keyless: false, heard: Decisions::default(), book_id, quantity: Copies::ONE }
}

fn bring(shop: &Shop, server: &str, purchases: &[Purchase]) -> Vec<PurchaseOutcome> {
    let request = purchase::encode(&purchases.iter().collect::<Vec<_>>());
    let answer = shop.cluster.client(server).ask(&format!("POST {PURCHASES}")).body(request).send().expect(200);
    purchase::decode_answer(&answer.body, purchases.len())
}

#[test]
fn each_purchase_of_a_batch_has_its_own_outcome_whichever_server_is_brought_it() {
    let shop = shop();
    let mut customer = shop.customer();
    for server in ["order-1", "order-2", "order-3"] {
        let (book, sold_out) = (new_book(&mut customer, "batch", 5), new_book(&mut customer, "batch", 0));
        let key = |name: &str| format!("{server}-{name}");
        let late = Purchase { heard: Decisions { ledger: u64::MAX, keyless: 0 }, ..purchase(&key("late"), book) };
        let batch = [
            purchase(&key("one"), book),
            purchase(&key("absent"), 900_000),
            purchase(&key("sold-out"), sold_out),
            purchase(&key("one"), book),
            purchase(&key("one"), sold_out),
            late,
            purchase(&key("two"), book),
        ];
        let outcomes = bring(&shop, server, &batch);
        let order = |outcome: &PurchaseOutcome| match outcome {
            Ok(PurchaseReply::Bought(order)) => order.clone(),
            other => panic!("{server}: {other:?}"),
        };
        let (one, two) = (order(&outcomes[0]), order(&outcomes[6]));
        assert_eq!(order(&outcomes[3]), one);
        assert_ne!(one.order_id, two.order_id);
        assert_eq!(outcomes[1], Ok(PurchaseReply::UnknownBook));
        assert!(matches!(outcomes[2], Ok(PurchaseReply::SoldOut { .. })));
        assert_eq!(outcomes[4], Ok(PurchaseReply::KeyReused));
        assert!(matches!(outcomes[5], Ok(PurchaseReply::KeyExpired { .. })));

        // Brought again it changes nothing; and a customer sees it all.
        let again = bring(&shop, server, &batch);
        assert_eq!((&again[..5], &again[6]), (&outcomes[..5], &outcomes[6]));
        assert_eq!(customer.get(&format!("/info/{book}")).expect(200).json()["quantity"], 3);
        for order in [one, two] {
            assert_eq!(customer.get(&format!("/orders/{}", order.order_id)).expect(200).json()["id"], book);
        }
    }
}

#[test]
fn what_is_no_batch_is_refused() {
    let shop = shop();
    for server in ["order-1", "order-2", "order-3"] {
        let answer = shop.cluster.client(server).ask(&format!("POST {PURCHASES}")).body("no batch").send().expect(200);
        let outcomes = purchase::decode_answer(&answer.body, 2);
        assert!(outcomes.len() == 2 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
    }
}

#[test]
fn an_empty_batch_has_no_outcomes() {
    assert_eq!(bring(&shop(), "order-1", &[]), []);
}
