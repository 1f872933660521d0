//! A server as a process that does not outlive the bench, whatever ends that.
//!
//! Three things see to it: dropping a [`Process`] stops it; Ctrl-C makes the bench drop it; and on Linux the kernel
//! signals it when the bench dies. It knows no particular server.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::interruption;

/// How long a server may take to get ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Lines of a log that an error shows.
const SHOWN_LINES: usize = 10;

/// Which signal stops a server, children and all.
#[derive(Clone, Copy, Debug)]
pub enum StopBy {
    /// SIGTERM: stops most servers.
    Terminate,
    /// SIGINT: PostgreSQL's fast shutdown; at SIGTERM it would wait for its clients.
    Interrupt,
    /// SIGKILL: for one process whose data nobody wants, and which would take its time.
    Kill,
}

impl StopBy {
    fn signal(self) -> Signal {
        match self {
            StopBy::Terminate => Signal::TERM,
            StopBy::Interrupt => Signal::INT,
            StopBy::Kill => Signal::KILL,
        }
    }

    fn name(self) -> &'static str {
        match self {
            StopBy::Terminate => "TERM",
            StopBy::Interrupt => "INT",
            StopBy::Kill => "KILL",
        }
    }
}

/// Another user to run as, which only root can.
#[derive(Clone, Copy, Debug)]
pub struct User(pub &'static str);

/// Whether this system's `setpriv` can have the kernel signal a process when its parent dies.
static HAS_LEASH: LazyLock<bool> = LazyLock::new(|| {
    let tried = Command::new("setpriv").args(["--pdeathsig", "TERM", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
});

/// How to start a program that is signalled when this process dies.
pub fn leashed(program: &Path, stop_by: StopBy, user: Option<User>) -> Command {
    if !*HAS_LEASH && user.is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    if *HAS_LEASH {
        command.args(["--pdeathsig", stop_by.name()]);
    }
    if let Some(User(name)) = user {
        command.args(["--reuid", name, "--regid", name, "--init-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// A running server. It ends when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    stop_by: StopBy,
    log: PathBuf,
}

impl Process {
    /// Starts a server whose output goes to a log in `folder`.
    pub fn spawn(name: &str, folder: &Path, mut command: Command, stop_by: StopBy) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // Ctrl-C in the terminal is for the bench, which then stops its servers.
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { name: name.to_owned(), child, stop_by, log })
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready`; fails if the server ends before, or takes too long.
    pub fn wait_until(&mut self, what: &str, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while !is_ready() {
            interruption::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before {what}:\n{}", self.name, self.last_lines());
            }
            ensure!(
                Instant::now() < deadline,
                "{}: not within {READY_LIMIT:?}: {what}\n{}",
                self.name,
                self.last_lines()
            );
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    fn has_ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, self.stop_by.signal());
        if !self.has_ended_within(STOP_LIMIT) {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end and returns what it printed.
pub fn output_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} ended with {}: {}", output.status, errors.trim());
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed what is no text"))
}
