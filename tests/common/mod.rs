//! What tests of whole clusters share.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`ports`] | ports that no other test takes |
//! | [`cluster`] | nodes as processes of the real executable |
//! | [`client`] | a customer with one connection |
//! | [`storm`] | many customers at once, and what each of them may see |
//! | [`audit`] | what must hold once all is quiet |

pub mod audit;
pub mod client;
pub mod cluster;
pub mod ports;
pub mod storm;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `find` finds something.
#[track_caller]
pub fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}
