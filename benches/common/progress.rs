//! What is going on, for whoever waits: on a terminal in one line that changes, elsewhere a line for each step.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Tells of steps on standard error.
pub struct Progress {
    began: Instant,
    is_terminal: bool,
    /// Whether the line that changes is there.
    is_shown: AtomicBool,
}

impl Progress {
    /// Counts time from now.
    pub fn begin() -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        Progress { began: Instant::now(), is_terminal, is_shown: AtomicBool::new(false) }
    }

    /// Tells what begins now.
    pub fn step(&self, what: &str) {
        let seconds = self.began.elapsed().as_secs();
        if self.is_terminal {
            eprint!("\r\x1b[K[{seconds:>3} s] {what}");
            let _ = std::io::stderr().flush();
            self.is_shown.store(true, Ordering::Relaxed);
        } else {
            eprintln!("[{seconds:>3} s] {what}");
        }
    }

    /// Takes the line away, before something else is printed.
    pub fn clear(&self) {
        if self.is_shown.swap(false, Ordering::Relaxed) {
            eprint!("\r\x1b[K");
        }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}
