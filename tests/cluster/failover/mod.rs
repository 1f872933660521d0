//! Some die, the shop goes on; and what it says meanwhile is true.

mod frontend;
mod minority;
mod pair;
mod shutdown;
mod times;
