//! What runs keep: finished stages by content, and checkpoints of unfinished ones.

pub mod arrays;
pub mod changes;
pub mod checkpoint;
mod folder;
mod listed;
mod record;

pub use folder::{Entry, Kept, Store};
pub use listed::Listed;
pub use record::{Input, Made, Part, Record};
