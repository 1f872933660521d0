//! PostgreSQL: a primary and one standby that confirms every commit, both with `fsync`.
//!
//! A purchase is one statement, which takes a copy and records the order, by a prepared query. Nothing is tuned: what
//! is set is what makes two servers of it, and everything else is as `initdb` has it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::process::{Process, StopBy, User, leashed, output_of};

/// It refuses to run as root, who therefore runs it as the user that its packages make.
const USER: User = User("postgres");

/// Copies of each book: more than a run can sell.
const COPIES: u64 = 1_000_000_000;

const SCHEMA: &str = "\
    create table books (id bigint primary key, topic text, title text, price bigint, quantity bigint);
    create table orders (order_id bigserial primary key, book_id bigint, price bigint, placed_at timestamptz, key uuid);";

/// What pgbench runs over and over.
const PURCHASE: &str = "\
\\set id random(1, 7)
with u as (update books set quantity = quantity - 1 where id = :id and quantity > 0 returning id, price) \
insert into orders (book_id, price, placed_at, key) select id, price, now(), gen_random_uuid() from u;
";

/// A primary and its standby.
pub struct Postgres {
    programs: PathBuf,
    /// Where both keep their files, and pgbench its own.
    pub folder: PathBuf,
    user: Option<User>,
    address: SocketAddr,
    primary: Process,
    standby: Process,
}

impl Postgres {
    /// Makes both servers from nothing, starts them, and waits until the standby confirms commits.
    pub fn start(programs: &Path, folder: &Path, primary: SocketAddr, standby: SocketAddr) -> Result<Postgres> {
        let user = rustix::process::geteuid().is_root().then_some(USER);
        let folder = own_folder(folder, user)?;
        let run = |program: &str, arguments: &[&str]| {
            let mut command = leashed(&programs.join(program), StopBy::Terminate, user);
            output_of(command.current_dir(&folder).args(arguments))
        };

        let initdb = ["-D", "primary", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        run("initdb", &initdb)?;
        add_settings(&folder.join("primary"))?;
        let mut primary_process = spawn(programs, &folder, user, "primary", primary)?;
        primary_process.wait_until("it takes connections", || is_up(programs, primary))?;

        let (host, port) = (primary.ip().to_string(), primary.port().to_string());
        let source = ["-h", &host, "-p", &port, "-U", "postgres"];
        let copy = ["-D", "standby", "-X", "stream", "-c", "fast", "-R", "--no-sync"];
        run("pg_basebackup", &[&source[..], &copy[..]].concat())?;
        let mut standby_process = spawn(programs, &folder, user, "standby", standby)?;
        let confirms = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        standby_process.wait_until("it replicates synchronously", || {
            query(programs, primary, confirms).is_ok_and(|count| count == "1")
        })?;

        let postgres = Postgres {
            programs: programs.to_owned(),
            folder,
            user,
            address: primary,
            primary: primary_process,
            standby: standby_process,
        };
        postgres.query(SCHEMA)?;
        postgres.query(&format!(
            "insert into books select id, 'topic', 'a title of some length ' || id, 3000, {COPIES} from generate_series(1, 7) id"
        ))?;
        fs::write(postgres.folder.join("purchase.sql"), PURCHASE)?;
        Ok(postgres)
    }

    /// The processes whose descendants serve.
    pub fn pids(&self) -> Vec<u32> {
        vec![self.primary.pid(), self.standby.pid()]
    }

    /// How to start pgbench in this server's folder with these options.
    pub fn pgbench(&self, options: &[&str]) -> Command {
        let mut command = leashed(&self.programs.join("pgbench"), StopBy::Terminate, self.user);
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        command.current_dir(&self.folder).args(["-h", &host, "-p", &port, "-U", "postgres"]);
        command.args(["-n", "-M", "prepared", "-f", "purchase.sql"]).args(options).arg("postgres");
        command
    }

    /// Fails unless each copy that is gone is an order, and the standby still confirms commits.
    pub fn verify(&self) -> Result<()> {
        let sold = self.query(&format!("select sum({COPIES} - quantity)::bigint from books"))?;
        let orders = self.query("select count(*) from orders")?;
        ensure!(sold == orders && sold != "0", "PostgreSQL sold {sold} copies and has {orders} orders");
        let state = self.query("select sync_state from pg_stat_replication")?;
        ensure!(state == "sync", "the standby's state is {state:?}, not sync");
        Ok(())
    }

    fn query(&self, statements: &str) -> Result<String> {
        query(&self.programs, self.address, statements)
    }
}

/// A folder that belongs to the user who runs PostgreSQL.
fn own_folder(parent: &Path, user: Option<User>) -> Result<PathBuf> {
    let folder = parent.join("postgres");
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let Some(User(name)) = user else { return Ok(folder) };
    output_of(Command::new("chown").arg(name).arg(&folder))
        .with_context(|| format!("as root, PostgreSQL is run by the user {name}, which its packages make"))?;
    let mut enter = leashed(Path::new("ls"), StopBy::Terminate, user);
    output_of(enter.arg(&folder)).with_context(|| {
        let folder = folder.display();
        format!("the user {name} cannot reach {folder}: set CARGO_TARGET_DIR to a folder outside root's home")
    })?;
    Ok(folder)
}

fn add_settings(data: &Path) -> Result<()> {
    let path = data.join("postgresql.conf");
    let settings = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
synchronous_commit = on
synchronous_standby_names = '*'
";
    let defaults = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(&path, defaults + settings).with_context(|| format!("cannot write {}", path.display()))
}

fn spawn(programs: &Path, folder: &Path, user: Option<User>, name: &str, address: SocketAddr) -> Result<Process> {
    let mut command = leashed(&programs.join("postgres"), StopBy::Interrupt, user);
    command.args(["-p", &address.port().to_string(), "-D"]).arg(folder.join(name));
    Process::spawn(&format!("postgres-{name}"), folder, command, StopBy::Interrupt)
}

fn is_up(programs: &Path, address: SocketAddr) -> bool {
    query(programs, address, "select 1").is_ok()
}

/// What statements return, without decoration.
fn query(programs: &Path, address: SocketAddr, statements: &str) -> Result<String> {
    let mut command = Command::new(programs.join("psql"));
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-U", "postgres", "-d", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements]);
    Ok(output_of(&mut command)?.trim().to_owned())
}
