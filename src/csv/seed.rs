//! The catalog that a person wrote, as the first books of a new shop.
//!
//! People write with editors and spreadsheets, so columns may stand in any order, lines may end in
//! any way, blanks may stand around fields and a byte order mark is no fault. But nothing is guessed: whatever is wrong is told, all
//! at once, with its line and column, and then no book is taken. This module does not know where the
//! text comes from; the path it is given only names the file in what it tells.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::ByteRecord;

use super::books::COLUMNS;
use super::column;
use super::interner::Interner;
use super::rows::{RowError, shown};
use crate::model::{Book, BookId};

/// The most faults told at once; the others are only counted.
const MAX_ERRORS_SHOWN: usize = 50;

/// How alike (0 to 1) an unknown column and a missing one must be for the latter to be suggested.
const ALIKE: f64 = 0.75;

/// What Windows programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Everything that is wrong with a seed, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedErrors {
    path: PathBuf,
    shown: Vec<RowError>,
    more: usize,
}

impl SeedErrors {
    fn push(&mut self, error: RowError) {
        match self.shown.len() {
            MAX_ERRORS_SHOWN.. => self.more += 1,
            _ => self.shown.push(error),
        }
    }
}

impl std::error::Error for SeedErrors {}

impl fmt::Display for SeedErrors {
    /// One fault a line, as compilers write theirs: `catalog.csv:7: price (column 4): …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, RowError { line, problem }) in self.shown.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}: {problem}", self.path.display())?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// The books of a catalog that a person wrote, sorted by id. Equal topics share one text.
///
/// # Errors
///
/// Everything that is wrong; `path` names the file there.
pub fn read_seed(path: &Path, text: &[u8]) -> Result<Vec<Book>, SeedErrors> {
    let mut errors = SeedErrors { path: path.to_owned(), shown: Vec::new(), more: 0 };
    let mut books = Vec::new();
    if let Some(problem) = other_format(text) {
        errors.push(RowError { line: 1, problem });
        return Err(errors);
    }
    let mut rows = Rows::new(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
    match header(&mut rows) {
        Ok(header) => {
            let mut known = Known::default();
            while rows.next() {
                books.extend(SeedRow { header: &header, row: &rows, errors: &mut errors }.book(&mut known));
            }
        }
        // Without the header nobody can say which field is which.
        Err(problem) => errors.push(RowError { line: rows.line, problem }),
    }
    if !errors.shown.is_empty() {
        return Err(errors);
    }
    books.sort_unstable_by_key(|book| book.id);
    Ok(books)
}

/// What the whole text is, if it is nothing that this module reads.
fn other_format(text: &[u8]) -> Option<String> {
    let first_line = text.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    let is_utf16 = text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || first_line.contains(&0);
    if is_utf16 {
        return Some(
            "the file is encoded as UTF-16: save it as UTF-8, which spreadsheets call \"CSV UTF-8\"".to_owned(),
        );
    }
    let first_line = first_line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first_line);
    let is_hint = first_line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"sep="));
    is_hint.then(|| {
        "this line tells a spreadsheet how fields are separated: remove it, and separate them by commas".to_owned()
    })
}

/// Why a first line may hold none of the names that it should; nothing if that is not clear.
fn cause(names: &[String]) -> Option<String> {
    let wanted = column::header(COLUMNS);
    for (separator, called) in [(';', "semicolons"), ('\t', "tabs")] {
        if names.iter().any(|name| name.contains(separator)) {
            return Some(format!("fields are separated by {called} here: separate them by commas, as {wanted}"));
        }
    }
    let is_number = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let has_numbers = names.iter().any(is_number);
    has_numbers.then(|| format!("this line holds a book and no names of columns: put a line above it with {wanted}"))
}

/// The missing column that `name` was meant for, if that is likely.
fn meant<'a>(name: &str, missing: &[&'a str]) -> Option<&'a str> {
    let likeness = |known: &&&str| strsim::jaro(&name.to_lowercase(), known);
    let best = missing.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (missing.len() == 1 || likeness(&best) >= ALIKE).then_some(*best)
}

/// The names of the columns in their order: each of [`COLUMNS`] once, but for those that have a default, and no other.
fn header(rows: &mut Rows<'_>) -> Result<Vec<String>, String> {
    let wanted = column::header(COLUMNS);
    if !rows.next() {
        return Err(format!("the file is empty; its first line names the columns {wanted}"));
    }
    let names: Vec<_> = rows.fields.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    if let Some(cause) = cause(&names) {
        return Err(cause);
    }
    let mut problems = Vec::new();
    let is_missing = |name: &str| !names.iter().any(|found| found == name);
    let needed = COLUMNS.iter().filter(|column| column.default.is_none()).map(|column| column.name);
    let missing: Vec<&str> = needed.filter(|name| is_missing(name)).collect();
    problems.extend(missing.iter().map(|name| format!("{name} is missing")));
    for (column, name) in names.iter().enumerate() {
        if !COLUMNS.iter().any(|column| column.name == name) {
            let hint = meant(name, &missing).map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
            problems.push(format!("{} (column {}) is unknown{hint}", shown(name), column + 1));
        } else if names[..column].contains(name) {
            problems.push(format!("{name} (column {}) is there already", column + 1));
        }
    }
    problems.truncate(MAX_ERRORS_SHOWN);
    match problems.is_empty() {
        true => Ok(names),
        false => Err(format!("the first line names the columns {wanted} in any order: {}", problems.join(", "))),
    }
}

/// What the rows so far have in common with those to come.
#[derive(Default)]
struct Known {
    topics: Interner,
    line_of_id: HashMap<BookId, u64>,
}

/// One row, on its way to becoming a book.
struct SeedRow<'a> {
    header: &'a [String],
    row: &'a Rows<'a>,
    errors: &'a mut SeedErrors,
}

impl SeedRow<'_> {
    /// The book, or `None` once everything that is wrong with it has been told.
    fn book(&mut self, known: &mut Known) -> Option<Book> {
        if let Err(problem) = self.shape() {
            self.errors.push(RowError { line: self.row.line, problem });
            return None;
        }
        // All fields are looked at before the first bad one ends this.
        let id = self.field("id", |text| unique_id(text, &mut known.line_of_id, self.row.line));
        let topic = self.field("topic", |text| known.topics.share(text).map_err(|error| error.to_string()));
        let title = self.field("title", value);
        let price = self.field("price", value);
        let quantity = self.field("quantity", value);
        Some(Book { id: id?, title: title?, topic: topic?, price: price?, quantity: quantity? })
    }

    /// Whether the row falls into the fields of the header.
    fn shape(&self) -> Result<(), String> {
        // A quote that is never closed swallows the rest of the file into one field, which can even
        // give the right number of them.
        if self.row.text.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            return Err(r#"a quote is not closed; a field with quotes in it is written "like ""this""""#.to_owned());
        }
        if has_stray_quote(self.row.text) {
            return Err(r#"a quote stands in the midst of a field, or a blank beside a quoted one; a field with quotes in it is written "like ""this""", with a comma or the line's end right before and after"#.to_owned());
        }
        match (self.row.fields.len(), self.header.len()) {
            (found, expected) if found == expected => Ok(()),
            (found, expected) => Err(format!("expected {expected} fields, as in the first line, found {found}")),
        }
    }

    /// What `read` makes of the field under `name`; what it finds wrong is told.
    fn field<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Some(column) = self.header.iter().position(|found| found == name) else {
            let default = COLUMNS.iter().find(|column| column.name == name).and_then(|column| column.default);
            return read(default.unwrap_or_default()).ok();
        };
        let field = &self.row.fields[column];
        let value = str::from_utf8(field).map(str::trim).map_err(|_| "is not UTF-8".to_owned()).and_then(read);
        let tell = |problem| RowError::field(self.row.line, name, column, &String::from_utf8_lossy(field), problem);
        value.map_err(|problem: String| self.errors.push(tell(problem))).ok()
    }
}

/// Whether a row has a quote that neither begins nor ends a field, nor is one of two within a quoted field.
fn has_stray_quote(row: &[u8]) -> bool {
    // Within quotes a quote ends them, and two are one quote: the second begins quotes that end at once.
    let mut is_quoted = false;
    row.iter().enumerate().any(|(at, byte)| {
        if *byte != b'"' {
            return false;
        }
        is_quoted = !is_quoted;
        let beside = if is_quoted { at.checked_sub(1).map(|before| row[before]) } else { row.get(at + 1).copied() };
        !matches!(beside, None | Some(b',' | b'\r' | b'\n' | b'"'))
    })
}

/// Reads an id that stands on no line before.
fn unique_id(text: &str, line_of_id: &mut HashMap<BookId, u64>, line: u64) -> Result<BookId, String> {
    let id = value(text)?;
    match line_of_id.entry(id) {
        Entry::Occupied(first) => Err(format!("this id stands on line {} already", first.get())),
        Entry::Vacant(vacant) => {
            vacant.insert(line);
            Ok(id)
        }
    }
}

fn value<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// The rows of a CSV text, with the lines on which they begin.
///
/// The lines are counted here, as editors count them, because the CSV reader believes a row to begin
/// where the one before ended: before a blank line, or between the two characters of a `\r\n`.
struct Rows<'a> {
    whole: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    /// Line breaks before the end of the current row.
    line_breaks: u64,
    /// The line on which the current row begins; the first is 1.
    line: u64,
    /// The current row.
    fields: ByteRecord,
    /// The current row as it is written.
    text: &'a [u8],
}

impl<'a> Rows<'a> {
    fn new(whole: &'a [u8]) -> Self {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(whole);
        Rows { whole, reader, line_breaks: 0, line: 1, fields: ByteRecord::new(), text: &[] }
    }

    /// Goes on to the next row; `false` at the end.
    fn next(&mut self) -> bool {
        let before = self.offset();
        let more = self.reader.read_byte_record(&mut self.fields);
        let end = self.offset();
        let is_break = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let start = before + self.whole[before..end].iter().take_while(is_break).count();
        self.line = 1 + self.line_breaks + self.count_line_breaks(before..start);
        self.line_breaks = self.line - 1 + self.count_line_breaks(start..end);
        self.text = &self.whole[start..end];
        more.expect("a text in memory can be read, and its rows may have any length")
    }

    /// How far the reader is, in bytes.
    fn offset(&self) -> usize {
        usize::try_from(self.reader.position().byte()).expect("an offset into a slice fits a usize")
    }

    /// Counts `\n`, `\r\n` and single `\r`; a `\r\n` counts where its `\n` is.
    fn count_line_breaks(&self, range: Range<usize>) -> u64 {
        let is_break = |at: &usize| match self.whole[*at] {
            b'\n' => true,
            b'\r' => self.whole.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        range.filter(is_break).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::csv::books::write_book;
    use crate::csv::testing::{any_text, any_words, written_rows};
    use crate::model::MAX_TEXT_BYTES;
    use crate::model::testing::{book_id, cents, stock, text};

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<Book>, String> {
        read_seed(Path::new("catalog.csv"), text.as_ref()).map_err(|errors| errors.to_string())
    }

    fn book(id: u64, topic: &str, title: &str, price: u64, quantity: u64) -> Book {
        let (topic, title) = (text(topic), text(title));
        Book { id: book_id(id), topic, title, price: cents(price), quantity: stock(quantity) }
    }

    #[test]
    fn the_seven_books_are_read() {
        let books = read(include_bytes!("../../catalog.csv")).unwrap();
        assert_eq!(books.len(), 7);
        assert_eq!(books[1], book(2, "distributed systems", "RPCs for Noobs", 5000, 1000));
        assert!(books[0].topic.is_same(&books[1].topic));
    }

    #[test]
    fn columns_stand_in_any_order_with_blanks_around_names_and_fields() {
        let text = "\u{feff} price ,\"id\",quantity,title,topic\r\n 12.5 , 2,3 ,\" b, \"\"c\"\" \",t\r\n1,1,0,a,t";
        assert_eq!(read(text).unwrap(), [book(1, "t", "a", 100, 0), book(2, "t", "b, \"c\"", 1250, 3)]);
    }

    #[test]
    fn a_shop_may_start_without_books() {
        assert_eq!(read("id,topic,title,price,quantity\n").unwrap(), []);
    }

    #[test]
    fn every_fault_is_told_at_once_with_line_and_column() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let mut text = b"id,topic,title,price,quantity\n\
            1,theory,\"two\nlines\",10,1\n\
            \r\n\
            0,theory,a,12.345,-1\r\n\
            1,theory, ,1,1\r\n\
            5,theory,a,1\n\
            6,theory,a,1,1,1\n\
            7,th\xffory,a,1,1\n"
            .to_vec();
        text.extend_from_slice(format!("+8,theory,{long},1,1000000000001\n9,theory,\"a,1,1\n10,t,a,1,1\n").as_bytes());
        let expected = format!(
            r#"catalog.csv:2: title (column 3): "two\nlines": has the control character U+000A, and may have none
catalog.csv:5: id (column 1): "0": a book's number is a whole number from 1 to 9007199254740991
catalog.csv:5: price (column 4): "12.345": a price is a number from 0 to 100000000 with at most two decimals
catalog.csv:5: quantity (column 5): "-1": a quantity is a whole number from 0 to 1000000000000
catalog.csv:6: id (column 1): "1": this id stands on line 2 already
catalog.csv:6: title (column 3): " ": may not be blank
catalog.csv:7: expected 5 fields, as in the first line, found 4
catalog.csv:8: expected 5 fields, as in the first line, found 6
catalog.csv:9: topic (column 2): "th�ory": is not UTF-8
catalog.csv:10: id (column 1): "+8": a book's number is a whole number from 1 to 9007199254740991
catalog.csv:10: title (column 3): "{}…": takes 1025 bytes and may take 1024
catalog.csv:10: quantity (column 5): "1000000000001": a quantity is a whole number from 0 to 1000000000000
catalog.csv:11: a quote is not closed; a field with quotes in it is written "like ""this""""#,
            "x".repeat(40)
        );
        assert_eq!(read(text).unwrap_err(), expected);
    }

    #[test]
    fn a_wrong_header_is_told_name_by_name() {
        assert_eq!(
            read("id,Topic,title,price,isbn,id\n1,t,a,1,1,1\n").unwrap_err(),
            "catalog.csv:1: the first line names the columns id,topic,title,price,quantity in any order: \
             topic is missing, quantity is missing, \"Topic\" (column 2) is unknown: did you mean topic?, \"isbn\" (column 5) is unknown, \
             id (column 6) is there already"
        );
        for empty in ["", "\u{feff}", "\n\n"] {
            let error = read(empty).unwrap_err();
            assert!(
                error.ends_with(": the file is empty; its first line names the columns id,topic,title,price,quantity"),
                "{error}"
            );
        }
    }

    #[test]
    fn blanks_around_a_topic_make_no_other_topic() {
        let text = "id, topic, title, price, quantity\n1, distributed systems , A , 40, 5\n2,distributed systems,B,1,1";
        let expected = [book(1, "distributed systems", "A", 4000, 5), book(2, "distributed systems", "B", 100, 1)];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn a_quote_where_none_belongs_is_told() {
        for row in [
            r#"2, "distributed systems", "Xen and the Art", 40, 5"#,
            r#"2,t,"a" b,1,1"#,
            r#"2,t,a "b" c,1,1"#,
            r#"2,t,"a" ,1,1"#,
        ] {
            let error = read(format!("id,topic,title,price,quantity\n{row}\n")).unwrap_err();
            assert!(error.starts_with("catalog.csv:2: a quote stands in the midst"), "{row}: {error}");
        }
        let sound = "id,topic,title,price,quantity\n1,\"a \"\"b\"\", c\",\"\"\"x\"\"\",1,\"1\"\r\n";
        assert_eq!(read(sound).unwrap(), [book(1, "a \"b\", c", "\"x\"", 100, 1)]);
    }

    #[test]
    fn a_file_of_another_kind_is_told_by_its_cause() {
        let utf16: Vec<u8> = "id,topic".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 7] = [
            (b"id;topic;title;price;quantity\n1;t;a;1;1\n", "separated by semicolons"),
            (b"id\ttopic\ttitle\tprice\tquantity\n", "separated by tabs"),
            (&utf16, "UTF-16"),
            (b"\xff\xfei\0d\0", "UTF-16"),
            (b"sep=,\nid,topic,title,price,quantity\n", "remove it"),
            (b"1,t,a,1,1\n", "put a line above it"),
            (b"ID,TOPIC,TITLE,PRICE,STOCK\n1,t,a,1,1\n", "\"TITLE\" (column 3) is unknown: did you mean title?"),
        ];
        for (text, cause) in cases {
            let error = read(text).unwrap_err();
            assert!(error.contains(cause), "{cause}: {error}");
        }
        let one = read("id,topic,title,price,stock\n").unwrap_err();
        assert!(one.ends_with("\"stock\" (column 5) is unknown: did you mean quantity?"), "{one}");
    }

    #[test]
    fn an_open_quote_is_told_even_where_the_number_of_fields_is_right() {
        let text = "id,topic,price,quantity,title\n1,t,1,1,\"a\n2,t,1,1,b\n";
        assert!(read(text).unwrap_err().starts_with("catalog.csv:2: a quote is not closed"));
    }

    #[test]
    fn lines_are_counted_as_editors_count_them() {
        for line_break in ["\n", "\r\n", "\r"] {
            let lines = ["id,topic,title,price,quantity", "", "1,t,\"a", "", "b\",1,1", "", "", "2,t,a,1,x"];
            let error = read(lines.join(line_break)).unwrap_err();
            let last = error.lines().last().unwrap();
            assert!(last.starts_with("catalog.csv:8: quantity"), "{line_break:?}: {error}");
        }
    }

    #[test]
    fn a_flood_of_faults_is_counted_not_told() {
        let mut text = "id,topic,title,price,quantity\n".to_owned();
        (0..MAX_ERRORS_SHOWN + 3).for_each(|_| text.push_str("0,t,a,1,1\n"));
        let error = read(text).unwrap_err();
        assert_eq!(error.lines().count(), MAX_ERRORS_SHOWN + 1);
        assert!(error.ends_with("catalog.csv:51: id (column 1): \"0\": a book's number is a whole number from 1 to 9007199254740991\nand 3 more"));
    }

    proptest! {
        #[test]
        fn a_catalog_that_bazar_wrote_can_be_a_seed(titles in prop::collection::vec(any_words(), 0..10)) {
            let mut books = Vec::new();
            for (id, title) in (1..).zip(titles) {
                books.push(book(id, &format!("t{title}t"), &format!("T{title}T"), id, id));
            }
            let text = written_rows(COLUMNS, |out| books.iter().try_for_each(|book| write_book(out, book)));
            prop_assert_eq!(read(text).unwrap(), books);
        }

        #[test]
        fn no_text_is_too_strange_to_answer(text in any::<Vec<u8>>(), rows in prop::collection::vec(any_text(), 0..9)) {
            let _ = read(text);
            let mut text = "id,topic,title,price,quantity\n".to_owned();
            rows.iter().for_each(|row| writeln!(text, "{row}").unwrap());
            let _ = read(text);
        }
    }
}
