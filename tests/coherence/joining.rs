//! Replicas that lost their disk, and whose leader dies while they come back.

use std::time::Duration;

use bazar::http::client::Request;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use crate::shop::{PATIENCE, Shop, until};
use crate::switchboard::Hold;

const CATALOGS: [&str; 3] = ["catalog-1", "catalog-2", "catalog-3"];

const QUICK: &str = "
    [cache]\nlease_ms = 100
    [replication]\nheartbeat_ms = 50\nelection_timeout_min_ms = 200\nelection_timeout_max_ms = 300
    [reads]\nmajority_wait_ms = 1000
";

/// The changes of members that bring a replica back: two take its vote, one has it learn, two give it a vote.
const STEPS: usize = 5;

/// Of these, those that take its vote.
const STEPS_OUT: usize = 2;

/// Of these, the one from which on its own log says that it votes.
const VOTES: usize = 3;

/// More entries than a log keeps behind its snapshot.
const KEPT_ENTRIES: u64 = 1_200;

async fn status(shop: &Shop, id: &str) -> Value {
    shop.document(id, "/cluster").await
}

#[tokio::test]
async fn a_joiner_whose_leader_dies_at_any_step_votes_in_the_end() {
    let mut shop = Shop::new(&[&CATALOGS[..], &["frontend-1", "order-1"]].concat(), QUICK);
    CATALOGS.iter().for_each(|id| shop.start(id));
    let by_the_other = (0..STEPS).map(|step| (step, false));
    for (step, joiner_succeeds) in by_the_other.chain((VOTES..STEPS).map(|step| (step, true))) {
        let leader = shop.leader(&CATALOGS).await;
        let mut followers = CATALOGS.into_iter().filter(|id| *id != leader);
        let (other, joiner) = (followers.next().unwrap(), followers.next().unwrap());
        shop.kill(joiner);
        [&leader, other].into_iter().for_each(|id| shop.switchboard.hold(joiner, id, Hold::Everything));
        shop.start_joining(joiner);
        let before = until("nothing is under way", async || {
            let [leads, follows] = [status(&shop, &leader).await, status(&shop, other).await];
            let is_quiet = leads["last_log_index"] == follows["applied_index"];
            leads["last_log_index"].as_u64().filter(|_| is_quiet)
        })
        .await;

        // Nothing is committed without this disk.
        shop.disk(other).hold_after(step);
        shop.switchboard.open();
        until("the step has begun", async || (shop.disk(other).waiting() == 1).then_some(())).await;
        let successor = if joiner_succeeds { joiner } else { other };
        until("its successor has it in its log", async || {
            (status(&shop, successor).await["last_log_index"].as_u64()? == before + step as u64 + 1).then_some(())
        })
        .await;
        shop.kill(&leader);
        // Who may not ask for votes does not get in the way.
        for id in CATALOGS.into_iter().filter(|id| *id != successor) {
            let asks = Hold::Path("/internal/v1/raft/pre-vote");
            CATALOGS.into_iter().filter(|to| *to != id).for_each(|to| shop.switchboard.hold(id, to, asks));
        }
        shop.disk(other).release();
        shop.start(&leader);
        shop.leader(&[successor]).await;
        shop.switchboard.open();
        until("the joiner serves", async || {
            (shop.get(joiner, "/ready").await.status() == StatusCode::OK).then_some(())
        })
        .await;

        // Of three that vote any two are enough.
        for id in [&leader, other] {
            shop.kill(id);
            until(&format!("step {step}: a write is acknowledged without {id}"), async || {
                (shop.set_price(joiner, 7, 10 + step as u64).await.status() == StatusCode::OK).then_some(())
            })
            .await;
            shop.start(id);
            until("it is ready", async || (shop.get(id, "/ready").await.status() == StatusCode::OK).then_some(()))
                .await;
        }
    }
}

const PAIR: [&str; 2] = ["catalog-1", "catalog-2"];

/// A pair whose leader's log begins with a snapshot; and that leader, and the other.
async fn pair_with_a_snapshot() -> (Shop, String, &'static str) {
    let settings = QUICK.replace("[replication]", "[replication]\nsegment_bytes = 4096\nsnapshot_log_bytes = 8192");
    let mut shop = Shop::new(&[&PAIR[..], &["frontend-1", "order-1"]].concat(), &settings);
    PAIR.iter().for_each(|id| shop.start(id));
    let leader = shop.leader(&PAIR).await;
    let joiner = PAIR.into_iter().find(|id| *id != leader).unwrap();
    let mut price = 0;
    until("the leader's log begins with a snapshot", async || {
        for _ in 0..50 {
            price += 1;
            assert_eq!(shop.set_price(&leader, 7, price).await.status(), StatusCode::OK);
        }
        (status(&shop, &leader).await["snapshot_index"].as_u64().unwrap() > KEPT_ENTRIES).then_some(())
    })
    .await;
    (shop, leader, joiner)
}

#[tokio::test]
async fn a_snapshot_that_was_damaged_on_its_way_is_asked_for_again() {
    let (mut shop, leader, joiner) = pair_with_a_snapshot().await;
    shop.kill(joiner);
    shop.switchboard.hold(&leader, joiner, Hold::Damage("Pioneer Valley"));
    shop.start_joining(joiner);
    until("it serves", async || (shop.get(joiner, "/ready").await.status() == StatusCode::OK).then_some(())).await;
    assert!(shop.switchboard.held(&leader, joiner).is_none(), "nothing was damaged");
    let answer = shop.get(joiner, "/info/7").await;
    assert!(answer.text().contains("Spring in the Pioneer Valley") && !answer.is_stale(), "{}", answer.text());
}

#[tokio::test]
async fn a_joiner_of_a_pair_answers_nobody_before_it_holds_everything() {
    let (mut shop, leader, joiner) = pair_with_a_snapshot().await;
    shop.kill(joiner);
    shop.disk(joiner).hold_snapshots();
    shop.start_joining(joiner);
    until("it votes, and the snapshot arrives", async || (shop.disk(joiner).waiting() > 0).then_some(())).await;
    let leader_ready = async || status(&shop, &leader).await["leader_ready"] == true;
    until("the leader has its majority again", async || leader_ready().await.then_some(())).await;

    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let answer = shop.get(joiner, "/info/7").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    }
    shop.disk(joiner).release();
    until("it serves", async || (shop.get(joiner, "/ready").await.status() == StatusCode::OK).then_some(())).await;
    let answer = shop.get(joiner, "/info/7").await;
    assert_eq!((answer.status(), answer.is_stale()), (StatusCode::OK, false), "{}", answer.text());
}

#[tokio::test]
async fn nothing_that_a_stranger_says_keeps_a_group_from_beginning() {
    let mut shop = Shop::new(&[&CATALOGS[..], &["frontend-1", "order-1"]].concat(), QUICK);
    let [founder, prepared, late] = CATALOGS;
    // It asks the founder before it becomes part of a new group: until it can, the group does not begin.
    shop.switchboard.hold(late, founder, Hold::Everything);
    shop.start("frontend-1");
    shop.start("order-1");
    CATALOGS.iter().for_each(|id| shop.start(id));
    for round in 0..2 {
        for (to, from) in [(founder, 2), (prepared, 1), (prepared, 3)] {
            let mark = until("it has the mark", async || shop.mark(to)).await;
            let envelope = format!("{} {to} catalog-{from}", mark["cluster"].as_str().unwrap());
            // A leader's word, a candidate's, and what a leader says that hands over: all of term 1.
            let append = vec![1, 1, from, 1, 0, 0, 0];
            let candidate = vec![1, 1, from, 0, 0];
            for (path, body) in [("append", append), ("vote", candidate.clone()), ("vote-for-successor", candidate)] {
                let answer = until("it answers", async || {
                    let request = Request::post(format!("/internal/v1/raft/{path}"), Bytes::from(body.clone()));
                    let header = HeaderName::from_static("bazar-envelope");
                    shop.ask(to, request.header(header, HeaderValue::try_from(&envelope).unwrap()), PATIENCE).await
                })
                .await;
                assert_eq!(answer.status(), StatusCode::CONFLICT, "{path} to {to}, round {round}");
            }
        }
        if round == 0 {
            shop.kill_all(&[founder, prepared]);
            shop.start(prepared);
            shop.start(founder);
        }
    }
    shop.switchboard.open();
    until("the group begins", async || {
        (shop.set_price("frontend-1", 7, 1).await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_three_replicas_two_that_vote_take_none_of_them_back() {
    let mut shop = Shop::new(&[&CATALOGS[..], &["frontend-1", "order-1"]].concat(), QUICK);
    CATALOGS.iter().for_each(|id| shop.start(id));
    let leader = shop.leader(&CATALOGS).await;
    let mut followers = CATALOGS.into_iter().filter(|id| *id != leader);
    let (other, learner) = (followers.next().unwrap(), followers.next().unwrap());
    shop.kill(learner);
    until("nothing is under way", async || {
        let [leads, follows] = [status(&shop, &leader).await, status(&shop, other).await];
        (leads["last_log_index"] == follows["applied_index"]).then_some(())
    })
    .await;
    // It is taken out, in two steps, and then nothing more is decided.
    shop.disk(other).hold_after(STEPS_OUT);
    shop.start_joining(learner);
    until("the next step has begun", async || (shop.disk(other).waiting() == 1).then_some(())).await;
    until("two vote", async || {
        let status = status(&shop, &leader).await;
        (status["voters"].as_array()?.len() == 2).then_some(())
    })
    .await;

    shop.kill(other);
    shop.start_joining(other);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(shop.mark(other), None, "it was taken back");
        assert_ne!(shop.get(other, "/ready").await.status(), StatusCode::OK);
    }
}
