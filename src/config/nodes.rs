//! The nodes of the cluster: `[[frontend]]`, `[[catalog]]` and `[[order]]` tables.
//!
//! An id or address that passes here can be used as it is: as the name of a folder, as a host and port
//! to connect to. Whether anything answers there is not known here.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::reader::{Reader, Section};
use super::{Node, Role};

/// Reads a group. A node with a mistake is left out.
pub(super) fn read(reader: &mut Reader, role: Role) -> Vec<Node> {
    let count = reader.tables(role.name());
    (0..count).filter_map(|index| node(&mut reader.table(role.name(), index), role)).collect()
}

fn node(section: &mut Section, role: Role) -> Option<Node> {
    let number = section.required("id", |text| number_of(text, role));
    let address = section.required("address", reachable_address);
    let listen = section.optional("listen", host_and_port);
    let id = number.map(|number| format!("{role}-{number}"));
    if let Some(id) = &id {
        section.require_unique("id", "id", id, id);
    }
    if let Some(address) = &address {
        // A machine has two names for itself.
        let place = address.replace("localhost:", "127.0.0.1:");
        section.require_unique("address", "address", address, &place);
    }
    let (id, number, address) = (id?, number?, address?);
    Some(Node { id, role, number, listen: listen.unwrap_or_else(|| address.clone()), address })
}

/// The number in an id.
fn number_of(id: &str, role: Role) -> Result<u64, String> {
    let digits = id.strip_prefix(role.name()).and_then(|rest| rest.strip_prefix('-'));
    match digits.and_then(|digits| digits.parse::<u64>().ok()) {
        // One node, one id: 01 and +1 are other spellings of 1.
        Some(number) if number >= 1 && id == format!("{role}-{number}") => Ok(number),
        _ => Err(format!("{role}- and a number from 1, as \"{role}-1\"")),
    }
}

/// An address that other nodes can connect to, in lower case.
fn reachable_address(text: &str) -> Result<String, String> {
    let address = host_and_port(text)?;
    match address.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", _)) => {
            Err("a host that other nodes can reach; \"every interface\" is for listen".into())
        }
        _ => Ok(address),
    }
}

/// A host and a port, in lower case and without leading zeros.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_digits(port) => match port.parse::<u16>() {
            Ok(0) | Err(_) => Err("a port from 1 to 65535, as the other nodes must know it".to_owned()),
            Ok(port) => Ok(format!("{}:{port}", host.to_ascii_lowercase())),
        },
        _ => {
            Err("host:port and nothing else, as \"192.0.2.1:9080\", \"shop.example:9080\" or \"[::1]:9080\"".to_owned())
        }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}
