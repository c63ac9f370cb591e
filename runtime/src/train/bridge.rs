//! The compiled step loop, and the functions by which it reaches the trainer.

use align_compiler::host::{self, FINISHED, Role, STOPPED, calls, step_loop};
use align_compiler::stage::train::TrainStage;
use align_cpu::host_program::{HostProgram, Symbol};

use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::profile::Section;

/// How the loop ended.
pub enum End {
    Finished,
    Stopped,
    /// The trainer holds the error.
    Failed,
}

/// The loop of a stage as machine code.
pub fn compile(stage: &TrainStage) -> Result<HostProgram> {
    compiled(stage, Role::Stage)
}

/// That of an update that has turns in the steps of a stage.
pub fn compile_turn(stage: &TrainStage) -> Result<HostProgram> {
    compiled(stage, Role::Turn)
}

fn compiled(stage: &TrainStage, role: Role) -> Result<HostProgram> {
    let wrong = |what: String| Error::new(&stage.name, format!("the step loop cannot be compiled: {what}"));
    let function: host::Function = step_loop(stage, role).map_err(wrong)?;
    HostProgram::compile(&function, &symbols()).map_err(wrong)
}

/// Runs the loop after `start` steps, until `end` are made.
pub fn call(program: &HostProgram, trainer: &mut Trainer, start: usize, end: usize) -> End {
    let (updates, time) = trainer.before();
    let arguments = [start, end, trainer.total(), updates, time].map(|n| n as i64);
    let context: *mut Trainer = trainer;
    // SAFETY: all functions below take a `Trainer` and what their calls say.
    match unsafe { program.call(context.cast(), &arguments) } {
        FINISHED => End::Finished,
        STOPPED => End::Stopped,
        _ => End::Failed,
    }
}

/// Counts what a call takes.
fn timed<T>(trainer: &mut Trainer, section: Section, f: impl FnOnce(&mut Trainer) -> T) -> T {
    let start = trainer.clock.start();
    let result = f(trainer);
    trainer.clock.end(section, start);
    result
}

fn symbols() -> Vec<Symbol> {
    vec![
        (calls::STOP_ASKED, stop_asked as *const u8),
        (calls::NEXT_BATCH, next_batch as *const u8),
        (calls::COUNT, count as *const u8),
        (calls::COUNTED, counted as *const u8),
        (calls::SET_SCALE, set_scale as *const u8),
        (calls::LAUNCH, launch as *const u8),
        (calls::SUMMED, summed as *const u8),
        (calls::GRADIENT_NORM, gradient_norm as *const u8),
        (calls::SET_RATE, set_rate as *const u8),
        (calls::SET_SCALAR, set_scalar as *const u8),
        (calls::UPDATE, update as *const u8),
        (calls::UPDATE_ASKING, update_asking as *const u8),
        (calls::AT_POINT, at_point as *const u8),
        (calls::ANSWER, answer as *const u8),
        (calls::EVALUATE, evaluate as *const u8),
        (calls::LOG, log as *const u8),
        (calls::SAVE_DUE, save_due as *const u8),
        (calls::SAVE, save as *const u8),
        (calls::NOT_FINITE, not_finite as *const u8),
    ]
}

extern "C" fn stop_asked(trainer: &mut Trainer) -> bool {
    trainer.stop_asked()
}

extern "C" fn next_batch(trainer: &mut Trainer) -> i64 {
    match trainer.next_batch() {
        Ok(micro_batches) => micro_batches as i64,
        Err(error) => {
            trainer.fails(error);
            -1
        }
    }
}

extern "C" fn count(trainer: &mut Trainer, micro_batch: i64) -> bool {
    timed(trainer, Section::Count, |trainer| trainer.count(micro_batch as usize))
}

extern "C" fn counted(trainer: &mut Trainer, term: i64) -> f64 {
    trainer.counted(term as usize)
}

extern "C" fn set_scale(trainer: &mut Trainer, term: i64, scale: f64) {
    trainer.set_scale(term as usize, scale);
}

extern "C" fn launch(trainer: &mut Trainer, micro_batch: i64) -> bool {
    trainer.launch(micro_batch as usize)
}

extern "C" fn summed(trainer: &mut Trainer, term: i64) -> f64 {
    trainer.summed(term as usize)
}

extern "C" fn gradient_norm(trainer: &mut Trainer) -> f64 {
    timed(trainer, Section::Gradient, |trainer| trainer.gradient_norm())
}

extern "C" fn set_rate(trainer: &mut Trainer, rate: i64, value: f64) {
    trainer.set_rate(rate as usize, value);
}

extern "C" fn set_scalar(trainer: &mut Trainer, k: i64, value: f64) {
    trainer.set_scalar(k as usize, value);
}

extern "C" fn update(trainer: &mut Trainer, t: i64, factor: f64) -> bool {
    timed(trainer, Section::Update, |trainer| trainer.update(t as usize, factor))
}

extern "C" fn update_asking(trainer: &mut Trainer, t: i64, factor: f64) -> i64 {
    timed(trainer, Section::Update, |trainer| trainer.update_asking(t as usize, factor))
}

extern "C" fn at_point(trainer: &mut Trainer) {
    trainer.at_point();
}

extern "C" fn answer(trainer: &mut Trainer, t: i64, value: f64, factor: f64) -> i64 {
    timed(trainer, Section::Update, |trainer| trainer.answer(t as usize, value, factor))
}

extern "C" fn evaluate(trainer: &mut Trainer, step: i64) -> bool {
    timed(trainer, Section::Evaluate, |trainer| trainer.evaluate(step as usize))
}

extern "C" fn log(trainer: &mut Trainer, step: i64, loss: f64, norm: f64) -> bool {
    timed(trainer, Section::Log, |trainer| trainer.log(step as usize, loss, norm))
}

extern "C" fn save_due(trainer: &mut Trainer, step: i64) -> bool {
    trainer.save_due(step as usize)
}

extern "C" fn save(trainer: &mut Trainer, step: i64) -> bool {
    timed(trainer, Section::Save, |trainer| trainer.save(step as usize))
}

extern "C" fn not_finite(trainer: &mut Trainer, step: i64, loss: f64, norm: f64) {
    trainer.not_finite(step as usize, loss, norm);
}
