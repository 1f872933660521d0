//! The command line: its flags, and which of them go together.
//!
//! Whether a flag's value makes sense is not known here; the configuration tells that.

use std::path::PathBuf;

use bazar::config::Role;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

const USAGE: &str = "\
bazar --role <ROLE> [--id <NODE>] [--config <FILE>] [OPTIONS]
       bazar --check [--config <FILE>]";

const EXAMPLES: &str = "\
Examples:
  bazar --role all                                     the whole shop on this machine
  bazar --role frontend --config config/vms.toml       the one frontend of a cluster
  bazar --role catalog --id catalog-2                  one of several catalog servers
  bazar --role all --set cache.enabled=false           a key of the configuration, set for this run
  bazar --check --config config/vms.toml               what a configuration says, or all its mistakes

Every key of the configuration is explained in config/local.toml. Each but the nodes can also be set by an
environment variable, as BAZAR_CACHE__CAPACITY=100; RUST_LOG sets what is logged and goes before all.

Exit codes: 0 stopped as asked, 1 failed, 2 wrong flags or configuration.";

/// An online bookstore of replicated catalog and order servers behind a caching frontend.
#[derive(Debug, Parser)]
#[command(version = bazar::VERSION, about, override_usage = USAGE, after_help = EXAMPLES)]
pub struct Cli {
    /// What this process does: one node's work, or start and watch all nodes of the configuration.
    #[arg(long, value_enum, required_unless_present = "check")]
    pub role: Option<RoleFlag>,

    /// Which node of the role this is, as catalog-2. May be left out where the role has one node.
    #[arg(long, value_name = "NODE")]
    pub id: Option<String>,

    /// The cluster's configuration, the same for all nodes.
    #[arg(long, value_name = "FILE", default_value = "config/local.toml")]
    pub config: PathBuf,

    /// Only read the configuration: tell what it says, or all its mistakes, and start nothing.
    #[arg(long)]
    pub check: bool,

    /// Let a replica with an empty data folder join a group that exists already: a new one, or one whose disk was lost.
    #[arg(long)]
    pub join: bool,

    /// With `--role all`: start a node again when it dies.
    #[arg(long)]
    pub respawn: bool,

    /// Folder of all nodes' data, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,

    /// The books that a new cluster starts with, as CSV, instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    pub seed: Option<String>,

    /// Set a key of the configuration. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,

    /// Stop when standard input ends, which it does when the process that holds its other end dies.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// A role to run, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleFlag {
    /// Talks to customers and caches.
    Frontend,
    /// Owns books, prices and stock.
    Catalog,
    /// Owns purchases.
    Order,
    /// Starts every node of the configuration on this machine and watches them.
    All,
}

impl RoleFlag {
    /// The one role; none where it is all of them.
    pub fn one(self) -> Option<Role> {
        match self {
            RoleFlag::Frontend => Some(Role::Frontend),
            RoleFlag::Catalog => Some(Role::Catalog),
            RoleFlag::Order => Some(Role::Order),
            RoleFlag::All => None,
        }
    }
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// What to tell whoever asks for help, or whose flags are wrong.
    pub fn read() -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse()?;
        match cli.contradiction() {
            Some(reason) => Err(Cli::command().error(ErrorKind::ArgumentConflict, reason)),
            None => Ok(cli),
        }
    }

    /// Why these flags do not go together.
    fn contradiction(&self) -> Option<&'static str> {
        let all = self.role == Some(RoleFlag::All);
        match self.role {
            Some(RoleFlag::All) if self.id.is_some() => {
                Some("--id names one node, but --role all runs every node: leave out one of the two")
            }
            Some(RoleFlag::All | RoleFlag::Frontend) if self.join => {
                Some("--join is for one replica: say which, as with --role catalog --id catalog-2")
            }
            _ if self.respawn && !all => {
                Some("--respawn goes with --role all: a single node has nobody to start it again")
            }
            _ if self.data.is_some() && self.sets("data") => Some("--data and --set data= say the same: leave out one"),
            _ if self.seed.is_some() && self.sets("seed") => Some("--seed and --set seed= say the same: leave out one"),
            _ if self.exit_with_parent && all => Some("--exit-with-parent goes with the role of one node"),
            _ => None,
        }
    }

    fn sets(&self, key: &str) -> bool {
        self.set.iter().any(|(set, _)| set == key)
    }

    /// What the flags set in the configuration.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let folders = [("data", &self.data), ("seed", &self.seed)];
        let folders = folders.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        folders.chain(self.set.iter().cloned()).collect()
    }
}

/// Takes `key=value` apart. The value may hold further equals signs.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a key and its value, as cache.capacity=100")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("bazar").chain(flags.split_whitespace()))
    }

    #[test]
    fn the_flags_are_declared_soundly() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_role_is_needed_save_for_a_check() {
        assert!(parse("").is_err());
        assert!(parse("--check").is_ok());
        assert!(parse("--role waiter").is_err());
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        for flags in [
            "--role all --id catalog-1",
            "--role all --join",
            "--role frontend --join",
            "--role catalog --respawn",
            "--check --respawn",
            "--role all --data x --set data=y",
            "--check --seed x --set seed=y",
        ] {
            assert!(parse(flags).unwrap().contradiction().is_some(), "{flags}");
        }
        for flags in ["--role all --respawn", "--role order --id order-2 --join", "--role frontend --exit-with-parent"]
        {
            assert_eq!(parse(flags).unwrap().contradiction(), None, "{flags}");
        }
    }

    #[test]
    fn a_key_set_twice_has_its_last_value_and_values_may_hold_equals_signs() {
        let cli =
            parse("--role all --set cache.ttl_ms=1 --data y --set cache.ttl_ms=2 --set log.level=bazar[a=b]=debug");
        let cli = cli.unwrap();
        let expected = [("data", "y"), ("cache.ttl_ms", "1"), ("cache.ttl_ms", "2"), ("log.level", "bazar[a=b]=debug")];
        assert_eq!(cli.overrides(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(parse("--role all --set cache.enabled").is_err());
    }
}
