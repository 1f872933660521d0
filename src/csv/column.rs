//! The columns of tables, which may become more.

/// A column of a table. Tables are read by the names of their columns, in whatever order they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What the header calls it.
    pub name: &'static str,
    /// What a row holds in it whose table was written before there was such a column; nothing if every table has it.
    pub default: Option<&'static str>,
}

impl Column {
    /// A column that every table has.
    pub const fn new(name: &'static str) -> Column {
        Column { name, default: None }
    }

    /// A column that tables of earlier versions lack.
    pub const fn added(name: &'static str, default: &'static str) -> Column {
        Column { name, default: Some(default) }
    }
}

/// The header of a table with these columns.
pub fn header(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(",")
}
