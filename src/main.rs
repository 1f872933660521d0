//! The `bazar` executable: from flags and configuration to a running process and its exit code.
//!
//! What a node does is not known here, nor how nodes are supervised.

// They panic where the output is full or closed, and a panic ends the process.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bazar::config::{Config, Node, Role};
use bazar::platform::{Platform, raise_descriptor_limit};
use bazar::{node, supervisor, telemetry};
use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

use crate::cli::flags::Cli;
use crate::cli::{check, stop, summary};

/// The exit code for wrong flags or a wrong configuration, which is clap's own too.
const EXIT_WRONG_USE: u8 = 2;

/// Threads that work at most, unless the configuration asks for more: they would only take the machine's cores from its
/// other nodes.
const MAX_WORKER_THREADS: usize = 4;

/// The cores for one worker thread. A node's work is many short steps, each of which wakes the next: on a thread
/// of its own, each would cost a switch of threads. Where there is one thread, it needs no means to share work.
const CORES_PER_WORKER: usize = 2;

/// Work begun on one thread ends on another here, which the C library's allocator pays for dearly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a node may take to stop beyond the draining of its requests. Less than the supervisor's
/// patience, so that the node can still say so itself.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// How long work on blocking threads may hold up the end of the process.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// How long the last line may take to be taken by whoever reads it.
const COMPLAINT_LIMIT: Duration = Duration::from_secs(1);

/// Something that was asked for is not there to be run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUse(String);

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) => return tell(&answer),
    };
    let config = match Config::load(&cli.config, &cli.overrides()) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(EXIT_WRONG_USE);
        }
    };
    match run(&cli, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("bazar: {error:#}"));
            if error.is::<WrongUse>() { ExitCode::from(EXIT_WRONG_USE) } else { ExitCode::FAILURE }
        }
    }
}

/// Gives what clap answers: help or a version, or what is wrong with the flags.
fn tell(answer: &clap::Error) -> ExitCode {
    let told = answer.print();
    match answered(told) {
        _ if answer.use_stderr() => ExitCode::from(EXIT_WRONG_USE),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("bazar: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether what was asked for could be given on standard output.
fn answered(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("standard output cannot be written to"),
    }
}

/// Writes a line to standard error. Where it cannot, or nobody takes it soon, the exit code alone tells.
fn complain(text: &impl Display) {
    let line = format!("{text}\n");
    let (written, is_written) = mpsc::channel();
    thread::spawn(move || {
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    let _ = is_written.recv_timeout(COMPLAINT_LIMIT);
}

fn run(cli: &Cli, config: Config) -> anyhow::Result<()> {
    let filter = telemetry::filter(&config.log.level).map_err(|error| WrongUse(error.to_string()));
    let Some(role) = cli.role.filter(|_| !cli.check) else {
        let node = cli.role.and_then(|role| role.one()).map(|role| choose(cli, &config, role).map(drop));
        let checked = [filter.map(drop), node.unwrap_or(Ok(())), check::files(&config).map_err(WrongUse)];
        let mistakes: Vec<String> = checked.into_iter().filter_map(Result::err).map(|mistake| mistake.0).collect();
        if !mistakes.is_empty() {
            return Err(WrongUse(mistakes.join("\n")).into());
        }
        let summary = summary::of(&config, &cli.config);
        return answered(io::stdout().write_all(summary.as_bytes()).and_then(|()| io::stdout().flush()));
    };
    let filter = filter?;
    match role.one() {
        None => supervise(cli, &config),
        Some(role) => {
            let node = choose(cli, &config, role)?.clone();
            let lines = telemetry::start_log(filter);
            let outcome = run_node(cli, config, &node);
            // Before the last word, which is written by itself.
            lines.finish();
            outcome
        }
    }
}

/// The node that the flags mean.
fn choose<'a>(cli: &Cli, config: &'a Config, role: Role) -> Result<&'a Node, WrongUse> {
    let file = cli.config.display();
    let group = config.group(role);
    let ids: Vec<&str> = group.iter().map(|node| node.id.as_str()).collect();
    let ids = ids.join(", ");
    match (&cli.id, group) {
        (Some(id), _) => group
            .iter()
            .find(|node| node.id == *id)
            .ok_or_else(|| WrongUse(format!("{file} has no {role} node {id:?}: --id must be one of {ids}"))),
        (None, [node]) => Ok(node),
        (None, _) => Err(WrongUse(format!("{file} has {} {role} nodes: add --id and one of {ids}", group.len()))),
    }
}

/// How many threads work, where `wanted` are asked for.
fn worker_threads(wanted: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match wanted {
        0 => (cores / CORES_PER_WORKER).clamp(1, MAX_WORKER_THREADS),
        wanted => wanted,
    }
}

/// Runs one node until it is asked to stop.
fn run_node(cli: &Cli, config: Config, node: &Node) -> anyhow::Result<()> {
    let mut threads = match worker_threads(config.machine.threads) {
        1 => runtime::Builder::new_current_thread(),
        several => {
            let mut threads = runtime::Builder::new_multi_thread();
            threads.worker_threads(several).thread_name("bazar-worker");
            threads
        }
    };
    let data = (node.role != Role::Frontend)
        .then(|| tracing::field::display(node::folder(&config, node).display().to_string()));
    tracing::info!(node = %node.id, version = bazar::VERSION, configuration = %cli.config.display(), data, "starting");
    let runtime = threads.enable_io().enable_time().build().context("the threads could not be started")?;

    let shutdown = stop_token(&runtime)?;
    if cli.exit_with_parent {
        stop::on_end_of_input(shutdown.clone()).context("standard input cannot be watched")?;
    }
    let patience = Duration::from_millis(config.http.drain_timeout_ms) + STOP_GRACE;
    let options = node::Options { join: cli.join, max_open_files: raise_descriptor_limit() };
    let id = node.id.clone();
    let work = node::run(Platform::system(), Arc::new(config), node, options, shutdown.clone());
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome.map_err(anyhow::Error::msg),
            () = overdue(&shutdown, patience) => {
                let patience_ms = patience.as_millis();
                Err(anyhow!("{} did not stop within {patience_ms} ms and is cut off; no acknowledged write is lost", node.id))
            }
        }
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    if outcome.is_ok() {
        tracing::info!(node = %id, "stopped");
    }
    outcome
}

/// Starts all nodes and watches them until it is asked to stop.
fn supervise(cli: &Cli, config: &Config) -> anyhow::Result<()> {
    if !check::has_a_catalog(config) {
        // The nodes would wait for their first books, each for the others.
        check::files(config).map_err(WrongUse)?;
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime could be started")?;
    let shutdown = stop_token(&runtime)?;
    let mut flags = vec!["--config".into(), cli.config.clone().into_os_string()];
    for (key, value) in cli.overrides() {
        flags.extend(["--set".into(), format!("{key}={value}").into()]);
    }
    let executable = std::env::current_exe().context("the path of bazar itself is unknown")?;
    let options = supervisor::Options { executable, flags, respawn: cli.respawn };
    // As a message, for its text names its cause already.
    runtime.block_on(supervisor::run(config, options, shutdown)).map_err(anyhow::Error::msg)
}

/// A token that the signals cancel.
fn stop_token(runtime: &Runtime) -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let _within = runtime.enter();
    stop::on_signals(shutdown.clone()).context("signals cannot be watched")?;
    Ok(shutdown)
}

/// Ends when `patience` has passed since `shutdown` was asked for.
async fn overdue(shutdown: &CancellationToken, patience: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(patience).await;
}
