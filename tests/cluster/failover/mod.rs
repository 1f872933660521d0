//! Some die, the shop goes on; and what it says meanwhile is true.

mod minority;
mod pair;
mod shutdown;
