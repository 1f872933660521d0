//! Rows as CSV text: the one dialect in which tables are written and read back.
//!
//! Fields are parted by commas, rows end in `\n`, and a field is quoted only where it must be. This
//! module does not know what the fields mean.

use std::fmt::{Display, Write as _};
use std::io;
use std::str::FromStr;

use csv::StringRecord;

use super::column::{Column, header};
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
    pub fn header(&mut self, columns: &[Column]) -> io::Result<()> {
        Ok(self.csv.write_record(columns.iter().map(|column| column.name))?)
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
    columns: &'static [Column],
    /// Where each of the columns stands in the table; nothing of one that the table lacks.
    places: &'a [Option<usize>],
    fields: &'a StringRecord,
}

impl Row<'_> {
    /// The text of a column, by its position among those that are asked for.
    pub fn text(&self, column: usize) -> &str {
        match self.places[column] {
            Some(place) => &self.fields[place],
            None => self.columns[column].default.unwrap_or_default(),
        }
    }

    /// The value of a column, by its position among those that are asked for.
    pub fn value<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, RowError> {
        self.text(column).parse().map_err(|error| self.error(column, error))
    }

    /// Says that a column is wrong.
    pub fn error(&self, column: usize, problem: impl Display) -> RowError {
        let line = self.fields.position().map_or(0, csv::Position::line);
        let place = self.places[column].unwrap_or(column);
        RowError::field(line, self.columns[column].name, place, self.text(column), problem)
    }
}

/// Reads rows that [`RowWriter`] wrote under `columns`, in this version or an earlier one, one after the other, so that a
/// table of any size takes no more memory than its longest row.
///
/// # Errors
///
/// The first row that was not written so: other columns, another number of fields, no UTF-8, or
/// what `each` refuses; or that the text cannot be read.
pub fn read_rows(
    text: impl io::Read,
    columns: &'static [Column],
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
    next(&mut fields)?;
    let places = places(columns, &fields).map_err(|problem| RowError { line: 1, problem })?;
    while next(&mut fields)? {
        each(Row { columns, places: &places, fields: &fields })?;
    }
    Ok(())
}

/// Where each of `columns` stands under a header.
fn places(columns: &[Column], found: &StringRecord) -> Result<Vec<Option<usize>>, String> {
    let is_known = |name: &str| columns.iter().any(|column| column.name == name);
    // What nobody reads would be lost with the next write.
    if let Some(unknown) = found.iter().find(|name| !is_known(name)) {
        return Err(format!(
            "the column {} is unknown, and this version of bazar has only {}",
            shown(unknown),
            header(columns)
        ));
    }
    let place = |column: &Column| {
        let mut places = found.iter().enumerate().filter(|(_, name)| *name == column.name).map(|(place, _)| place);
        match (places.next(), places.next(), column.default) {
            (Some(place), None, _) => Ok(Some(place)),
            (None, _, Some(_)) => Ok(None),
            (None, _, None) => Err(format!("the column {} is missing; {} are needed", column.name, header(columns))),
            (Some(_), Some(_), _) => Err(format!("the column {} is there twice", column.name)),
        }
    };
    columns.iter().map(place).collect()
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

    /// Books as some later version has them.
    const LATER: &[Column] = &[Column::new("id"), Column::new("title"), Column::added("pages", "0")];

    fn read(text: &str) -> Result<Vec<(u64, String, u64)>, String> {
        let mut rows = Vec::new();
        let each = |row: Row<'_>| {
            rows.push((row.value(0)?, row.text(1).to_owned(), row.value(2)?));
            Ok(())
        };
        read_rows(text.as_bytes(), LATER, each).map_err(|error| error.to_string())?;
        Ok(rows)
    }

    #[test]
    fn columns_are_read_by_name_and_those_that_an_earlier_version_had_not_have_a_default() {
        let rows = vec![(1, "a".to_owned(), 0), (2, "b".to_owned(), 0)];
        assert_eq!(read("id,title\n1,a\n2,b\n"), Ok(rows));
        assert_eq!(read("pages,title,id\n7,a,1\n"), Ok(vec![(1, "a".to_owned(), 7)]));
        let column = "pages (column 1)";
        assert!(read("pages,title,id\nmany,a,1\n").unwrap_err().starts_with(&format!("line 2: {column}: \"many\"")));
    }

    #[test]
    fn a_table_with_a_column_too_many_or_too_few_is_refused() {
        for (header, problem) in [
            ("id,title,author", "the column \"author\" is unknown, and this version of bazar has only id,title,pages"),
            ("id,pages", "the column title is missing; id,title,pages are needed"),
            ("id,title,id", "the column id is there twice"),
        ] {
            assert_eq!(read(&format!("{header}\n1,1,1\n")), Err(format!("line 1: {problem}")));
        }
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
