//! Many customers at once, each with a connection of its own, and what each of them may see.
//!
//! Buyers take books 1 to 3, readers look at the same books, and one supplier restocks book 7. A read that
//! is not marked stale must show at least the purchases that were acknowledged before it began and at most
//! those that were begun before it ended; and since nobody restocks those books, a reader never sees their
//! stock go back up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::audit::Books;
use super::client::{Answer, Client};
use super::until;

/// The books that are bought and read: 1 to this.
const BOUGHT: u64 = 3;

/// The book that is restocked, and by how many copies at a time.
const RESTOCKED: u64 = 7;
const RESTOCK: u64 = 3;

/// Between two reads of one reader, so that readers leave something of a small machine to the shop.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// Before a customer who found nobody tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Failures that are shown.
const SHOWN: usize = 10;

/// Writes of one book that were begun, and those of them that were acknowledged.
#[derive(Default)]
struct Count {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

struct Tally {
    copies: u64,
    is_over: AtomicBool,
    purchases: [Count; BOUGHT as usize],
    restocks: Count,
    /// The book of each acknowledged order.
    orders: Mutex<BTreeMap<u64, u64>>,
    failures: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
    reads: AtomicU64,
    hits: AtomicU64,
    start: Instant,
    last_ack_us: AtomicU64,
    longest_silence_us: AtomicU64,
}

/// Customers at work, until [`end`](Storm::end) or drop.
pub struct Storm {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

/// What the customers remember.
pub struct Memory {
    tally: Arc<Tally>,
}

impl Storm {
    /// Sends `buyers`, `readers` and a supplier to these frontends, in turn; those who find that theirs does not listen
    /// go to another. Each book has `copies`.
    pub fn start(frontends: &[SocketAddr], copies: u64, buyers: usize, readers: usize) -> Storm {
        let tally = Arc::new(Tally {
            copies,
            is_over: AtomicBool::new(false),
            purchases: Default::default(),
            restocks: Count::default(),
            orders: Mutex::default(),
            failures: Mutex::default(),
            violations: Mutex::default(),
            reads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            start: Instant::now(),
            last_ack_us: AtomicU64::new(0),
            longest_silence_us: AtomicU64::new(0),
        });
        let mut frontends = frontends.to_vec();
        let mut send = |work: fn(&Tally, Client)| {
            let (tally, client) = (tally.clone(), Client::of_any(&frontends));
            frontends.rotate_left(1);
            thread::spawn(move || work(&tally, client))
        };
        let mut threads: Vec<_> = (0..buyers).map(|_| send(buy)).collect();
        threads.extend((0..readers).map(|_| send(read)));
        threads.push(send(restock));
        Storm { tally, threads }
    }

    /// Purchases that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.tally.purchases.iter().map(|count| count.acknowledged.load(SeqCst)).sum()
    }

    /// Waits until `more` further purchases were acknowledged.
    #[track_caller]
    pub fn wait_for_purchases(&self, more: u64) {
        let goal = self.acknowledged() + more;
        until(&format!("{more} more purchases are acknowledged"), || self.acknowledged() >= goal);
    }

    /// Forgets how long customers had to wait so far.
    pub fn reset_silence(&self) {
        self.tally.longest_silence_us.store(0, SeqCst);
    }

    /// The longest time between two acknowledged purchases of any customers since it was reset.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_micros(self.tally.longest_silence_us.load(SeqCst))
    }

    /// Sends everybody home.
    pub fn end(mut self) -> Memory {
        self.tally.is_over.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        Memory { tally: self.tally.clone() }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.tally.is_over.store(true, SeqCst);
    }
}

impl Memory {
    /// No customer was told of an error.
    #[track_caller]
    pub fn assert_no_failures(&self) {
        assert_none("failed requests", &self.tally.failures);
    }

    /// What customers were told agrees with the books of the shop and with itself.
    #[track_caller]
    pub fn assert_agrees_with(&self, books: &Books) {
        assert_none("reads that were not current, or orders given twice", &self.tally.violations);
        let orders = self.tally.orders.lock().unwrap();
        assert!(!orders.is_empty() && self.tally.reads.load(SeqCst) > 0, "nobody bought or read anything");
        for (order, book) in orders.iter() {
            assert_eq!(books.orders.get(*order as usize - 1), Some(book), "acknowledged order {order} is not recorded");
        }
        for (book, count) in (1..).zip(&self.tally.purchases) {
            let sold = books.sold(book);
            assert!(sold <= count.begun.load(SeqCst), "book {book} was sold more often than asked for");
            assert_eq!(books.stock[&book] + sold, self.tally.copies, "copies of book {book} were lost or made");
        }
        let came = books.stock[&RESTOCKED] + books.sold(RESTOCKED) - self.tally.copies;
        let (begun, acknowledged) =
            (self.tally.restocks.begun.load(SeqCst), self.tally.restocks.acknowledged.load(SeqCst));
        assert!(
            (acknowledged * RESTOCK..=begun * RESTOCK).contains(&came),
            "{came} copies came, {acknowledged} to {begun} times {RESTOCK} were sent"
        );
    }

    /// Some reads came out of the cache: what was seen of it is worth something.
    #[track_caller]
    pub fn assert_cache_was_used(&self) {
        assert!(self.tally.hits.load(SeqCst) > 0, "no read came out of the cache");
    }
}

#[track_caller]
fn assert_none(what: &str, list: &Mutex<Vec<String>>) {
    let list = list.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(list.is_empty(), "{} {what}:\n{}", list.len(), list[..list.len().min(SHOWN)].join("\n"));
}

impl Tally {
    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    fn fail(&self, failure: String) {
        self.failures.lock().unwrap().push(format!("after {:?}: {failure}", self.start.elapsed()));
        thread::sleep(RETRY_PAUSE);
    }

    fn violation(&self, violation: String) {
        self.violations.lock().unwrap().push(format!("after {:?}: {violation}", self.start.elapsed()));
    }

    fn note_order(&self, answer: &Answer, book: u64) {
        let order = answer.json();
        let order_id = order["order_id"].as_u64().unwrap();
        if order["id"] != book || self.orders.lock().unwrap().insert(order_id, book).is_some() {
            self.violation(format!("order {order_id} was given twice, or for another book than {book}: {order}"));
        }
        let now_us = self.start.elapsed().as_micros() as u64;
        let last_us = self.last_ack_us.swap(now_us, SeqCst);
        self.longest_silence_us.fetch_max(now_us.saturating_sub(last_us), SeqCst);
    }
}

fn buy(tally: &Tally, mut client: Client) {
    while !tally.is_over() {
        let book = fastrand::u64(1..=BOUGHT);
        let count = &tally.purchases[book as usize - 1];
        count.begun.fetch_add(1, SeqCst);
        match client.ask(&format!("POST /purchase/{book}")).try_send() {
            Ok(answer) if answer.status == 201 => {
                count.acknowledged.fetch_add(1, SeqCst);
                tally.note_order(&answer, book);
            }
            Ok(answer) => tally.fail(format!("a purchase of {book}: {} {}", answer.status, answer.text())),
            Err(error) => tally.fail(format!("a purchase of {book}: {error}")),
        }
    }
}

fn restock(tally: &Tally, mut client: Client) {
    while !tally.is_over() {
        tally.restocks.begun.fetch_add(1, SeqCst);
        let change = json!({ "quantity_change": RESTOCK });
        match client.ask(&format!("PUT /update/{RESTOCKED}/stock")).json(&change).try_send() {
            Ok(answer) if answer.status == 200 => drop(tally.restocks.acknowledged.fetch_add(1, SeqCst)),
            Ok(answer) => tally.fail(format!("a restock: {} {}", answer.status, answer.text())),
            Err(error) => tally.fail(format!("a restock: {error}")),
        }
        thread::sleep(RETRY_PAUSE);
    }
}

fn read(tally: &Tally, mut client: Client) {
    let mut last_sold = [0; BOUGHT as usize];
    while !tally.is_over() {
        let book = fastrand::u64(1..=BOUGHT);
        let position = book as usize - 1;
        let count = &tally.purchases[position];
        let least = count.acknowledged.load(SeqCst);
        let answer = match client.ask(&format!("GET /info/{book}")).try_send() {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => {
                tally.fail(format!("a read of {book}: {} {}", answer.status, answer.text()));
                continue;
            }
            Err(error) => {
                tally.fail(format!("a read of {book}: {error}"));
                continue;
            }
        };
        let most = count.begun.load(SeqCst);
        if !answer.is_marked_stale() {
            tally.reads.fetch_add(1, SeqCst);
            tally.hits.fetch_add(u64::from(answer.is_hit()), SeqCst);
            let sold = tally.copies - answer.json()["quantity"].as_u64().unwrap();
            if !(least..=most).contains(&sold) || sold < last_sold[position] {
                let (by, hit) = (answer.header("x-served-by").unwrap_or_default(), answer.is_hit());
                let last = last_sold[position];
                tally.violation(format!(
                    "book {book}: {sold} sold according to {by} (hit: {hit}), but {least} to {most} were, and {last} were seen before"
                ));
            }
            last_sold[position] = sold;
        }
        thread::sleep(READ_PAUSE);
    }
}
