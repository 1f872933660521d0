//! Takes values out of the sources, one key at a time, and goes on after a mistake.
//!
//! Reading a key says its default and its range in the same line, and makes the key known; what the
//! sources hold beyond the known keys is a mistake in the end. A key that was mistaken reads as its
//! default, so that the reading always comes to its end and finds the rest. Which keys there are is
//! not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use figment::value::{Dict, Value};

use super::mistake::{Mistake, Place};
use super::source::{self, Entries, Sources};

/// How alike (0 to 1) an unknown key and a known one must be for the latter to be suggested.
const ALIKE: f64 = 0.75;

/// Reads one configuration.
pub(super) struct Reader<'s> {
    sources: &'s Sources,
    /// Paths that hold keys of their own.
    tables: BTreeSet<String>,
    /// Paths that hold a value.
    pub keys: BTreeSet<String>,
    /// The numbers read well, for the rules between two of them.
    numbers: BTreeMap<String, u64>,
    /// Where each value was first used that no two keys of its kind may share.
    owners: BTreeMap<(&'static str, String), String>,
    mistakes: Vec<Mistake>,
}

/// The mistake has been told.
struct Told;

impl<'s> Reader<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Reader {
            sources,
            tables: BTreeSet::new(),
            keys: BTreeSet::new(),
            numbers: BTreeMap::new(),
            owners: BTreeMap::new(),
            mistakes: sources.mistakes.clone(),
        }
    }

    /// The keys at the top level.
    pub(super) fn top(&mut self) -> Section<'_, 's> {
        let values = Some(&self.sources.values);
        Section { path: String::new(), values, reader: self }
    }

    /// The keys of `[name]`, which may be missing.
    pub(super) fn section(&mut self, name: &str) -> Section<'_, 's> {
        self.tables.insert(name.to_owned());
        for entry in self.sources.layers.iter().filter_map(|entries| entries.get(name)) {
            if !entry.is_table {
                let what = format!("found a value; expected keys below it, as {name} is a section");
                self.mistakes.push(Mistake { place: entry.place.clone(), key: name.to_owned(), what });
            }
        }
        let values = self.sources.values.get(name).and_then(Value::as_dict);
        Section { path: name.to_owned(), values, reader: self }
    }

    /// How many `[[name]]` tables there are.
    pub(super) fn tables(&mut self, name: &str) -> usize {
        self.keys.insert(name.to_owned());
        match self.sources.values.get(name).map(Value::as_array) {
            Some(Some(tables)) if !tables.is_empty() => {
                self.tables.insert(name.to_owned());
                return tables.len();
            }
            None | Some(Some(_)) => self.tell(name, format!("missing; expected at least one [[{name}]] table")),
            Some(None) => self.tell(name, format!("expected [[{name}]], in two brackets, above the keys of each node")),
        }
        0
    }

    /// The keys of one of the [`tables`](Self::tables), counted from 0.
    pub(super) fn table(&mut self, name: &str, index: usize) -> Section<'_, 's> {
        let path = format!("{name}[{index}]");
        self.tables.insert(path.clone());
        let values = self.sources.values.get(name).and_then(Value::as_array).and_then(|tables| tables.get(index));
        let values = values.and_then(Value::as_dict);
        Section { path, values, reader: self }
    }

    /// Requires one number to be less than another, both by their full paths, and says what follows otherwise.
    pub(super) fn require_below(&mut self, low: &str, high: &str, otherwise: &str) {
        let (Some(low_value), Some(high_value)) = (self.numbers.get(low), self.numbers.get(high)) else { return };
        if low_value >= high_value {
            // The one to mend is that which was set for this run, or at all.
            let set_by = |key| self.sources.entry(key).map(|entry| entry.place.weight());
            let (key, what) = match set_by(high) > set_by(low) {
                false => (low, format!("found {low_value}; expected less than {high} = {high_value}")),
                true => (high, format!("found {high_value}; expected more than {low} = {low_value}")),
            };
            self.tell(key, format!("{what}, or else {otherwise}"));
        }
    }

    /// All mistakes, with those about unknown keys.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        for entries in &self.sources.layers {
            for (key, entry) in entries {
                if !self.is_known(key) && !self.is_inside_a_mistake(key, entries) {
                    let what = self.unknown(key, &entry.place);
                    self.mistakes.push(Mistake { place: entry.place.clone(), key: key.clone(), what });
                }
            }
        }
        self.mistakes
    }

    fn is_known(&self, key: &str) -> bool {
        self.keys.contains(key) || self.tables.contains(key)
    }

    /// Whether `key` stands in something that is itself unknown, or that should have been a value.
    fn is_inside_a_mistake(&self, key: &str, entries: &Entries) -> bool {
        source::parent(key).is_some_and(|parent| entries.contains_key(parent) && !self.tables.contains(parent))
    }

    /// What to say of an unknown key: the known one that was probably meant, or all that would do.
    fn unknown(&self, key: &str, place: &Place) -> String {
        let spelled = |key: &str| match place {
            Place::Environment(_) => source::variable(key),
            Place::File { .. } | Place::Flag(_) => key.to_owned(),
        };
        // Keys of the same table are compared by their names alone, lest what they share count.
        let (here, name) = split(key);
        let likeness = |known: &&String| match split(known) {
            _ if source::is_above(known, key) && self.tables.contains(*known) => 0.0,
            (there, known_name) if there == here => strsim::jaro(name, known_name),
            (_, known_name) if known_name == name => 0.95,
            // What one node lacks is no key of another's.
            _ if here.ends_with(']') => 0.0,
            _ => strsim::jaro(key, known),
        };
        // Nodes are set in the file alone.
        let may_be_set = |known: &str| match place {
            Place::File { .. } => true,
            Place::Environment(_) | Place::Flag(_) => !self.tables.contains(&format!("{known}[0]")),
        };
        let known = || self.keys.union(&self.tables).filter(|known| !known.ends_with(']') && may_be_set(known));
        match known().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
            Some(best) if likeness(&best) >= ALIKE => format!("unknown key; did you mean {}?", spelled(best)),
            _ => {
                let beside = known().filter(|known| split(known).0 == here).map(|known| spelled(known));
                match beside.collect::<Vec<_>>().join(", ").as_str() {
                    "" => "unknown key".to_owned(),
                    beside => format!("unknown key; known here are {beside}"),
                }
            }
        }
    }

    fn tell(&mut self, key: &str, what: String) {
        let place = self.sources.place(key);
        self.mistakes.push(Mistake { place, key: key.to_owned(), what });
    }
}

/// The table that a key stands in, empty at the top level, and its name there.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// Reads the keys of one table.
pub(super) struct Section<'r, 's> {
    reader: &'r mut Reader<'s>,
    path: String,
    values: Option<&'s Dict>,
}

impl Section<'_, '_> {
    /// A whole number.
    pub(super) fn number(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = self.read(name, |found| found.number().filter(|number| range.contains(number)).ok_or(expected));
        let number = or_default(read, default);
        if let Ok(number) = number {
            self.reader.numbers.insert(source::join(&self.path, name), number);
        }
        number.unwrap_or(default)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        let read = self.read(name, |found| found.flag().ok_or_else(|| "true or false".to_owned()));
        or_default(read, default).unwrap_or(default)
    }

    /// A word that stands for a value.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, default: T, words: &[(&str, T)]) -> T {
        let read = self.read(name, |found| {
            let chosen = words.iter().find(|(word, _)| found.text() == Some(word)).map(|(_, value)| *value);
            chosen.ok_or_else(|| words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or "))
        });
        or_default(read, default).unwrap_or(default)
    }

    /// A text that `parse` makes something of, or says what it expects.
    pub(super) fn text<T>(&mut self, name: &str, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// A text that may be missing and has no default.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let read = self.read(name, |found| parse(found.text().ok_or("a text")?));
        read.unwrap_or_default()
    }

    /// A text that may not be missing.
    pub(super) fn required<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.values.is_some_and(|values| values.contains_key(name)) {
            return self.optional(name, parse);
        }
        let path = source::join(&self.path, name);
        self.reader.keys.insert(path.clone());
        // What should stand in place of nothing is what should stand in place of an empty text.
        let told = |expected| self.reader.tell(&path, format!("missing; expected {expected}"));
        parse("").map_err(told).ok()
    }

    /// Requires that no other key of this `kind` has a value that means the same, as `meaning` says.
    pub(super) fn require_unique(&mut self, name: &str, kind: &'static str, value: &str, meaning: &str) {
        let path = source::join(&self.path, name);
        match self.reader.owners.get(&(kind, meaning.to_owned())) {
            Some(owner) => {
                let place = self.reader.sources.place(owner);
                let what =
                    format!("found {value:?}, as for {owner} ({place}); expected each node to have its own {kind}");
                self.reader.tell(&path, what);
            }
            None => drop(self.reader.owners.insert((kind, meaning.to_owned()), path)),
        }
    }

    /// The value of a key, where it is set, and `parse` accepts it or else says what it expects.
    fn read<T>(&mut self, name: &str, parse: impl FnOnce(&Found) -> Result<T, String>) -> Result<Option<T>, Told> {
        let path = source::join(&self.path, name);
        self.reader.keys.insert(path.clone());
        let Some((entry, value)) =
            self.reader.sources.entry(&path).zip(self.values.and_then(|values| values.get(name)))
        else {
            return Ok(None);
        };
        let found = Found { value, is_text: !matches!(entry.place, Place::File { .. }) };
        parse(&found).map(Some).map_err(|expected| {
            self.reader.tell(&path, format!("found {found}; expected {expected}"));
            Told
        })
    }
}

fn or_default<T>(read: Result<Option<T>, Told>, default: T) -> Result<T, Told> {
    read.map(|value| value.unwrap_or(default))
}

/// A value as its source has it. Variables and flags hold texts, whatever the key's type.
struct Found<'s> {
    value: &'s Value,
    is_text: bool,
}

impl Found<'_> {
    fn number(&self) -> Option<u64> {
        match self.value {
            Value::String(_, text) if self.is_text => text.parse().ok(),
            Value::Num(_, number) => match number.to_u128() {
                Some(number) => u64::try_from(number).ok(),
                None => number.to_i128().and_then(|number| u64::try_from(number).ok()),
            },
            _ => None,
        }
    }

    fn flag(&self) -> Option<bool> {
        match self.value {
            Value::String(_, text) if self.is_text => text.parse().ok(),
            value => value.to_bool(),
        }
    }

    fn text(&self) -> Option<&str> {
        self.value.as_str()
    }
}

impl std::fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value {
            Value::String(_, text) if self.is_text => write!(f, "{text:?}"),
            Value::String(_, text) => write!(f, "the string {text:?}"),
            Value::Bool(_, value) => write!(f, "{value}"),
            Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
                (Some(number), ..) => write!(f, "the number {number}"),
                (_, Some(number), _) => write!(f, "the number {number}"),
                (_, _, Some(number)) => write!(f, "the number {number:?}"),
                _ => f.write_str("a number"),
            },
            Value::Dict(..) => f.write_str("a table"),
            Value::Array(..) => f.write_str("a list"),
            Value::Char(..) | Value::Empty(..) => f.write_str("something else"),
        }
    }
}
