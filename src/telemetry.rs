//! What a node tells those who run it: its log, on standard error.
//!
//! Knows no event, only which ones are shown, how, and how often.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::time::Instant;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The environment's variable that goes before the configuration.
const VARIABLE: &str = "RUST_LOG";

/// The environment's filter could not be read.
#[derive(Debug, thiserror::Error)]
#[error("environment variable RUST_LOG: found {text:?}; expected {FILTER_FORM}")]
pub struct FilterError {
    text: String,
}

/// How a filter is written.
pub const FILTER_FORM: &str = "error, warn, info, debug, trace or off, or such a level and directives by module, as in \"info,bazar::http=debug\"";

/// What a filter means; nothing if it is none.
///
/// A word alone is a level, and without a level for all of bazar there is none: the library would take any other word for
/// the name of a module, of which there may be none, and be silent on all the rest.
pub fn parse_filter(text: &str) -> Option<EnvFilter> {
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_directive = |part: &str| part.contains(['=', '[']) || is_level(part);
    let speaks_of_all = |part: &str| is_level(part) || part.starts_with("bazar=");
    let parts = || text.split(',').map(str::trim);
    let is_sound = parts().all(is_directive) && parts().any(speaks_of_all);
    EnvFilter::builder().parse(text).ok().filter(|_| is_sound)
}

/// The filter of this process' log. `level` is the configuration's.
///
/// # Errors
/// If the environment sets another, which is none.
pub fn filter(level: &str) -> Result<EnvFilter, FilterError> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        _ => directives(level),
    };
    parse_filter(&text).ok_or(FilterError { text })
}

/// Lines that wait to be written; more are dropped. Whoever reads the log may take a rest, and nobody waits for that.
const WAITING_LINES: usize = 8192;

/// Lines that wait to be written.
pub struct Lines {
    writer: WorkerGuard,
    dropped: ErrorCounter,
}

impl Lines {
    /// Writes what waits, unless whoever reads it takes nothing.
    pub fn finish(self) {
        match self.dropped.dropped_lines() {
            0 => drop(self.writer),
            // It would say on standard output, and perhaps wait there, that it cannot.
            _ => std::mem::forget(self.writer),
        }
    }
}

/// Writes lines to `out` on a thread of their own.
pub fn write_beside(out: impl io::Write + Send + 'static) -> (NonBlocking, Lines) {
    let lines = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("bazar-log");
    let (lines, writer) = lines.finish(out);
    let dropped = lines.error_counter();
    (lines, Lines { writer, dropped })
}

/// Starts the log of this process, which may be done once.
pub fn start_log(filter: EnvFilter) -> Lines {
    let is_terminal = io::stderr().is_terminal();
    let (writer, lines) = write_beside(io::stderr());
    // A line that cannot be written is told nowhere else: standard error is where it would be told.
    let log = tracing_subscriber::fmt().compact().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(writer).with_ansi(is_terminal).init();
    lines
}

/// The filter that the configuration means.
///
/// openraft logs each failed heartbeat to a dead peer several times over, up to the level of errors.
/// Bazar tells of changes of leader itself, so openraft is only heard when it is asked for by name.
fn directives(level: &str) -> String {
    if level.contains("openraft") { level.to_owned() } else { format!("{level},openraft=off") }
}

/// A trouble that lasts. It is told when it begins, ever more seldom while it lasts, and when it is over.
#[derive(Debug, Default)]
pub struct Trouble {
    times: u64,
    met_at: Option<Instant>,
    /// When it is told again, and how long after the last time that is.
    next: Option<(Instant, Duration)>,
}

impl Trouble {
    /// After the first time that it is told, so long until the second; twice as long until the third, and so on.
    const FIRST_PAUSE: Duration = Duration::from_secs(1);

    /// It is told at least so often.
    const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

    /// What comes back within this time was not over.
    const CALM: Duration = Duration::from_secs(10);

    /// It is met, perhaps once more. Whether to tell of it, and how often it was met since it began.
    pub fn met(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.times += 1;
        self.met_at = Some(now);
        let pause = match self.next {
            Some((at, _)) if now < at => return None,
            Some((_, pause)) => (pause * 2).min(Self::LONGEST_PAUSE),
            None => Self::FIRST_PAUSE,
        };
        self.next = Some((now + pause, pause));
        Some(self.times)
    }

    /// It is not met now. Whether to tell that it is over, and how often it was met.
    pub fn gone(&mut self) -> Option<u64> {
        if self.met_at?.elapsed() < Self::CALM {
            return None;
        }
        Some(std::mem::take(self).times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_told_when_it_begins_ever_more_seldom_and_when_it_is_over() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.gone(), None);
        let mut told = Vec::new();
        for tenth in 0..1000 {
            if trouble.met().is_some() {
                told.push(tenth);
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(told, [0, 10, 30, 70, 150, 310, 630]);
        assert_eq!(trouble.gone(), None, "it may come back at once");
        tokio::time::advance(Trouble::CALM).await;
        assert_eq!(trouble.gone(), Some(1000));
        assert_eq!(trouble.gone(), None);
        assert_eq!(trouble.met(), Some(1), "the next is another");
    }

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for text in [
            "info",
            "WARN",
            "off",
            "info,bazar=debug",
            "bazar=warn",
            "bazar[a=b]=debug,off",
            "bazar::replica=trace,warn",
        ] {
            assert!(parse_filter(text).is_some(), "{text}");
        }
        let no_words = ["warning", "debgu", "bazar", "info,bazar", "bazar=debgu", "", "info,", "6"];
        let not_of_all = ["bazr=debug", "bazar::htp=debug", "bazr=info,bazar::http=debug", "[a]=debug"];
        for text in no_words.into_iter().chain(not_of_all) {
            assert!(parse_filter(text).is_none(), "{text}");
        }
    }

    #[test]
    fn openraft_is_silent_unless_it_is_named() {
        assert_eq!(directives("info"), "info,openraft=off");
        assert_eq!(directives("warn,openraft=info"), "warn,openraft=info");
    }
}
