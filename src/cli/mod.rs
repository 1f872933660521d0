//! What the executable is told, and what it says before and beside its work.

pub mod check;
pub mod flags;
pub mod stop;
pub mod summary;
