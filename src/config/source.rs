//! Where values come from: the file, over it the environment, over both the flags.
//!
//! figment lays them over each other. Beside the merged values this module keeps, for every key of
//! every source, where it was set, so that a mistake can be shown there. It does not know which keys are
//! sensible, save one rule: who the nodes are is said in the file alone, because all nodes must agree.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::Dict;
use toml_edit::{ImDocument, Item};

use super::Role;
use super::mistake::{ConfigErrors, Mistake, Place};
use crate::platform::{Disk, LocalDisk};

/// What the names of the environment's variables begin with.
const PREFIX: &str = "BAZAR_";

/// What stands between the levels of a key in a variable's name, as in `BAZAR_CACHE__CAPACITY`.
const SEPARATOR: &str = "__";

/// The environment's variables that are meant for bazar. Kubernetes and Docker set some for each service, which may be
/// called as bazar is.
pub(super) fn environment() -> Vec<(String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    all.filter(|(name, _)| name.starts_with(PREFIX) && !tells_of_a_service(name)).collect()
}

/// Whether a variable is one of those by which Kubernetes and Docker tell of a service: `BAZAR_SERVICE_HOST`,
/// `BAZAR_CATALOG_SERVICE_PORT_HTTP`, `BAZAR_PORT_9000_TCP_ADDR`. No key is written so.
fn tells_of_a_service(name: &str) -> bool {
    if name.contains(SEPARATOR) {
        return false;
    }
    let words: Vec<&str> = name.split('_').skip(1).collect();
    let is_digits = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let tells = |position: usize| match words[position..] {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", number, "TCP" | "UDP" | "SCTP", ..] => is_digits(&number),
        _ => false,
    };
    // Docker's, of a container that was linked to.
    matches!(words[..], ["NAME"] | ["ENV", ..]) || (0..words.len()).any(tells)
}

/// The name of the variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// The key that a variable sets.
fn key_of_variable(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).replace(SEPARATOR, ".").to_lowercase()
}

/// The text of the configuration file.
pub(super) fn read_file(file: &Path) -> Result<String, ConfigErrors> {
    let text = LocalDisk
        .read(file)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)));
    text.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        let place = Place::File { name: file.to_owned(), line: None };
        ConfigErrors::new(file, vec![Mistake { place, key: String::new(), what }])
    })
}

/// One key of one source.
pub(super) struct Entry {
    /// Where it was set.
    pub place: Place,
    /// Whether it has keys of its own instead of a value.
    pub is_table: bool,
}

/// The keys of one source by their full paths, as `catalog[1].address`.
pub(super) type Entries = BTreeMap<String, Entry>;

/// All sources together.
pub(super) struct Sources {
    /// What holds in the end.
    pub values: Dict,
    /// Each source's keys; a later source's value goes before an earlier one's.
    pub layers: Vec<Entries>,
    /// What is wrong before any value was looked at.
    pub mistakes: Vec<Mistake>,
    file: Place,
}

impl Sources {
    /// Lays the sources over each other. Fails if `toml` is not TOML.
    pub(super) fn gather(
        file: &Path,
        toml: &str,
        environment: Vec<(String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigErrors> {
        let of_file = file_entries(file, toml).map_err(|mistake| ConfigErrors::new(file, vec![mistake]))?;
        let environment = environment.into_iter().map(|(name, value)| Text {
            key: key_of_variable(&name),
            value,
            place: Place::Environment(name),
        });
        let flags = flags.iter().cloned().map(|(key, value)| Text { place: Place::Flag(key.clone()), key, value });

        let mut mistakes = Vec::new();
        let environment = acceptable(environment, &mut mistakes);
        let flags = acceptable(flags, &mut mistakes);
        let layers = vec![of_file, text_entries(&environment), text_entries(&flags)];
        let texts = environment.into_iter().chain(flags).filter(|text| has_room(&text.key, &layers));
        let figment = texts.fold(Figment::from(Toml::string(toml)), |under, text| under.merge((text.key, text.value)));
        let whole_file = Place::File { name: file.to_owned(), line: None };
        let values = figment.extract().map_err(|error| {
            let what = error.to_string().replace('\n', " ");
            ConfigErrors::new(file, vec![Mistake { place: whole_file.clone(), key: String::new(), what }])
        })?;
        Ok(Sources { values, layers, mistakes, file: whole_file })
    }

    /// The entry whose value holds.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.layers.iter().rev().find_map(|entries| entries.get(key))
    }

    /// Where `key` is set, or else what it would stand in.
    pub(super) fn place(&self, key: &str) -> Place {
        std::iter::successors(Some(key), |key| parent(key))
            .find_map(|key| self.entry(key))
            .map_or_else(|| self.file.clone(), |entry| entry.place.clone())
    }
}

/// The path of what `key` stands in: `catalog[1]` for `catalog[1].id`, and `catalog` for that.
pub(super) fn parent(key: &str) -> Option<&str> {
    key.rfind(['.', '[']).map(|end| &key[..end])
}

/// Whether `low` stands in `high`, at any depth.
pub(super) fn is_above(high: &str, low: &str) -> bool {
    low.strip_prefix(high).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// The full path of `name` in the table at `path`; the empty path is the file's top level.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether a value at `key` covers no keys of the sources, and none of their values covers it.
///
/// One that does is a mistake that the reading finds; merged, it would hide others.
fn has_room(key: &str, layers: &[Entries]) -> bool {
    let mut others = layers.iter().flatten();
    others.all(|(other, entry)| !is_above(key, other) && (entry.is_table || !is_above(other, key)))
}

/// The keys of the file, each with its line.
fn file_entries(file: &Path, toml: &str) -> Result<Entries, Mistake> {
    let before = |span: Range<usize>| toml.get(..span.start).unwrap_or(toml);
    let place_at = |span: Option<Range<usize>>| {
        let line = span.map(|span| 1 + before(span).matches('\n').count());
        Place::File { name: file.to_owned(), line }
    };
    let document = ImDocument::parse(toml).map_err(|error| {
        let line_so_far = error.span().map(before).and_then(|before| before.rsplit('\n').next());
        let column = 1 + line_so_far.unwrap_or_default().chars().count();
        let what = format!("column {column}: this is not TOML: {}", error.message().trim().replace('\n', ", "));
        Mistake { place: place_at(error.span()), key: String::new(), what }
    })?;

    let mut entries = Entries::new();
    let mut open: Vec<(String, &Item)> = vec![(String::new(), document.as_item())];
    while let Some((path, item)) = open.pop() {
        let mut add = |path: String, item, span| {
            entries.insert(path.clone(), Entry { place: place_at(span), is_table: Item::is_table_like(item) });
            open.push((path, item));
        };
        if let Some(table) = item.as_table_like() {
            for (name, _) in table.iter() {
                let Some((key, child)) = table.get_key_value(name) else { continue };
                // A quoted key may hold what separates keys in a path; quotes keep the two apart.
                let name = if name.contains(['.', '[']) { format!("{name:?}") } else { name.to_owned() };
                add(join(&path, &name), child, key.span().or_else(|| child.span()));
            }
        }
        for (index, child) in (0..).map_while(|index| Some((index, item.get(index)?))) {
            add(format!("{path}[{index}]"), child, child.span());
        }
    }
    Ok(entries)
}

/// A value that a variable or a flag sets. It has no type: what it means depends on the key.
struct Text {
    key: String,
    value: String,
    place: Place,
}

impl Text {
    /// Why no variable or flag may set this, whatever the value.
    fn refusal(&self) -> Option<Mistake> {
        let top = self.key.split(['.', '[']).next().unwrap_or_default();
        let what = if self.key.split('.').any(str::is_empty) {
            "this is no key; keys are written as cache.capacity".to_owned()
        } else if top.parse::<Role>().is_ok() {
            format!("nodes are set in the file alone, in its [[{top}]] tables, so that all agree on them")
        } else {
            return None;
        };
        Some(Mistake { place: self.place.clone(), key: self.key.clone(), what })
    }
}

/// Those texts that may set something; the others are mistakes.
fn acceptable(texts: impl Iterator<Item = Text>, mistakes: &mut Vec<Mistake>) -> Vec<Text> {
    let mut accepted = Vec::new();
    for text in texts {
        match text.refusal() {
            Some(mistake) => mistakes.push(mistake),
            None => accepted.push(text),
        }
    }
    accepted
}

/// The keys of a source of texts.
fn text_entries(texts: &[Text]) -> Entries {
    let entry = |text: &Text| (text.key.clone(), Entry { place: text.place.clone(), is_table: false });
    texts.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_a_service_is_left_alone_and_near_misses_are_not() {
        for name in [
            "BAZAR_SERVICE_HOST",
            "BAZAR_SERVICE_PORT",
            "BAZAR_SERVICE_PORT_HTTP",
            "BAZAR_PORT",
            "BAZAR_PORT_9000_TCP",
            "BAZAR_PORT_9000_TCP_ADDR",
            "BAZAR_CATALOG_SERVICE_HOST",
            "BAZAR_CATALOG_SERVICE_PORT_HTTP",
            "BAZAR_CATALOG_2_PORT_9080_TCP_PROTO",
            "BAZAR_NAME",
            "BAZAR_ENV_PATH",
        ] {
            assert!(tells_of_a_service(name), "{name}");
        }
        for name in ["BAZAR_CACHE_CAPACITY", "BAZAR_CACHE__CAPACITY", "BAZAR_DATA", "BAZAR_HTTP__PORT", "BAZAR_PORTS"] {
            assert!(!tells_of_a_service(name), "{name}");
        }
    }
}
