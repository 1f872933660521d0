//! Batchers for order servers that do what the test wants them to.

use std::sync::{Arc, Mutex};

use hyper::{Request, StatusCode};

use super::*;
use crate::cluster::{Probes, Timing};
use crate::codec::decode;
use crate::error::ApiError;
use crate::http::body::Incoming;
use crate::http::client::Client;
use crate::http::reply::{self, Response};
use crate::http::server::{Handler, X_REQUEST_ID};
use crate::http::{self, body};
use crate::model::testing::{book_id, key};
use crate::model::{Copies, Key};
use crate::platform::Platform;
use crate::protocol::fence::Decisions;
use crate::protocol::purchase::PurchaseReply;
use crate::protocol::request::internal_answer;
use crate::replica::{Member, STANDING};

const SECOND: Duration = Duration::from_secs(1);

/// What an order server does with the requests that reach it.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Says of each purchase that there is no such book.
    Answers,
    /// Answers only the first book like that, and is not able to make other purchases.
    RefusesAllButBookOne,
    /// Takes the first request and breaks off, and answers the rest.
    LosesTheFirst,
    /// Never answers.
    Hangs,
    /// Is asked too much.
    IsFull,
}

struct OrderServer {
    manner: Manner,
    /// The keys of each request.
    heard: Mutex<Vec<Vec<Key>>>,
    /// The id of each.
    ids: Mutex<Vec<Option<HeaderValue>>>,
}

impl Handler for OrderServer {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        if request.uri().path() == STANDING {
            return std::future::pending().await;
        }
        self.ids.lock().unwrap().push(request.headers().get(X_REQUEST_ID).cloned());
        let request = body::read(request.into_body(), usize::MAX, SECOND).await.unwrap();
        let purchases: Vec<Purchase> = decode(&request).unwrap();
        let is_first = {
            let mut heard = self.heard.lock().unwrap();
            heard.push(purchases.iter().map(|purchase| purchase.key.clone()).collect());
            heard.len() == 1
        };
        match self.manner {
            Manner::LosesTheFirst if is_first => panic!("the answer is lost"),
            Manner::Hangs => std::future::pending().await,
            Manner::IsFull => return reply::problem(&ApiError::Overloaded("too many connections".to_owned()), ""),
            _ => {}
        }
        let outcome = |purchase: &Purchase| match (self.manner, purchase.book_id.get()) {
            (Manner::RefusesAllButBookOne, 2..) => Err(WriteError::Unavailable("not now".to_owned())),
            _ => Ok(PurchaseReply::UnknownBook),
        };
        let outcomes: Vec<PurchaseOutcome> = purchases.iter().map(outcome).collect();
        internal_answer(purchase::encode_answer(&Ok(purchase::encode_outcomes(&outcomes))))
    }
}

struct Group {
    upstream: Upstream,
    batchers: Vec<PurchaseBatcher>,
    servers: Vec<Arc<OrderServer>>,
}

impl Group {
    async fn of(manners: &[Manner]) -> Group {
        let platform = Platform::system();
        let (mut members, mut servers) = (Vec::new(), Vec::new());
        for (number, manner) in (1..).zip(manners) {
            let server = Arc::new(OrderServer { manner: *manner, heard: Mutex::default(), ids: Mutex::default() });
            members.push(Member { id: format!("order-{number}"), address: http::testing::serve(server.clone()).await });
            servers.push(server);
        }
        let timing = Timing { attempt_timeout: SECOND / 2, read_deadline: SECOND * 5, write_deadline: SECOND * 5 };
        // No probe is over before the test is.
        let probes = Probes { interval: SECOND * 100, timeout: SECOND * 100, when_idle: false };
        let upstream = Upstream::start("order", members, Client::new(&platform), timing, probes);
        Group { batchers: PurchaseBatcher::start_all(&upstream), upstream, servers }
    }

    /// Buys as the frontend does.
    async fn buy(&self, purchase: &Purchase) -> (String, PurchaseOutcome) {
        let attempt = |server: usize, timeout| self.batchers[server].carry(purchase.clone(), None, timeout);
        let answered = self.upstream.write_through(attempt).await.unwrap();
        (answered.by, answered.reply)
    }

    fn heard(&self, server: usize) -> Vec<Vec<Key>> {
        self.servers[server].heard.lock().unwrap().clone()
    }
}

fn purchase(number: u64) -> Purchase {
    let (key, heard) = (key(&number.to_string()), Decisions::default());
    Purchase { key, is_keyless: false, heard, book_id: book_id(number.max(1)), quantity: Copies::ONE }
}

#[tokio::test]
async fn purchases_that_have_gathered_share_a_request_and_each_has_its_own_outcome() {
    let group = Group::of(&[Manner::RefusesAllButBookOne]).await;
    let purchases: Vec<Purchase> = (1..=40).map(purchase).collect();
    let carried = futures_util::future::join_all(
        purchases.iter().map(|purchase| group.batchers[0].carry(purchase.clone(), None, SECOND)),
    );
    for (outcome, purchase) in carried.await.into_iter().zip(&purchases) {
        assert_eq!(outcome.unwrap().is_ok(), purchase.book_id == book_id(1));
    }
    let heard = group.heard(0);
    assert!(heard.len() < 10, "{heard:?}");
    assert_eq!(heard.concat(), purchases.iter().map(|purchase| purchase.key.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_names_the_id_of_one_of_the_purchases_that_it_carries() {
    let group = Group::of(&[Manner::Answers]).await;
    // The first customer's request has no id, as that of a node has none.
    let carried = (1..=3).map(|number| {
        let id = (number > 1).then(|| HeaderValue::from(number));
        group.batchers[0].carry(purchase(number), id, SECOND)
    });
    for outcome in futures_util::future::join_all(carried).await {
        assert_eq!(outcome, Ok(Ok(PurchaseReply::UnknownBook)));
    }
    assert_eq!(group.heard(0).len(), 1);
    assert_eq!(*group.servers[0].ids.lock().unwrap(), [Some(HeaderValue::from(2))]);
}

#[tokio::test]
async fn purchases_whose_answer_was_lost_are_sent_to_another_server_with_the_same_keys() {
    let group = Group::of(&[Manner::LosesTheFirst, Manner::Answers]).await;
    let purchases: Vec<Purchase> = (1..=3).map(purchase).collect();
    let bought = futures_util::future::join_all(purchases.iter().map(|purchase| group.buy(purchase)));
    for (_, outcome) in bought.await {
        assert_eq!(outcome, Ok(PurchaseReply::UnknownBook));
    }
    let (lost, again) = (group.heard(0).concat(), group.heard(1).concat());
    assert!(!lost.is_empty() && lost.iter().all(|key| again.contains(key)), "{lost:?} {again:?}");
}

#[tokio::test]
async fn purchases_that_one_server_refuses_are_taken_to_the_others_each_for_itself() {
    let group = Group::of(&[Manner::RefusesAllButBookOne, Manner::Answers]).await;
    group.upstream.balancer.note_leader(0, "order-1", 1);
    let purchases: Vec<Purchase> = (1..=2).map(purchase).collect();
    let bought = futures_util::future::join_all(purchases.iter().map(|purchase| group.buy(purchase))).await;
    let accepted = Ok(PurchaseReply::UnknownBook);
    assert_eq!(bought, [("order-1".to_owned(), accepted.clone()), ("order-2".to_owned(), accepted)]);
}

#[tokio::test]
async fn a_server_that_is_asked_too_much_is_believed() {
    let group = Group::of(&[Manner::IsFull, Manner::Answers]).await;
    group.upstream.balancer.note_leader(0, "order-1", 1);
    assert!(matches!(group.buy(&purchase(1)).await, (_, Err(WriteError::Overloaded(_)))));
    assert!(group.heard(1).is_empty());
}

#[tokio::test]
async fn who_waits_for_a_server_that_hangs_is_told_that_it_was_not_asked() {
    let group = Group::of(&[Manner::Hangs]).await;
    let batcher = &group.batchers[0];
    // The first ones are sent, one after the other; the last has to wait.
    let mut sent: Vec<_> = Vec::new();
    for number in 1..=REQUESTS_IN_FLIGHT as u64 {
        sent.push(Box::pin(batcher.carry(purchase(number), None, SECOND * 5)));
        while group.heard(0).len() < sent.len() {
            for sent in &mut sent {
                assert!(futures_util::poll!(sent).is_pending());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let waited = batcher.carry(purchase(100), None, SECOND * 5).await;
    assert!(matches!(waited, Err(CallError::NotSent { .. })), "{waited:?}");
    for outcome in futures_util::future::join_all(sent).await {
        assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
    }
    assert_eq!(group.heard(0).concat().len(), REQUESTS_IN_FLIGHT);
}

#[tokio::test]
async fn a_purchase_that_nobody_waits_for_any_more_is_not_sent() {
    let group = Group::of(&[Manner::Answers]).await;
    let mut left = Box::pin(group.batchers[0].carry(purchase(1), None, SECOND));
    assert!(futures_util::poll!(&mut left).is_pending());
    drop(left);
    assert_eq!(group.batchers[0].carry(purchase(2), None, SECOND).await, Ok(Ok(PurchaseReply::UnknownBook)));
    assert_eq!(group.heard(0), [[purchase(2).key]]);
}

#[tokio::test]
async fn more_purchases_than_may_wait_are_refused_at_once() {
    let group = Group::of(&[Manner::Answers]).await;
    let mut waiting: Vec<_> = Vec::new();
    for number in 0..QUEUED_PURCHASES as u64 {
        let mut carried = Box::pin(group.batchers[0].carry(purchase(number), None, SECOND * 5));
        assert!(futures_util::poll!(&mut carried).is_pending());
        waiting.push(carried);
    }
    let refused = group.batchers[0].carry(purchase(0), None, SECOND).await;
    assert!(matches!(&refused, Ok(Err(WriteError::Overloaded(_)))), "{refused:?}");
    let told = purchase::tell(book_id(1), refused.unwrap()).unwrap_err();
    assert_eq!(told.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Those that were taken are carried all the same.
    for outcome in futures_util::future::join_all(waiting).await {
        assert_eq!(outcome, Ok(Ok(PurchaseReply::UnknownBook)));
    }
}
