//! What the supervisor tells people, in plain lines, so that it reads the same in a terminal and in the log
//! of a build.

use std::borrow::Borrow;
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_appender::non_blocking::NonBlocking;

use super::Options;
use super::process::Log;
use crate::config::Node;
use crate::telemetry::{self, Lines};

/// The lines of a dead node's log that are shown.
const LAST_LINES: usize = 8;

static OUTPUT: OnceLock<NonBlocking> = OnceLock::new();

/// Has what is [said](say) from now on written beside: whoever reads it may take a rest, and the nodes must not wait.
pub(super) fn start_output() -> Lines {
    let (output, lines) = telemetry::write_beside(io::stdout());
    // There is one supervisor in a process.
    let _ = OUTPUT.set(output);
    lines
}

/// Prints a line, or several. That nobody reads them is no reason to stop the nodes.
pub(super) fn say(text: impl Display) {
    if let Some(output) = OUTPUT.get() {
        let _ = output.clone().write_all(format!("{text}\n").as_bytes());
    }
}

/// A time to one digit after the point.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A list in words.
pub(super) fn join<S: Borrow<str>>(items: &[S]) -> String {
    items.join(", ")
}

/// A node that was started.
pub(super) struct Row<'a> {
    pub node: &'a Node,
    pub pid: u32,
    pub log: &'a Path,
}

/// The table of all nodes.
pub(super) fn started(rows: &[Row], data: &Path) -> String {
    let cells = rows.iter().map(|row| {
        let Row { node, pid, log } = row;
        [node.id.clone(), node.role.to_string(), node.address.clone(), pid.to_string(), log.display().to_string()]
    });
    let heading = ["NODE", "ROLE", "ADDRESS", "PID", "LOG"].map(str::to_owned);
    let table: Vec<_> = std::iter::once(heading).chain(cells).collect();
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);

    let mut text = format!("Started {} nodes, whose data is in {}:\n\n", rows.len(), data.display());
    for row in &table {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", row[widths.len()]);
    }
    text + "\nWaiting until all are ready."
}

/// All nodes are ready, save those that are `down`; `frontend` is the address of one that customers can ask.
pub(super) fn ready(after: Duration, down: &[&str], frontend: Option<&str>) -> String {
    let mut text = format!("ready in {}", seconds(after));
    if !down.is_empty() {
        let _ = write!(text, ", without {}", join(down));
    }
    if let Some(address) = frontend {
        let _ = write!(
            text,
            "\n\nTry:\n  \
             curl http://{address}/search/distributed%20systems\n  \
             curl http://{address}/info/1\n  \
             curl -X POST http://{address}/buy/1\n  \
             curl http://{address}/cluster\n"
        );
    }
    text + "\nCtrl-C stops all nodes."
}

/// A node ended that should run.
pub(super) fn death(id: &str, status: &io::Result<ExitStatus>, up_for: Duration, was_ready: bool, log: &Log) -> String {
    let too_early = if was_ready { "" } else { ", before it was ready" };
    let mut text = format!("{id} died after {}{too_early}: {}. ", seconds(up_for), describe(status));
    let path = log.path().display();
    let _ = match log.last_lines(LAST_LINES) {
        Ok(lines) if lines.is_empty() => write!(text, "It wrote nothing to {path}."),
        Ok(lines) => write!(text, "The end of {path}:\n  | {}", lines.join("\n  | ")),
        Err(error) => write!(text, "Its log {path} cannot be read: {error}."),
    };
    text
}

/// How to start a node by hand.
pub(super) fn command(options: &Options, node: &Node) -> String {
    let own = ["--role", node.role.name(), "--id", &node.id].map(OsString::from);
    let words = std::iter::once(options.executable.clone().into_os_string()).chain(own).chain(options.flags.clone());
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    match !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=:,+@".contains(&byte)) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A node ended when it should, but not well.
pub(super) fn bad_end(id: &str, status: &io::Result<ExitStatus>, log: &Log) -> String {
    format!("{id} did not end well: {}; see {}", describe(status), log.path().display())
}

fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its end could not be observed ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn the_table_is_aligned() {
        let node = |id: &str, role, address: &str| Node {
            id: id.into(),
            role,
            number: 1,
            address: address.into(),
            listen: address.into(),
        };
        let (frontend, catalog) =
            (node("frontend-1", Role::Frontend, "a:1"), node("catalog-1", Role::Catalog, "shop:9080"));
        let rows = [
            Row { node: &frontend, pid: 7, log: Path::new("data/logs/frontend-1.log") },
            Row { node: &catalog, pid: 12345, log: Path::new("data/logs/catalog-1.log") },
        ];
        let expected = "\
Started 2 nodes, whose data is in data:

NODE        ROLE      ADDRESS    PID    LOG
frontend-1  frontend  a:1        7      data/logs/frontend-1.log
catalog-1   catalog   shop:9080  12345  data/logs/catalog-1.log

Waiting until all are ready.";
        assert_eq!(started(&rows, Path::new("data")), expected);
    }

    #[test]
    fn a_command_is_written_so_that_a_shell_takes_it() {
        assert_eq!(quoted("--set"), "--set");
        assert_eq!(quoted("log.level=info,bazar=debug"), "log.level=info,bazar=debug");
        assert_eq!(quoted("it's two words"), r"'it'\''s two words'");
    }

    #[test]
    fn what_to_try_names_a_frontend_that_answers() {
        let text = ready(Duration::from_millis(1234), &["catalog-2"], Some("127.0.0.1:9000"));
        assert!(text.starts_with("ready in 1.2 s, without catalog-2\n"), "{text}");
        assert!(text.contains("\n  curl -X POST http://127.0.0.1:9000/buy/1\n"), "{text}");
        assert!(!ready(Duration::ZERO, &[], None).contains("curl"));
    }
}
