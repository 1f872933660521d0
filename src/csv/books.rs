//! Books as rows of the catalog: `id,topic,title,price,quantity`.
//!
//! [`read`] reads back what [`write_book`] wrote and stops at the first fault; what a person wrote
//! is for [`read_seed`](super::read_seed).

use std::io;

use crate::model::Book;

use super::column::Column;
use super::interner::Interner;
use super::rows::{RowError, RowWriter, read_rows};

/// The columns of the catalog.
pub const COLUMNS: &[Column] =
    &[Column::new("id"), Column::new("topic"), Column::new("title"), Column::new("price"), Column::new("quantity")];

/// Writes one book as a row under [`COLUMNS`].
///
/// # Errors
///
/// Those of the output.
pub fn write_book(out: &mut RowWriter<'_>, book: &Book) -> io::Result<()> {
    out.value(book.id)?.text(&book.topic)?.text(&book.title)?.value(book.price)?.value(book.quantity)?.end_row()
}

/// Reads the books in a whole file, in its order. Equal topics share one text.
///
/// # Errors
///
/// The first row that [`write_book`] did not write; or that the text cannot be read.
pub fn read(text: impl io::Read, mut each: impl FnMut(Book)) -> Result<(), RowError> {
    let mut topics = Interner::default();
    read_rows(text, COLUMNS, |row| {
        each(Book {
            id: row.value(0)?,
            topic: topics.share(row.text(1)).map_err(|error| row.error(1, error))?,
            title: row.value(2)?,
            price: row.value(3)?,
            quantity: row.value(4)?,
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::csv::testing::{any_words, written_rows};
    use crate::model::testing::{book_id, cents, stock, text};
    use crate::model::{BookId, Cents, Quantity};

    fn parse(text: &[u8]) -> Result<Vec<Book>, RowError> {
        let mut books = Vec::new();
        read(text, |book| books.push(book)).map(|()| books)
    }

    fn written(books: &[Book]) -> Vec<u8> {
        written_rows(COLUMNS, |out| books.iter().try_for_each(|book| write_book(out, book)))
    }

    #[test]
    fn a_book_is_one_plain_row() {
        let (topic, title) = (text("a, b"), text("The \"C\" Book"));
        let book = Book { id: book_id(2), topic, title, price: cents(6550), quantity: stock(3) };
        assert_eq!(
            String::from_utf8(written(&[book])).unwrap(),
            "id,topic,title,price,quantity\n2,\"a, b\",\"The \"\"C\"\" Book\",65.50,3\n"
        );
    }

    #[test]
    fn equal_topics_share_one_text() {
        let books = parse(b"id,topic,title,price,quantity\n1,t,a,1,1\n2,t,b,1,1\n").unwrap();
        assert!(books[0].topic.is_same(&books[1].topic));
    }

    #[test]
    fn what_was_not_written_here_is_refused_with_line_and_column() {
        for (text, message) in [
            ("", "line 1: the column id is missing; id,topic,title,price,quantity are needed"),
            ("id,title\n", "line 1: the column topic is missing; id,topic,title,price,quantity are needed"),
            (
                "id,topic,title,price,quantity\n1,\"t,u\",a,1,1\n2,t,b,1.234,1\n",
                "line 3: price (column 4): \"1.234\": \
                 a price is a number from 0 to 100000000 with at most two decimals",
            ),
            (
                "id,topic,title,price,quantity\n1,t,\"a\nb\",1,1\n",
                r#"line 2: title (column 3): "a\nb": has the control character U+000A, and may have none"#,
            ),
            (
                "id,topic,title,price,quantity\n1,t,a,1,many\n",
                r#"line 2: quantity (column 5): "many": a quantity is a whole number from 0 to 1000000000000"#,
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), message);
        }
        assert_eq!(parse(b"id,topic,title,price,quantity\n1,t,a,1\n").unwrap_err().line, 2);
        assert_eq!(parse(b"id,topic,title,price,quantity\n1,t,\xff,1,1\n").unwrap_err().line, 2);
    }

    prop_compose! {
        fn any_book()(
            id in 1..=BookId::MOST.get(),
            (topic, title) in (any_words(), any_words()),
            price in 0..=Cents::MOST.get(),
            quantity in 0..=Quantity::MOST.get(),
        ) -> Book {
            Book { id: book_id(id), topic, title, price: cents(price), quantity: stock(quantity) }
        }
    }

    proptest! {
        #[test]
        fn books_come_back_as_they_were_written(books in prop::collection::vec(any_book(), 0..20)) {
            prop_assert_eq!(parse(&written(&books)).unwrap(), books);
        }
    }
}
