//! What a node tells those who run it: its log, on standard error.
//!
//! Knows no event, only which ones are shown and how.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The environment's variable that goes before the configuration.
const VARIABLE: &str = "RUST_LOG";

/// The environment's filter could not be read.
#[derive(Debug, thiserror::Error)]
#[error("environment variable RUST_LOG: {text:?} is no filter ({source}); write it as info or as info,bazar=debug")]
pub struct FilterError {
    text: String,
    source: ParseError,
}

/// Starts the log of this process, which may be done once. `level` is the configuration's filter.
pub fn start_log(level: &str) -> Result<(), FilterError> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        _ => directives(level),
    };
    let filter = EnvFilter::builder().parse(&text).map_err(|source| FilterError { text, source })?;
    // A line that cannot be written is told nowhere else: standard error is where it would be told.
    let log = tracing_subscriber::fmt().compact().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    Ok(())
}

/// The filter that the configuration means.
///
/// openraft logs each failed heartbeat to a dead peer several times over, up to the level of errors.
/// Bazar tells of changes of leader itself, so openraft is only heard when it is asked for by name.
fn directives(level: &str) -> String {
    if level.contains("openraft") { level.to_owned() } else { format!("{level},openraft=off") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_is_silent_unless_it_is_named() {
        assert_eq!(directives("info"), "info,openraft=off");
        assert_eq!(directives("warn,openraft=info"), "warn,openraft=info");
    }
}
