//! Training: the steps of a stage, from starting weights to trained ones.

mod batches;
mod bridge;
mod culprit;
pub mod held;
pub mod kept;
mod launch;
pub(crate) mod memory;
pub mod metrics;
mod optimizer;
mod rate;
pub mod times;
mod trainer;
pub mod verify;
mod weights;

pub use batches::micro_batches;
pub(crate) use batches::rows_taken;
pub use launch::Launch;
pub use memory::bytes;
pub(crate) use memory::refuse_too_big;
pub use trainer::{Ended, EndedAt, Feed, Job, Need, Outcome, Part, Saving, Settings, Tried, plan, train};
pub use weights::{Made, Shared, Weights};
