//! What a node tells those who run it: its log, on standard error.
//!
//! Knows no event, only which ones are shown, how, and how often.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::time::Instant;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment's variable that goes before the configuration.
const VARIABLE: &str = "RUST_LOG";

/// The environment's filter could not be read.
#[derive(Debug, thiserror::Error)]
#[error("environment variable RUST_LOG: found {text:?}; expected {FILTER_FORM}")]
pub struct FilterError {
    text: String,
}

/// How a filter is written.
pub const FILTER_FORM: &str =
    "error, warn, info, debug, trace or off, or such a level and others by module, as in \"info,bazar::http=debug\"";

/// What a filter means; nothing if it is none.
///
/// A part is a level, or a module and its level. Without a level for all of bazar there is none: a word that is
/// misspelt would else be taken for the name of a module, of which there may be none, and all the rest be silent.
pub fn parse_filter(text: &str) -> Option<Targets> {
    let parts = text.split(',').map(|part| directive(part.trim()));
    let directives: Vec<(&str, LevelFilter)> = parts.collect::<Option<_>>()?;
    let speaks_of_all = directives.iter().any(|(module, _)| module.is_empty() || *module == "bazar");
    // All modules' names begin with the empty one.
    speaks_of_all.then(|| Targets::new().with_targets(directives))
}

/// A module and its level. A level alone is that of the module without a name, which is all of them.
fn directive(part: &str) -> Option<(&str, LevelFilter)> {
    let (module, level) = match part.split_once('=') {
        Some((module, level)) => (is_path(module).then_some(module)?, level),
        None => ("", part),
    };
    // The library takes numbers, and nothing, for levels too.
    let is_word = !level.is_empty() && level.chars().all(|letter| letter.is_ascii_alphabetic());
    Some((module, level.parse().ok().filter(|_| is_word)?))
}

/// Whether this may be the path of a module.
fn is_path(text: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_'));
    text.split("::").all(is_name)
}

/// The filter of this process' log. `level` is the configuration's.
///
/// # Errors
/// If the environment sets another, which is none.
pub fn filter(level: &str) -> Result<Targets, FilterError> {
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
pub fn start_log(filter: Targets) -> Lines {
    let is_terminal = io::stderr().is_terminal();
    let (writer, lines) = write_beside(io::stderr());
    // A line that cannot be written is told nowhere else: standard error is where it would be told.
    let log = tracing_subscriber::fmt::layer().compact().log_internal_errors(false);
    let log = log.with_writer(writer).with_ansi(is_terminal);
    tracing_subscriber::registry().with(log).with(filter).init();
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
    use tracing::Level;

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
    fn a_filter_that_passes_speaks_for_all_of_bazar_and_shows_what_it_says() {
        let shows = |text: &str, target: &str, level: Level| {
            parse_filter(text).unwrap_or_else(|| panic!("{text:?}")).would_enable(target, &level)
        };
        let all = ["info", "INFO", " info ", "bazar=info", "info, bazar::http=debug", "hyper=off , bazar=info"];
        for text in all.into_iter().chain(["bazar::http=warn,info", "info,bazar::replica=trace"]) {
            assert!(shows(text, "bazar::order", Level::INFO), "{text}");
            assert!(!shows(text, "bazar::order", Level::DEBUG), "{text}");
        }
        assert!(shows("info, bazar::http=debug", "bazar::http::server", Level::DEBUG));
        assert!(!shows("info,bazar::http=off", "bazar::http::server", Level::ERROR));
        assert!(shows("debug,bazar=warn", "hyper", Level::DEBUG));
        assert!(!shows("debug,bazar=warn", "bazar::order", Level::INFO));
        assert!(!shows("off", "bazar", Level::ERROR));
    }

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        let no_words = ["warning", "debgu", "bazar", "info,bazar", "bazar=debgu", "", "info,", ",info", "6", "info,3"];
        let not_of_all = ["bazr=debug", "bazar::htp=debug", "bazr=info,bazar::http=debug", "[a]=debug"];
        let no_modules = ["=info", "info,=debug", "info,bazar=", "bazar=", "info,bazar::=debug", "info,BAZAR=debug"];
        let blanks = ["info,bazar =debug", "bazar= info", "in fo", "info,bazar[a]=debug", "info,bazar=debug=info"];
        for text in [&no_words[..], &not_of_all, &no_modules, &blanks].concat() {
            assert!(parse_filter(text).is_none(), "{text}");
        }
    }

    #[test]
    fn openraft_is_silent_unless_it_is_named() {
        assert_eq!(directives("info"), "info,openraft=off");
        assert_eq!(directives("warn,openraft=info"), "warn,openraft=info");
    }
}
