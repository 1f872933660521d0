//! Ctrl-C and SIGTERM: the run ends at the next occasion, and everything that it started with it.
//!
//! Nothing is cleaned up here. Whoever waits or measures asks whether to go on, and returns an error if not, so that
//! servers stop and folders go the usual way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

/// The usual exit code of what Ctrl-C ended.
const EXIT_CODE: i32 = 130;

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on. A second Ctrl-C ends this process at once; the servers die with it where the system allows.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot make a runtime")?;
    let guard = runtime.enter();
    let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminations = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    drop(guard);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if IS_INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(EXIT_CODE);
                }
                eprintln!("\nStopping the servers. Once more to stop without waiting for them.");
            }
        });
    });
    Ok(())
}

/// An error once the run is to end.
pub fn check() -> Result<()> {
    ensure!(!IS_INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
