//! What is wrong with a configuration, said so that the person who wrote it can mend it.
//!
//! A mistake knows its place, its key and its cure. Which keys there are is not known here.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was set. In the order in which one is laid over the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A line of the file, or the file as a whole for what stands nowhere in it.
    File {
        /// The file.
        name: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by the key that it set.
    Flag(String),
}

impl Place {
    /// Of two places, the one whose values are laid over the other's has the greater weight.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Place::File { .. } => 0,
            Place::Environment(_) => 1,
            Place::Flag(_) => 2,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { name, line: None } => write!(f, "{}", name.display()),
            Place::File { name, line: Some(line) } => write!(f, "{}:{line}", name.display()),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Flag(key) => write!(f, "flag --set {key}"),
        }
    }
}

/// One thing that must be mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    /// Where.
    pub place: Place,
    /// The key's full path, as `catalog[1].address`; empty where it is about the file itself.
    pub key: String,
    /// What was found, and what is allowed or how to mend it, in one line.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.key.as_str()) {
            (place @ Place::Flag(_), _) | (place, "") => write!(f, "{place}: {}", self.what),
            (place, key) => write!(f, "{place}: {key}: {}", self.what),
        }
    }
}

/// All that is wrong with a configuration: a heading, then one mistake per line in the order of the file,
/// the environment's variables and the flags.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.list())]
pub struct ConfigErrors {
    file: PathBuf,
    mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    /// The mistakes, at least one, made in and around `file`.
    pub(super) fn new(file: &Path, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        ConfigErrors { file: file.to_owned(), mistakes }
    }

    fn list(&self) -> String {
        let count = match self.mistakes.len() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        let lines = self.mistakes.iter().map(|mistake| format!("\n  {mistake}"));
        format!("{count} in the configuration {}:{}", self.file.display(), lines.collect::<String>())
    }
}
