//! nginx as a caching proxy before one catalog server.
//!
//! It caches whole answers for an hour and never asks whether they are still right: less than a bazar's frontend does.
//! It comes in two forms: *packaged*, with the settings that its packages ship beside those of the cache; and *tuned*,
//! with what makes it fastest here (cached files stay open, and are copied rather than sent by the kernel).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::process::{Process, StopBy, leashed};
use crate::common::client::Client;

/// The settings in which the two forms differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As packages have it.
    Packaged,
    /// As fast as it gets with answers as short as these.
    Tuned,
}

/// Starts it in a folder of its own and waits until it answers.
pub fn start(program: &Path, folder: &Path, form: Form, address: SocketAddr, upstream: SocketAddr) -> Result<Process> {
    let name = match form {
        Form::Packaged => "nginx",
        Form::Tuned => "nginx-tuned",
    };
    let home = folder.join(name);
    fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
    fs::write(home.join("nginx.conf"), configuration(form, address, upstream))?;

    let mut command = leashed(program, StopBy::Terminate, None);
    // Its own log's usual place is not ours to write to.
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&home);
    let mut process = Process::spawn(name, folder, command, StopBy::Terminate)?;
    process.wait_until("it answers", || Client::new(address).expect(200, "GET /info/1", None).is_ok())?;
    Ok(process)
}

fn configuration(form: Form, address: SocketAddr, upstream: SocketAddr) -> String {
    // Started by root, its workers would be another user's, who cannot enter the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let files = match form {
        Form::Packaged => "sendfile on;\n    tcp_nopush on;",
        Form::Tuned => "sendfile off;\n    open_file_cache max=1000 inactive=1h;\n    open_file_cache_valid 1h;",
    };
    format!(
        "\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {files}
    keepalive_timeout 1h;
    # There is no word for unlimited.
    keepalive_requests 2000000000;
    client_body_temp_path temp-body;
    proxy_temp_path temp-proxy;
    fastcgi_temp_path temp-fastcgi;
    uwsgi_temp_path temp-uwsgi;
    scgi_temp_path temp-scgi;
    proxy_cache_path cache levels=1:2 keys_zone=shop:10m inactive=1h max_size=100m;
    server {{
        listen {address};
        location / {{
            proxy_pass http://{upstream};
            proxy_cache shop;
            proxy_cache_valid 200 1h;
            proxy_ignore_headers Cache-Control;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"
    )
}
