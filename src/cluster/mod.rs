//! Asking a group of replicas, whoever asks: frontends both groups, order servers the catalog.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`answer`] | what a group is asked, and what an answer says |
//! | [`balancer`] | what is known of each replica, and which is asked next |
//! | [`probe`] | how that is found out |
//! | [`upstream`] | asking until one answers: when to wait, whom to try next, when to give up |

mod answer;
mod balancer;
mod probe;
mod upstream;

pub use answer::{Answered, Ask, no_answer};
pub use balancer::{Balancer, Condition, Replica};
pub use probe::Probes;
pub use upstream::{Timing, Upstream};
