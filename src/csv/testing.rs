//! What the tests of this layer share.

use std::io;

use proptest::prelude::*;

use super::{Column, Readers, RowWriter};
use crate::model::Text;

/// Any text, with the characters that mean something in CSV more often than chance would have them.
pub fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![any::<char>(), prop::sample::select(vec!['"', ',', '\n', '\r', ' ', 'a', '\u{feff}'])];
    prop::collection::vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

/// Any title or topic.
pub fn any_words() -> impl Strategy<Value = Text> {
    any_text().prop_filter_map("no title", |text| text.parse().ok())
}

/// The text of a whole file.
pub fn written_rows(columns: &[Column], write: impl FnOnce(&mut RowWriter<'_>) -> io::Result<()>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut out = RowWriter::new(&mut text, Readers::Bazar);
    out.header(columns).unwrap();
    write(&mut out).unwrap();
    out.finish().unwrap();
    text
}
