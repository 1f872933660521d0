//! Who leads a group, what is committed, and what can be read.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`proposer`] | group commit |
//! | [`leader_contact`] | whether a leader is heard |
//! | [`leader_reach`] | whether the leader that is heard answers |
//! | [`pre_vote`] | ask before standing |
//! | [`recognition`] | which candidates and leaders are believed |
//! | [`elector`] | when a follower stands for election |
//! | [`heartbeat`] | how a leader makes itself heard |
//! | [`leadership`] | when a leader may act |
//! | [`leadership_transfer`] | how a replica stops, and a leader first of all |
//! | [`step_aside`] | when a leader hands over though it need not stop |
//! | [`read_index`] | current reads anywhere |
//! | [`forward`] | try here, else at the leader |

pub mod elector;
pub mod forward;
pub mod heartbeat;
pub mod leader_contact;
pub mod leader_reach;
pub mod leadership;
pub mod leadership_transfer;
pub mod pre_vote;
pub mod proposer;
pub mod read_index;
pub mod recognition;
pub mod step_aside;
