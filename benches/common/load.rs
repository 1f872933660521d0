//! The load generator: many connections on the thread that calls it, and so cheap that it is not what is measured.
//!
//! **Open loop** ([`Pace::PerSecond`]): requests are due at a constant rate, whether or not earlier ones were answered,
//! and the time of an answer counts from the instant at which its request was *due*. A server that hangs for a
//! second so shows in all requests of that second, as it does to customers; a generator that waits for answers
//! before it asks on would show it in one (coordinated omission). **Closed loop** ([`Pace::Unlimited`]): each
//! connection asks again as soon as it is answered. That shows how much a server can do, not how long customers wait.
//!
//! Requests are serialised beforehand and taken in turn, over again. The generator watches itself: how late it sent,
//! and how much of a core it took ([`Outcome::doubt`]). It knows nothing of what it asks for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Token};

use super::connection::{Connection, InFlight, Progress};
use super::cpu::thread_cpu;
use super::outcome::{Failure, Outcome};
use super::timer::{TIMER, Waiter};

/// How long the answers to the last requests are waited for: longer than any deadline of the servers'.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Before a broken connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Events that one look at the sockets can return; more come with the next.
const EVENTS_AT_ONCE: usize = 256;

/// Whom to ask, and what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Connections are spread evenly over these.
    pub addresses: Vec<SocketAddr>,
    /// Whole HTTP/1.1 requests (see [`request`](super::request::request)), taken in turn, over again.
    pub requests: Vec<Vec<u8>>,
    /// Statuses of answers that are as they should be; any other is a failure.
    pub expected: Vec<u16>,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IoTimeout {
    /// Open loop: this many each second, come what may.
    PerSecond(f64),
    /// Closed loop: each connection asks again as soon as it is answered.
    Unlimited,
}

/// How much to ask, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections: in the closed loop the number of clients, in the open loop how many requests can be on their way.
    pub connections: usize,
    /// How requests follow each other.
    pub pace: IoTimeout,
    /// Asked before, and not counted.
    pub warm_up: Duration,
    /// How long is counted.
    pub duration: Duration,
}

/// Asks `target` as `load` says, and tells what came of it.
///
/// In the open loop all requests that were due within the duration count, however late they are answered. In the
/// closed loop all that were answered within it do.
pub fn run(target: &Target, load: &Load) -> Result<Outcome> {
    connect(target, load)?.run()
}

/// Opens the connections of a run, so that it begins when it is told to: many of them take their time.
pub fn connect<'a>(target: &'a Target, load: &'a Load) -> Result<Ready<'a>> {
    ensure!(!target.requests.is_empty() && !target.addresses.is_empty(), "there is nobody or nothing to ask");
    if let IoTimeout::PerSecond(rate) = load.pace {
        ensure!(rate.is_finite() && rate > 0.0, "{rate} requests a second cannot be asked");
    }
    let waiter = Waiter::new().context("cannot make what waits for sockets")?;
    let open = |index: usize| {
        let address = target.addresses[index % target.addresses.len()];
        Connection::open(address, Token(index), waiter.poll.registry())
    };
    let connections = (0..load.connections).map(open).collect::<Result<_>>()?;
    Ok(Ready { target, load, waiter, connections })
}

/// A run that has its connections.
pub struct Ready<'a> {
    target: &'a Target,
    load: &'a Load,
    waiter: Waiter,
    connections: Vec<Connection>,
}

impl Ready<'_> {
    /// Begins now, and comes back when all is answered.
    pub fn run(self) -> Result<Outcome> {
        let mut run = Run::begin(self)?;
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        loop {
            run.begin_window();
            run.send_due();
            // One look at the clock for both: a run that is not over now must be looked at again when it may be.
            let now = Instant::now();
            if run.is_over(now) {
                return Ok(run.finish());
            }
            run.waiter.wait(&mut events, run.wake_at(now)).context("cannot wait for sockets")?;
            run.revive();
            for event in events.iter().filter(|event| event.token() != TIMER) {
                run.advance(event.token().0);
                run.send_due();
            }
        }
    }
}

struct Run<'a> {
    target: &'a Target,
    pace: IoTimeout,
    waiter: Waiter,
    connections: Vec<Connection>,
    /// Connections without a request, by when they became free.
    free: VecDeque<(usize, Instant)>,
    /// Connections that broke or were closed, by when they are made anew.
    down: VecDeque<(usize, Instant)>,
    in_flight: usize,
    /// Requests begun.
    begun: u64,
    started: Instant,
    /// What is due before is warm-up.
    window_begins: Instant,
    ends: Instant,
    /// This thread's CPU time when the window began; nothing before.
    cpu_at_window: Option<Duration>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn begin(ready: Ready<'a>) -> Result<Run<'a>> {
        let Ready { target, load, waiter, connections } = ready;
        let started = Instant::now();
        let window_begins = started + load.warm_up;
        Ok(Run {
            target,
            pace: load.pace,
            waiter,
            free: (0..connections.len()).map(|index| (index, started)).collect(),
            connections,
            down: VecDeque::new(),
            in_flight: 0,
            begun: 0,
            started,
            window_begins,
            ends: window_begins + load.duration,
            cpu_at_window: None,
            outcome: Outcome::new(window_begins, load)?,
        })
    }

    fn begin_window(&mut self) {
        if self.cpu_at_window.is_none() && Instant::now() >= self.window_begins {
            self.cpu_at_window = Some(thread_cpu());
        }
    }

    /// When the next request is due.
    fn next_due(&self) -> Instant {
        match self.pace {
            IoTimeout::PerSecond(rate) => self.started + Duration::from_secs_f64(self.begun as f64 / rate),
            IoTimeout::Unlimited => self.started,
        }
    }

    /// Sends what is due, as long as there are connections for it.
    fn send_due(&mut self) {
        while let Some((index, free_since)) = self.free.front().copied() {
            let (now, due) = (Instant::now(), self.next_due());
            if due > now || self.is_past_end(due, now) {
                break;
            }
            self.free.pop_front();
            if !self.connections[index].is_free() {
                continue;
            }
            let intended = if self.pace == IoTimeout::Unlimited { now } else { due };
            if intended >= self.window_begins {
                // Before, either nothing was due or nothing was free: that is not the generator's fault.
                self.outcome.note_lateness(now.duration_since(intended.max(free_since)));
            }
            let request = (self.begun % self.target.requests.len() as u64) as usize;
            self.begun += 1;
            self.in_flight += 1;
            let progress = self.connections[index].send(&self.target.requests, request, intended);
            self.note(index, progress);
        }
    }

    fn is_past_end(&self, due: Instant, now: Instant) -> bool {
        match self.pace {
            IoTimeout::PerSecond(_) => due >= self.ends,
            IoTimeout::Unlimited => now >= self.ends,
        }
    }

    fn advance(&mut self, index: usize) {
        let progress = self.connections[index].advance(&self.target.requests);
        self.note(index, progress);
    }

    fn note(&mut self, index: usize, progress: Progress) {
        let now = Instant::now();
        match progress {
            Progress::None => {}
            Progress::Connected => self.free.push_back((index, now)),
            Progress::Answered { request, status, is_free } => {
                self.in_flight -= 1;
                let is_expected = self.target.expected.contains(&status);
                self.record(request, now, if is_expected { Ok(()) } else { Err(Failure::Status(status)) });
                let queue = if is_free { &mut self.free } else { &mut self.down };
                queue.push_back((index, now));
            }
            Progress::Broken(lost) => {
                if let Some(request) = lost {
                    self.in_flight -= 1;
                    self.record(request, now, Err(Failure::Broken));
                }
                self.down.push_back((index, now + RECONNECT_PAUSE));
            }
        }
    }

    fn record(&mut self, request: InFlight, now: Instant, result: Result<(), Failure>) {
        let counts = match self.pace {
            IoTimeout::PerSecond(_) => request.intended >= self.window_begins,
            // One that is never answered was not answered within the window either, but is no less a failure.
            IoTimeout::Unlimited => {
                result == Err(Failure::Unanswered) || (self.window_begins..self.ends).contains(&now)
            }
        };
        if counts {
            self.outcome.note(now.duration_since(request.intended), now, result);
        }
    }

    /// Connects anew what has been broken for long enough.
    fn revive(&mut self) {
        while let Some((index, at)) = self.down.front().copied()
            && at <= Instant::now()
        {
            self.down.pop_front();
            if self.connections[index].reopen(self.waiter.poll.registry()).is_err() {
                self.down.push_back((index, Instant::now() + RECONNECT_PAUSE));
            }
        }
    }

    /// When to look again even if nothing happens.
    fn wake_at(&self, now: Instant) -> Instant {
        let due = self.next_due();
        let is_sending = !self.is_past_end(due, now);
        // In the open loop, what is due and finds no connection is not given up.
        let next_request = (is_sending && !self.free.is_empty()).then_some(due);
        let end = if now < self.ends { self.ends } else { self.ends + DRAIN_LIMIT };
        let revival = self.down.front().map(|(_, at)| *at);
        [next_request, revival].into_iter().flatten().fold(end, Instant::min)
    }

    /// Whether everything that was to be asked has been answered, or is no longer waited for.
    fn is_over(&self, now: Instant) -> bool {
        let is_all_sent = now >= self.ends && self.is_past_end(self.next_due(), now);
        is_all_sent && self.in_flight == 0 || now >= self.ends + DRAIN_LIMIT
    }

    fn finish(mut self) -> Outcome {
        let now = Instant::now();
        let unanswered: Vec<InFlight> = self.connections.iter().filter_map(Connection::in_flight).collect();
        for request in unanswered {
            self.record(request, now, Err(Failure::Unanswered));
        }
        if let IoTimeout::PerSecond(_) = self.pace {
            // What was due and never found a free connection failed as well.
            while self.next_due() < self.ends {
                self.begun += 1;
                self.outcome.note_failure(Failure::Unanswered);
            }
        }
        let cpu = self.cpu_at_window.map_or(Duration::ZERO, |before| thread_cpu().saturating_sub(before));
        self.outcome.finish(self.ends, now, cpu);
        self.outcome
    }
}
