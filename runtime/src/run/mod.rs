//! Running a program's stages.

mod error;
mod progress;

pub use error::{RunError, StageFault};
pub use progress::{Progress, Silent, StepShown};
