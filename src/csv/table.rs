//! What a table is to the files: a name, a header and rows, as they were at one moment.
//!
//! Whoever holds the live state makes such views; this layer does not know how they are kept.

use std::io;
use std::ops::Range;

use super::{Column, RowWriter};

/// An immutable view of one table at one moment, cheap to hold: it shares memory with the live state.
pub trait Table: Send + Sync {
    /// What the table is called: `catalog`, `orders`.
    fn name(&self) -> &'static str;

    /// Its columns, in the order in which rows are written.
    fn columns(&self) -> &'static [Column];

    /// Which beginning the rows have in common: of two views with the same generation, the one with
    /// fewer rows is a prefix of the other. A change anywhere but at the end starts a new
    /// generation, never used before in this process.
    fn generation(&self) -> u64;

    /// How many rows there are.
    fn rows(&self) -> u64;

    /// Writes the rows with these indexes, in order. They lie within `0..self.rows()`.
    ///
    /// # Errors
    ///
    /// Those of `out`, passed on.
    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()>;
}
