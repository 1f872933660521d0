//! Frontends that do not hear of a write, or may not cache: the catalog's half.

use std::time::Duration;

use bazar::http::client::Request;
use bazar::protocol::cache::{Invalidation, LeaseReply, Session, Tag};
use hyper::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Heard, ScriptedFrontend, What};
use crate::shop::{PATIENCE, Shop, Visitor, book_tag, until};
use crate::switchboard::Hold;

const CATALOG: &str = "catalog-1";

/// A catalog of one server, and two frontends that its configuration names.
fn shop(lease: Duration) -> Shop {
    let settings = format!("[cache]\nlease_ms = {}\n", lease.as_millis());
    Shop::new(&["frontend-1", "frontend-2", CATALOG, "order-1"], &settings)
}

/// Takes a lease for a frontend, in a new session.
async fn take_lease(visitor: &Visitor, frontend: &str) -> Session {
    until("the frontend is granted a lease", async || {
        match visitor.ask_lease(CATALOG, frontend, None, PATIENCE).await? {
            LeaseReply::Granted { session, .. } => Some(session),
            _ => None,
        }
    })
    .await
}

/// Renews a session until it is told to stop: when it asked, and what was answered.
async fn keep_renewing(
    visitor: &Visitor,
    frontend: &str,
    session: Session,
    stop: &CancellationToken,
) -> Vec<(Instant, LeaseReply)> {
    let mut replies = Vec::new();
    while !stop.is_cancelled() {
        let asked_at = Instant::now();
        let reply = visitor.ask_lease(CATALOG, frontend, Some(session), PATIENCE).await;
        replies.push((asked_at, reply.expect("the leader answers")));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    replies
}

fn is_granted_in(session: Session, reply: &LeaseReply) -> bool {
    matches!(reply, LeaseReply::Granted { session: granted, .. } if *granted == session)
}

#[tokio::test]
async fn a_write_outlasts_the_lease_of_a_frontend_that_cannot_be_told_however_often_it_renews() {
    const LEASE: Duration = Duration::from_millis(400);
    let mut shop = shop(LEASE);
    let _deaf = ScriptedFrontend::play(shop.address("frontend-1")).await;
    let mut other = ScriptedFrontend::play(shop.address("frontend-2")).await;
    shop.start(CATALOG);
    let deaf_session = take_lease(&shop, "frontend-1").await;
    let other_session = take_lease(&shop, "frontend-2").await;
    let old_price = shop.get(CATALOG, "/info/7").await.price();

    shop.switchboard.hold(CATALOG, "frontend-1", Hold::Everything);
    let done = CancellationToken::new();
    let write = async {
        let answer = shop.set_price(CATALOG, 7, old_price + 1).await;
        assert_eq!(answer.status(), StatusCode::OK);
        done.cancel();
        Instant::now()
    };
    let read_meanwhile = async {
        let tags = vec![book_tag(7), Tag::Topic("spring".to_owned())];
        assert_eq!(other.hear().await.what, What::Invalidation(Invalidation::Tags(tags)));
        let seen = shop.get(CATALOG, "/info/7").await;
        assert_eq!((seen.price(), seen.is_cacheable()), (old_price, false), "the write waits, and is pending");
        assert!(shop.get(CATALOG, "/info/6").await.is_cacheable());
    };
    let (written_at, (), deaf, hearing) = tokio::join!(
        write,
        read_meanwhile,
        keep_renewing(&shop, "frontend-1", deaf_session, &done),
        keep_renewing(&shop, "frontend-2", other_session, &done),
    );

    let first_refused = deaf.iter().position(|(_, reply)| *reply == LeaseReply::NotNow);
    let (granted, refused) = deaf.split_at(first_refused.expect("renewals are refused while the write waits"));
    assert!(granted.iter().all(|(_, reply)| is_granted_in(deaf_session, reply)), "{granted:?}");
    assert!(refused.iter().all(|(_, reply)| !is_granted_in(deaf_session, reply)), "{refused:?}");
    let lease_ends = granted.last().expect("renewals arrive").0 + LEASE;
    assert!(written_at >= lease_ends, "written {:?} before the lease was over", lease_ends - written_at);
    assert!(hearing.iter().all(|(_, reply)| is_granted_in(other_session, reply)), "{hearing:?}");

    // It goes on asking, and still cannot be told. That must not delay each further write by a lease.
    let done = CancellationToken::new();
    let next_writes = async {
        for price in 0..5 {
            let start = Instant::now();
            assert_eq!(shop.set_price(CATALOG, 7, price).await.status(), StatusCode::OK);
            assert!(start.elapsed() < LEASE * 3 / 4, "a write waits again: {:?}", start.elapsed());
            tokio::time::sleep(LEASE / 10).await;
        }
        done.cancel();
    };
    let ((), deaf) = tokio::join!(next_writes, keep_renewing(&shop, "frontend-1", deaf_session, &done));
    assert!(deaf.iter().all(|(_, reply)| *reply == LeaseReply::NotNow), "{deaf:?}");

    shop.switchboard.open();
    assert_ne!(take_lease(&shop, "frontend-1").await, deaf_session);
}

/// Has the catalog begin another leader epoch, and tells how long its first write and its second took, counted from the
/// moment at which the new leader announced itself to `hearing`; and when the first was over.
async fn first_writes_of_a_new_leader(
    shop: &mut Shop,
    hearing: &mut ScriptedFrontend,
) -> (Duration, Duration, Instant) {
    shop.kill(CATALOG);
    shop.start(CATALOG);
    let Heard { at: announced_at, what } = hearing.hear().await;
    assert_eq!(what, What::Announcement);
    assert_eq!(shop.set_price(CATALOG, 7, 71).await.status(), StatusCode::OK);
    let first_at = Instant::now();
    assert_eq!(shop.set_price(CATALOG, 7, 72).await.status(), StatusCode::OK);
    (first_at - announced_at, first_at.elapsed(), first_at)
}

#[tokio::test]
async fn a_new_leader_writes_at_once_when_all_frontends_hear_of_it() {
    const LEASE: Duration = Duration::from_secs(4);
    let mut shop = shop(LEASE);
    let mut first = ScriptedFrontend::play(shop.address("frontend-1")).await;
    let _second = ScriptedFrontend::play(shop.address("frontend-2")).await;
    shop.start(CATALOG);
    take_lease(&shop, "frontend-1").await;
    let (wait, next_wait, _) = first_writes_of_a_new_leader(&mut shop, &mut first).await;
    assert!(wait < LEASE / 4 && next_wait < LEASE / 4, "{wait:?}, then {next_wait:?}");
}

#[tokio::test]
async fn a_new_leader_waits_once_for_the_lease_of_a_frontend_that_died() {
    const LEASE: Duration = Duration::from_millis(400);
    let mut shop = shop(LEASE);
    let mut first = ScriptedFrontend::play(shop.address("frontend-1")).await;
    // Nothing listens at the second's address: it takes a lease, and dies.
    shop.start(CATALOG);
    take_lease(&shop, "frontend-1").await;
    let lease_begins = Instant::now();
    take_lease(&shop, "frontend-2").await;
    let (wait, next_wait, first_at) = first_writes_of_a_new_leader(&mut shop, &mut first).await;
    assert!(
        first_at >= lease_begins + LEASE,
        "written {:?} before the lease was over",
        lease_begins + LEASE - first_at
    );
    assert!(wait < LEASE * 2, "{wait:?}");
    assert!(next_wait < LEASE * 3 / 4, "{next_wait:?}");

    // The log says that it has no lease any more.
    let (wait, ..) = first_writes_of_a_new_leader(&mut shop, &mut first).await;
    assert!(wait < LEASE * 3 / 4, "the leader after it waits again: {wait:?}");
}

#[tokio::test]
async fn a_second_process_under_a_frontends_name_gets_no_lease_and_reads_what_is_current() {
    const LEASE: Duration = Duration::from_millis(200);
    const TWIN: &str = "frontend-1, the other process";
    let mut shop = shop(LEASE);
    shop.start(CATALOG);
    shop.start("frontend-1");
    until("the frontend caches", async || shop.get("frontend-1", "/info/7").await.is_hit().then_some(())).await;
    shop.start_twin("frontend-1", TWIN);
    until("the twin answers", async || shop.get(TWIN, "/info/7").await.status().is_success().then_some(())).await;

    for price in 100..140 {
        assert_eq!(shop.set_price(CATALOG, 7, price).await.status(), StatusCode::OK);
        for frontend in ["frontend-1", TWIN] {
            let seen = [shop.get(frontend, "/info/7").await, shop.get(frontend, "/info/7").await];
            assert!(seen.iter().all(|seen| seen.price() == price), "{frontend} shows an old price");
        }
        tokio::time::sleep(LEASE / 20).await;
    }
    assert_eq!(shop.document(TWIN, "/cache-stats").await["hits"], 0);
    assert!(shop.get("frontend-1", "/info/7").await.is_hit());
}

#[tokio::test]
async fn a_new_leader_honours_leases_that_its_own_configuration_does_not_know_of() {
    const LEASE: Duration = Duration::from_secs(2);
    let mut shop = shop(LEASE);
    shop.start(CATALOG);
    shop.start("frontend-1");
    until("the frontend caches", async || shop.get("frontend-1", "/info/7").await.is_hit().then_some(())).await;
    let old_price = shop.get("frontend-1", "/info/7").await.price();

    // Its leases are shorter, and it does not name the frontend, which cannot be reached.
    shop.switchboard.part(&["frontend-1"], &[CATALOG]);
    shop.kill(CATALOG);
    shop.start_reconfigured(CATALOG, &["frontend-2", CATALOG, "order-1"], "[cache]\nlease_ms = 100\n");
    shop.leader(&[CATALOG]).await;
    assert_eq!(shop.set_price(CATALOG, 7, old_price + 1).await.status(), StatusCode::OK);
    let seen = shop.ask("frontend-1", Request::get("/info/7"), LEASE / 4).await;
    assert!(seen.is_none_or(|seen| !seen.status().is_success()), "the old price is served after the new one was set");
}

#[tokio::test]
async fn the_lease_of_a_frontend_that_stops_is_the_next_processs_at_once() {
    const LEASE: Duration = Duration::from_secs(60);
    let mut shop = shop(LEASE);
    shop.start(CATALOG);
    shop.start("frontend-1");
    until("the frontend caches", async || shop.get("frontend-1", "/info/7").await.is_hit().then_some(())).await;
    shop.stop("frontend-1");
    let start = Instant::now();
    assert_eq!(shop.set_price(CATALOG, 7, 71).await.status(), StatusCode::OK);
    shop.start("frontend-1");
    until("the frontend caches again", async || shop.get("frontend-1", "/info/7").await.is_hit().then_some(())).await;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_write_waits_only_until_a_frontend_that_stood_still_confirms() {
    const LEASE: Duration = Duration::from_secs(2);
    let mut shop = shop(LEASE);
    let _slow = ScriptedFrontend::play(shop.address("frontend-1")).await;
    shop.start(CATALOG);
    take_lease(&shop, "frontend-1").await;
    shop.switchboard.hold(CATALOG, "frontend-1", Hold::Everything);
    let start = Instant::now();
    let (answer, ()) = tokio::join!(shop.set_price(CATALOG, 7, 71), async {
        tokio::time::sleep(LEASE * 3 / 10).await;
        shop.switchboard.open();
    });
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(start.elapsed() < LEASE * 6 / 10, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_frontend_that_the_catalog_does_not_know_answers_without_a_cache() {
    const LEASE: Duration = Duration::from_millis(100);
    const STRANGER: &str = "frontend-9";
    let mut shop = shop(LEASE);
    shop.start(CATALOG);
    shop.start_stranger(STRANGER, &[STRANGER, CATALOG, "order-1"]);
    shop.leader(&[CATALOG]).await;
    assert_eq!(shop.ask_lease(CATALOG, STRANGER, None, PATIENCE).await, Some(LeaseReply::Stranger));
    until("the frontend is served", async || shop.get(STRANGER, "/info/7").await.status().is_success().then_some(()))
        .await;

    // Several renewals would fit in here.
    let start = Instant::now();
    let mut price = 100;
    while start.elapsed() < LEASE * 4 {
        price += 1;
        assert_eq!(shop.set_price(STRANGER, 7, price).await.status(), StatusCode::OK);
        for _ in 0..3 {
            let seen = shop.get(STRANGER, "/info/7").await;
            assert_eq!((seen.price(), seen.is_hit(), seen.is_stale()), (price, false, false));
        }
    }
    let stats = shop.document(STRANGER, "/cache-stats").await;
    assert_eq!((&stats["hits"], &stats["entries"], &stats["lease"]["sessions"]), (&0.into(), &0.into(), &0.into()));
}
