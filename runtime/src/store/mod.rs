//! What runs keep: finished stages by content, and checkpoints of unfinished ones.

pub mod arrays;
pub mod checkpoint;
mod folder;

pub use folder::{Entry, Kept, Store};
