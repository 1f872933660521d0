//! Equal texts in one place: a million orders of seven books need seven titles.

use std::collections::HashSet;

use crate::model::{NotAText, Text};

/// The texts met so far by one reader.
#[derive(Default)]
pub(super) struct Interner(HashSet<Text>);

impl Interner {
    /// The one shared copy of `text`.
    ///
    /// # Errors
    /// If it can be no title and no topic.
    pub fn share(&mut self, text: &str) -> Result<Text, NotAText> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let shared: Text = text.parse()?;
        self.0.insert(shared.clone());
        Ok(shared)
    }
}
