//! Which of the peers' programs this machine has, and how to get the others.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders that are searched besides those of `PATH`: an ordinary user's often lacks them.
const FURTHER_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];

/// Where Debian and Red Hat have a folder for each version of PostgreSQL.
const POSTGRES_FOLDERS: [&str; 2] = ["/usr/lib/postgresql", "/usr"];

const POSTGRES_PROGRAMS: [&str; 5] = ["initdb", "postgres", "pg_basebackup", "psql", "pgbench"];

/// Where the peers are, as far as they are installed.
pub struct Programs {
    /// The executable.
    pub nginx: Option<PathBuf>,
    /// The executable.
    pub haproxy: Option<PathBuf>,
    /// The executable.
    pub etcd: Option<PathBuf>,
    /// The folder of all its executables.
    pub postgres: Option<PathBuf>,
}

impl Programs {
    /// Looks for them.
    pub fn find() -> Programs {
        Programs { nginx: find("nginx"), haproxy: find("haproxy"), etcd: find("etcd"), postgres: find_postgres() }
    }

    /// Says what is missing and how to install it.
    pub fn tell_missing(&self) {
        for (peer, package, is_there) in [
            ("nginx", "nginx", self.nginx.is_some()),
            ("HAProxy", "haproxy", self.haproxy.is_some()),
            ("etcd", "etcd-server", self.etcd.is_some()),
            ("PostgreSQL with pgbench", "postgresql postgresql-contrib", self.postgres.is_some()),
        ] {
            if !is_there {
                eprintln!("{peer} is not installed, so it is left out. On Debian: sudo apt-get install {package}");
            }
        }
    }

    /// What each peer calls itself.
    pub fn versions(&self) -> Vec<(String, String)> {
        let postgres = self.postgres.as_ref().map(|folder| folder.join("postgres"));
        let asked = [
            ("nginx", &self.nginx, "-v"),
            ("HAProxy", &self.haproxy, "-v"),
            ("etcd", &self.etcd, "--version"),
            ("PostgreSQL", &postgres, "--version"),
        ];
        let told = |program: &Path, flag: &str| version(program, flag).unwrap_or("of an unknown version".to_owned());
        let fact = |(peer, program, flag): (&str, &Option<PathBuf>, &str)| {
            let told = program.as_deref().map_or("not installed".to_owned(), |program| told(program, flag));
            (peer.to_owned(), told)
        };
        asked.into_iter().map(fact).collect()
    }
}

/// The first line that a program tells about itself.
fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    // nginx writes it to standard error.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FURTHER_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The folder with all of PostgreSQL's programs, the newest version's if there are several.
fn find_postgres() -> Option<PathBuf> {
    let on_path = find("initdb").and_then(|program| Some(program.parent()?.to_owned()));
    let versions = POSTGRES_FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| version_of(folder));
    let has_all = |folder: &PathBuf| POSTGRES_PROGRAMS.iter().all(|name| folder.join(name).is_file());
    on_path.into_iter().chain(folders.into_iter().rev()).find(has_all)
}

/// The number in `/usr/lib/postgresql/15/bin` or `/usr/pgsql-15/bin`.
fn version_of(folder: &Path) -> u32 {
    let text = folder.to_string_lossy();
    let digits = text.split(|character: char| !character.is_ascii_digit()).find(|digits| !digits.is_empty());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
