//! Running a program's stages.

mod answers;
mod at_once;
mod board;
pub(crate) mod drawn;
mod error;
mod log;
mod options;
mod plan;
mod progress;
mod report;
mod stages;
mod verify;
mod weights;

pub use at_once::{Running, Shared};
pub use error::{RunError, StageFault};
pub use log::{RunLog, now, steps};
pub use options::{About, RunOptions, default_memory, size};
pub use plan::{ACTUAL, Actual, PLAN, StagePlan, day, is_asked_for, plan, read_actual, read_plan};
pub use progress::{Progress, Silent, StepShown};
pub use report::{Asserted, Curve, Finding, Report, Shown};
pub use verify::verify;

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use align_compiler::stage::graph::{StageGraph, StageId};

use crate::engine::Engine;
use crate::error::Error;
use crate::evaluate::Evaluated;
use crate::model::files::remove_leftovers;
use crate::profile::Profile;
use crate::store::Store;

/// Runs all stages of a program. Where `stop` becomes true it ends after the step, the
/// micro-batch of an evaluation or the stage, and saves; the next run goes on.
///
/// `build` gives the program's stages. Where a stage has drawn replies, the program is built again with them and goes on
/// from there: stages before it are the same ones, and are not run twice. With [`Running`] as its world, code that makes rows is
/// answered while it is built.
pub fn run<'p>(
    build: &mut dyn FnMut() -> Result<StageGraph<'p>, RunError>,
    options: &RunOptions,
    engine: &dyn Engine,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Report, RunError> {
    let mut so_far = SoFar::default();
    // Who calls knows what the first graph notes.
    let mut noted: Option<Vec<String>> = None;
    loop {
        let graph = build()?;
        let noted = noted.get_or_insert_with(|| graph.notes.clone());
        for note in graph.notes.iter().filter(|note| !noted.contains(note)).cloned().collect::<Vec<_>>() {
            progress.note(&note);
            noted.push(note);
        }
        let mut run = stages(&graph, options, engine, progress, stop)?;
        run.go_on(std::mem::take(&mut so_far));
        match run.run()? {
            (report, None) => return Ok(report),
            (_, Some(more)) => so_far = more,
        }
    }
}

/// What a run has done when it has drawn replies that the rest of the program waits for.
#[derive(Default)]
pub(crate) struct SoFar {
    /// The stage that drew them. All before it were run.
    drawn: Option<StageId>,
    found: Vec<Finding>,
    failed: Vec<Asserted>,
    kept: Vec<StageId>,
    evaluated: HashMap<StageId, Evaluated>,
    held: Vec<fs::File>,
    actual: Vec<Actual>,
    plans: Vec<StagePlan>,
    begun: Option<Instant>,
    reported: Option<(Instant, Duration)>,
    profile: Option<Profile>,
}

type Done<T> = Result<T, RunError>;

/// All stages before the first is run.
fn stages<'a, 'p>(
    graph: &'a StageGraph<'p>,
    options: &'a RunOptions,
    engine: &'a dyn Engine,
    progress: &'a mut dyn Progress,
    stop: &'a AtomicBool,
) -> Result<stages::Stages<'a, 'p>, RunError> {
    fs::create_dir_all(&options.out).map_err(|e| Error::io(&options.out, "create", &e))?;
    remove_leftovers(&options.out);
    Store::new(&options.store).clean();
    let memory = options.memory.or_else(|| engine.device()?.memory());
    Ok(stages::Stages {
        graph,
        options,
        engine,
        progress,
        stop,
        store: Store::new(&options.store),
        memory: memory.unwrap_or_else(default_memory),
        found: vec![],
        failed: vec![],
        kept: vec![],
        begun: Instant::now(),
        reported: None,
        profile: options.profile.clone().map(|sources| Profile::new(sources, engine)),
        log: RunLog::open(&options.out, options.tensorboard)?,
        weights: HashMap::new(),
        trained: HashMap::new(),
        merging: HashMap::new(),
        evaluated: HashMap::new(),
        held: vec![],
        done: None,
        is_blank: false,
        plans: read_plan(&options.out).unwrap_or_default(),
        actual: vec![],
        rates: std::cell::OnceCell::new(),
    })
}
