//! One node's process: how it starts, how it is asked to stop, and the log that it leaves.
//!
//! What its end means is not known here.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{ChildStdin, Command};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Options, SupervisorError};
use crate::config::Node;

/// The end of a log that is looked at for its last lines, in bytes.
const TAIL_BYTES: u64 = 8 * 1024;

/// A node's process that runs, as far as is known.
pub(super) struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started.
    pub since: Instant,
    /// The task that waits until it is ready.
    pub probe: Option<AbortHandle>,
    input: Option<ChildStdin>,
    kill: CancellationToken,
}

impl Process {
    /// Starts `node`. The future is to be polled: it ends with the process.
    pub fn spawn(
        options: &Options,
        node: &Node,
        log: &Log,
    ) -> io::Result<(Self, impl Future<Output = io::Result<ExitStatus>> + Send + use<>)> {
        let mut child = Command::new(&options.executable)
            .args(["--role", node.role.name(), "--id", &node.id, "--exit-with-parent"])
            .args(&options.flags)
            .stdin(Stdio::piped())
            .stdout(log.file.try_clone()?)
            .stderr(log.file.try_clone()?)
            // Ctrl-C goes to the terminal's whole process group. It is the supervisor that stops the nodes, in order.
            .process_group(0)
            .spawn()?;
        let kill = CancellationToken::new();
        let process = Process {
            // A process that was only just started has not been waited for, and so has an id.
            pid: child.id().unwrap_or_default(),
            since: Instant::now(),
            probe: None,
            input: child.stdin.take(),
            kill: kill.clone(),
        };
        let end = async move {
            tokio::select! {
                status = child.wait() => return status,
                () = kill.cancelled() => {}
            }
            child.start_kill()?;
            child.wait().await
        };
        Ok((process, end))
    }

    /// Closes its standard input, at which it finishes the requests under way and ends.
    pub fn ask_to_stop(&mut self) {
        self.input = None;
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.kill.cancel();
    }
}

/// The file that a node's output is appended to.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    /// Where the output of the running process begins.
    start: u64,
}

impl Log {
    /// The log of node `id` in `folder`, which is made if it is not there.
    pub fn open(folder: &Path, id: &str) -> Result<Log, SupervisorError> {
        let path = folder.join(format!("{id}.log"));
        match open(&path) {
            Ok(file) => Ok(Log { file, path, start: 0 }),
            Err(source) => Err(SupervisorError::Log { path, source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that what is written from now on comes from a new process, to the file that has the log's name now.
    pub fn mark(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.start = self.file.metadata()?.len();
        Ok(())
    }

    /// The last lines that the newest process wrote, at most `count`.
    pub fn last_lines(&self, count: usize) -> io::Result<Vec<String>> {
        // Opened anew: the position of `file` is the node's too.
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        // Whoever rotates logs may have emptied it since.
        let start = if self.start > length { 0 } else { self.start };
        let from = length.saturating_sub(TAIL_BYTES).max(start);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(count)..].iter().map(|&line| line.to_owned()).collect())
    }
}

/// Opens a log to append to. Makes it, and its folder, if it is not there.
fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_those_of_the_newest_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(&folder.path().join("logs"), "catalog-1").unwrap();
        writeln!(log.file, "old").unwrap();
        log.mark().unwrap();
        assert_eq!(log.last_lines(2).unwrap(), Vec::<String>::new());
        writeln!(log.file, "one").unwrap();
        assert_eq!(log.last_lines(2).unwrap(), ["one"]);
        writeln!(log.file, "two\nthree").unwrap();
        assert_eq!(log.last_lines(2).unwrap(), ["two", "three"]);
    }

    #[test]
    fn a_log_that_was_rotated_is_followed_whichever_way_it_was_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), "catalog-1").unwrap();
        writeln!(log.file, "old, and longer than what comes").unwrap();
        log.mark().unwrap();
        OpenOptions::new().write(true).open(log.path()).unwrap().set_len(0).unwrap();
        writeln!(log.file, "after it was emptied").unwrap();
        assert_eq!(log.last_lines(2).unwrap(), ["after it was emptied"]);

        fs::rename(log.path(), folder.path().join("catalog-1.log.1")).unwrap();
        log.mark().unwrap();
        writeln!(log.file, "after it was moved").unwrap();
        assert_eq!(log.last_lines(2).unwrap(), ["after it was moved"]);
    }

    #[test]
    fn a_long_log_is_read_from_its_end_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), "catalog-1").unwrap();
        log.file.write_all(&[b'x'; 3 * TAIL_BYTES as usize]).unwrap();
        writeln!(log.file, "\nlast").unwrap();
        let lines = log.last_lines(5).unwrap();
        assert_eq!(lines.last().unwrap(), "last");
        assert!(lines.iter().map(String::len).sum::<usize>() < TAIL_BYTES as usize);
    }
}
