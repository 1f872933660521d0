//! How long is nothing sold when something happens to a replica?
//!
//! Measured, not judged: `cargo test --release --test cluster times -- --ignored --nocapture`, on a quiet machine.

use std::thread;
use std::time::Duration;

use crate::common::cluster::Cluster;
use crate::common::storm::Storm;

const COPIES: u64 = 1_000_000;

const TRIALS: usize = 5;

/// How long a replica hangs.
const PAUSE: Duration = Duration::from_secs(1);

/// Longer than an election takes, after everybody is back.
const AFTERMATH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Event {
    LeaderKilled,
    LeaderAskedToStop,
    LeaderHangs,
    FollowerKilled,
    FollowerAskedToStop,
    FollowerHangs,
}

const EVENTS: [Event; 6] = [
    Event::LeaderKilled,
    Event::LeaderAskedToStop,
    Event::LeaderHangs,
    Event::FollowerKilled,
    Event::FollowerAskedToStop,
    Event::FollowerHangs,
];

#[test]
#[ignore = "it measures, for three minutes"]
fn times_without_purchases() {
    let mut cluster = Cluster::alone(2, 3, 3).with_copies(COPIES).open();
    let frontends: Vec<_> = cluster.group("frontend").map(|id| cluster.address(id)).collect();
    let storm = Storm::start(&frontends, COPIES, 4, 2);
    for role in ["catalog", "order"] {
        for event in EVENTS {
            let mut silences_ms: Vec<u128> =
                (0..TRIALS).map(|_| trial(&mut cluster, &storm, role, event).as_millis()).collect();
            silences_ms.sort();
            let [least, median, most] = [silences_ms[0], silences_ms[TRIALS / 2], silences_ms[TRIALS - 1]];
            println!("{role} {event:?}: {median} ms in the median ({least} to {most})");
        }
    }
    storm.end().assert_agrees_with(&cluster.audit());
}

/// The longest time without a purchase, from the event until all is as before.
fn trial(cluster: &mut Cluster, storm: &Storm, role: &str, event: Event) -> Duration {
    let leader = cluster.leader(role);
    let follower = cluster.follower(role);
    storm.wait_for_purchases(20);
    storm.reset_silence();
    match event {
        Event::LeaderKilled | Event::FollowerKilled => {
            let killed = if matches!(event, Event::LeaderKilled) { &leader } else { &follower };
            cluster.kill9(killed);
            thread::sleep(PAUSE);
            cluster.start(killed);
        }
        Event::LeaderAskedToStop | Event::FollowerAskedToStop => {
            let asked = if matches!(event, Event::LeaderAskedToStop) { &leader } else { &follower };
            cluster.signal(asked, "TERM");
            cluster.wait_exit(asked);
            cluster.start(asked);
        }
        Event::LeaderHangs | Event::FollowerHangs => {
            let hanging = if matches!(event, Event::LeaderHangs) { &leader } else { &follower };
            cluster.stop(hanging);
            thread::sleep(PAUSE);
            cluster.cont(hanging);
        }
    }
    cluster.wait_ready();
    thread::sleep(AFTERMATH);
    storm.wait_for_purchases(1);
    storm.longest_silence()
}
