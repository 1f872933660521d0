//! The source keeps to its layers: a file uses only what is below its own.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of the library, top to bottom. What is on one line knows nothing of each other.
const LAYERS: &[&[&str]] = &[
    &["supervisor"],
    &["node"],
    &["frontend", "catalog", "order"],
    &["cluster", "reads"],
    &["lists"],
    &["protocol"],
    &["replica"],
    &["api"],
    &["http"],
    &["csv", "config"],
    &["certainty", "codec", "error", "telemetry", "key_index"],
    &["platform"],
    &["model"],
];

/// The layers of a replica, top to bottom.
const REPLICA: &[&[&str]] = &[
    &["start", "status", "standing"],
    &["server"],
    &["append_turn"],
    &["bootstrap"],
    &["consensus"],
    &["rpc"],
    &["storage"],
    &["application", "group"],
];

/// What a room's own file may name, for the rooms in it are put together there.
const ROOT: &str = "mod";

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The source without comments and without tests.
fn shipped(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = shipped.lines().map(|line| line.split("//").next().unwrap());
    lines.filter(|line| !line.contains("#[cfg(doc)]")).collect::<Vec<_>>().join("\n")
}

/// The first names of the paths that begin with `prefix`.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
    text.split(prefix).skip(1).map(name).filter(|name: &String| !name.is_empty()).collect()
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| ["tests.rs", "testing.rs", "testing"].iter().any(|test| part == *test))
}

fn level(layers: &[&[&str]], room: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&room))
}

/// What the files of `folder`, whose module is at `base`, use against the order of the layers.
fn upward(folder: &str, layers: &[&[&str]], bases: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for path in rust_files(&root).into_iter().filter(|path| !is_test(path)) {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let room = inside.iter().next().unwrap().to_str().unwrap();
        let Some(own) = level(layers, room) else {
            assert!([ROOT, "lib", "main", "cli"].contains(&room), "{room} is on no layer");
            continue;
        };
        let text = shipped(&fs::read_to_string(&path).unwrap());
        // What is above a room's own file is what the layers are in.
        let is_direct = inside.iter().count() == 1 || inside.ends_with(Path::new(room).join(ROOT));
        let names = bases.iter().filter(|base| is_direct || **base != "super::").flat_map(|base| named(&text, base));
        for name in names.filter(|name| name != room) {
            if level(layers, &name).is_some_and(|level| level <= own) {
                found.push(format!("{} uses {name}", path.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    found
}

#[test]
fn no_layer_uses_one_above_or_beside_it() {
    assert_eq!(upward("src", LAYERS, &["crate::"]), [""; 0]);
}

#[test]
fn no_layer_of_a_replica_uses_one_above_or_beside_it() {
    assert_eq!(upward("src/replica", REPLICA, &["crate::replica::", "super::"]), [""; 0]);
}

#[test]
fn an_upward_use_would_be_found() {
    let names = named(&shipped("use crate::node::Node; // crate::http::x\nfn f() { crate::model::x() }"), "crate::");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["model", "node"]);
    assert!(level(LAYERS, "node") < level(LAYERS, "model"));
}
