//! The conversation between replicas: asking, encoding, and what is believed of an answer.
//!
//! | file | its one idea |
//! | --- | --- |
//! | [`client`] | openraft's requests as HTTP requests to peers |
//! | [`wire`] | paths, headers and bodies |
//! | [`guard`] | what a message must be before openraft sees it |
//! | [`commit_notice`] | how followers learn what is committed |
//! | [`reach`] | which followers a leader reaches |
//! | [`refusals`] | who refuses whose messages, and why |

pub mod client;
pub mod commit_notice;
pub mod guard;
pub mod reach;
pub mod refusals;
pub mod wire;
