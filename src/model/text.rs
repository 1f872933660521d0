//! Titles and topics.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest title or topic, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1024;

/// A title or a topic: one line of 1 to [`MAX_TEXT_BYTES`] bytes of UTF-8 in which something can be seen.
///
/// Control characters and line breaks are none of it, nor are those that reverse the direction of what follows:
/// they would rewrite the terminal, the log or the table in which somebody looks at the text. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

/// Why something is no title and no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAText {
    /// There is nothing to see.
    #[error("may not be blank")]
    Blank,
    /// It is too long.
    #[error("takes {bytes} bytes and may take {MAX_TEXT_BYTES}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It has a character that may not stand in one line of text.
    #[error("has the control character U+{:04X}, and may have none", u32::from(*.0))]
    Control(char),
}

fn check(text: &str) -> Result<(), NotAText> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(NotAText::TooLong { bytes: text.len() });
    }
    let bytes = text.as_bytes();
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        // Nearly all: among them only a blank cannot be seen.
        return if bytes.iter().any(|byte| *byte != b' ') { Ok(()) } else { Err(NotAText::Blank) };
    }
    if let Some(control) = text.chars().find(|character| is_control(*character)) {
        return Err(NotAText::Control(control));
    }
    match text.chars().any(|character| !character.is_whitespace() && !is_invisible(character)) {
        true => Ok(()),
        false => Err(NotAText::Blank),
    }
}

/// What moves, or reverses, what stands behind it: control characters, separators of lines and paragraphs, and
/// the embeddings, overrides and isolates of the bidirectional algorithm.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What takes no room, or nothing but room, although Unicode does not count it among the blanks: joiners, selectors of
/// variants, tags, and the fillers of some scripts.
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

impl FromStr for Text {
    type Err = NotAText;

    fn from_str(text: &str) -> Result<Text, NotAText> {
        check(text).map(|()| Text(text.into()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text {
    /// Whether two texts are one in memory.
    #[cfg(test)]
    pub fn is_same(&self, other: &Text) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let text = Arc::<str>::deserialize(deserializer)?;
        check(&text).map(|()| Text(text)).map_err(D::Error::custom)
    }
}
