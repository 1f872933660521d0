//! Rows as CSV text: the one dialect in which tables are written and read back.
//!
//! Fields are parted by commas, rows end in `\n`, and a field is quoted only where it must be. This
//! module does not know what the fields mean.

use std::fmt::{Display, Write as _};
use std::io;
use std::str::FromStr;

use csv::StringRecord;

use crate::model::is_invisible;

/// How much text is gathered before it is handed on, which also bounds what a table of any size
/// holds of its text in memory.
const BUFFER_BYTES: usize = 64 * 1024;

/// The most characters of a wrong text that an error repeats.
const MAX_SHOWN_CHARS: usize = 40;

/// Writes rows field by field.
///
/// Every row has as many fields as the first. What was written reaches the output for certain only
/// with [`finish`](Self::finish).
pub struct RowWriter<'a> {
    csv: csv::Writer<&'a mut dyn io::Write>,
    readers: Readers,
    /// Reused, so that a number costs no allocation.
    scratch: String,
}

/// Who is to read the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Bazar itself: every text exactly as it is.
    Bazar,
    /// People, with a spreadsheet: a text that this would take for a formula has an apostrophe before it. Titles come
    /// from staff and keys from customers, and neither may compute in somebody's spreadsheet.
    People,
}

/// Whether a spreadsheet would compute a text instead of showing it.
fn is_formula(text: &str) -> bool {
    let seen = text.trim_start_matches(|character: char| character.is_whitespace() || is_invisible(character));
    seen.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

impl<'a> RowWriter<'a> {
    /// Starts writing rows to `out`.
    pub fn new(out: &'a mut dyn io::Write, readers: Readers) -> Self {
        let csv = csv::WriterBuilder::new()
            .terminator(csv::Terminator::Any(b'\n'))
            .quote_style(csv::QuoteStyle::Necessary)
            .buffer_capacity(BUFFER_BYTES)
            .from_writer(out);
        RowWriter { csv, readers, scratch: String::new() }
    }

    /// Writes the row of column names.
    pub fn header(&mut self, names: &[&str]) -> io::Result<()> {
        Ok(self.csv.write_record(names)?)
    }

    /// Writes a text as the next field.
    pub fn text(&mut self, field: &str) -> io::Result<&mut Self> {
        match self.readers == Readers::People && is_formula(field) {
            true => self.csv.write_field(format!("'{field}"))?,
            false => self.csv.write_field(field)?,
        }
        Ok(self)
    }

    /// Writes what `field` displays as the next field.
    pub fn value(&mut self, field: impl Display) -> io::Result<&mut Self> {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        write!(text, "{field}").map_err(io::Error::other)?;
        self.text(&text)?;
        self.scratch = text;
        Ok(self)
    }

    /// Ends the row.
    pub fn end_row(&mut self) -> io::Result<()> {
        Ok(self.csv.write_record(None::<&[u8]>)?)
    }

    /// Hands on what is still in the buffer.
    pub fn finish(mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RowError {
    /// The line on which the row begins; the first line of a file is 1.
    pub line: u64,
    /// Where in the row, and what.
    pub problem: String,
}

impl RowError {
    /// A wrong field. `column` counts from 0, as indexes do; people are told it from 1.
    pub(super) fn field(line: u64, name: &str, column: usize, text: &str, problem: impl Display) -> Self {
        RowError { line, problem: format!("{name} (column {}): {}: {problem}", column + 1, shown(text)) }
    }
}

/// A wrong text as an error repeats it: quoted, on one line, and not for ever.
pub(super) fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// One row that [`RowWriter`] wrote.
pub struct Row<'a> {
    header: &'static [&'static str],
    fields: &'a StringRecord,
}

impl Row<'_> {
    /// The text of a column, which the header has.
    pub fn text(&self, column: usize) -> &str {
        &self.fields[column]
    }

    /// The value of a column, which the header has.
    pub fn value<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, RowError> {
        self.text(column).parse().map_err(|error| self.error(column, error))
    }

    /// Says that a column is wrong.
    pub fn error(&self, column: usize, problem: impl Display) -> RowError {
        let line = self.fields.position().map_or(0, csv::Position::line);
        RowError::field(line, self.header[column], column, self.text(column), problem)
    }
}

/// Reads rows that [`RowWriter`] wrote under `header`, one after the other, so that a table of any size takes no more
/// memory than its longest row.
///
/// # Errors
///
/// The first row that was not written so: another header, another number of fields, no UTF-8, or
/// what `each` refuses; or that the text cannot be read.
pub fn read_rows(
    text: impl io::Read,
    header: &'static [&'static str],
    mut each: impl FnMut(Row<'_>) -> Result<(), RowError>,
) -> Result<(), RowError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).buffer_capacity(BUFFER_BYTES).from_reader(text);
    let mut fields = StringRecord::new();
    let mut next = |fields: &mut StringRecord| {
        reader.read_record(fields).map_err(|error| RowError {
            line: error.position().map_or(0, csv::Position::line),
            problem: error.to_string(),
        })
    };
    if !next(&mut fields)? || fields != *header {
        let (found, expected) = (fields.iter().collect::<Vec<_>>().join(","), header.join(","));
        return Err(RowError { line: 1, problem: format!("the header is {found:?}, expected {expected:?}") });
    }
    while next(&mut fields)? {
        each(Row { header, fields: &fields })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(readers: Readers, fields: &[&str]) -> String {
        let mut text = Vec::new();
        let mut out = RowWriter::new(&mut text, readers);
        for field in fields {
            out.text(field).unwrap().value(field).unwrap();
        }
        out.end_row().unwrap();
        out.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn no_cell_that_people_open_is_a_formula() {
        for text in [
            "=1+1",
            "+1",
            "-x",
            "@SUM",
            " =cmd|'/C calc'!A0",
            "＝1",
            "=HYPERLINK(1)",
            "\u{feff}=1",
            " \u{200b}\u{ad}=1",
        ] {
            assert_eq!(written(Readers::People, &[text]), format!("'{text},'{text}\n"));
            assert_eq!(written(Readers::Bazar, &[text]), format!("{text},{text}\n"));
        }
        for text in ["Spring", "1=1", "'=1", "0190f5b0-7a7e", "2026-01-31T12:00:00.007Z"] {
            assert_eq!(written(Readers::People, &[text]), written(Readers::Bazar, &[text]));
        }
    }
}
