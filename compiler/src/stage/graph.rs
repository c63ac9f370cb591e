//! The stage graph: what a program does once, and which results each stage reads.

use super::evaluate::EvaluateStage;
use super::hash::{ContentHash, HashInput};
use super::live::{LiveNumber, LiveSource};
use super::number::Number;
use super::policy::PolicySpec;
use super::remote::AskStage;
use super::sample::SampleStage;
use super::source::ItemSource;
use super::together::{JoinStage, PartStage};
use super::train::{TrainStage, WeightSpec};
use crate::tensor::Graph;
use crate::world::Adapter;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use petgraph::{Direction, algo};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// A stage of a [`StageGraph`].
pub type StageId = NodeIndex<u32>;

/// Stages in the order in which the program asks for them; an edge leads from a result to a stage that reads it. Items are
/// made from the program's own code when they are asked for, so the graph borrows the program (`'p`).
#[derive(Default)]
pub struct StageGraph<'p> {
    graph: DiGraph<Stage<'p>, Reads>,
    /// What the user should know of how the program was read, a sentence each.
    pub notes: Vec<String>,
    /// What a run may go wrong by, found while the stages were made.
    pub warnings: Vec<Diagnostic>,
    /// The program's `param`s and their values, for reports.
    pub params: Vec<(String, String)>,
    /// Stages that nothing reads are run too.
    pub runs_all: bool,
    /// Policies hold copies of weights that they could share.
    pub copies: bool,
    /// Stages that nothing but a side of an `if` asks for.
    guarded: HashMap<StageId, Guards>,
    /// Evaluations whose answers the rest of the program is built with, and whether it waits for these yet.
    asked: HashMap<StageId, bool>,
}

/// A stage. `hash` is its content address: of its work and all that it reads.
pub struct Stage<'p> {
    /// The `let` that holds its result, or the words of a command. For reports only.
    pub name: String,
    pub span: Span,
    pub hash: ContentHash,
    /// What the hash is of.
    pub inputs: Vec<HashInput>,
    pub kind: StageKind<'p>,
}

/// What a stage reads of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The policy that is trained, evaluated or saved.
    Policy,
    /// A policy that stays as it is, by its place in [`super::train::TrainStage::frozen`], in an evaluation's policies, or
    /// behind the first of a merge.
    Frozen(usize),
    Data,
    /// A number of an evaluation.
    Number(usize),
    /// An answer of an evaluation for single rows.
    Answer(usize),
    /// What a training stage logged.
    History,
    /// Values for each row, worked out before the stage that trains on these rows.
    Kept,
    /// Replies in the rows of data.
    Drawn,
    /// How a training stage ended, beside its weights.
    Carried,
    /// A side of a [`ChooseStage`], by whether its condition holds.
    Side(bool),
}

pub enum StageKind<'p> {
    /// Weights drawn from their starting distributions.
    Init(InitStage),
    /// The weights of another policy, and those of a patch.
    Patch(PatchStage),
    /// Weights read from a model folder or file.
    Load(LoadStage),
    /// The weights of another policy with its patches in them.
    Merge(MergeStage),
    /// The weights of one of two policies.
    Choose(ChooseStage),
    /// The weights of several policies that one stage trains.
    Join(JoinStage),
    /// The weights of one of these.
    Part(PartStage),
    /// Rows. They are read when a stage asks for them.
    Data(DataStage),
    Train(Box<TrainNode<'p>>),
    Evaluate(Box<EvaluateStage<'p>>),
    /// Replies that a policy draws.
    Sample(Box<SampleStage>),
    /// Replies of a server.
    Ask(Box<AskStage<'p>>),
    Save(SaveStage),
    Show(ShowStage),
    Assert(AssertStage),
    Plot(PlotStage),
}

impl StageKind<'_> {
    /// Whether it is run although no other stage reads it.
    fn is_wanted(&self) -> bool {
        match self {
            StageKind::Train(_) => true,
            StageKind::Save(_) | StageKind::Show(_) | StageKind::Assert(_) | StageKind::Plot(_) => true,
            // Its replies have a part in how the program goes on.
            StageKind::Sample(_) | StageKind::Ask(_) => true,
            StageKind::Init(_)
            | StageKind::Patch(_)
            | StageKind::Load(_)
            | StageKind::Merge(_)
            | StageKind::Choose(_)
            | StageKind::Join(_)
            | StageKind::Part(_)
            | StageKind::Data(_)
            | StageKind::Evaluate(_) => false,
        }
    }

    /// The numbers that the stage itself works out.
    fn numbers(&self) -> Vec<&Number> {
        match self {
            StageKind::Choose(choose) => vec![&choose.condition],
            StageKind::Show(show) => {
                let cells = show.table.rows.iter().flatten();
                cells.filter_map(|cell| if let Cell::Number(number) = cell { Some(number) } else { None }).collect()
            }
            StageKind::Assert(assert) => {
                [&assert.holds].into_iter().chain(assert.parts.iter().map(|(_, n)| n)).collect()
            }
            StageKind::Plot(plot) => {
                let points = plot.series.iter().filter_map(|series| match &series.points {
                    Points::Numbers(points) => Some(points),
                    Points::Logged { .. } => None,
                });
                points.flatten().flat_map(|(x, y)| [x, y]).collect()
            }
            _ => vec![],
        }
    }
}

pub struct InitStage {
    pub policy: Rc<PolicySpec>,
    pub seed: u64,
}

pub struct PatchStage {
    pub policy: Rc<PolicySpec>,
    pub start: PatchStart,
}

/// Where the weights of a patch come from.
pub enum PatchStart {
    /// Drawn from their starting distributions.
    Drawn {
        seed: u64,
    },
    Read(StoredPatch),
}

/// A folder that holds the weights of a patch.
#[derive(Clone)]
pub struct StoredPatch {
    /// As the program names it.
    pub path: String,
    pub folder: Rc<dyn Adapter>,
    /// Weights of the policy below that it holds too, by path.
    pub changed: Vec<String>,
}

pub struct LoadStage {
    pub policy: Rc<PolicySpec>,
    /// As the program names it.
    pub path: String,
}

/// Weights that are functions of the weights of other policies; those that nothing says are the first one's.
pub struct MergeStage {
    pub policy: Rc<PolicySpec>,
    pub weights: Vec<MergedWeight>,
    /// Each reads weights that are called by their places in [`MergedWeight::of`], and gives one, [`MERGED`].
    pub graphs: Vec<Graph>,
}

/// The output of a graph of [`MergeStage`].
pub const MERGED: &str = "merged";

/// A weight that a [`MergeStage`] works out.
pub struct MergedWeight {
    pub path: String,
    /// The place of its graph; without one it is what it reads.
    pub graph: Option<usize>,
    /// What is read: the place of the policy among the stage's, and the weight's path there.
    pub of: Vec<(usize, String)>,
}

impl MergeStage {
    /// How the stage reads the policy at this place.
    pub fn reads(place: usize) -> Reads {
        match place {
            0 => Reads::Policy,
            other => Reads::Frozen(other - 1),
        }
    }
}

/// `if c then a else b` of two policies with the same weights, c known only in the run: the one or the other.
pub struct ChooseStage {
    pub policy: Rc<PolicySpec>,
    /// Not 0 for [`Reads::Side`] of true.
    pub condition: Number,
}

/// Under what a stage runs that stands in a side of an `if` which the run decides: each number, and whether it is not 0.
pub type Guards = Vec<(Number, bool)>;

pub struct DataStage {
    pub rows: usize,
    /// How often rows are gone through to make them all.
    pub passes: u64,
    /// The files that rows are read from, each with a hash of its content.
    pub files: Vec<(String, String)>,
}

/// A training stage, and where its items come from.
pub struct TrainNode<'p> {
    pub policy: Rc<PolicySpec>,
    pub stage: TrainStage,
    pub items: Rc<dyn ItemSource + 'p>,
    /// The same items, where the policy draws them as it trains.
    pub live: Option<Rc<dyn LiveSource + 'p>>,
    /// Worked out every [`TrainStage::eval_every`] steps and logged, with the weights of that step.
    pub evals: Vec<StageEval<'p>>,
    /// Where nets have updates of their own: those beside `stage`, which is the one that takes a step in every step.
    pub updates: Vec<UpdateNode<'p>>,
    /// The slots as a program could write them, with defaults filled in, for reports.
    pub said: Vec<(String, String)>,
    /// The first rows, for reports.
    pub sample: Vec<SampleRow>,
}

impl TrainNode<'_> {
    /// The weights that the stage trains, as its result holds them: those of its own update, then those of the others.
    pub fn trained(&self) -> Vec<WeightSpec> {
        let mut all: Vec<WeightSpec> = vec![];
        for weight in self.stage.weights.iter().chain(self.updates.iter().flat_map(|update| &update.stage.weights)) {
            let offset = all.last().map_or(0, |last| last.offset + last.len);
            all.push(WeightSpec { offset, ..weight.clone() });
        }
        all
    }

    /// Whether the stage trains the weight of this path.
    pub fn trains(&self, path: &str) -> bool {
        let all = self.updates.iter().map(|update| &update.stage).chain([&self.stage]);
        all.flat_map(|stage| &stage.weights).any(|weight| weight.path == path)
    }
}

/// The update of one of several nets: `update critic, every: 2 { .. }`.
pub struct UpdateNode<'p> {
    /// Begins the names of its metrics.
    pub name: String,
    /// Its graphs and its optimizer. The weights of other nets stay as they are in it, and policies that stay, evaluations and
    /// states are the stage's.
    pub stage: TrainStage,
    /// Rows of its own; without them it takes those of the step.
    pub feed: Option<Feed<'p>>,
    /// It has a turn in steps that this divides.
    pub every: usize,
    /// Steps of its own in a turn.
    pub times: usize,
    /// Whether its turn comes before the stage's own update.
    pub is_first: bool,
}

/// Where the items of steps come from.
pub struct Feed<'p> {
    pub items: Rc<dyn ItemSource + 'p>,
    /// The same items, where policies draw them as they train.
    pub live: Option<Rc<dyn LiveSource + 'p>>,
}

/// A row of data as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleRow {
    /// File and line, or the row of a generator.
    pub place: String,
    /// Fields by name.
    pub fields: Vec<(String, String)>,
}

/// A number of the policy as it trains.
pub struct StageEval<'p> {
    pub name: String,
    /// Its `stage`s are places in `evaluations`.
    pub number: Number,
    /// Each reads one policy: the one that trains.
    pub evaluations: Vec<EvaluateStage<'p>>,
    /// The number, where it is of replies that the policy draws.
    pub live: Option<Rc<dyn LiveNumber + 'p>>,
}

pub struct SaveStage {
    /// A folder, or a file that ends in `.gguf`, from where the program was started.
    pub to: String,
    /// How exactly numbers are written, such as `f16`, where the program says it.
    pub precision: Option<String>,
    /// For a policy with a patch: the patch alone is written, beside the name of what it was put on.
    pub adapter: Option<AdapterStage>,
}

/// What a policy with a patch is besides the policy below it.
pub struct AdapterStage {
    /// The stage that makes the policy below.
    pub base: StageId,
    /// Weights beside the patch that are not those of that policy, by path: what was trained or added since.
    pub changed: Vec<String>,
}

/// A table of one or more rows. Cells of a row are numbers, texts, or what an evaluation answers.
pub struct ShowStage {
    pub table: Table,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub enum Cell {
    Text(String),
    Number(Number),
    /// What answer `output` of an evaluation is for row `row` of its data.
    Answer {
        stage: StageId,
        output: usize,
        row: usize,
    },
}

pub struct AssertStage {
    /// Holds if it is not 0.
    pub holds: Number,
    /// The condition as written.
    pub text: String,
    /// The numbers that it compares, each as written.
    pub parts: Vec<(String, Number)>,
}

/// Curves in one chart.
pub struct PlotStage {
    pub series: Vec<Series>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// As the program names or writes it.
    pub label: String,
    pub points: Points,
}

/// Where the points of a curve come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// What a stage logged under a name, step by step: `loss`, `grad_norm`, a tracked one.
    Logged { stage: StageId, name: String },
    /// Places and values.
    Numbers(Vec<(Number, Number)>),
}

impl<'p> StageGraph<'p> {
    pub fn add(&mut self, stage: Stage<'p>) -> StageId {
        self.graph.add_node(stage)
    }

    /// A stage runs only where these hold, or where something that runs reads it.
    pub fn guard(&mut self, id: StageId, guards: Guards) {
        self.guarded.insert(id, guards);
    }

    /// What a stage draws is known.
    pub fn is_drawn(&mut self, id: StageId) {
        if let StageKind::Sample(node) = &mut self.graph[id].kind {
            node.is_drawn = true;
        }
    }

    /// The rest of the program is built with what this evaluation answers, or will be.
    pub fn asks(&mut self, id: StageId, awaited: bool) {
        self.asked.insert(id, awaited);
    }

    /// Whether another stage goes on from how this one ended.
    pub fn is_carried(&self, id: StageId) -> bool {
        self.graph.edges_directed(id, Direction::Outgoing).any(|edge| *edge.weight() == Reads::Carried)
    }

    /// Whether the program has to be built again when this evaluation has run.
    pub fn is_awaited(&self, id: StageId) -> bool {
        self.asked.get(&id) == Some(&true)
    }

    /// Something beside a side of an `if` asks for the stage.
    pub fn unguard(&mut self, id: StageId) {
        self.guarded.remove(&id);
    }

    /// Whether a stage has to run, as far as the numbers at hand say: it is wanted in itself, or something that has to run
    /// reads it.
    pub fn is_needed(&self, id: StageId, known: &dyn Fn(&Number) -> Option<f64>) -> bool {
        // Readers come after what they read.
        let mut needed = vec![false; self.graph.node_count()];
        for at in self.graph.node_indices().rev().take_while(|at| *at >= id) {
            let mut readers = self.graph.edges_directed(at, Direction::Outgoing);
            needed[at.index()] = (self.is_wanted(at) || self.runs_all) && self.is_allowed(at, known)
                || readers.any(|edge| {
                    needed[edge.target().index()] && self.is_read(at, edge.target(), *edge.weight(), known)
                });
        }
        needed[id.index()]
    }

    /// Whether a stage is run for itself.
    fn is_wanted(&self, id: StageId) -> bool {
        self.graph[id].kind.is_wanted() || self.asked.contains_key(&id)
    }

    /// Whether the guards of a stage hold. The first that is not known, or does not hold, decides: later ones stand inside of it.
    fn is_allowed(&self, id: StageId, known: &dyn Fn(&Number) -> Option<f64>) -> bool {
        let guards = self.guarded.get(&id).into_iter().flatten();
        let holds = |(number, holds): &(Number, bool)| number.decided(known).map(|value| (value != 0.0) == *holds);
        guards.map(holds).take_while(|holds| holds.is_some()).all(|holds| holds == Some(true))
    }

    /// Whether `reader`, if it runs, reads this of a stage.
    fn is_read(&self, from: StageId, reader: StageId, what: Reads, known: &dyn Fn(&Number) -> Option<f64>) -> bool {
        let kind = &self.graph[reader].kind;
        match (what, kind) {
            (Reads::Side(side), StageKind::Choose(choose)) => {
                choose.condition.decided(known).is_none_or(|value| (value != 0.0) == side)
            }
            (Reads::Number(_) | Reads::Answer(_), _) => {
                let shows = |cell: &Cell| match (cell, what) {
                    (Cell::Answer { stage, output, .. }, Reads::Answer(asked)) => *stage == from && *output == asked,
                    _ => false,
                };
                let is_shown = match kind {
                    StageKind::Show(show) => show.table.rows.iter().flatten().any(shows),
                    _ => false,
                };
                let guards = self.guarded.get(&reader).into_iter().flatten().map(|(number, _)| number);
                let mut numbers = kind.numbers().into_iter().chain(guards);
                is_shown || numbers.any(|number| number.open(known).contains(&(from, what)))
            }
            _ => true,
        }
    }

    /// Gives a stage another name in reports.
    pub fn rename(&mut self, id: StageId, name: &str) {
        self.graph[id].name = name.to_string();
    }

    /// `reader` reads what `from` makes.
    pub fn reads(&mut self, reader: StageId, from: StageId, what: Reads) {
        self.graph.add_edge(from, reader, what);
    }

    pub fn get(&self, id: StageId) -> &Stage<'p> {
        &self.graph[id]
    }

    pub fn stages(&self) -> impl Iterator<Item = (StageId, &Stage<'p>)> {
        self.graph.node_indices().map(|id| (id, &self.graph[id]))
    }

    /// A stage by its name; of several the first.
    pub fn find(&self, name: &str) -> Option<StageId> {
        self.stages().find(|(_, stage)| stage.name == name).map(|(id, _)| id)
    }

    /// What a stage reads, in the order in which it was said.
    pub fn inputs(&self, id: StageId) -> Vec<(StageId, Reads)> {
        let mut edges: Vec<_> = self.graph.edges_directed(id, Direction::Incoming).collect();
        edges.sort_by_key(|edge| edge.id());
        edges.iter().map(|edge| (edge.source(), *edge.weight())).collect()
    }

    /// The stage whose result a stage reads as `what`.
    pub fn input(&self, id: StageId, what: Reads) -> Option<StageId> {
        self.inputs(id).into_iter().find(|(_, w)| *w == what).map(|(from, _)| from)
    }

    /// Whether a stage is read by those alone that train with its values: it runs when they do.
    pub fn only_kept(&self, id: StageId) -> bool {
        let mut readers = self.graph.edges_directed(id, Direction::Outgoing).peekable();
        readers.peek().is_some() && readers.all(|edge| *edge.weight() == Reads::Kept)
    }

    /// Stages that something shown, saved or asserted needs, each after what it reads, else as written.
    pub fn order(&self) -> Vec<StageId> {
        let mut needed = vec![false; self.graph.node_count()];
        for id in self.graph.node_indices().rev() {
            // A training stage runs even if nothing reads it: its metrics and its result are kept.
            if needed[id.index()] || self.runs_all || self.is_wanted(id) {
                needed[id.index()] = true;
                self.graph.neighbors_directed(id, Direction::Incoming).for_each(|n| needed[n.index()] = true);
            }
        }
        debug_assert!(!algo::is_cyclic_directed(&self.graph));
        self.graph.node_indices().filter(|id| needed[id.index()]).collect()
    }
}

impl StageGraph<'_> {
    /// The stages that are run, by names instead of numbers and hashes, and what each holds that passes decide.
    pub fn planned(&self) -> String {
        super::print::planned(self)
    }
}

/// One line a stage, and its slots below it.
impl fmt::Display for StageGraph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stages().try_for_each(|(id, stage)| super::print::stage(f, self, id, stage))
    }
}
