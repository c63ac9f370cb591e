//! A ragged regression: `y = Σ_time w · x`, two weights, momentum.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_compiler::batch::BatchOptions;
use align_compiler::batch::objective::{Objective, Per, Track};
use align_compiler::batch::training::training_step;
use align_compiler::rewrite::Rewrites;
use align_compiler::stage::hash::ContentHash;
use align_compiler::stage::items::{Item, ItemInput, ItemLayout, ItemValue};
use align_compiler::stage::optimizer::{OptimizerStage, OptimizerState, UpdateGroup, UpdatePhase, UpdateVariant};
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::states::StageStates;
use align_compiler::stage::train::*;
use align_compiler::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node};
use align_runtime::engine::{Engine, Interpreter};
use align_runtime::philox::Philox;
use align_runtime::run::{Progress, RunError, Silent};
use align_runtime::train::{Job, Outcome, Saving, Settings, train};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

pub struct Items(pub Vec<Item>);

impl ItemSource for Items {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn item(&self, index: usize) -> Result<Item, Box<Diagnostic>> {
        Ok(self.0[index].clone())
    }

    fn place(&self, index: usize) -> String {
        format!("rows.jsonl:{}", index + 1)
    }

    fn identity(&self) -> ContentHash {
        unreachable!("nothing asks")
    }
}

fn time() -> Axis {
    Axis::ragged("time", 0, None)
}

fn dim() -> Axis {
    Axis::fixed("dim", 3)
}

/// Rows of 1 to 6 places, whose `y` is made by known weights.
pub fn items(count: usize) -> Items {
    let mut random = Philox::new(5, 0);
    let row = |_| {
        let length = 1 + random.below(6) as usize;
        let x: Vec<f32> = (0..3 * length).map(|_| random.normal() as f32).collect();
        let y = x.chunks(3).map(|x| 0.5 * x[0] - x[1] + 0.25 * x[2]).sum::<f32>() + 0.1 * length as f32;
        Item {
            values: vec![ItemValue::Floats(x), ItemValue::Floats(vec![y])],
            lengths: vec![vec![length]],
            tokens: length,
        }
    };
    Items((0..count).map(row).collect())
}

/// The prediction and the error of a row.
fn regression(g: &mut Graph) -> (Node, Node, Node) {
    let x = g.input("x", vec![time(), dim()], DType::Float);
    let y = g.input("y", vec![], DType::Float);
    let (w, b) = (g.weight("w", vec![dim()]), g.weight("part.b", vec![]));
    let each = g.contract(x, w, &[dim()]);
    let each = g.map(MapOp::Add, &[each, b]);
    let found = g.sum(each, &[time()]);
    let error = g.map(MapOp::Sub, &[found, y]);
    (y, found, g.map(MapOp::Mul, &[error, error]))
}

/// The mean square error per example, and the mean size of a prediction as a tracked value.
pub fn stage(steps: usize) -> TrainStage {
    let mut g = Graph::new();
    let (_, found, square) = regression(&mut g);
    let size = g.map(MapOp::Abs, &[found]);
    g.output("square", square);
    g.output("size", size);
    trained(steps, &g, vec![], None)
}

/// The items of a step meet: beside the square error each prediction is drawn to a running mean of all, `s = 0.9 s + 0.1
/// mean(found)`, which begins as the mean of the first step's `y`; the gradient runs through it too. What is tracked is s.
pub fn coupled_stage(steps: usize) -> TrainStage {
    meeting(steps, true)
}

/// As [`coupled_stage`], but no gradient runs through s, and it begins at 0.25.
pub fn stopped_stage(steps: usize) -> TrainStage {
    meeting(steps, false)
}

fn meeting(steps: usize, live: bool) -> TrainStage {
    let mut g = Graph::new();
    let (y, found, square) = regression(&mut g);
    let mean = |g: &mut Graph, x: Node| {
        let all = g.items(x, &Axis::batch());
        let one = g.float(1.0);
        let ones = g.tile(one, &Axis::batch());
        let (sum, count) = (g.sum(all, &[Axis::batch()]), g.sum(ones, &[Axis::batch()]));
        g.map(MapOp::Div, &[sum, count])
    };
    let before = g.input("state.middle", vec![], DType::Float);
    let (old, new) = (g.float(0.9), g.float(0.1));
    let middle = mean(&mut g, found);
    let (old, new) = (g.map(MapOp::Mul, &[old, before]), g.map(MapOp::Mul, &[new, middle]));
    let next = g.map(MapOp::Add, &[old, new]);
    let next = if live { next } else { g.stop(next) };
    let start = if live { mean(&mut g, y) } else { g.float(0.25) };
    let apart = g.map(MapOp::Sub, &[found, next]);
    let apart = g.map(MapOp::Mul, &[apart, apart]);
    let both = g.map(MapOp::Add, &[square, apart]);
    for (name, node) in [("square", both), ("size", next), ("next.middle", next), ("start.middle", start)] {
        g.output(name, node);
    }
    let file = align_syntax::span::FileId(0);
    trained(steps, &g, vec![LossState { name: "middle".into(), len: 1 }], Some(Span { file, start: 0, end: 1 }))
}

fn trained(steps: usize, g: &Graph, states: Vec<LossState>, coupled: Option<Span>) -> TrainStage {
    let terms = [Objective { name: "square".into(), per: Per::Example, value: "square".into(), weight: None }];
    let tracks = [Track { name: "size".into(), value: "size".into(), weight: None }];
    let options = BatchOptions { step_inputs: states.iter().map(|s| format!("state.{}", s.name)).collect() };
    let made = training_step(g, &terms, &tracks, &options, &Rewrites::default(), |_| true).unwrap();
    let input = |name: &str, axes: Vec<Axis>| ItemInput { name: name.into(), axes, dtype: DType::Float };
    let mut offset = 0;
    let mut weight = |(path, axes): &(String, Vec<Axis>)| {
        let len = axes.iter().filter_map(Axis::fixed_size).product();
        offset += len;
        WeightSpec { path: path.clone(), axes: axes.clone(), offset: offset - len, len }
    };
    TrainStage {
        moves: StageStates::default(),
        name: "fitted".into(),
        weights: made.weights.iter().map(&mut weight).collect(),
        states,
        start: made.start,
        coupled,
        swept: made.swept,
        swept_along: None,
        step: made.step,
        along: None,
        counts: made.counts,
        beside: vec![],
        layout: ItemLayout {
            inputs: vec![input("x", vec![time(), dim()]), input("y", vec![])],
            ragged: vec![time()],
            forests: vec![],
        },
        terms: vec![Term { name: "square".into(), coefficient: 1.0 }],
        tracks: vec!["size".into()],
        frozen: vec![],
        narrow: vec![],
        optimizer: momentum(made.weights.len()),
        batch: BatchSize::Examples(8),
        reuse: None,
        length: StageLength::Steps(steps),
        clip: Some(1.0),
        order: Order::Shuffled,
        seed: 3,
        eval_every: None,
        keep: Keep::Last,
        carry: Default::default(),
    }
}

/// `m = 0.5 m + g; w = w - lr (1 - 0.5^t) m`, with a falling lr.
fn momentum(weights: usize) -> OptimizerStage {
    let entry = Axis::new("entry", AxisKind::Dynamic(0));
    let mut g = Graph::new();
    let on_entry = |g: &mut Graph, name: &str| g.input(name, vec![entry.clone()], DType::Float);
    let (w, grad, m) = (on_entry(&mut g, "w"), on_entry(&mut g, "g"), on_entry(&mut g, "state.m"));
    let factor = g.input("factor", vec![], DType::Float);
    let grad = g.map(MapOp::Mul, &[grad, factor]);
    let rate = g.input("scalar.0", vec![], DType::Float);
    let half = g.float(0.5);
    let kept = g.map(MapOp::Mul, &[half, m]);
    let m = g.map(MapOp::Add, &[kept, grad]);
    let step = g.map(MapOp::Mul, &[rate, m]);
    let w = g.map(MapOp::Sub, &[w, step]);
    g.output("w", w);
    g.output("state.m", m);
    let mut scalar = Graph::new();
    let (t, lr) = (scalar.input("t", vec![], DType::Float), scalar.input("schedule.0", vec![], DType::Float));
    let (half, one) = (scalar.float(0.5), scalar.float(1.0));
    let power = scalar.map(MapOp::Pow, &[half, t]);
    let share = scalar.map(MapOp::Sub, &[one, power]);
    let rate = scalar.map(MapOp::Mul, &[lr, share]);
    scalar.output("value", rate);
    let mut schedule = Graph::new();
    let (t, total) = (schedule.input("t", vec![], DType::Float), schedule.input("total", vec![], DType::Float));
    let done = schedule.map(MapOp::Div, &[t, total]);
    let one = schedule.float(1.0);
    let left = schedule.map(MapOp::Sub, &[one, done]);
    let peak = schedule.float(0.05);
    let value = schedule.map(MapOp::Mul, &[peak, left]);
    schedule.output("value", value);
    let mut start = Graph::new();
    let zero = start.float(0.0);
    let zero = start.tile(zero, &entry);
    start.output("state.m", zero);
    let phases = vec![UpdatePhase { graph: g, asks: vec![], pointwise: true }];
    let group = UpdateGroup {
        weights: (0..weights).collect(),
        family: 0,
        view: vec![entry.clone()],
        states: vec![OptimizerState { name: "m".into(), axes: vec![entry] }],
        start,
        variants: vec![UpdateVariant { when: vec![], phases }],
        result: None,
    };
    OptimizerStage {
        groups: vec![group],
        scalars: vec![scalar],
        schedules: vec![schedule],
        rates: vec![("learning_rate".into(), 0)],
    }
}

pub const START: [f32; 4] = [0.3, -0.2, 0.1, 0.0];
/// Enough for everything.
pub const MEMORY: usize = 1 << 30;

/// How a test runs the stage.
pub struct Way<'a> {
    pub engine: &'a dyn Engine,
    pub memory: usize,
    pub saving: Saving,
    pub stop: &'a AtomicBool,
}

pub static NEVER: AtomicBool = AtomicBool::new(false);

impl Default for Way<'_> {
    fn default() -> Self {
        Way { engine: &Interpreter, memory: MEMORY, saving: Saving::Steps(5), stop: &NEVER }
    }
}

/// Runs the stage in a work folder.
pub fn run(stage: &TrainStage, items: &Items, work: &Path, way: &Way) -> Result<Outcome, RunError> {
    run_with(stage, items, work, way, &mut Silent)
}

pub fn run_with(
    stage: &TrainStage,
    items: &Items,
    work: &Path,
    way: &Way,
    progress: &mut dyn Progress,
) -> Result<Outcome, RunError> {
    let job =
        Job { stage, items, live: None, fixed: vec![], evals: &[], updates: vec![], carried: None, is_carried: false };
    let mut settings = Settings {
        engine: way.engine,
        memory: way.memory,
        saving: way.saving,
        work,
        log: None,
        stop: way.stop,
        progress,
        profile: None,
        plans: None,
    };
    train(&job, START.to_vec(), &mut settings)
}

pub fn metrics(work: &Path) -> String {
    std::fs::read_to_string(work.join("metrics.jsonl")).unwrap()
}

/// A field of every line.
pub fn column(work: &Path, name: &str) -> Vec<f64> {
    let lines: Vec<serde_json::Value> = metrics(work).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().map(|line| line[name].as_f64().unwrap()).collect()
}
