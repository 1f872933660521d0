//! What a sound configuration says, in a few lines: the answer of `--check`.

use std::fmt::Write;
use std::path::Path;

use bazar::config::{Config, Node, Role};

/// The nodes by role with their addresses, where the data goes, and what to do next.
pub fn of(config: &Config, file: &Path) -> String {
    let file = file.display();
    let mut text = format!("{file} is sound.\n");
    for role in Role::ALL {
        for (index, node) in config.group(role).iter().enumerate() {
            let heading = if index == 0 { role.name() } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {heading:<9} {:<12} {}", node.id, addresses(node));
        }
    }
    let _ = writeln!(text, "  {:<9} {}, each node's in the folder of its name", "data", config.machine.data.display());
    let when = match config.machine.seed.exists() {
        true => "read once when the cluster is new",
        false => "which is not there: only a cluster that was ready once can do without",
    };
    let _ = writeln!(text, "  {:<9} {}, {when}", "books", config.machine.seed.display());
    if on_one_machine(config) {
        let _ = writeln!(text, "Start all nodes on this machine:  bazar --role all --config {file}");
    }
    let example = &config.catalogs[0].id;
    let _ = writeln!(text, "Start one of them:                bazar --role catalog --id {example} --config {file}");
    text
}

/// Whether all nodes have the same host.
fn on_one_machine(config: &Config) -> bool {
    let mut hosts = config.nodes().map(|node| node.address.rsplit_once(':').map(|(host, _)| host));
    let first = hosts.next();
    hosts.all(|host| Some(host) == first)
}

fn addresses(node: &Node) -> String {
    if node.listen == node.address {
        node.address.clone()
    } else {
        format!("{} (listens at {})", node.address, node.listen)
    }
}
