//! The ways in which a model may deviate from the protocol.

/// One rule broken, or bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// The leader never tells that a key is pending.
    NoPendingMark,
    /// A write whose outcome is unknown leaves its key not pending, as if it had failed.
    UnknownCountsAsFailed,
    /// A fill is kept whatever was invalidated since it asked.
    FillWithoutGeneration,
    /// A fill is kept whatever became of the session that it noted.
    FillWithoutSession,
    /// Reads trust a flag that told, before they began, that the lease runs.
    LeaseSeenBeforeRead,
    /// A read looks at the lease first and takes the entry then.
    LeaseSeenBeforeEntry,
    /// The frontend counts its lease from the answer's arrival.
    LeaseFromAnswer,
    /// The leader counts leases without a margin for clocks that drift.
    NoDriftMargin,
    /// A new leader writes at once.
    NewLeaderDoesNotWait,
    /// Misses share a question by the key alone.
    FlightByKeyAlone,
    /// Misses share a question by key, session and generation, whether the lease still runs or not.
    FlightWithoutLease,
    /// A waiter takes an answer to an earlier question even if the key was pending.
    UnsettledAnswerShared,
    /// Sessions are told apart by their number alone, which a new leader starts again.
    SessionWithoutEpoch,
    /// A grant asked for before an epoch was announced is adopted after.
    LateGrantAdopted,
    /// A leader answers reads before its barrier, hence from what it happens to know as committed.
    NoBarrier,
    /// A leader grants leases without asking a majority.
    GrantWithoutMajority,
    /// A session is renewed while its invalidation is unanswered; the writer waits for the old expiry only.
    RenewalNotRefused,
    /// A write is proposed before its invalidations are answered.
    ProposedBeforeInvalidation,
    /// The leader looks whether the key is pending after it noted how far it committed.
    PendingSeenAfterIndex,
    /// A write that was ready in one epoch is proposed in the next, by a process that leads again.
    WriteOutlivesEpoch,
}

impl Deviation {
    /// Those that break a read while one leader stays.
    pub const WITH_ONE_LEADER: [Deviation; 13] = [
        Deviation::NoPendingMark,
        Deviation::UnknownCountsAsFailed,
        Deviation::FillWithoutGeneration,
        Deviation::FillWithoutSession,
        Deviation::LeaseSeenBeforeRead,
        Deviation::LeaseFromAnswer,
        Deviation::NoDriftMargin,
        Deviation::FlightByKeyAlone,
        Deviation::FlightWithoutLease,
        Deviation::UnsettledAnswerShared,
        Deviation::RenewalNotRefused,
        Deviation::ProposedBeforeInvalidation,
        Deviation::PendingSeenAfterIndex,
    ];

    /// Those that break a read once another leader comes.
    pub const WITH_TWO_LEADERS: [Deviation; 6] = [
        Deviation::NewLeaderDoesNotWait,
        Deviation::SessionWithoutEpoch,
        Deviation::LateGrantAdopted,
        Deviation::NoBarrier,
        Deviation::GrantWithoutMajority,
        Deviation::WriteOutlivesEpoch,
    ];
}
