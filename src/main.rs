//! The `bazar` executable.
fn main() {}
