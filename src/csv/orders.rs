//! Orders as rows: `order_id,book_id,title,price,quantity,placed_at,idempotency_key`.

use std::io;

use crate::model::Order;

use super::column::Column;
use super::interner::Interner;
use super::rows::{RowError, RowWriter, read_rows};

/// The columns of the orders.
pub const COLUMNS: &[Column] = &[
    Column::new("order_id"),
    Column::new("book_id"),
    Column::new("title"),
    Column::new("price"),
    Column::new("quantity"),
    Column::new("placed_at"),
    Column::new("idempotency_key"),
];

/// Writes one order as a row under [`COLUMNS`].
///
/// # Errors
///
/// Those of the output.
pub fn write_order(out: &mut RowWriter<'_>, order: &Order) -> io::Result<()> {
    out.value(order.order_id)?
        .value(order.book_id)?
        .text(&order.title)?
        .value(order.price)?
        .value(order.quantity)?
        .value(order.placed_at_ms)?
        .value(&order.key)?
        .end_row()
}

/// Reads the orders in a whole file, in its order. Equal titles share one text.
///
/// # Errors
///
/// The first row that [`write_order`] did not write; or that the text cannot be read.
pub fn read(text: impl io::Read, mut each: impl FnMut(Order)) -> Result<(), RowError> {
    let mut titles = Interner::default();
    read_rows(text, COLUMNS, |row| {
        each(Order {
            order_id: row.value(0)?,
            book_id: row.value(1)?,
            title: titles.share(row.text(2)).map_err(|error| row.error(2, error))?,
            price: row.value(3)?,
            quantity: row.value(4)?,
            placed_at_ms: row.value(5)?,
            key: row.value(6)?,
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::csv::testing::{any_words, written_rows};
    use crate::model::testing::{an_order, book_id, cents, copies, key, order_id};
    use crate::model::{Cents, Copies, Key, OrderId, UnixMillis};

    fn parse(text: &[u8]) -> Result<Vec<Order>, RowError> {
        let mut orders = Vec::new();
        read(text, |order| orders.push(order)).map(|()| orders)
    }

    fn written(orders: &[Order]) -> Vec<u8> {
        written_rows(COLUMNS, |out| orders.iter().try_for_each(|order| write_order(out, order)))
    }

    #[test]
    fn an_order_is_one_plain_row() {
        let placed_at_ms = UnixMillis::of_clock(1_769_860_800_007);
        let order = Order { placed_at_ms, quantity: copies(3), key: key("buy#1"), ..an_order(1) };
        assert_eq!(
            String::from_utf8(written(&[order])).unwrap(),
            "order_id,book_id,title,price,quantity,placed_at,idempotency_key\n\
             1,7,Spring,20,3,2026-01-31T12:00:00.007Z,buy#1\n"
        );
    }

    #[test]
    fn equal_titles_share_one_text() {
        let text = b"order_id,book_id,title,price,quantity,placed_at,idempotency_key\n\
            1,7,Spring,20,1,2026-01-31T12:00:00.007Z,a\n2,7,Spring,20,1,2026-01-31T12:00:00.008Z,b\n";
        let orders = parse(text).unwrap();
        assert!(orders[0].title.is_same(&orders[1].title));
    }

    #[test]
    fn a_moment_that_is_none_is_refused_with_line_and_column() {
        let text = b"order_id,book_id,title,price,quantity,placed_at,idempotency_key\n1,7,Spring,20,1,yesterday,a\n";
        assert_eq!(
            parse(text).unwrap_err().to_string(),
            r#"line 2: placed_at (column 6): "yesterday": a moment is written 2026-01-31T12:00:00.000Z, from 1970 to 9999"#
        );
    }

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<u128>().prop_map(|number| uuid::Uuid::from_u128(number).into()),
            "[!-~]{1,128}".prop_map(|text| text.parse().unwrap())
        ]
    }

    prop_compose! {
        fn any_order()(
            (order, book) in (1..=OrderId::MOST.get(), 1..=OrderId::MOST.get()),
            title in any_words(),
            (price, quantity) in (0..=Cents::MOST.get(), 1..=Copies::MOST.get()),
            moment in 0..4_000_000_000_000u64,
            key in any_key(),
        ) -> Order {
            let (order_id, book_id, quantity) = (order_id(order), book_id(book), copies(quantity));
            Order { order_id, book_id, title, price: cents(price), quantity, placed_at_ms: UnixMillis::of_clock(moment), key }
        }
    }

    proptest! {
        #[test]
        fn orders_come_back_as_they_were_written(orders in prop::collection::vec(any_order(), 0..20)) {
            prop_assert_eq!(parse(&written(&orders)).unwrap(), orders);
        }
    }
}
