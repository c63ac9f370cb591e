//! `train` to a training stage: its loss traced and packed, its optimizer and schedules traced, its data as items.

use super::beside::{self, Traced};
use super::build::Builder;
use super::data::Data;
use super::evaluate::PolicyUse;
use super::foreign::Rows;
use super::graph::{Feed, Reads, SampleRow, Stage, StageEval, StageKind, TrainNode};
use super::identity::{Hashed, hash};
use super::items::{Forest, ItemLayout};
use super::kept::{Kept, keep, kept};
use super::live::{self, Found, Live, LiveItems, LiveNumber};
use super::path::Path;
use super::policy::PolicySpec;
use super::rows::item_type;
use super::slots::{self, Said};
use super::sources::Source;
use super::states::{Declared, StageStates, Used};
use super::together::{self, Trained};
use super::train::{Carry, LossState, Term, TrainStage, WeightSpec};
use super::{asked, carry, metric, narrow, nets, updates, words, written};
use crate::batch::objective::Objective;
use crate::batch::training::{DRAW_KEY, NEXT, START, STATE, TrainingGraphs, training_step};
use crate::batch::{BatchOptions, obstacle};
use crate::eval::env::Env;
use crate::eval::loss::{Cell, TracedLoss};
use crate::eval::optimizer::WeightFacts;
use crate::eval::value::{ItemType, Net, Value};
use crate::eval::{Arg, Eval, Res, fault};
use crate::rewrite::Rewrites;
use crate::tensor::{Axis, Graph, NodeData, Op};
use align_syntax::ast::{self, ExprKind, Pattern, Slots};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::collections::BTreeSet;
use std::rc::Rc;

pub(super) fn train(
    builder: &Builder,
    eval: &mut Eval,
    span: Span,
    what: Value,
    pattern: Option<&Pattern>,
    slots: &Slots,
    env: &Env,
) -> Res<Value> {
    let name = builder.binding();
    let moving = together::trained(builder, eval, &what, pattern, span)?;
    let from = together::joined(builder, &moving, span)?;
    let inner = env.inner();
    if pattern.is_some() {
        moving.iter().for_each(|one| inner.bind(&one.name, Value::Net(one.net.clone())));
    }
    let names: Vec<&str> = moving.iter().map(|one| one.name.as_str()).collect();
    let mut states = Declared::default();
    let (said, found) = live::building(builder, &moving, || {
        let mut said = slots::read(builder, eval, slots, span, (&names, &inner), &mut states)?;
        said.on.0 = taken_anew(builder, eval, said.on.clone())?;
        Ok(said)
    })?;
    let of = Lowering { builder, moving: &moving, from: &from, states: &states, env: &inner };
    let on = on(eval, &said.on)?;
    let mut reads = PoliciesRead::default();
    let is_live = !found.sites.is_empty();
    let mut lowered = of.lower(eval, &on, &said, (is_live, name.clone()), &mut reads)?;
    let mut updates = updates::lower(&of, eval, &on, &said, is_live, &mut reads)?;
    let graphs = lowered.graphs.iter().chain(updates.iter().flat_map(|update| &update.lowered.graphs));
    let trained: Vec<String> = (lowered.stage.weights.iter())
        .chain(updates.iter().flat_map(|update| &update.lowered.stage.weights))
        .map(|weight| weight.path.clone())
        .collect();
    // What moves is held as what is trained is.
    let is_trained = |name: &str| trained.iter().any(|path| path == name) || states.holds(&reads.numbers, name);
    lowered.stage.narrow = narrow::narrow(graphs, &from.policy, &reads.frozen, is_trained, said.frozen);
    updates::share(&mut lowered.stage, &mut updates);
    let LoweredStage { mut stage, losses, kept, .. } = lowered;
    let read_by_losses = reads.sources.len();
    let sample = sample(builder, eval, &on.data)?;
    let rows = of.rows(eval, &on, &said, (&stage.layout, found, &said.on_expr, &inner), &kept, &mut reads)?;
    let made = updates.into_iter().map(|update| update.made(&of, eval, &mut reads));
    let updates = made.collect::<Res<Vec<updates::Made>>>()?;
    stage.frozen = std::mem::take(&mut reads.frozen);
    let said_slots = written::slots(builder, &said, &stage);
    let evals = {
        let PoliciesRead { numbers, sources, .. } = &mut reads;
        let used = Used { builder, numbers, frozen: &mut stage.frozen, sources };
        evaluations(builder, eval, &said, &moving, used, &inner)?
    };
    let mut read = reads.whole;
    read.extend_from_slice(&reads.sources[read_by_losses..]);
    let data = builder.data(&rows.items, said.on.1);
    let carried = match &said.carry {
        Some(carry) => carry::source(builder, eval, carry, &from)?.map(|stage| (stage, carry)),
        None => None,
    };
    if let Some((before, said)) = carried {
        let state = builder.state.borrow();
        let before = state.graph.get(before);
        if let StageKind::Train(node) = &before.kind {
            carry::refuse_others(node, &before.name, &stage, rows.items.len(), said)?;
        }
    } else {
        stage.carry = Carry::default();
    }
    let hashed = Hashed { stage: &stage, losses: &losses, evals: &evals, said: &said_slots, bf16: said.bf16 };
    let (hash, inputs) = hash(builder, &hashed, &updates, (from.stage, carried.map(|(stage, _)| stage)), &read, data);
    let mut inputs_of = vec![(from.stage, Reads::Policy), (data, Reads::Data)];
    inputs_of.extend(updates.iter().filter_map(|update| Some((update.data?, Reads::Data))));
    inputs_of.extend(reads.sources.iter().enumerate().map(|(i, source)| (source.stage, Reads::Frozen(i))));
    inputs_of.extend(carried.map(|(stage, _)| (stage, Reads::Carried)));
    if let Some(kept) = kept {
        stage.layout.inputs.extend(kept.inputs.iter().cloned());
        inputs_of.push((keep(builder, kept, &stage, &rows.items, data, span), Reads::Kept));
    }
    let (policy, updates) = (from.policy.clone(), updates.into_iter().map(|update| update.node).collect());
    let Feed { items, live } = rows;
    let node = TrainNode { policy, stage, items, live, evals, updates, said: said_slots, sample };
    let stage = builder.add(Stage { name, span, hash, inputs, kind: StageKind::Train(Box::new(node)) }, &inputs_of);
    Ok(together::given(builder, &moving, stage, span))
}

/// Of rows that are drawn anew all is asked that their code asks.
pub(super) fn taken_anew(builder: &Builder, eval: &mut Eval, (on, span): (Value, Span)) -> Res<Value> {
    match words::as_data(&on).filter(|_| live::draws(builder)) {
        Some(data) => Ok(Rows::value(asked::readable(eval, &data, span)?)),
        None => Ok(on),
    }
}

/// The rows of a stage or of an update.
pub(super) struct On {
    pub data: Data<Value>,
    /// What a row is for the loss, and what makes of it what losses read.
    pub item: ItemType,
    pub through: Option<Value>,
    pub span: Span,
}

pub(super) fn on(eval: &mut Eval, (on, span): &(Value, Span)) -> Res<On> {
    let Some(data) = words::as_data(on) else {
        return fault("E0113", *span, format!("a stage is trained on Data or a List, this is {}", on.kind()));
    };
    if data.is_empty() {
        return fault("E0706", *span, "the data has no rows");
    }
    let (mut data, through) = metric::before_policies(eval, on, data, *span);
    if through.is_none() {
        data = asked::readable(eval, &data, *span)?;
    }
    let first = data.get(eval, 0)?;
    let item = item_type(eval.program, &first);
    Ok(On { data, item, through, span: *span })
}

/// The policies that the graphs of a stage read, beside those that it trains.
#[derive(Default)]
pub(super) struct PoliciesRead {
    /// Their sources, by the places in their prefixes.
    pub numbers: Vec<String>,
    pub frozen: Vec<PolicyUse>,
    pub sources: Vec<Source>,
    /// All that the program's losses read, whatever passes make of them.
    pub whole: Vec<Source>,
}

/// What all updates of a stage have in common.
#[derive(Clone, Copy)]
pub(super) struct Lowering<'l, 's, 'p> {
    pub builder: &'l Builder<'p>,
    pub moving: &'l [Trained],
    pub from: &'l Source,
    pub states: &'l Declared<'s>,
    pub env: &'l Env,
}

impl<'p> Lowering<'_, '_, 'p> {
    /// The items of steps, for a layout.
    pub fn rows(
        &self,
        eval: &mut Eval,
        on: &On,
        said: &Said,
        (layout, mut found, expr, env): (&ItemLayout, Found, &ast::Expr, &Env),
        kept: &Option<Kept>,
        reads: &mut PoliciesRead,
    ) -> Res<Feed<'p>> {
        let builder = self.builder;
        let mut reading = metric::reading(&uses(self.from, &reads.frozen, kept), on.span)?;
        if let Some(reading) = &mut reading {
            reading.truncate = said.truncate;
        }
        let items = builder.items(eval, &on.data, layout, reading.clone(), on.span)?;
        if found.sites.is_empty() {
            return Ok(Feed { items, live: None });
        }
        let PoliciesRead { numbers, frozen, sources, .. } = reads;
        found.bind(builder, eval, self.moving, &mut Used { builder, numbers, frozen, sources })?;
        let of = Live::new(builder, found, expr, env);
        let drawn = Rc::new(LiveItems::new(eval, of, items, layout, reading, builder.words(on.span))?);
        Ok(Feed { items: drawn.clone(), live: Some(drawn) })
    }
}

/// Rows that a report shows.
const SAMPLE: usize = 3;

/// The first rows as text.
fn sample(builder: &Builder, eval: &mut Eval, data: &Data<Value>) -> Res<Vec<SampleRow>> {
    let mut rows = vec![];
    for index in 0..data.len().min(SAMPLE) {
        let fields = match data.get(eval, index)? {
            Value::Record(record) => {
                record.fields.iter().map(|(name, value)| (name.to_string(), written::text(builder, value))).collect()
            }
            value => vec![(String::new(), written::text(builder, &value))],
        };
        rows.push(SampleRow { place: data.place(index), fields });
    }
    Ok(rows)
}

/// The weights that an update may move, by `only` and `except`: the others have no gradient and no state.
pub(super) fn left<'a>(policy: &'a PolicySpec, moving: &[Trained], said: &Said) -> Res<BTreeSet<&'a str>> {
    let all = || {
        let weights =
            policy.weights.iter().zip(&policy.trains).filter(|(_, trains)| **trains).map(|(w, _)| w.path.as_str());
        weights.filter(|path| said.net.is_none_or(|net| together::is_of(moving, net, path)))
    };
    for (path, span) in said.only.iter().chain(&said.except) {
        if !all().any(|weight| path.holds(weight)) {
            return Err(path.names_nothing(all(), *span));
        }
    }
    let held = |paths: &[(Path, Span)], weight: &str| paths.iter().any(|(path, _)| path.holds(weight));
    let own: BTreeSet<&str> =
        all().filter(|w| (said.only.is_empty() || held(&said.only, w)) && !held(&said.except, w)).collect();
    match said.only.iter().chain(&said.except).next() {
        Some((_, span)) if own.is_empty() => fault("E0401", *span, "no weight is left that could be trained"),
        _ => Ok(own),
    }
}

pub(super) struct LoweredStage {
    pub stage: TrainStage,
    /// The graph of the loss for one item, before any pass, and those of the losses beside it, each with its terms.
    pub losses: Vec<(Graph, Vec<Objective>)>,
    /// The same as they are run.
    pub graphs: Vec<Graph>,
    /// What is worked out before the stage.
    pub kept: Option<Kept>,
}

impl Lowering<'_, '_, '_> {
    /// Lowers an update on such rows. Who reads a policy that no update moves adds it to `reads`.
    pub fn lower(
        &self,
        eval: &mut Eval,
        on: &On,
        said: &Said,
        (is_live, name): (bool, String),
        reads: &mut PoliciesRead,
    ) -> Res<LoweredStage> {
        let Lowering { builder, moving, from, states, env } = *self;
        let of = &Traced { moving, net: said.net, item: &on.item, through: on.through.as_ref() };
        let span = said.loss.1;
        let traced = of.loss(eval, &said.loss.0, span)?;
        let (whole, _, read) = nets::used(builder, eval, &traced.graph, span)?;
        reads.whole.extend(read);
        let layout = nets::layout(&whole, span);
        let (mut graph, mut before) = (traced.graph.clone(), None);
        // Of rows that are drawn anew nothing can be worked out before, and updates share rows.
        if !is_live
            && said.net.is_none()
            && let Ok(layout) = &layout
            && let Some((loss, kept)) = kept(builder, eval, &traced.graph, from, (said, states), layout)?
        {
            (graph, before) = (loss, Some(kept));
        }
        let (more, others) = nets::used_by(builder, eval, &mut [&mut graph], &mut reads.numbers, span)?;
        reads.add(more, others);
        let own_sources = reads.sources.len();
        let objectives: Vec<Objective> = traced.terms.iter().map(|(objective, _)| objective.clone()).collect();
        let own = left(&from.policy, moving, said)?;
        // What other updates move.
        let others = said.updates.iter().map(|other| left(&from.policy, moving, &other.said));
        let others: BTreeSet<&str> = others.collect::<Res<Vec<_>>>()?.into_iter().flatten().collect();
        let moves_in_stage = |path: &str| own.contains(path) || others.contains(path);
        let cells = traced.states.iter().map(|cell| format!("{STATE}{}", cell.name));
        let step_inputs = cells.chain(states.inputs()).chain([DRAW_KEY.to_string()]).collect();
        let options = BatchOptions { step_inputs };
        let rewrites =
            rewrites(builder, said.bf16, &graph, &|path| moves_in_stage(path) || states.holds(&reads.numbers, path));
        let graphs = training_step(&graph, &objectives, &traced.tracks, &options, &rewrites, |path| own.contains(path))
            .map_err(|error| {
                let place = obstacle(&traced.graph, &options);
                nets::at(place.unwrap_or(span), &error.what)
            })?;
        let mut layout = layout?;
        refuse_states_of_items(&traced, &graphs)?;
        let mut weights: Vec<WeightSpec> = vec![];
        for (path, axes) in &graphs.weights {
            let spec = from.policy.weights.iter().find(|w| w.path == *path).expect("only the policy's own are trained");
            // In the arena as in the graph: gradients are laid out as the weights are.
            debug_assert_eq!(&spec.axes, axes);
            weights.push(spec.clone());
        }
        weights.sort_by_key(|w| w.offset);
        let facts: Vec<WeightFacts> = weights.iter().map(|weight| facts(weight, &from.policy, &traced.graph)).collect();
        let (mut optimizer, losses) = eval.trace_optimizer(&said.optimizer.0, &facts, said.optimizer.1)?;
        let at = said.optimizer.1;
        let (more, sources) = nets::used_by(builder, eval, &mut optimizer.graphs_mut(), &mut reads.numbers, at)?;
        reads.add(more, sources);
        let PoliciesRead { numbers, frozen, sources, .. } = &mut *reads;
        let policies = (&mut *numbers, &mut *frozen, &mut *sources);
        let lowered =
            beside::lower(builder, eval, of, &losses, &optimizer, &weights, &mut layout, policies, said.bf16, at)?;
        let (beside, more): (Vec<_>, Vec<_>) =
            lowered.into_iter().map(|l| (l.beside, (l.traced, l.objectives))).unzip();
        layout.forests = Forest::of(&graphs.step);
        let along = optimizer.asks_along(0);
        let is_trained = |name: &str| weights.iter().any(|weight| weight.path == name) || others.contains(name);
        let moves = match said.net.is_none() || !said.updates.is_empty() {
            true => states.traced(builder, eval, (moving, &is_trained), (numbers, frozen, sources), env)?,
            false => StageStates::default(),
        };
        let stage = TrainStage {
            name,
            states: traced.states.iter().map(loss_state).collect(),
            moves,
            coupled: coupling(&traced, span),
            along: along.then(|| graphs.along(&rewrites)),
            swept_along: if along { graphs.swept_along(&rewrites) } else { None },
            swept: graphs.swept,
            step: graphs.step,
            start: graphs.start,
            counts: graphs.counts,
            beside,
            layout,
            terms: terms(&traced),
            tracks: traced.tracks.iter().map(|track| track.name.clone()).collect(),
            narrow: vec![],
            weights,
            frozen: vec![],
            optimizer,
            batch: said.batch,
            reuse: said.reuse,
            length: said.length,
            clip: said.clip,
            order: said.order,
            seed: said.seed.unwrap_or(builder.seed),
            eval_every: said.eval_every,
            keep: said.keep.clone(),
            carry: said.carry.as_ref().map_or(Carry::default(), |said| said.carry),
        };
        let graphs = std::iter::once(graph).chain(more.iter().map(|(traced, _)| traced.clone())).collect();
        let losses = std::iter::once((whole, objectives)).chain(more).collect();
        reads.whole.extend_from_slice(&reads.sources[own_sources..]);
        Ok(LoweredStage { stage, losses, graphs, kept: before })
    }
}

impl PoliciesRead {
    fn add(&mut self, frozen: Vec<PolicyUse>, sources: Vec<Source>) {
        self.frozen.extend(frozen);
        self.sources.extend(sources);
    }
}

/// The rewrites of a step on this loss, in bf16 or not.
pub(super) fn rewrites(builder: &Builder, bf16: bool, loss: &Graph, is_trained: &dyn Fn(&str) -> bool) -> Rewrites {
    let mut rewrites = builder.rewrites();
    rewrites.bf16 = bf16.then(|| {
        // What is not trained is held as the program says.
        let mut kept = vec![];
        nets::weight_paths(loss, &mut |path| kept.extend((!is_trained(path)).then(|| path.to_string())));
        kept
    });
    rewrites
}

/// The terms of a loss.
pub(super) fn terms(traced: &TracedLoss) -> Vec<Term> {
    let term = |(of, coefficient): &(Objective, f64)| Term { name: of.name.clone(), coefficient: *coefficient };
    traced.terms.iter().map(term).collect()
}

fn loss_state(cell: &Cell) -> LossState {
    LossState { name: cell.name.clone(), len: cell.axes.iter().filter_map(Axis::fixed_size).product() }
}

/// Where the items of a step meet: in the program's words, or else `span`.
pub(super) fn coupling(traced: &TracedLoss, span: Span) -> Option<Span> {
    fn meets(data: &NodeData) -> bool {
        match &data.op {
            Op::Items(_) => true,
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => {
                body.nodes().any(|(_, data)| meets(data))
            }
            _ => false,
        }
    }
    let found = traced.graph.nodes().find(|(_, data)| meets(data));
    found.map(|(_, data)| data.origin.own().unwrap_or(span))
}

/// E0211: what a state holds is one value for all items of a step.
fn refuse_states_of_items(traced: &TracedLoss, graphs: &TrainingGraphs) -> Res<()> {
    for (name, node, graph) in [&graphs.step, &graphs.start]
        .into_iter()
        .flat_map(|g| g.outputs.iter().map(move |(name, node)| (name, *node, g)))
    {
        let Some(state) = name.strip_prefix(NEXT).or_else(|| name.strip_prefix(START)) else { continue };
        let fixed = graph.axes(node).iter().all(|a| a.fixed_size().is_some());
        if let (false, Some(cell)) = (fixed, traced.states.iter().find(|cell| cell.name == *state)) {
            let word = cell.name.rsplit('.').next().unwrap_or_default();
            let message = format!("the state `{word}` is one value for the whole step, and is given one of an example");
            let help = format!("take the mean over the step: `{word} = mean[batch](..)`");
            return Err(Box::new(Diagnostic::error("E0211", cell.span, message).help(help)));
        }
    }
    Ok(())
}

/// All policies of a stage, to see how they read text.
fn uses(from: &Source, frozen: &[PolicyUse], kept: &Option<Kept>) -> Vec<PolicyUse> {
    let own = PolicyUse { prefix: String::new(), policy: from.policy.clone() };
    let kept = kept.iter().flat_map(|kept| kept.policies.iter().cloned());
    [own].into_iter().chain(frozen.iter().cloned()).chain(kept).collect()
}

/// What an optimizer may ask about a weight that a loss reads.
fn facts(weight: &WeightSpec, policy: &PolicySpec, loss: &Graph) -> WeightFacts {
    let place = policy.weights.iter().position(|w| w.path == weight.path);
    let stored = place.and_then(|i| policy.stored[i].as_ref());
    let wide = place.map_or(&[][..], |i| &policy.wide[i]);
    let (order, dims, rows) = match stored {
        // The rows are the axes that make the first side of the stored matrix.
        Some(stored) if stored.shape.len() == 2 => {
            let mut size = 1;
            let rows = stored.axes.iter().take_while(|axis| {
                let more = size < stored.shape[0];
                size *= axis.fixed_size().unwrap_or(1);
                more
            });
            (stored.axes.clone(), 2, rows.count())
        }
        Some(stored) if stored.shape.len() == 1 => (weight.axes.clone(), 1, weight.axes.len()),
        _ => (weight.axes.clone(), weight.axes.len(), weight.axes.len().min(1)),
    };
    let (rows, cols) = order.split_at(rows);
    let terms = loss.nodes().find_map(|(_, data)| match &data.op {
        Op::Contract(over) if data.inputs.iter().any(|n| *loss.op(*n) == Op::Weight(weight.path.clone())) => {
            Some(&over[..])
        }
        _ => None,
    });
    let terms = terms.unwrap_or_default();
    WeightFacts {
        path: weight.path.clone(),
        axes: weight.axes.clone(),
        rows: rows.to_vec(),
        cols: cols.to_vec(),
        dims,
        fan_in: terms.iter().filter_map(Axis::fixed_size).product(),
        wide: [true, false].map(|summed| wide.iter().any(|axis| terms.contains(axis) == summed)),
    }
}

/// The evaluations of the slot `eval`. A call whose first argument is no policy is given the one that trains.
fn evaluations<'p>(
    builder: &Builder<'p>,
    eval: &mut Eval,
    said: &Said,
    moving: &[Trained],
    mut used: Used,
    env: &Env,
) -> Res<Vec<StageEval<'p>>> {
    let mut evals = vec![];
    for (name, expr) in &said.evals {
        let sources = moving.iter().map(|one| (one.net.source, one.prefix.clone())).collect();
        builder.state.borrow_mut().moving = Some((sources, vec![]));
        let value = live::building(builder, moving, || call_with_policy(eval, expr, &moving[0].net, env));
        let evaluations = builder.state.borrow_mut().moving.take().map(|(_, evaluations)| evaluations);
        let (value, mut found) = value?;
        match super::foreign::number(&value) {
            Some(number) if !found.sites.is_empty() && number.reads().is_empty() => {
                found.bind(builder, eval, moving, &mut used)?;
                let expr = with_policy(eval, expr, &moving[0].net, env)?;
                let live = Some(Rc::new(Live::new(builder, found, &expr.0, &expr.1)) as Rc<dyn LiveNumber + 'p>);
                evals.push(StageEval { name: name.clone(), number, evaluations: vec![], live });
            }
            Some(number) if !number.reads().is_empty() && found.sites.is_empty() => {
                let evaluations = evaluations.unwrap_or_default();
                evals.push(StageEval { name: name.clone(), number, evaluations, live: None });
            }
            _ => {
                let message =
                    format!("an evaluation gives a number that depends on the policy, this is {}", value.kind());
                return fault("E0134", expr.span, message);
            }
        }
    }
    Ok(evals)
}

fn call_with_policy(eval: &mut Eval, expr: &ast::Expr, moving: &Rc<Net>, env: &Env) -> Res<Value> {
    let (expr, env) = with_policy(eval, expr, moving, env)?;
    eval.arg(&Arg::Expr(&expr), &env)
}

/// A call whose first argument is no policy, with the one that trains as its first.
fn with_policy(eval: &mut Eval, expr: &ast::Expr, moving: &Rc<Net>, env: &Env) -> Res<(ast::Expr, Env)> {
    let ExprKind::Call(callee, args) = &*expr.kind else { return Ok((expr.clone(), env.clone())) };
    let given = match args.positional.first() {
        Some(first) => matches!(eval.arg(&Arg::Expr(first), env)?, Value::Net(_)),
        None => false,
    };
    if given {
        return Ok((expr.clone(), env.clone()));
    }
    // No program can write this name.
    const NAME: &str = "the policy that trains";
    let (inner, mut args) = (env.inner(), args.clone());
    inner.bind(NAME, Value::Net(moving.clone()));
    args.positional.insert(0, ast::Expr { kind: Box::new(ExprKind::Word(NAME.into())), ..expr.clone() });
    Ok((ast::Expr { kind: Box::new(ExprKind::Call(callee.clone(), args)), ..expr.clone() }, inner))
}
