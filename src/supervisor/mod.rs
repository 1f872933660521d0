//! Runs all nodes of a configuration on this machine, each as a process of its own, and watches them.
//!
//! A shop on one laptop should be one command, and still be what it is anywhere else: separate
//! processes, any of which may be killed. The supervisor starts them, tells when all are ready, says
//! at once when one dies and why, and stops them in the order in which they need each other: frontends,
//! then orders, then catalogs.
//!
//! No node outlives it. Each holds the reading end of a pipe as its standard input, and stops by itself
//! when that ends. The writing end is the supervisor's, so the operating system closes it whatever
//! happens to the supervisor, `kill -9` included. Closing it is also the ordinary way to stop a node.
//!
//! | module | does |
//! | --- | --- |
//! | `process` | starts a node's process, waits for its end, keeps its log |
//! | `probe` | waits until addresses are free, and until a node is ready |
//! | `restarts` | says how long to wait before a node is started again |
//! | `report` | puts into words what people are told |
//!
//! It stands outside the seams of [`crate::platform`]: it starts processes, writes log files and prints
//! lines, none of which a simulated cluster has. It knows nothing of what nodes do, save that they
//! answer `GET /ready`.

mod probe;
mod process;
mod report;
mod restarts;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::process::{Log, Process};
use self::report::{Row, join, say, seconds};
use self::restarts::Restarts;
use crate::config::{Config, Node, Role};
use crate::http::client::Client;
use crate::platform::Platform;

/// After so long it is told what is waited for; then after twice as long, and so on.
const FIRST_PROGRESS: Duration = Duration::from_secs(2);

/// It is told at least so often.
const LONGEST_PROGRESS: Duration = Duration::from_secs(5 * 60);

/// How often it is told what is waited for while nodes stop.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// What a node may take to stop beyond the draining of its requests, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Who needs another stops before it.
const STOP_ORDER: [Role; 3] = [Role::Frontend, Role::Order, Role::Catalog];

/// How the nodes are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `bazar` executable.
    pub executable: PathBuf,
    /// The flags that every node is started with, beside those that say which node it is.
    pub flags: Vec<OsString>,
    /// Whether a node that dies is started again.
    pub respawn: bool,
}

/// Why the nodes do not run.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Other processes have their addresses.
    #[error(
        "nothing was started, for other processes listen at {0}. Is another bazar running? Stop it, or give the nodes \
         other addresses in the configuration"
    )]
    AddressesTaken(String),
    /// The operating system did not start a process.
    #[error("{id} could not be started: {source}. All nodes are stopped again")]
    Start {
        /// The node.
        id: String,
        /// What happened.
        source: io::Error,
    },
    /// A log file could not be opened.
    #[error("{path} cannot be written: {source}. Make it writable, or choose another folder with --data")]
    Log {
        /// The file, or its folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Every node died, and none is started again.
    #[error("all nodes are down; their last words stand above and in {0}")]
    AllDown(PathBuf),
}

/// Starts all nodes and watches them until `shutdown`; then stops them and returns.
///
/// # Errors
/// Nodes that cannot be started, or that all died. Those that still run then stop when this process ends.
pub async fn run(config: &Config, options: Options, shutdown: CancellationToken) -> Result<(), SupervisorError> {
    let said = report::start_output();
    let outcome = supervise(config, options, shutdown).await;
    // Before the last word, which is written by itself.
    said.finish();
    outcome
}

async fn supervise(config: &Config, options: Options, shutdown: CancellationToken) -> Result<(), SupervisorError> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        free = probe::addresses_free(config) => free?,
    }
    let mut supervisor = Supervisor::start(config, options)?;
    supervisor.watch(&shutdown).await?;
    supervisor.stop().await;
    Ok(())
}

/// All nodes of the configuration.
struct Supervisor<'a> {
    config: &'a Config,
    options: Options,
    logs: PathBuf,
    members: Vec<Member<'a>>,
    events: JoinSet<Event>,
    client: Client,
    started: Instant,
    /// Whether it was told that the nodes are ready.
    announced: bool,
}

/// A node, running or not.
struct Member<'a> {
    node: &'a Node,
    log: Log,
    process: Option<Process>,
    ready: bool,
    /// Why it is not ready, in its own words.
    hindrance: watch::Receiver<Option<String>>,
    restarts: Restarts,
}

/// What may happen to a node, by its place among the members.
enum Event {
    Exited(usize, io::Result<ExitStatus>),
    Ready(usize),
    RestartDue(usize),
}

impl<'a> Supervisor<'a> {
    fn start(config: &'a Config, options: Options) -> Result<Self, SupervisorError> {
        let logs = config.machine.data.join("logs");
        let mut members = Vec::new();
        for node in config.nodes() {
            let log = Log::open(&logs, &node.id)?;
            let (_, hindrance) = watch::channel(None);
            members.push(Member { node, log, process: None, ready: false, hindrance, restarts: Restarts::default() });
        }
        let mut supervisor = Supervisor {
            config,
            options,
            logs,
            members,
            events: JoinSet::new(),
            client: Client::new(&Platform::system()),
            started: Instant::now(),
            announced: false,
        };
        for index in 0..supervisor.members.len() {
            let spawned = supervisor.spawn(index);
            spawned.map_err(|source| SupervisorError::Start { id: supervisor.id(index).to_owned(), source })?;
        }
        say(report::started(&supervisor.rows(), &config.machine.data));
        Ok(supervisor)
    }

    /// Starts a node's process, and waits for its end and until it is ready in tasks of their own.
    fn spawn(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.members[index];
        member.log.mark()?;
        let (mut process, end) = Process::spawn(&self.options, member.node, &member.log)?;
        self.events.spawn(async move { Event::Exited(index, end.await) });
        let (hindrance, hindered) = watch::channel(None);
        member.hindrance = hindered;
        let ready = probe::ready(self.client.clone(), member.node.address.clone(), hindrance);
        process.probe = Some(self.events.spawn(async move {
            ready.await;
            Event::Ready(index)
        }));
        member.process = Some(process);
        Ok(())
    }

    /// Tells what happens, and starts nodes again where that is wanted, until `shutdown`.
    async fn watch(&mut self, shutdown: &CancellationToken) -> Result<(), SupervisorError> {
        let mut pause = FIRST_PROGRESS;
        let mut progress = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                // A probe that was broken off ends without an event.
                Some(joined) = self.events.join_next() => match joined {
                    Ok(Event::Exited(index, status)) => self.exited(index, status)?,
                    Ok(Event::Ready(index)) => self.became_ready(index),
                    Ok(Event::RestartDue(index)) => self.restart(index),
                    Err(_) => {}
                },
                () = sleep_until(progress) => {
                    self.tell_progress();
                    pause = (pause * 2).min(LONGEST_PROGRESS);
                    progress = Instant::now() + pause;
                }
            }
        }
    }

    fn exited(&mut self, index: usize, status: io::Result<ExitStatus>) -> Result<(), SupervisorError> {
        let respawn = self.options.respawn;
        let member = &mut self.members[index];
        let Some(process) = member.process.take() else { return Ok(()) };
        let was_ready = std::mem::take(&mut member.ready);
        if let Some(probe) = process.probe {
            probe.abort();
        }
        let up_for = process.since.elapsed();
        say(report::death(&member.node.id, &status, up_for, was_ready, &member.log));
        if respawn {
            self.schedule_restart(index, up_for);
            return Ok(());
        }
        let left = self.members.iter().filter(|member| member.process.is_some()).count();
        if left == 0 {
            return Err(SupervisorError::AllDown(self.logs.clone()));
        }
        let command = report::command(&self.options, self.members[index].node);
        say(format!(
            "{} stays down, the other {left} go on. To start it by hand:\n  {command}\nTo have nodes started again, run with --respawn.",
            self.id(index)
        ));
        self.announce_when_ready();
        Ok(())
    }

    fn schedule_restart(&mut self, index: usize, up_for: Duration) {
        let delay = self.members[index].restarts.delay_after(up_for);
        say(format!("{} is started again in {}.", self.id(index), seconds(delay)));
        self.events.spawn(async move {
            sleep(delay).await;
            Event::RestartDue(index)
        });
    }

    fn restart(&mut self, index: usize) {
        match self.spawn(index) {
            Ok(()) => {
                let pid = self.members[index].process.as_ref().map_or(0, |process| process.pid);
                say(format!("{} is started again, with pid {pid}.", self.id(index)));
            }
            Err(error) => {
                say(format!("{} could not be started: {error}.", self.id(index)));
                self.schedule_restart(index, Duration::ZERO);
            }
        }
    }

    fn became_ready(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(process) = &member.process else { return };
        member.ready = true;
        if self.announced {
            say(format!("{} is ready again in {}.", member.node.id, seconds(process.since.elapsed())));
        }
        self.announce_when_ready();
    }

    /// Tells, once, that every node that is going to be ready is.
    fn announce_when_ready(&mut self) {
        if self.announced || !self.awaited().is_empty() {
            return;
        }
        self.announced = true;
        let serves = |member: &&Member| member.node.role == Role::Frontend && member.ready;
        let frontend = self.members.iter().find(serves).map(|member| member.node.address.as_str());
        say(report::ready(self.started.elapsed(), &self.down(), frontend));
    }

    fn tell_progress(&self) {
        let awaited = self.awaited();
        if awaited.is_empty() {
            return;
        }
        let down = match self.down() {
            down if down.is_empty() || self.options.respawn => String::new(),
            down => format!("; {} will not be ready", join(&down)),
        };
        let (after, logs) = (seconds(self.started.elapsed()), self.logs.display());
        let hindrances =
            self.members.iter().filter(|member| awaited.contains(&&*member.node.id)).filter_map(|member| {
                let hindrance = member.hindrance.borrow();
                hindrance.as_ref().map(|hindrance| format!("\n  {}: {hindrance}", member.node.id))
            });
        let hindrances: String = hindrances.collect();
        say(format!("{after}: waiting for {}{down} (see the logs in {logs}){hindrances}", join(&awaited)));
    }

    /// The nodes that are expected to become ready.
    fn awaited(&self) -> Vec<&'a str> {
        self.ids(|member| !member.ready && (member.process.is_some() || self.options.respawn))
    }

    /// The nodes that have no process.
    fn down(&self) -> Vec<&'a str> {
        self.ids(|member| member.process.is_none())
    }

    /// Stops all nodes, group after group.
    async fn stop(&mut self) {
        say("");
        for role in STOP_ORDER {
            self.stop_group(role).await;
        }
        say(format!(
            "All nodes are stopped. Their data stays in {}: the same command goes on from there.",
            self.config.machine.data.display()
        ));
    }

    /// Asks the nodes of a role to stop, and kills those that do not in time.
    async fn stop_group(&mut self, role: Role) {
        if self.running(role).is_empty() {
            return;
        }
        say(format!("stopping {}", join(&self.running(role))));
        self.processes(role).for_each(Process::ask_to_stop);

        let patience = Duration::from_millis(self.config.http.drain_timeout_ms) + STOP_GRACE;
        let asked = Instant::now();
        let mut killed = false;
        let mut progress = interval_at(asked + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        while let left = self.running(role)
            && !left.is_empty()
        {
            tokio::select! {
                Some(joined) = self.events.join_next() => {
                    if let Ok(Event::Exited(index, status)) = joined {
                        self.stopped(index, status);
                    }
                }
                _ = progress.tick() => say(format!("waiting for {} to finish the requests under way", join(&left))),
                () = sleep_until(asked + patience), if !killed => {
                    say(format!("killing {}, not stopped within {}", join(&left), seconds(patience)));
                    self.processes(role).for_each(|process| process.kill());
                    killed = true;
                }
            }
        }
    }

    fn stopped(&mut self, index: usize, status: io::Result<ExitStatus>) {
        let member = &mut self.members[index];
        member.process = None;
        if !matches!(&status, Ok(status) if status.success()) {
            say(report::bad_end(&member.node.id, &status, &member.log));
        }
    }

    /// The nodes of a role that run.
    fn running(&self, role: Role) -> Vec<&'a str> {
        self.ids(|member| member.node.role == role && member.process.is_some())
    }

    /// Their processes.
    fn processes(&mut self, role: Role) -> impl Iterator<Item = &mut Process> {
        let of_role = self.members.iter_mut().filter(move |member| member.node.role == role);
        of_role.filter_map(|member| member.process.as_mut())
    }

    fn ids(&self, which: impl Fn(&Member) -> bool) -> Vec<&'a str> {
        self.members.iter().filter(|member| which(member)).map(|member| member.node.id.as_str()).collect()
    }

    fn id(&self, index: usize) -> &'a str {
        &self.members[index].node.id
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let row = |member| {
            let Member { node, log, process, .. }: &Member = member;
            Row { node, pid: process.as_ref().map_or(0, |process| process.pid), log: log.path() }
        };
        self.members.iter().map(row).collect()
    }
}
