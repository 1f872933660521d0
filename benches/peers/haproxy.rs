//! HAProxy with its cache before one catalog server.
//!
//! It stores only what says for how long it may be stored, so it is told to say so itself. The cache is in memory, and
//! like nginx it never asks whether an answer is still right.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::process::{Process, StopBy, leashed};
use crate::common::client::Client;

/// Starts it and waits until it answers.
pub fn start(program: &Path, folder: &Path, address: SocketAddr, upstream: SocketAddr) -> Result<Process> {
    let file = folder.join("haproxy.cfg");
    fs::write(&file, configuration(address, upstream))?;
    let mut command = leashed(program, StopBy::Terminate, None);
    command.args(["-db", "-f"]).arg(&file);
    let mut process = Process::spawn("haproxy", folder, command, StopBy::Terminate)?;
    process.wait_until("it answers", || Client::new(address).expect(200, "GET /info/1", None).is_ok())?;
    Ok(process)
}

fn configuration(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "\
global
    nbthread 1
    maxconn 1024
cache shop
    total-max-size 16
    max-age 3600
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen shop
    bind {address}
    http-request cache-use shop
    http-response set-header cache-control max-age=3600
    http-response cache-store shop
    http-after-response set-header x-cache HIT if {{ res.cache_hit }}
    server replica {upstream}
"
    )
}
