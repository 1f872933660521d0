//! Answers that come to a frontend after what they tell has changed: the frontend's half, before a scripted catalog.

use std::time::Duration;

use bazar::http::client::Request;
use bazar::protocol::cache::{ANNOUNCE, INVALIDATE, Invalidation, MAX_INVALIDATION_BYTES, Tag};
use hyper::StatusCode;
use tokio::task::JoinHandle;

use crate::scripted::{Question, ScriptedCatalog};
use crate::shop::{Answer, PATIENCE, Shop, book_tag, until};

/// Outlasts any of these tests.
const LONG: Duration = Duration::from_secs(60);

/// For those in which the session ends.
const SHORT: Duration = Duration::from_millis(300);

const FRONTEND: &str = "frontend-1";

/// A frontend with a lease, and the catalog that granted it.
async fn open(lease: Duration) -> (Shop, ScriptedCatalog) {
    open_with(lease, "").await
}

/// The same, with further settings.
async fn open_with(lease: Duration, settings: &str) -> (Shop, ScriptedCatalog) {
    let settings = format!("[cache]\nlease_ms = {}\n{settings}", lease.as_millis());
    let mut shop = Shop::new(&[FRONTEND, "catalog-1", "order-1"], &settings);
    let catalog = ScriptedCatalog::play(shop.address("catalog-1")).await;
    catalog.grant(1, lease);
    shop.start(FRONTEND);
    until_leased(&shop).await;
    (shop, catalog)
}

async fn until_leased(shop: &Shop) {
    until("the frontend has a lease", async || {
        let stats = shop.ask(FRONTEND, Request::get("/cache-stats"), PATIENCE).await?.document();
        stats["lease"]["held"].as_bool()?.then_some(())
    })
    .await;
}

/// Hits and misses so far.
async fn lookups(shop: &Shop) -> (u64, u64) {
    let stats = shop.document(FRONTEND, "/cache-stats").await;
    (stats["hits"].as_u64().unwrap(), stats["misses"].as_u64().unwrap())
}

/// A customer comes, does not find it in the cache, and waits for an answer of the catalog.
async fn come_in_vain(shop: &Shop, path: &str) -> JoinHandle<Answer> {
    let (hits, misses) = lookups(shop).await;
    let customer = shop.come_for(FRONTEND, path);
    until("the customer is waiting", async || {
        let now = lookups(shop).await;
        assert_eq!(now.0, hits, "the cache answered what it must not know");
        (now.1 == misses + 1).then_some(())
    })
    .await;
    customer
}

/// Between the customer's coming and the old answer, the truth changed and the cache was told.
async fn assert_old_answer_reaches_only(
    customer: JoinHandle<Answer>,
    old: Question,
    shop: &Shop,
    catalog: &mut ScriptedCatalog,
) {
    let path = old.path.clone();
    let late = shop.come_for(FRONTEND, &path);
    // This question is asked only if he does not wait for the old answer with the others.
    let new = catalog.question().await;
    assert_eq!(new.path, path);
    old.answer("old", true);
    assert_eq!(customer.await.unwrap().text(), "old");
    let last = come_in_vain(shop, &path).await;
    new.answer("new", true);
    assert_eq!(late.await.unwrap().text(), "new");
    assert_eq!(last.await.unwrap().text(), "new");
}

#[tokio::test]
async fn an_answer_that_comes_after_its_invalidation_was_confirmed_reaches_nobody_who_came_after_it() {
    let (shop, mut catalog) = open(LONG).await;
    for (path, tag) in [("/info/7", book_tag(7)), ("/search/spring", Tag::Topic("spring".to_owned()))] {
        let customer = shop.come_for(FRONTEND, path);
        let old = catalog.question().await;
        shop.invalidate(FRONTEND, catalog.process(), &[tag]).await;
        assert_old_answer_reaches_only(customer, old, &shop, &mut catalog).await;
        let kept = shop.get(FRONTEND, path).await;
        assert_eq!((kept.text(), kept.is_hit()), ("new", true));
    }
}

#[tokio::test]
async fn an_answer_read_while_a_write_was_pending_is_not_shared_with_who_joined_the_question_later() {
    let (shop, mut catalog) = open(LONG).await;
    shop.invalidate(FRONTEND, catalog.process(), &[book_tag(7)]).await;
    let customer = shop.come_for(FRONTEND, "/info/7");
    let old = catalog.question().await;
    // The write is applied and acknowledged. Nothing more is said to the frontend, which was told before.
    let late = come_in_vain(&shop, "/info/7").await;
    old.answer("old", false);
    assert_eq!(customer.await.unwrap().text(), "old");
    catalog.question().await.answer("new", true);
    assert_eq!(late.await.unwrap().text(), "new");
}

/// A book, and a search that found nothing.
const PATHS: [&str; 2] = ["/info/7", "/search/nothing%20yet"];

/// Asks before the session ends, ends it, and has the old answers come in the next one.
async fn assert_no_fill_outlives_its_session(end: impl AsyncFnOnce(&Shop, &ScriptedCatalog)) {
    let (shop, mut catalog) = open(SHORT).await;
    let mut asked = Vec::new();
    for path in PATHS {
        let customer = shop.come_for(FRONTEND, path);
        asked.push((customer, catalog.question().await));
    }
    end(&shop, &catalog).await;
    until_leased(&shop).await;
    for (customer, old) in asked {
        assert_old_answer_reaches_only(customer, old, &shop, &mut catalog).await;
    }
}

#[tokio::test]
async fn an_answer_asked_for_before_a_new_leader_announced_itself_is_not_kept_in_the_session_that_follows() {
    assert_no_fill_outlives_its_session(async |shop, catalog| {
        let (name, process) = catalog.process().header();
        let announcement = Request::post(ANNOUNCE, Default::default()).header(name, process);
        let announced = shop.ask(FRONTEND, announcement, PATIENCE).await;
        assert!(announced.unwrap().status().is_success());
    })
    .await;
}

#[tokio::test]
async fn an_answer_asked_for_before_the_lease_ran_out_is_not_kept_in_the_session_that_follows() {
    assert_no_fill_outlives_its_session(async |shop, catalog| {
        catalog.refuse();
        until("the lease has run out", async || {
            let stats = shop.document(FRONTEND, "/cache-stats").await;
            (!stats["lease"]["held"].as_bool()?).then_some(())
        })
        .await;
        // The leader wrote meanwhile, and told nobody, for nobody was to be told.
        catalog.grant(2, SHORT);
    })
    .await;
}

#[tokio::test]
async fn an_invalidation_that_is_longer_than_a_leader_sends_is_refused_unread() {
    let (shop, catalog) = open_with(LONG, "[http]\nmax_body_bytes = 1048576\n").await;
    let (name, process) = catalog.process().header();
    let tell = async |message: Vec<u8>| {
        let request = Request::post(INVALIDATE, message.into()).header(name.clone(), process.clone());
        shop.ask(FRONTEND, request, PATIENCE).await.unwrap().status()
    };
    let message =
        |length: usize| postcard::to_stdvec(&Invalidation::Tags(vec![Tag::Topic("a".repeat(length))])).unwrap();
    let rest = message(MAX_INVALIDATION_BYTES).len() - MAX_INVALIDATION_BYTES;
    let longest = message(MAX_INVALIDATION_BYTES - rest);
    assert_eq!(longest.len(), MAX_INVALIDATION_BYTES);
    assert_eq!(tell(longest).await, StatusCode::OK);
    assert_eq!(tell(message(MAX_INVALIDATION_BYTES - rest + 1)).await, StatusCode::PAYLOAD_TOO_LARGE);
}
