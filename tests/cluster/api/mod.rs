//! What one frontend, three catalog and three order servers answer.
//!
//! All tests here share one cluster, one after the other: starting it takes longer than most of them.

mod batches;
mod cache;
mod errors;
mod lines;
mod once;
mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::cluster::Cluster;

static CLUSTER: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static TURN: Mutex<()> = Mutex::new(());

/// The shared cluster, while it is one test's turn.
struct Shop {
    // Dropped first, so that the next test has the cluster before this one lets it go.
    _turn: MutexGuard<'static, ()>,
    cluster: Arc<Cluster>,
}

/// Waits for this test's turn.
fn shop() -> Shop {
    let cluster = {
        let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::new(1, 3, 3).open());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    };
    Shop { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner), cluster }
}

impl Shop {
    /// A customer of the one frontend.
    fn customer(&self) -> Client {
        self.cluster.client("frontend-1")
    }
}

/// Adds a book that no other test knows, and returns its number.
fn new_book(customer: &mut Client, topic: &str, quantity: u64) -> u64 {
    let book = json!({ "title": "New", "topic": topic, "price": 12.5, "quantity": quantity });
    customer.ask("POST /books").json(&book).send().expect(201).json()["id"].as_u64().unwrap()
}

/// The names in a JSON object, sorted.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
