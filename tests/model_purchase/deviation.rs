//! The ways in which a model may deviate from the protocol.

/// One rule broken, or bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// The catalog decides each request anew.
    NoKeyCheck,
    /// The catalog knows a key again but not what it decided, and tells how things stand now.
    KeyWithoutOutcome,
    /// The catalog decides a request whose key it does not know, however much it has forgotten.
    NoFence,
    /// The catalog asks no order leader whether it has looked for the key among all orders that are forgotten here.
    AnyListTrusted,
    /// Whoever asks again says how many decisions it has heard of by now, though its first request may have been
    /// decided among them.
    HeardAnewInDoubt,
    /// Who looked for the key in too short a list is told what those are told who heard of too few decisions.
    ListBehindIsExpired,
    /// Decisions are forgotten in any order.
    ForgottenFromAnywhere,
    /// A purchase is forgotten though its order may not be recorded.
    UnrecordedForgotten,
    /// A request whose key might be forgotten is refused though its decision is known.
    FenceBeforeKey,
    /// The order leader trusts the catalog that a key is unknown, though the order stands in its own list.
    OwnListNotReadAgain,
    /// The order leader answers as soon as the catalog has decided.
    AnswerBeforeRecording,
    /// The order leader never asks the catalog what was decided.
    NeverAsks,
    /// The order leader asks the catalog what was decided as it becomes ready and when an order is missing,
    /// but never out of the blue.
    AsksOnlyWhenInDoubt,
    /// The order leader asks from where it last started over, whatever was recorded since.
    RecordedSinceNotSeen,
    /// A missing order is waited for no longer, and those after it are recorded.
    GapSkipped,
    /// Orders are recorded as they come.
    RecordedAsTheyCome,
    /// Orders are proposed as they come.
    ProposedAsTheyCome,
    /// An order that stands in the list is appended once more.
    RecordedAgain,
}

/// The promises that the properties check.
pub mod promise {
    pub const ONE_COPY: &str = "a key is sold at most one copy";
    pub const ONE_ANSWER: &str = "the answers to a key agree";
    pub const RECORDED_FIRST: &str = "what is acknowledged is recorded";
    pub const NO_GAPS: &str = "orders are numbered 1, 2, 3 and so on";
    pub const BALANCE: &str = "every copy is in stock or sold, and no order lacks one";
    pub const RECORDED_AT_LAST: &str = "whatever was sold comes to be recorded";
}

impl Deviation {
    /// Those that break a promise, and which.
    pub const HARMFUL: [(Deviation, &str); 18] = [
        (Deviation::NoKeyCheck, promise::ONE_COPY),
        (Deviation::KeyWithoutOutcome, promise::ONE_ANSWER),
        (Deviation::NoFence, promise::ONE_ANSWER),
        (Deviation::AnyListTrusted, promise::ONE_COPY),
        (Deviation::HeardAnewInDoubt, promise::ONE_ANSWER),
        (Deviation::ListBehindIsExpired, promise::ONE_ANSWER),
        (Deviation::ForgottenFromAnywhere, promise::ONE_ANSWER),
        (Deviation::UnrecordedForgotten, promise::RECORDED_AT_LAST),
        (Deviation::FenceBeforeKey, promise::ONE_ANSWER),
        (Deviation::OwnListNotReadAgain, promise::ONE_ANSWER),
        (Deviation::AnswerBeforeRecording, promise::RECORDED_FIRST),
        (Deviation::NeverAsks, promise::RECORDED_AT_LAST),
        (Deviation::AsksOnlyWhenInDoubt, promise::RECORDED_AT_LAST),
        (Deviation::RecordedSinceNotSeen, promise::RECORDED_AT_LAST),
        (Deviation::GapSkipped, promise::NO_GAPS),
        (Deviation::RecordedAsTheyCome, promise::NO_GAPS),
        (Deviation::RecordedAgain, promise::NO_GAPS),
        (Deviation::RecordedAgain, promise::BALANCE),
    ];
}
