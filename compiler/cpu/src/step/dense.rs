//! Small dense linear algebra, in double precision on the host.

use crate::bind::Fault;
use crate::unit::Frame;
use align_compiler::kernel::Dense;

pub struct Task(pub Dense);

impl Task {
    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, _frame: &Frame) -> Result<(), Fault> {
        Err(Fault::Matrix { step: "dense".into(), what: format!("{:?} is not there yet", self.0.kind) })
    }
}
