//! What asks a process to stop: a signal, or the death of the process that started it.
//!
//! Whatever it is, it cancels one token. How to stop is not known here.

use std::fs;
use std::io;
use std::process;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where Linux tells which signals a process ignores, as bits of a hexadecimal number.
const STATUS_FILE: &str = "/proc/self/status";

/// Cancels `shutdown` at the first SIGINT, SIGTERM or SIGHUP; at the second, ends the process at once.
/// To be called within a runtime.
pub fn on_signals(shutdown: CancellationToken) -> io::Result<()> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        // Whoever started this with `nohup` wants it to outlive the terminal.
        hangup: if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
    };
    tokio::spawn(async move {
        let (name, _) = signals.next().await;
        tracing::info!(signal = name, "asked to stop");
        shutdown.cancel();
        let (_, kind) = signals.next().await;
        // The code with which a shell reports a process that a signal killed.
        process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Waits for any of them.
    async fn next(&mut self) -> (&'static str, SignalKind) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = hangup => ("SIGHUP", SignalKind::hangup()),
        }
    }
}

fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string(STATUS_FILE).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    ignored >> (SignalKind::hangup().as_raw_value() - 1) & 1 == 1
}

/// Cancels `shutdown` when standard input ends.
///
/// A thread of its own, which nobody waits for: the runtime would wait for its blocking reads.
pub fn on_end_of_input(shutdown: CancellationToken) -> io::Result<()> {
    let watch = move || {
        // An input that cannot be read is as good as ended.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        tracing::info!("asked to stop, or left alone, by the process that started this one");
        shutdown.cancel();
    };
    thread::Builder::new().name("bazar-parent".into()).spawn(watch)?;
    Ok(())
}
