//! Purchases that an order server is brought together, as frontends bring them.

use bazar::model::Key;
use bazar::purchase::{self, PURCHASES, Purchase, PurchaseOutcome, PurchaseReply};

use super::{Shop, new_book, shop};

/// When no test was run: so long ago that a key of then is forgotten.
const LONG_AGO_MS: u64 = 1;

fn purchase(key: &str, book_id: u64) -> Purchase {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Purchase { key: key.parse::<Key>().unwrap(), sent_at_ms: now.as_millis() as u64, book_id }
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
        let late = Purchase { sent_at_ms: LONG_AGO_MS, ..purchase(&key("late"), book) };
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
        assert_eq!(outcomes[5], Ok(PurchaseReply::KeyExpired));

        // Brought again it changes nothing; and a customer sees it all.
        assert_eq!(bring(&shop, server, &batch), outcomes);
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
