//! The keys in docs/configuration.md and `config/local.toml` are those that bazar reads, as it describes them.
//!
//! `BLESS=1 cargo test --test configuration` writes both anew.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bazar::config::{Key, sections};

/// The longest line of a configuration file, in characters.
const MAX_LINE_CHARS: usize = 118;

/// The keys of each node, which have no defaults.
const NODE_ROWS: &str = "\
| `[[frontend]]`, `[[catalog]]`, `[[order]]` | none | at least one each | A node |
| … `id` | none | role, hyphen, number from 1 | Its name, which stays with its data for ever |
| … `address` | none | host:port | Where the other nodes reach it |
| … `listen` | the address | host:port | Where it listens; of a name such as `localhost`, at all its addresses |
";

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// The rows of the table in docs/configuration.md.
fn table() -> String {
    let mut table = "| key | default | range | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (path, _, keys) in sections() {
        for Key { name, text, default, range, .. } in keys {
            let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let default = default.replace('_', "");
            let default = if default.parse::<u64>().is_ok() { default } else { format!("`{default}`") };
            let quoted = |word: &str| if word.starts_with('"') { format!("`{word}`") } else { word.to_owned() };
            let range = range.split(", ").map(quoted).collect::<Vec<_>>().join(", ");
            writeln!(table, "| `{key}` | {default} | {range} | {} |", first_sentence(text)).unwrap();
        }
        if path.is_empty() {
            table += NODE_ROWS;
        }
    }
    table
}

/// `text` as a comment.
fn comment(text: &str) -> String {
    let mut comment = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > MAX_LINE_CHARS {
            comment += &std::mem::replace(&mut line, "#".to_owned());
            comment += "\n";
        }
        line = format!("{line} {word}");
    }
    comment + &line + "\n"
}

/// A section of `config/local.toml`.
fn section(path: &str, about: &str, keys: Vec<Key>) -> String {
    let mut section = comment(about);
    if !path.is_empty() {
        writeln!(section, "[{path}]").unwrap();
    }
    for Key { name, text, default, range, .. } in keys {
        section += "\n";
        section += &comment(&format!("{text} Values: {range}."));
        writeln!(section, "{name} = {default}").unwrap();
    }
    section
}

/// Holds what `file` has between the two texts against `expected`; with `BLESS`, puts that there.
fn hold(file: &str, (begin, end): (&str, &str), expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let from = text.find(begin).unwrap_or_else(|| panic!("{file} has no {begin:?}")) + begin.len();
    let to = if end.is_empty() { text.len() } else { from + text[from..].find(end).unwrap() };
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, [&text[..from], expected, &text[to..]].concat()).unwrap();
        return;
    }
    let differs = text[from..to].lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        text[from..to] == *expected,
        "{file} is not what the keys say, first here: {differs:?}; BLESS=1 cargo test --test configuration writes it anew"
    );
}

#[test]
fn the_table_of_keys_is_that_of_the_source() {
    hold("docs/configuration.md", ("<!-- The keys. -->\n\n", "\n<!-- The end of the keys. -->"), &table());
}

#[test]
fn the_file_of_one_machine_shows_each_key_as_the_source_describes_it() {
    let mut all = sections().into_iter().map(|(path, about, keys)| section(path, about, keys));
    hold(
        "config/local.toml",
        ("before the file. Only the nodes are set here alone.\n\n\n", "\n\n# ---- The nodes"),
        &all.next().unwrap(),
    );
    let rest = all.collect::<Vec<_>>().join("\n\n");
    hold("config/local.toml", ("address = \"127.0.0.1:9085\"\n\n\n", ""), &rest);
}
