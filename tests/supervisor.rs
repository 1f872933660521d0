//! The executable as people use it: its flags, and a whole cluster of real processes under `--role all`.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

mod common {
    pub mod ports;
}

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::ports::Ports;
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

fn bazar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazar"));
    // The settings of whoever runs the tests are not theirs.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BAZAR_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A folder with a configuration whose nodes have ports of their own.
struct Shop {
    folder: TempDir,
    ports: Ports,
}

impl Shop {
    /// A frontend, a catalog and an order server, and `more` of the configuration.
    fn new(more: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::claim();
        let mut toml = String::new();
        for role in ["frontend", "catalog", "order"] {
            let port = ports.take();
            toml.push_str(&format!("[[{role}]]\nid = \"{role}-1\"\naddress = \"127.0.0.1:{port}\"\n"));
        }
        let more = more.replace("FREE_PORT", &ports.take().to_string());
        fs::write(folder.path().join("shop.toml"), toml + &more).unwrap();
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/catalog.csv"), folder.path().join("catalog.csv")).unwrap();
        Shop { folder, ports }
    }

    /// Where a node listens.
    fn address(&self, id: &str) -> String {
        let toml = fs::read_to_string(self.folder.path().join("shop.toml")).unwrap();
        let (_, node) = toml.split_once(&format!("id = \"{id}\"\naddress = \"")).unwrap();
        node.split('"').next().unwrap().to_owned()
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = bazar();
        command.current_dir(self.folder.path()).args(["--config", "shop.toml"]).args(flags);
        command
    }

    /// Runs to the end what ends by itself.
    fn run(&self, flags: &[&str]) -> Output {
        let mut running = Running(self.command(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let status = wait(&mut running.0);
        // What it prints fits a pipe's buffer, so it could end without being read.
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        std::io::Read::read_to_end(running.0.stdout.as_mut().unwrap(), &mut output.stdout).unwrap();
        std::io::Read::read_to_end(running.0.stderr.as_mut().unwrap(), &mut output.stderr).unwrap();
        output
    }

    /// Starts `--role all`; brings the process, and the lines that it prints.
    fn start_all(&self, flags: &[&str]) -> (Running, Receiver<String>) {
        let mut command = self.command(&["--role", "all"]);
        let errors = fs::File::create(self.folder.path().join("errors.txt")).unwrap();
        let mut process = Running(command.args(flags).stdout(Stdio::piped()).stderr(errors).spawn().unwrap());
        let stdout = BufReader::new(process.0.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        (process, lines)
    }

    fn supervise(self, flags: &[&str]) -> Supervisor {
        let (process, lines) = self.start_all(flags);
        Supervisor { process, lines, seen: Vec::new(), pids: BTreeMap::new(), shop: self }
    }
}

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `--role all` at work.
struct Supervisor {
    process: Running,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// Of each node, its latest.
    pids: BTreeMap<String, u32>,
    shop: Shop,
}

impl Supervisor {
    /// Starts it once more, after it has ended.
    fn start_again(&mut self) {
        (self.process, self.lines) = self.shop.start_all(&[]);
    }

    /// Waits for the next line that contains `text`.
    fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [id, _, _, pid, log] = words[..]
                && log.ends_with(".log")
            {
                self.pids.insert(id.to_owned(), pid.parse().unwrap());
            }
            if line.contains(text) {
                return line;
            }
        }
        panic!("there was no line with {text:?}\n{}\n{}\n{}", self.seen.join("\n"), self.errors(), self.logs());
    }

    /// What it wrote to standard error.
    fn errors(&self) -> String {
        fs::read_to_string(self.shop.folder.path().join("errors.txt")).unwrap()
    }

    fn logs(&self) -> String {
        let files = fs::read_dir(self.shop.folder.path().join("data/logs")).into_iter().flatten().flatten();
        let text = |path: PathBuf| format!("--- {}\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
        files.map(|file| text(file.path())).collect()
    }

    fn pid(&self, id: &str) -> u32 {
        self.pids[id]
    }

    fn wait(&mut self) -> ExitStatus {
        wait(&mut self.process.0)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.process.0.kill();
        for pid in self.pids.values().filter(|&&pid| lives(pid)) {
            signal("KILL", *pid);
        }
    }
}

fn wait(process: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the process has ended", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}

/// The shell's own `kill`, for not every machine has it as a program.
fn signal(name: &str, pid: u32) -> bool {
    let script = format!("kill -{name} {pid}");
    Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap().success()
}

/// Whether a process runs. One that ended but was not waited for by its new parent does not.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    signal("0", pid) && !state.starts_with('Z')
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_check_tells_what_a_sound_configuration_says() {
    let output = Shop::new("").run(&["--check", "--data", "elsewhere"]);
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stdout);
    for expected in ["shop.toml is sound", "frontend-1", "catalog-1", "order-1", "elsewhere", "catalog.csv"] {
        assert!(told.contains(expected), "{expected} is missing:\n{told}");
    }
}

#[test]
fn a_check_lists_all_mistakes() {
    let output = Shop::new("[cache]\ncapacity = 0\n[log]\nlevle = \"info\"\n").run(&["--check", "--set", "http.x=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let told = text(&output.stderr);
    for expected in ["3 mistakes", "cache.capacity", "log.levle", "http.x"] {
        assert!(told.contains(expected), "{expected} is missing:\n{told}");
    }
}

/// The exit code of a run whose outputs take no byte.
fn code_on_a_full_device(shop: &Shop, flags: &[&str]) -> Option<i32> {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut running = Running(shop.command(flags).stdout(full()).stderr(full()).spawn().unwrap());
    wait(&mut running.0).code()
}

#[test]
fn exit_codes_are_as_documented_where_nothing_can_be_written() {
    let shop = Shop::new("");
    assert_eq!(code_on_a_full_device(&shop, &["--check", "--set", "a=1"]), Some(2));
    assert_eq!(code_on_a_full_device(&shop, &["--role", "waiter"]), Some(2));
    assert_eq!(code_on_a_full_device(&shop, &["--role", "catalog", "--id", "catalog-9"]), Some(2));
    // What was asked for is not given.
    for flags in ["--check", "--help", "--version"] {
        assert_eq!(code_on_a_full_device(&shop, &[flags]), Some(1), "{flags}");
    }
    // A reader that leaves has what it wanted.
    let mut running = Running(shop.command(&["--check"]).stdout(Stdio::piped()).spawn().unwrap());
    drop(running.0.stdout.take());
    assert_eq!(wait(&mut running.0).code(), Some(0));
}

#[test]
fn a_node_lives_on_and_ends_well_where_its_log_cannot_be_written() {
    let shop = Shop::new("");
    for output in ["/dev/full", "a closed pipe"] {
        let mut command = shop.command(&["--role", "frontend"]);
        match output {
            "/dev/full" => command.stderr(fs::File::options().write(true).open(output).unwrap()),
            _ => command.stderr(Stdio::piped()),
        };
        let mut node = Running(command.spawn().unwrap());
        drop(node.0.stderr.take());
        let address = shop.address("frontend-1");
        until("the node listens", || node.0.try_wait().unwrap().is_some() || TcpStream::connect(&address).is_ok());
        assert!(signal("TERM", node.0.id()));
        assert_eq!(wait(&mut node.0).code(), Some(0), "{output}");
    }
}

#[test]
fn a_node_answers_and_ends_though_nobody_takes_its_log() {
    let shop = Shop::new("[log]\nlevel = \"trace\"\n");
    let mut command = shop.command(&["--role", "frontend"]);
    // What reads the log's end of the pipe stands still: the pipe is soon full.
    let mut node = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let _reader = node.0.stderr.take().unwrap();
    let address = shop.address("frontend-1");
    until("the node listens", || TcpStream::connect(&address).is_ok());
    // Each of these is told of: together they fill any pipe.
    for number in 0..500 {
        let mut customer = TcpStream::connect(&address).unwrap();
        customer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET /health?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "x".repeat(1000));
        customer.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        customer.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "request {number}: {answer}");
    }
    assert!(signal("TERM", node.0.id()));
    assert_eq!(wait(&mut node.0).code(), Some(0));
}

#[test]
fn a_shop_is_started_and_stopped_though_nobody_takes_what_its_supervisor_says() {
    let shop = Shop::new("");
    let (_reader, writer) = std::io::pipe().unwrap();
    // Waits in the end, with the pipe full.
    let mut filler = writer.try_clone().unwrap();
    let filled = thread::spawn(move || filler.write_all(&[b'x'; 1 << 20]));
    let errors = fs::File::create(shop.folder.path().join("errors.txt")).unwrap();
    let mut command = shop.command(&["--role", "all"]);
    let mut process = Running(command.stdout(writer).stderr(errors).spawn().unwrap());
    drop(command);
    let ready = |address: &str| {
        let mut node = TcpStream::connect(address).ok()?;
        node.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        node.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    };
    until("the shop is ready", || ready(&shop.address("frontend-1")).is_some());
    assert!(!filled.is_finished());
    assert!(signal("TERM", process.0.id()));
    assert_eq!(wait(&mut process.0).code(), Some(0));
}

#[test]
fn a_check_looks_at_the_files_that_the_configuration_names() {
    let shop = Shop::new("");
    let path = |name: &str| shop.folder.path().join(name);
    fs::write(path("bad.csv"), "id,topic,title,price,quantity\n1,t,a,-1,1\n").unwrap();
    fs::create_dir(path("folder")).unwrap();
    for (flags, told) in [
        (["--seed", "nope.csv"], "nope.csv"),
        (["--seed", "bad.csv"], "bad.csv:2: price (column 4)"),
        (["--seed", "folder"], "this is no file"),
        (["--data", "bad.csv"], "bad.csv is no folder"),
    ] {
        let output = shop.run(&[&["--check"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(text(&output.stderr).contains(told), "{flags:?}: {}", text(&output.stderr));
        // Nor does a whole new shop start with them.
        let output = shop.run(&[&["--role", "all"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(text(&output.stderr).contains(told), "{flags:?}: {}", text(&output.stderr));
    }
    // A folder alone is no shop, but one that was opened needs its first books no more.
    let unopened = shop.run(&["--check", "--seed", "nope.csv", "--data", "folder"]);
    assert_eq!(unopened.status.code(), Some(2));
    fs::create_dir(path("folder/catalog-1")).unwrap();
    fs::write(path("folder/catalog-1/member.json"), "").unwrap();
    let opened = shop.run(&["--check", "--seed", "nope.csv", "--data", "folder"]);
    assert_eq!(opened.status.code(), Some(0));
    assert!(text(&opened.stdout).contains("nope.csv, which is not there"), "{}", text(&opened.stdout));
}

#[test]
fn variables_that_tell_of_a_service_called_bazar_are_left_alone() {
    let shop = Shop::new("");
    let check = |name: &str| {
        let mut command = shop.command(&["--check"]);
        wait(&mut command.env(name, "tcp://10.0.0.1:9000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    assert_eq!(check("BAZAR_PORT").code(), Some(0));
    assert_eq!(check("BAZAR_CATALOG_SERVICE_HOST").code(), Some(0));
    assert_eq!(check("BAZAR_CACHE_CAPACITY").code(), Some(2));
}

#[test]
fn a_log_level_that_does_not_exist_is_refused() {
    let shop = Shop::new("");
    for level in ["warning", "debgu", "info,bazar"] {
        let output = shop.run(&["--check", "--set", &format!("log.level={level}")]);
        assert_eq!(output.status.code(), Some(2), "{level}");
        assert!(text(&output.stderr).contains("expected error, warn, info, debug, trace or off"), "{level}");
    }
    for flags in [&["--check"][..], &["--role", "frontend"], &["--role", "all"]] {
        let mut running = Running(
            shop.command(flags).env("RUST_LOG", "warning").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
        );
        assert_eq!(wait(&mut running.0).code(), Some(2), "{flags:?}");
    }
}

#[test]
fn a_check_tells_all_that_keeps_the_flags_from_working() {
    let shop = Shop::new("");
    let check = |flags: &[&str]| {
        let output = shop.command(flags).env("RUST_LOG", "debgu").output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let flags = ["--check", "--role", "order", "--id", "order-7", "--seed", "no-such-seed.csv"];
    let (code, told) = check(&flags);
    assert_eq!(code, Some(2), "{told}");
    for part in ["RUST_LOG", "no-such-seed.csv", "\"order-7\": --id must be one of"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn the_log_tells_what_was_started_and_why_it_stopped() {
    let shop = Shop::new("");
    let log = shop.folder.path().join("log");
    for (signal_name, role) in [("TERM", "order"), ("HUP", "frontend")] {
        let mut node =
            Running(shop.command(&["--role", role]).stderr(fs::File::create(&log).unwrap()).spawn().unwrap());
        let id = format!("{role}-1");
        let address = shop.address(&id);
        until("the node listens", || TcpStream::connect(&address).is_ok());
        assert!(signal(signal_name, node.0.id()));
        assert_eq!(wait(&mut node.0).code(), Some(0), "{signal_name}");
        let told = fs::read_to_string(&log).unwrap();
        let version = format!("version=\"{}", env!("CARGO_PKG_VERSION"));
        let signal_told = format!("signal=\"SIG{signal_name}\"");
        for expected in [&version, &id, "shop.toml", &signal_told, "stopped"] {
            assert!(told.contains(expected), "{expected} is missing:\n{told}");
        }
        // A frontend keeps nothing.
        assert_eq!(told.contains(&format!("data=data/{id}")), role != "frontend", "{told}");
    }
}

#[test]
fn a_node_that_ignores_hangups_from_the_start_goes_on_ignoring_them() {
    let shop = Shop::new("");
    let plain = shop.command(&["--role", "frontend"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    let log = shop.folder.path().join("log");
    command.current_dir(shop.folder.path()).stderr(fs::File::create(&log).unwrap());
    let mut node = Running(command.spawn().unwrap());
    let address = shop.address("frontend-1");
    until("the node listens", || {
        assert_eq!(node.0.try_wait().unwrap(), None, "{}", fs::read_to_string(&log).unwrap());
        TcpStream::connect(&address).is_ok()
    });
    assert!(signal("HUP", node.0.id()));
    assert!(signal("TERM", node.0.id()));
    assert_eq!(wait(&mut node.0).code(), Some(0));
}

#[test]
fn a_node_of_a_larger_group_must_be_named() {
    let shop = Shop::new("[[catalog]]\nid = \"catalog-2\"\naddress = \"127.0.0.1:FREE_PORT\"\n");
    for flags in [&["--role", "catalog"][..], &["--role", "catalog", "--id", "catalog-3"]] {
        let output = shop.run(flags);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains("catalog-1, catalog-2"), "{told}");
    }
}

#[test]
fn no_node_outlives_a_supervisor_that_is_killed() {
    let mut supervisor = Shop::new("").supervise(&[]);
    supervisor.line_with("ready in");
    assert_eq!(supervisor.pids.keys().collect::<Vec<_>>(), ["catalog-1", "frontend-1", "order-1"]);
    assert!(supervisor.pids.values().all(|&pid| lives(pid)));

    supervisor.process.0.kill().unwrap();
    for (id, pid) in &supervisor.pids {
        until(&format!("{id} is gone"), || !lives(*pid));
    }
}

#[test]
fn a_shop_is_started_again_right_after_its_supervisor_was_killed() {
    // A replica takes a while to end: its successor finds folder and address taken.
    let mut supervisor = Shop::new("").supervise(&[]);
    supervisor.line_with("ready in");
    for pause_ms in [0, 100, 200] {
        supervisor.process.0.kill().unwrap();
        supervisor.process.0.wait().unwrap();
        thread::sleep(Duration::from_millis(pause_ms));
        supervisor.start_again();
        supervisor.line_with("ready in");
        assert!(!supervisor.seen.iter().any(|line| line.contains(" died ")), "{}", supervisor.seen.join("\n"));
    }
}

#[test]
fn a_replica_waits_for_the_one_before_it_to_leave() {
    let shop = Shop::new("");
    let replica = |flags: &[&str]| {
        let flags = [&["--role", "order"], flags].concat();
        Running(shop.command(&flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let address = shop.address("order-1");
    let mut first = replica(&[]);
    until("the first listens", || TcpStream::connect(&address).is_ok());
    let mut second = replica(&[]);
    thread::sleep(Duration::from_millis(300));
    assert!(second.0.try_wait().unwrap().is_none(), "it gave up at once");
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    until("the second listens", || TcpStream::connect(&address).is_ok());
    assert!(signal("TERM", second.0.id()));
    assert_eq!(wait(&mut second.0).code(), Some(0));
}

#[test]
fn a_closed_terminal_stops_all_nodes_frontends_first() {
    let mut supervisor = Shop::new("").supervise(&[]);
    supervisor.line_with("ready in");
    // A terminal that is closed asks for the same as Ctrl-C.
    assert!(signal("HUP", supervisor.process.0.id()));
    for expected in ["stopping frontend-1", "stopping order-1", "stopping catalog-1", "All nodes are stopped"] {
        supervisor.line_with(expected);
    }
    assert_eq!(supervisor.wait().code(), Some(0));
    assert!(!supervisor.pids.values().any(|&pid| lives(pid)));
}

#[test]
fn a_node_that_does_not_stop_in_time_is_killed() {
    let mut supervisor = Shop::new("[http]\ndrain_timeout_ms = 0\n").supervise(&[]);
    supervisor.line_with("ready in");
    assert!(signal("STOP", supervisor.pid("order-1")));
    assert!(signal("TERM", supervisor.process.0.id()));
    supervisor.line_with("waiting for order-1");
    supervisor.line_with("killing order-1");
    assert_eq!(supervisor.wait().code(), Some(0));
    assert!(!supervisor.pids.values().any(|&pid| lives(pid)));
}

#[test]
fn a_node_that_dies_is_reported_and_the_others_go_on() {
    let mut supervisor = Shop::new("").supervise(&[]);
    supervisor.line_with("ready in");
    assert!(signal("KILL", supervisor.pid("order-1")));
    let told = supervisor.line_with("order-1 died");
    assert!(told.contains("SIGKILL") && told.contains("order-1.log"), "{told}");
    supervisor.line_with("order-1 stays down, the other 2 go on");
    let command = supervisor.line_with("--role order --id order-1");
    assert!(command.contains("--config shop.toml"), "{command}");
    assert!(lives(supervisor.pid("frontend-1")) && lives(supervisor.pid("catalog-1")));

    assert!(signal("KILL", supervisor.pid("catalog-1")) && signal("KILL", supervisor.pid("frontend-1")));
    assert_eq!(supervisor.wait().code(), Some(1), "nothing is left to supervise");
    assert!(supervisor.errors().contains("all nodes are down"), "{}", supervisor.errors());
}

#[test]
fn with_respawn_a_node_that_dies_comes_back() {
    let mut supervisor = Shop::new("").supervise(&["--respawn"]);
    supervisor.line_with("ready in");
    let first = supervisor.pid("catalog-1");
    assert!(signal("KILL", first));
    supervisor.line_with("catalog-1 died");
    let told = supervisor.line_with("catalog-1 is started again, with pid");
    let second = told.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
    supervisor.pids.insert("catalog-1".into(), second);
    supervisor.line_with("catalog-1 is ready again");
    assert!(second != first && lives(second));
}

#[test]
fn a_node_that_cannot_start_is_reported_and_not_waited_for() {
    // An address of documentation, which no machine has.
    let more = "[[frontend]]\nid = \"frontend-2\"\naddress = \"127.0.0.1:FREE_PORT\"\nlisten = \"192.0.2.1:9\"\n";
    let mut supervisor = Shop::new(more).supervise(&[]);
    let told = supervisor.line_with("frontend-2 died");
    assert!(told.contains("before it was ready") && told.contains("exit status: 1"), "{told}");
    supervisor.line_with("192.0.2.1:9");
    let told = supervisor.line_with("ready in");
    assert!(told.ends_with("without frontend-2"), "{told}");
}

#[test]
fn nothing_is_started_where_an_address_is_taken() {
    let mut shop = Shop::new("");
    let port = shop.ports.take();
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let file = shop.folder.path().join("shop.toml");
    let more = format!("[[order]]\nid = \"order-2\"\naddress = \"127.0.0.1:{port}\"\n");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &more).unwrap();

    let output = shop.run(&["--role", "all"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("127.0.0.1:{port} (order-2)")), "{told}");
    assert!(!shop.folder.path().join("data").exists());
}
