//! The steps of a program, one kind a file: compiled once, prepared for the lengths of a batch, then run.

mod attention;
mod bodies;
mod contraction;
mod cumsum;
mod dense;
mod rows;
mod scatter;
mod sort;
mod view;

use crate::CompileError;
use crate::jit::Jit;
use crate::unit::{Frame, Unit, Workspace};
use align_compiler::kernel::{Fault, Program, Step};
use align_compiler::tensor::Lengths;

/// A compiled step.
pub enum Task {
    Rows(rows::Task),
    Contraction(contraction::Task),
    Attention(Box<attention::Task>),
    Scatter(scatter::Task),
    Cumsum(cumsum::Task),
    Sort(sort::Task),
    Dense(dense::Task),
    Bodies(Box<bodies::Task>),
}

/// What a step needs to know of the lengths.
pub enum Ready {
    Rows(rows::Ready),
    Contraction(contraction::Ready),
    /// Works it out when it runs.
    Nothing,
}

impl Task {
    pub fn compile(program: &Program, step: &Step, jit: &mut Jit) -> Result<Task, CompileError> {
        Ok(match step {
            Step::Rows(nest) => Task::Rows(rows::Task::compile(program, nest, jit)?),
            Step::Contraction(c) => Task::Contraction(contraction::Task::new(program, c)),
            Step::Attention(a) => Task::Attention(Box::new(attention::Task::forward(program, a))),
            Step::AttentionGrad(a) => Task::Attention(Box::new(attention::Task::backward(program, a))),
            Step::Scatter(s) => Task::Scatter(scatter::Task(s.clone())),
            Step::Cumsum(c) => Task::Cumsum(cumsum::Task(c.clone())),
            Step::Sort(s) => Task::Sort(sort::Task(s.clone())),
            Step::Dense(d) => Task::Dense(dense::Task(d.clone())),
            Step::Chunked(_) | Step::Scan(_) | Step::Loop(_) => {
                Task::Bodies(Box::new(bodies::Task::compile(step, jit)?))
            }
        })
    }

    /// The kind of the step, and what it makes.
    pub fn name(&self, program: &Program) -> String {
        let of = |buffer: align_compiler::kernel::BufferId| &program.buffer(buffer).name;
        match self {
            Task::Rows(task) => format!("rows {}", task.name()),
            Task::Contraction(task) => format!("contraction {}", task.step.name),
            Task::Attention(task) => format!("attention {}", of(task.output())),
            Task::Scatter(task) => format!("scatter {}", of(task.0.out.buffer)),
            Task::Cumsum(task) => format!("cumsum {}", of(task.0.out.buffer)),
            Task::Sort(task) => format!("sort {}", of(task.0.out.buffer)),
            Task::Dense(task) => format!("dense {}", of(task.0.outs[0].buffer)),
            Task::Bodies(_) => "body".into(),
        }
    }

    /// The body of the step, with the lengths that need most memory.
    pub fn body(&self, lengths: &Lengths) -> Option<(&Unit, Lengths)> {
        match self {
            Task::Bodies(task) => Some(task.body(lengths)),
            _ => None,
        }
    }

    pub fn prepare(&self, program: &Program, lengths: &Lengths) -> Ready {
        match self {
            Task::Rows(task) => Ready::Rows(task.prepare(lengths)),
            Task::Contraction(task) => Ready::Contraction(task.prepare(lengths)),
            _ => {
                let _ = program;
                Ready::Nothing
            }
        }
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(
        &self,
        program: &Program,
        ready: &Ready,
        frame: &Frame,
        space: &mut Workspace,
    ) -> Result<(), Fault> {
        // SAFETY: passed on.
        unsafe {
            match (self, ready) {
                (Task::Rows(task), Ready::Rows(ready)) => task.run(program, ready, frame),
                (Task::Contraction(task), Ready::Contraction(ready)) => {
                    task.run(ready, frame);
                    Ok(())
                }
                (Task::Attention(task), _) => {
                    task.run(frame);
                    Ok(())
                }
                (Task::Scatter(task), _) => task.run(program, frame),
                (Task::Cumsum(task), _) => {
                    task.run(program, frame);
                    Ok(())
                }
                (Task::Sort(task), _) => {
                    task.run(program, frame);
                    Ok(())
                }
                (Task::Dense(task), _) => task.run(frame),
                (Task::Bodies(task), _) => task.run(program, frame, space),
                (Task::Rows(_) | Task::Contraction(_), _) => unreachable!("steps are prepared by themselves"),
            }
        }
    }
}
