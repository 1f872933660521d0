//! What asks a process to stop: a signal, or the death of the process that started it.
//!
//! Whatever it is, it cancels one token. How to stop is not known here.

use std::io;
use std::process;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at the first SIGINT or SIGTERM; at the second, ends the process at once.
/// To be called within a runtime.
pub fn on_signals(shutdown: CancellationToken) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        shutdown.cancel();
        let number = next(&mut interrupt, &mut terminate).await;
        // The code with which a shell reports a process that a signal killed.
        process::exit(128 + number);
    });
    Ok(())
}

/// Waits for either signal and gives its number.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}

/// Cancels `shutdown` when standard input ends.
///
/// A thread of its own, which nobody waits for: the runtime would wait for its blocking reads.
pub fn on_end_of_input(shutdown: CancellationToken) -> io::Result<()> {
    let watch = move || {
        // An input that cannot be read is as good as ended.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        shutdown.cancel();
    };
    thread::Builder::new().name("bazar-parent".into()).spawn(watch)?;
    Ok(())
}
