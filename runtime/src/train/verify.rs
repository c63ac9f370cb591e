//! A training stage's first step on several devices and by the interpreter: how far their numbers are apart, node by node.

use std::collections::HashMap;

use align_compiler::batch::training::{NEXT, START, STATE};
use align_compiler::interp::{self, Named, Precision, Value};
use align_compiler::kernel::estimate::{Rates, seconds};
use align_compiler::kernel::{Layouts, fuse_in};
use align_compiler::rewrite::simplify::live;
use align_compiler::stage::items::{Item, ItemValue, Packed, pack};
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::TrainStage;
use align_compiler::tensor::{DType, Graph, MapOp, Node, Op, Origin};

use super::batches::Batches;
use super::held::Numbers;
use super::launch::Launch;
use super::trainer::key;
use super::weights::end_to_end;
use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::run::RunError;

/// A difference beyond this is a fault, in parts of the tensor's largest number. f32 adds up hundreds of terms to about 1e-5.
const TOLERANCE: f64 = 1e-3;
/// The same where products are of bf16, whose numbers are 2^-8 apart.
const TOLERANCE_OF_BF16: f64 = 3e-2;
/// A tensor whose terms cancel has no digits left to compare: it counts as if it had this part of the largest of its kind.
const CANCELLED: f64 = 1e-3;
/// Seconds that the interpreter may take, and what it reaches on a slow machine.
const PATIENCE: f64 = 10.0;
const INTERPRETER: Rates = Rates { product: 2e7, memory: 1e8, kernel: 0.0, run: 0.0 };
/// Tokens that devices are compared on where the interpreter takes no part.
const TOKENS: usize = 256;

/// What is verified.
pub struct FirstStep<'a> {
    pub stage: &'a TrainStage,
    pub items: &'a dyn ItemSource,
    /// Weights that are trained, in the order of the stage's, end to end.
    pub weights: &'a [f32],
    /// The others that the graphs read, by path.
    pub fixed: &'a [(String, Numbers<'a>)],
}

/// The differences of a stage's first step.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub stage: String,
    pub rows: usize,
    pub tokens: usize,
    /// `interpreter`, or the device that others are held against.
    pub reference: &'static str,
    /// In parts of the largest number of a tensor.
    pub tolerance: f64,
    /// The largest first.
    pub differences: Vec<Difference>,
    /// What is left out, a sentence each.
    pub notes: Vec<String>,
}

/// How far a tensor of a device is from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub device: &'static str,
    pub what: What,
    /// Of the entry that is farthest.
    pub absolute: f64,
    /// That, in parts of the tensor's largest number.
    pub relative: f64,
}

/// Which tensor it is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An output of the step by its name: `loss.sft`, `grad.blocks.0.up`, `track.margin`.
    Output(String),
    /// A value inside, by where it comes from.
    Inner(Origin),
}

impl Verified {
    pub fn is_right(&self) -> bool {
        self.differences.iter().all(|difference| difference.relative <= self.tolerance)
    }
}

/// Numbers by the name of an output.
type Found = HashMap<String, Vec<f64>>;

/// Runs the first step of a stage, or a few of its rows, by the interpreter and on each of the engines. A stage that is too
/// large for the interpreter is held against the first engine.
pub fn verify(step: &FirstStep, engines: &[&dyn Engine]) -> std::result::Result<Verified, RunError> {
    let stage = step.stage;
    let [host, others @ ..] = engines else { return Err(Error::new(&stage.name, "there is no device").into()) };
    let batch = Batches::new(step.items.len(), stage.batch, stage.order, stage.seed)
        .next(|row| step.items.item(row).map(|item| item.tokens))?;
    let program = fuse_in(&stage.step, &layouts(&stage.narrow)).map_err(|e| Error::new(&stage.name, e.to_string()))?;
    let all = batch.iter().map(|row| step.items.item(*row)).collect::<std::result::Result<Vec<Item>, _>>()?;
    let slow = |rows: usize| seconds(&program, &pack(&stage.layout, &all[..rows]).lengths, &INTERPRETER);
    let few = halves(all.len()).find(|rows| slow(*rows) <= PATIENCE);
    let rows = few.unwrap_or_else(|| {
        let tokens = |rows: usize| all[..rows].iter().map(|item| item.tokens).sum::<usize>();
        halves(all.len()).find(|rows| tokens(*rows) <= TOKENS).unwrap_or(1)
    });
    let mut packed = pack(&stage.layout, &all[..rows]);
    key(&mut packed, stage.seed, batch.len() as u64, &batch[..rows]);
    let rounds = stage.step.nodes().any(|(_, data)| data.op == Op::Map(MapOp::Bf16));
    let mut verified = Verified {
        stage: stage.name.clone(),
        rows,
        tokens: packed.tokens,
        reference: if few.is_some() { "interpreter" } else { host.name() },
        tolerance: if rounds { TOLERANCE_OF_BF16 } else { TOLERANCE },
        differences: vec![],
        notes: vec![],
    };
    if few.is_none() && others.is_empty() {
        let text = "One row would take the interpreter too long, and there is no other device: nothing is compared.";
        verified.notes.push(text.into());
        return Ok(verified);
    }
    let given = Given::new(step, &packed, *host)?;
    let (inner, origins) = inner(&stage.step);
    let (want, compared) = match few {
        Some(_) => {
            let mut want = given.interpreted(&stage.step)?;
            want.extend(given.interpreted(&inner)?);
            (want, engines)
        }
        None => {
            let text = "One row would take the interpreter too long: devices are held against each other.";
            verified.notes.push(text.into());
            let mut want = given.run(*host, &stage.step)?;
            want.extend(given.run(*host, &inner)?);
            (want, others)
        }
    };
    for engine in compared {
        let mut got = given.run(*engine, &stage.step)?;
        match given.run(*engine, &inner) {
            Ok(found) => got.extend(found),
            Err(error) => {
                let name = engine.name();
                verified.notes.push(format!("Values inside of the step are not compared for the {name}: {error}"));
            }
        }
        verified.differences.extend(apart(engine.name(), &want, &got, &origins));
    }
    verified.differences.sort_by(|a, b| b.relative.total_cmp(&a.relative));
    Ok(verified)
}

/// A number, half of it, and so on to 1.
fn halves(n: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(n.max(1)), |n| (*n > 1).then_some(n / 2))
}

/// The step with values inside as its outputs: of each place of the program the last one. Their names, and where they come
/// from.
fn inner(step: &Graph) -> (Graph, HashMap<String, Origin>) {
    let live = live(step);
    let mut last: HashMap<&Origin, Node> = HashMap::new();
    for (node, data) in step.nodes() {
        let is_one =
            !matches!(data.op, Op::Input(_) | Op::Weight(_) | Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. });
        if live[node.0 as usize] && is_one && data.dtype == DType::Float && step.origin(node).is_known() {
            last.insert(step.origin(node), node);
        }
    }
    let mut graph = step.clone();
    graph.outputs.clear();
    let mut found: Vec<(Node, &Origin)> = last.into_iter().map(|(origin, node)| (node, origin)).collect();
    found.sort_by_key(|(node, _)| node.0);
    let mut origins = HashMap::new();
    for (node, origin) in found {
        let name = format!("inner.{}", node.0);
        origins.insert(name.clone(), origin.clone());
        graph.output(name, node);
    }
    (graph, origins)
}

/// What the graphs of a stage read.
struct Given<'a> {
    layouts: Layouts,
    packed: &'a Packed,
    fixed: &'a [(String, Numbers<'a>)],
    /// Trained weights, scales of terms, states of losses.
    floats: Vec<(String, Vec<f32>)>,
}

impl<'a> Given<'a> {
    fn new(step: &FirstStep<'a>, packed: &'a Packed, host: &dyn Engine) -> Result<Given<'a>> {
        let stage = step.stage;
        let own = end_to_end(&stage.weights).into_iter().map(|w| (w.path.clone(), step.weights[w.range()].to_vec()));
        let mut given = Given { layouts: layouts(&stage.narrow), packed, fixed: step.fixed, floats: own.collect() };
        let counted = given.run(host, &stage.counts)?;
        for term in &stage.terms {
            let count = counted.get(&format!("count.{}", term.name)).and_then(|x| x.first()).copied().unwrap_or(0.0);
            let scale = if count > 0.0 { term.coefficient / count } else { 0.0 };
            given.floats.push((format!("scale.{}", term.name), vec![scale as f32]));
        }
        let numbers = stage.moves.numbers.iter().map(|number| (number.input.clone(), vec![number.start as f32]));
        given.floats.extend(numbers);
        if !stage.states.is_empty() {
            let begun = given.run(host, &stage.start)?;
            for state in &stage.states {
                let values = begun.get(&format!("{START}{}", state.name)).cloned().unwrap_or_default();
                let values = values.iter().map(|x| *x as f32).collect();
                given.floats.push((format!("{STATE}{}", state.name), values));
            }
        }
        Ok(given)
    }

    /// The outputs of a graph by an engine.
    fn run(&self, engine: &dyn Engine, graph: &Graph) -> Result<Found> {
        let mut launch = Launch::new(engine, graph, &self.layouts)?;
        let floats = graph.outputs.iter().filter(|(_, node)| graph.dtype(*node) == DType::Float);
        let zeros = |node: Node| graph.axes(node).iter().map(|axis| self.packed.lengths.size(axis)).product();
        let mut outputs: Vec<(&String, Vec<f32>)> =
            floats.map(|(name, node)| (name, vec![0.0; zeros(*node)])).collect();
        let mut bindings = Bindings::new();
        bindings.extend(self.floats.iter().map(|(name, values)| (name.as_str(), Slot::Floats(values))));
        bindings.extend(self.fixed.iter().map(|(name, numbers)| (name.as_str(), numbers.slot())));
        bindings.extend(outputs.iter_mut().map(|(name, values)| (name.as_str(), Slot::Write(values))));
        launch.run(self.packed, bindings).map_err(|what| Error::new(engine.name(), what))?;
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Ok(outputs.into_iter().map(|(name, values)| (name.clone(), wide(values))).collect())
    }

    /// The outputs of a graph in f64.
    fn interpreted(&self, graph: &Graph) -> Result<Found> {
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let mut named = Named::new();
        for (_, data) in graph.nodes() {
            let (Op::Input(name) | Op::Weight(name)) = &data.op else { continue };
            let numbers = match self.packed.values.get(name) {
                Some(ItemValue::Floats(x)) => wide(x),
                Some(ItemValue::Ints(x)) => x.iter().map(|x| f64::from(*x)).collect(),
                Some(ItemValue::Bools(x)) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
                None => match self.floats.iter().find(|(own, _)| own == name) {
                    Some((_, values)) => wide(values),
                    None => match self.fixed.iter().find(|(own, _)| own == name) {
                        Some((_, numbers)) => wide(&numbers.decoded()),
                        // A parameter of the graph's body.
                        None => continue,
                    },
                },
            };
            named.insert(name.clone(), Value { axes: data.axes.clone(), dtype: data.dtype, data: numbers });
        }
        let found = interp::run(graph, &named, &self.packed.lengths, Precision::F64);
        let found = found.map_err(|fault| Error::new("the interpreter", fault.to_string()))?;
        let floats = found.into_iter().filter(|(_, value)| value.dtype == DType::Float);
        Ok(floats.map(|(name, value)| (name, value.data)).collect())
    }
}

/// Tensors of one kind are held against the largest of them where their own terms cancel.
fn kind(name: &str, origins: &HashMap<String, Origin>) -> String {
    match origins.get(name) {
        Some(origin) if origin.backward => "inner, back".into(),
        Some(_) => "inner".into(),
        None if name.starts_with("grad.") => "grad".into(),
        None if name.starts_with(NEXT) => "next".into(),
        None => name.into(),
    }
}

/// The differences of all tensors that both have.
fn apart(device: &'static str, want: &Found, got: &Found, origins: &HashMap<String, Origin>) -> Vec<Difference> {
    let largest = |values: &[f64]| values.iter().filter(|x| x.is_finite()).fold(0.0f64, |most, x| most.max(x.abs()));
    let mut kinds: HashMap<String, f64> = HashMap::new();
    for (name, values) in want {
        let most = kinds.entry(kind(name, origins)).or_default();
        *most = most.max(largest(values));
    }
    let difference = |(name, got): (&String, &Vec<f64>)| {
        let want = want.get(name)?;
        let off = |(a, b): (&f64, &f64)| match a == b || (a.is_nan() && b.is_nan()) {
            true => 0.0,
            // One of them may be none.
            false => Some((a - b).abs()).filter(|x| !x.is_nan()).unwrap_or(f64::INFINITY),
        };
        let absolute = match want.len() == got.len() {
            true => want.iter().zip(got).map(off).fold(0.0, f64::max),
            false => f64::INFINITY,
        };
        let whole = largest(want).max(CANCELLED * kinds.get(&kind(name, origins)).copied().unwrap_or(0.0));
        let relative = if absolute == 0.0 { 0.0 } else { absolute / whole.max(f64::MIN_POSITIVE) };
        let what = origins.get(name).cloned().map_or_else(|| What::Output(name.clone()), What::Inner);
        Some(Difference { device, what, absolute, relative })
    };
    got.iter().filter_map(difference).collect()
}
