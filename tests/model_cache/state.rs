//! What the model's world consists of. Times are what is left of them, so time itself needs no bound.

/// The one key's value: how many writes are committed.
pub type Version = u8;

/// How many ticks a lease lasts by the slowest clock of a frontend. A leader counts as many: its margin for
/// drift makes up for its own clock being the fastest.
pub const LEASE: u8 = 2;

/// The most writes that any bounds allow.
pub const WRITES: usize = 2;

/// The most leaderships that any bounds allow.
pub const EPOCHS: usize = 3;

/// The most of its own requests for a lease, and of its own questions, that a frontend may have under way.
pub const SLOTS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State<const FRONTENDS: usize> {
    pub committed: Version,
    /// The latest leadership, counted from 0. Leaders of earlier ones do not know that they were deposed.
    pub epoch: u8,
    pub leadership: Leadership<FRONTENDS>,
    /// The session that the leader of each epoch last granted to each frontend.
    pub granted: [[Granted; FRONTENDS]; EPOCHS],
    /// In no particular order, hence sorted.
    pub writes: [Write<FRONTENDS>; WRITES],
    pub frontends: [Frontend; FRONTENDS],
    /// Whether a read returned a version older than one that was committed when the read began.
    pub has_read_stale: bool,
}

/// How far the leader of the latest epoch has come in getting ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leadership<const FRONTENDS: usize> {
    pub has_barrier: bool,
    /// Until the leases of earlier epochs have run out.
    pub wait: u8,
    /// Who confirmed the announcement of this epoch.
    pub has_confirmed: [bool; FRONTENDS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Granted {
    pub number: u8,
    pub expiry: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    pub epoch: u8,
    pub number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write<const FRONTENDS: usize> {
    /// Not begun, or without effect so far.
    Idle,
    /// Pending, and invalidating.
    Invalidating([Push; FRONTENDS]),
    /// Pending, and in the leader's log.
    Proposed,
    /// Pending still, though a majority has it.
    Committed,
    /// In the log of a leader that was deposed or restarted; the next barrier decides its fate.
    Orphaned,
    /// Invalidated in an earlier epoch by a process that leads again and has forgotten its pending marks.
    Outliving,
    /// Applied, or not to be made within these bounds.
    Done,
}

/// One frontend's part of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Push {
    /// Nothing to wait for: confirmed, or without a live lease.
    Settled,
    /// On its way.
    Sent,
    /// Taken as lost; so much is left of the lease that is waited for.
    Lost(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frontend {
    pub session: Option<Session>,
    /// What is left of the lease.
    pub lease: u8,
    /// The cached version, of the current session and generation: others are as good as dropped.
    pub entry: Option<Version>,
    pub requests: [Option<Request>; SLOTS],
    pub flights: [Option<Flight>; SLOTS],
    pub reader: Reader,
}

/// A request for a lease, from asking to the answer's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// What is left of the lease that the answer would give: it counts from the asking.
    pub lease: u8,
    pub stage: RequestStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestStage {
    /// On its way to a leader, naming the session that the frontend has.
    Asked(Option<Session>),
    /// At the leader of this epoch, whom a majority has confirmed since.
    Confirmed(Option<Session>, u8),
    /// On its way back.
    Granted(Session),
}

/// A question to the catalog after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flight {
    /// The session noted before asking.
    pub session: Option<Session>,
    /// Whether the generation noted before asking is the current one still.
    pub is_current: bool,
    pub stage: FlightStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlightStage {
    /// On its way to a replica, and on to a leader.
    Asked,
    /// The leader has looked whether the key is pending, and waits for a majority to confirm it.
    Observed { is_pending: bool },
    /// The leader has noted how far it committed, and not looked yet. Only in the wrong order.
    Indexed { version: Version },
    /// On its way back.
    Answered { is_pending: bool, version: Version },
}

/// The one read of a frontend that is watched. It must not return anything older than what was committed
/// when it began, its `floor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reader {
    #[default]
    Idle,
    /// Has taken the entry, and checks next whether it may be used.
    Took { version: Version, session: Option<Session>, floor: Version },
    /// Has seen that the lease runs, and takes the entry next. Only in the wrong order.
    SawLease { floor: Version },
    /// Waits for an answer, of its own question or of one that was under way before.
    Waits { flight: usize, floor: Version, is_late: bool },
}
