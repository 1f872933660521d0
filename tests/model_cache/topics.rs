//! What a write changes, checked: books, topics and search pages as keys of their own.
//!
//! The [protocol](crate) of leases and pending marks takes for granted that a write knows its key. But which search
//! pages a write to a book changes depends on the topic that the book has when the write is applied, and other writes,
//! under way at the same time, may bring the book there. Here one book comes, changes and goes, under two topics, and a
//! frontend with a lease that never ends caches what it reads of it.
//!
//! 1. A write is begun: if it adds a book, its topic is entered among the *arrivals*.
//! 2. The leader looks which tags the write has: its book; the topic that the applied state gives the book; the topics of
//!    all arrivals that may be that book; for an addition its own topic, and *absence*, on which depends that the book is
//!    not there. Those that are new are pending from now on, and the frontend is told.
//! 3. Once it has confirmed, and in one step with the proposal, the leader looks again if an addition was begun
//!    meanwhile. If there are more tags, it goes on with 2.
//! 4. When the write is applied its marks go, and its arrival.
//!
//! | step here | in the source |
//! | --- | --- |
//! | `Begin`, `Look`, `Propose` | `Coherence::propose` in `src/catalog/coherence.rs` |
//! | `tags`, `Arrivals` | `src/catalog/footprint.rs` |
//! | `Finish` | `PendingWrite::finish` |
//! | `Ask`, `Land` | `Cache::note`, `Cache::fill` in `src/frontend/cache.rs` |
//! | `Observe`, `Answer` | `ReadRounds::round` in `src/replica/read_index.rs` |
//!
//! What is cached must be what the committed log says, at every moment: that is more than the promise, which speaks of
//! acknowledged writes.

use stateright::{Model, Property};

/// The promise that the model checks.
pub const CURRENT: &str = "what is cached is what is committed";

/// Writes under way or over, at most.
pub const WRITES: usize = 3;

/// One rule broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// Additions under way are not looked at.
    NoArrivals,
    /// An addition without a number is not taken for one that may be this book.
    UnnumberedIgnored,
    /// What was begun after the first look is not looked for.
    NoSecondLook,
    /// An arrival is forgotten as soon as it is proposed.
    ArrivalForgottenEarly,
    /// An addition does not touch absence.
    NoAbsence,
}

impl Deviation {
    pub const ALL: [Deviation; 5] = [
        Deviation::NoArrivals,
        Deviation::UnnumberedIgnored,
        Deviation::NoSecondLook,
        Deviation::ArrivalForgottenEarly,
        Deviation::NoAbsence,
    ];
}

/// What a write does to the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Add { topic: usize, is_numbered: bool },
    Change,
    Remove,
}

const KINDS: [Kind; 6] = [
    Kind::Add { topic: 0, is_numbered: true },
    Kind::Add { topic: 1, is_numbered: true },
    Kind::Add { topic: 0, is_numbered: false },
    Kind::Add { topic: 1, is_numbered: false },
    Kind::Change,
    Kind::Remove,
];

/// Keys: the pages of the topics 0 and 1, and the book's own. Of what is cached one key is watched, for keys know
/// nothing of each other; the topics are alike, so one page is enough.
const PAGE: usize = 0;
const BOOK: usize = 2;

/// Tags as bits: the two topics, the book, and that it is not there.
type Tags = u8;
const ABSENCE: Tags = 1 << 3;

fn tag(key: usize) -> Tags {
    1 << key
}

/// The book, when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Book {
    topic: usize,
    version: u8,
}

/// What a key shows of the book.
type Shown = Option<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    kind: Kind,
    stage: Stage,
    /// What was told to the frontend, and is pending.
    told: Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The leader is to look which tags it has.
    Begun,
    /// The frontend is being told.
    Telling,
    /// It has confirmed. `begun` additions had been begun at the last look.
    Told,
    /// It stands in the log.
    Proposed,
    /// It was applied, or what became of it is known otherwise.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flight {
    None,
    Asked,
    /// The key was not pending: else the answer will not be kept, and it is as good as none.
    Observed,
    Answered {
        shown: Shown,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    writes: Vec<Write>,
    /// Positions in `writes`, in the order of their proposals.
    log: Vec<usize>,
    committed: usize,
    /// The key that is watched.
    key: usize,
    cached: Option<Shown>,
    flight: Flight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Begin(Kind),
    Look(usize),
    Confirm(usize),
    Propose(usize),
    Commit,
    Finish(usize),
    Ask,
    Observe,
    Answer,
    Land,
}

pub struct TopicModel {
    pub deviation: Option<Deviation>,
}

impl TopicModel {
    fn breaks(&self, deviation: Deviation) -> bool {
        self.deviation == Some(deviation)
    }

    /// The book once so much of the log is applied.
    fn book(&self, state: &State, applied: usize) -> Option<Book> {
        let (mut book, mut version, mut was_there) = (None, 0, false);
        for write in state.log.iter().take(applied).map(|write| &state.writes[*write]) {
            version += 1;
            book = match (write.kind, book) {
                // Without a number it gets one that was never given.
                (Kind::Add { topic, is_numbered }, None) if is_numbered || !was_there => Some(Book { topic, version }),
                (Kind::Change, Some(book)) => Some(Book { version, ..book }),
                (Kind::Remove, _) => None,
                (_, book) => book,
            };
            was_there |= book.is_some();
        }
        book
    }

    fn shown(&self, state: &State, key: usize, applied: usize) -> Shown {
        self.book(state, applied).filter(|book| key == BOOK || book.topic == key).map(|book| book.version)
    }

    /// The tags that a write has, as the leader sees it.
    fn tags(&self, state: &State, write: usize) -> Tags {
        let own = state.writes[write].kind;
        let may_arrive = |other: &Write| match other.stage {
            Stage::Finished => false,
            Stage::Proposed => !self.breaks(Deviation::ArrivalForgottenEarly),
            _ => true,
        };
        let arriving = state.writes.iter().filter(|other| may_arrive(other) && !self.breaks(Deviation::NoArrivals));
        let topics = arriving.filter_map(|other| match other.kind {
            Kind::Add { is_numbered: false, .. } if self.breaks(Deviation::UnnumberedIgnored) => None,
            Kind::Add { topic, .. } => Some(tag(topic)),
            _ => None,
        });
        let topic_in_state = self.book(state, state.committed).map_or(0, |book| tag(book.topic));
        let of_book = || topics.fold(tag(BOOK) | topic_in_state, |all, topic| all | topic);
        match own {
            Kind::Add { topic, is_numbered } => {
                let absence = if self.breaks(Deviation::NoAbsence) { 0 } else { ABSENCE };
                tag(topic) | absence | if is_numbered { of_book() } else { 0 }
            }
            Kind::Change | Kind::Remove => of_book(),
        }
    }

    fn pending(&self, state: &State) -> Tags {
        let is_pending = |write: &&Write| write.stage != Stage::Finished;
        state.writes.iter().filter(is_pending).fold(0, |all, write| all | write.told)
    }

    /// On which tags an answer depends.
    fn depends_on(key: usize, shown: Shown) -> Tags {
        match (key, shown) {
            (BOOK, None) => tag(BOOK) | ABSENCE,
            _ => tag(key),
        }
    }

    fn forget(&self, state: &mut State, tags: Tags) {
        if state.cached.is_some_and(|shown| Self::depends_on(state.key, shown) & tags != 0) {
            state.cached = None;
        }
        // A fill notes the generations of all that its answer may depend on, before it knows the answer. One of which
        // any has ended cannot be kept, and is as good as none.
        if Self::depends_on(state.key, None) & tags != 0 {
            state.flight = Flight::None;
        }
    }
}

impl Model for TopicModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let watching = |key| {
            let (writes, log, committed) = (Vec::new(), Vec::new(), 0);
            State { writes, log, committed, key, cached: None, flight: Flight::None }
        };
        vec![watching(PAGE), watching(BOOK)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.writes.len() < WRITES {
            actions.extend(KINDS.map(Action::Begin));
        }
        for write in 0..state.writes.len() {
            actions.extend([
                Action::Look(write),
                Action::Confirm(write),
                Action::Propose(write),
                Action::Finish(write),
            ]);
        }
        actions.push(Action::Commit);
        actions.extend([Action::Ask, Action::Observe, Action::Answer, Action::Land]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(kind) => state.writes.push(Write { kind, stage: Stage::Begun, told: 0 }),
            Action::Look(write) => {
                let Stage::Begun = state.writes[write].stage else { return None };
                state.writes[write].told |= self.tags(last, write);
                state.writes[write].stage = Stage::Telling;
            }
            Action::Confirm(write) => {
                let Stage::Telling = state.writes[write].stage else { return None };
                state.writes[write].stage = Stage::Told;
                self.forget(&mut state, last.writes[write].told);
            }
            Action::Propose(write) => {
                let Write { stage: Stage::Told, told, .. } = state.writes[write] else { return None };
                let is_all = self.tags(last, write) & !told == 0 || self.breaks(Deviation::NoSecondLook);
                if is_all {
                    state.log.push(write);
                    state.writes[write].stage = Stage::Proposed;
                } else {
                    state.writes[write].stage = Stage::Begun;
                }
            }
            Action::Commit => {
                if state.committed == state.log.len() {
                    return None;
                }
                state.committed += 1;
            }
            Action::Finish(write) => {
                let is_applied = state.log.iter().take(state.committed).any(|applied| *applied == write);
                if !is_applied || state.writes[write].stage == Stage::Finished {
                    return None;
                }
                state.writes[write].stage = Stage::Finished;
            }
            Action::Ask => {
                let Flight::None = state.flight else { return None };
                state.flight = Flight::Asked;
            }
            Action::Observe => {
                let Flight::Asked = state.flight else { return None };
                let is_pending = self.pending(last) & Self::depends_on(state.key, None) != 0;
                state.flight = if is_pending { Flight::None } else { Flight::Observed };
            }
            Action::Answer => {
                let Flight::Observed = state.flight else { return None };
                state.flight = Flight::Answered { shown: self.shown(last, state.key, last.committed) };
            }
            Action::Land => {
                let Flight::Answered { shown } = state.flight else { return None };
                (state.flight, state.cached) = (Flight::None, Some(shown));
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CURRENT, |model: &Self, state: &State| {
                state.cached.is_none_or(|shown| shown == model.shown(state, state.key, state.committed))
            }),
            Property::sometimes("a page is cached after all writes are over", |_, state: &State| {
                let is_over = state.writes.iter().all(|write| write.stage == Stage::Finished);
                is_over && state.writes.len() == WRITES && state.key == PAGE && matches!(state.cached, Some(Some(_)))
            }),
        ]
    }
}
