//! A program to its stage graph: pipelines are worked out, and what they ask for becomes stages.

use super::adapted::Stored;
use super::asked::{self, Asked, Settled};
use super::data::{Data, READ_FIRST};
use super::evaluate::EvaluateStage;
use super::foreign::{History, Later, Rows, cast, number};
use super::graph::{DataStage, Guards, Reads, Stage, StageGraph, StageId, StageKind};
use super::hash::{ContentHash, Hasher, Inputs};
use super::items::ItemLayout;
use super::live::Building;
use super::number::{Number, OfRows};
use super::passes::{EQUAL, MAPS, Passes, SHARED, UNREAD};
use super::rows::{GLANCE, Reading, RowItems, SAMPLED};
use super::sample::Traced;
use super::source::ItemSource;
use super::sources::Entry;
use super::states::Moving;
use super::{columns, words};
use crate::eval::env::Env;
use crate::eval::tree::Tree;
use crate::eval::value::{Foreign, Function, Net, NetShape, Value};
use crate::eval::{Call, Eval, Hooks, Res, fault};
use crate::program::Program;
use crate::rewrite::Rewrites;
use crate::tensor::{Graph, MapOp, Node};
use crate::world::World;
use align_syntax::ast::{self, Block, DefKind, Expr, InfixOp, ItemKind, Name, Pattern, Slots};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What the command line gives.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// `--set name=value`: values of `param`s as they were written.
    pub sets: Vec<(String, String)>,
    pub seed: u64,
    /// Looks at some rows of large data, not at all: enough to check a program, not to run it.
    pub sampled: bool,
    /// Makes stages whose data are looked at ([`super::look`]): rows are not read before they are asked for, and none is cut to
    /// the context or left out. Not enough to run either.
    pub uncut: bool,
    /// The passes over the stage graph.
    pub passes: Passes,
}

/// The stages of all pipelines and studies of a program, in order. Data are read, checked and hashed here; nothing is
/// computed with them.
pub fn build<'p>(
    program: &'p Program,
    options: &BuildOptions,
    world: &'p dyn World,
) -> Result<StageGraph<'p>, Vec<Diagnostic>> {
    let builder = Builder::new(program, options, world)?;
    let mut eval = builder.eval();
    eval.hooks = Some(builder.clone());
    let mut diagnostics = vec![];
    for (at, item) in program.items(program.main()) {
        if let ItemKind::Def(def) = &item.kind
            && matches!(def.kind, DefKind::Pipeline | DefKind::Study)
            && let Err(diagnostic) = builder.pipeline(&mut eval, def, at.file)
        {
            diagnostics.push(*diagnostic);
        }
    }
    builder.name_policies(&eval);
    builder.state.borrow_mut().graph.notes.extend(eval.tally.borrow().sentences());
    drop(eval);
    match diagnostics.is_empty() {
        true => {
            let mut graph = std::mem::take(&mut builder.state.borrow_mut().graph);
            graph.params = builder.params();
            graph.runs_all = !builder.passes.has(UNREAD);
            graph.copies = !builder.passes.has(SHARED);
            Ok(graph)
        }
        false => Err(diagnostics),
    }
}

/// Turns what pipelines ask for into stages.
pub struct Builder<'p> {
    pub(super) program: &'p Program,
    pub(super) world: &'p dyn World,
    pub(super) seed: u64,
    sampled: bool,
    uncut: bool,
    pub(super) passes: Passes,
    settings: HashMap<String, Value>,
    pub(super) state: RefCell<State<'p>>,
}

/// The nets that train, by their sources and prefixes, and evaluations with them.
type OwnEvaluations<'p> = (Vec<(u32, String)>, Vec<EvaluateStage<'p>>);

#[derive(Default)]
pub(super) struct State<'p> {
    pub graph: StageGraph<'p>,
    /// Nets by their sources.
    pub nets: Vec<Entry>,
    /// Stages by what they do: equal ones are one.
    known: HashMap<ContentHash, StageId>,
    /// The name that the value of the current statement is bound to.
    binding: Option<String>,
    /// The pipeline that is worked out: a `let` of a function that it calls names nothing.
    within: Option<Span>,
    /// The sides of `if`s that only the run decides in which the code stands, the outermost first.
    pub guards: Guards,
    /// While a stage's own evaluations are worked out: the sources of the nets that train, each with what its paths begin with, and
    /// what they are evaluated by.
    pub moving: Option<OwnEvaluations<'p>>,
    /// While an expression is worked out that may draw from the policy that trains.
    pub live: Option<Building>,
    /// What the pipelines' code that makes rows has asked of policies.
    pub asked: Rc<Asked>,
    /// What the pipelines' calls draw with.
    pub traced: Vec<Traced>,
    /// Rows have stand-ins for replies that are not drawn yet.
    pub stand_in: bool,
}

impl<'p> Builder<'p> {
    pub(super) fn new(
        program: &'p Program,
        options: &BuildOptions,
        world: &'p dyn World,
    ) -> Result<Rc<Builder<'p>>, Vec<Diagnostic>> {
        let BuildOptions { sets, seed, sampled, uncut, passes } = options;
        let settings = super::params::settings(program, sets, world, *seed)?;
        let (seed, sampled, uncut, passes) = (*seed, *sampled, *uncut, passes.clone());
        Ok(Rc::new(Builder { program, world, seed, sampled, uncut, passes, settings, state: RefCell::default() }))
    }

    /// The rewrites of training steps. A program that is not run does without.
    pub(super) fn rewrites(&self) -> Rewrites {
        if self.runs() { self.passes.rewrites() } else { Rewrites::none() }
    }

    /// Those of evaluations.
    pub(super) fn rewrites_of_evaluations(&self) -> Rewrites {
        self.passes.rewrites()
    }

    /// Whether the stages are made to be run.
    pub(super) fn runs(&self) -> bool {
        !self.sampled && !self.uncut
    }

    /// An evaluator of the program for rows of data, long after the pipeline was read.
    pub(super) fn eval(&self) -> Eval<'p> {
        let mut eval = Eval::new(self.program, self.world);
        eval.settings = self.settings.clone();
        eval.seed = self.seed;
        eval.hooks = Some(Rc::new(RowHooks));
        eval
    }

    fn pipeline(&self, eval: &mut Eval, def: &'p ast::Def, file: align_syntax::span::FileId) -> Res<()> {
        let env = eval.top(file).inner();
        let block = match &def.body {
            ast::Body::Block(block) => block,
            ast::Body::Expr(expr) => return eval.eval(expr, &env).map(drop),
        };
        {
            let mut state = self.state.borrow_mut();
            state.within = Some(block.span);
            // An error may have ended the last pipeline anywhere.
            state.guards.clear();
        }
        for stmt in &block.stmts {
            self.state.borrow_mut().binding = None;
            match eval.stmt(stmt, &env) {
                Ok(_) => {}
                // Rows with stand-ins for replies may lack what the replies will give.
                Err(error) if self.state.borrow().stand_in && error.code.starts_with("E07") => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The program's `param`s in its order, with their values.
    fn params(&self) -> Vec<(String, String)> {
        let items = self.program.items(self.program.main());
        let names = items.filter_map(|(_, item)| match &item.kind {
            ItemKind::Param { name, .. } => Some(&name.text),
            _ => None,
        });
        names.filter_map(|name| Some((name.clone(), super::written::value(self, self.settings.get(name)?)))).collect()
    }

    /// Stages that make policies of the top of the file are named as these.
    fn name_policies(&self, eval: &Eval) {
        for (at, item) in self.program.items(self.program.main()) {
            let ItemKind::Def(ast::Def { kind: DefKind::Policy, name: Some(name), .. }) = &item.kind else { continue };
            let Some(Value::Net(net)) = eval.known(at, &name.text) else { continue };
            let mut state = self.state.borrow_mut();
            if let Some(stage) = state.nets.get(super::sources::place(net.source)).and_then(|entry| entry.stage) {
                state.graph.rename(stage, &name.text);
            }
        }
    }

    /// Adds a stage, or finds its equal.
    pub(super) fn add(&self, mut stage: Stage<'p>, reads: &[(StageId, Reads)]) -> StageId {
        let mut state = self.state.borrow_mut();
        if let Some(id) = state.known.get(&stage.hash).filter(|_| self.passes.has(EQUAL)).copied() {
            if state.guards.is_empty() {
                state.graph.unguard(id);
            }
            return id;
        }
        if let StageKind::Train(node) = &mut stage.kind {
            // Rounds of a loop share a `let`.
            let name = if stage.name.is_empty() { "train".to_string() } else { stage.name };
            let others = (2..).map(|round| format!("{name}.{round}"));
            let free = std::iter::once(name.clone()).chain(others).find(|name| state.graph.find(name).is_none());
            stage.name = free.unwrap_or(name);
            for of in node.updates.iter_mut().map(|update| &mut update.stage).chain([&mut node.stage]) {
                of.name = stage.name.clone();
            }
        }
        let hash = stage.hash;
        let is_result =
            !matches!(stage.kind, StageKind::Save(_) | StageKind::Show(_) | StageKind::Assert(_) | StageKind::Plot(_));
        let id = state.graph.add(stage);
        for (from, what) in reads {
            state.graph.reads(id, *from, *what);
        }
        if !state.guards.is_empty() {
            let guards = state.guards.clone();
            for (stage, what) in guards.iter().flat_map(|(number, _)| number.reads()) {
                state.graph.reads(id, stage, what);
            }
            state.graph.guard(id, guards);
        }
        if is_result {
            state.known.insert(hash, id);
        }
        id
    }

    /// The stage that does this, if there is one.
    pub(super) fn known(&self, hash: ContentHash) -> Option<StageId> {
        self.state.borrow().known.get(&hash).copied().filter(|_| self.passes.has(EQUAL))
    }

    /// Runs a stage that was just added, if this is a run that comes to it and all that it reads is there.
    pub(super) fn runs_now(&self, stage: StageId) -> bool {
        let state = self.state.borrow();
        state.guards.is_empty() && self.world.runs_now(&state.graph, stage)
    }

    /// Notes warnings; those that are known already are not told again.
    fn warn(&self, more: Vec<Diagnostic>) {
        let warnings = &mut self.state.borrow_mut().graph.warnings;
        warnings.extend(more.into_iter().filter(|new| !warnings.contains(new)).collect::<Vec<_>>());
    }

    /// The name that the value of the current statement is bound to, or none.
    pub(super) fn binding(&self) -> String {
        self.state.borrow().binding.clone().unwrap_or_default()
    }

    /// The rows of a stage as items.
    pub(super) fn items(
        &self,
        eval: &Eval,
        data: &Data<Value>,
        layout: &ItemLayout,
        reading: Option<Reading>,
        span: Span,
    ) -> Res<Rc<dyn ItemSource + 'p>> {
        if self.uncut {
            let name = self.name_of(eval, data, span);
            return Ok(Rc::new(RowItems::uncut(self.eval(), data.clone(), layout.clone(), reading, span, name)?));
        }
        let items = |data| RowItems::new(self.eval(), data, layout.clone(), reading.clone(), span);
        if !self.sampled {
            return Ok(Rc::new(items(data.clone())?));
        }
        match items(data.sample(GLANCE)) {
            // What a few rows lack others may have.
            Err(error) if matches!(error.code, "E0703" | "E0706") => Ok(Rc::new(items(data.sample(SAMPLED))?)),
            items => Ok(Rc::new(items?)),
        }
    }

    /// What data are called: by the program's `data` that they are, or by the words that give them.
    fn name_of(&self, eval: &Eval, data: &Data<Value>, span: Span) -> String {
        fn part(of: &Value, data: &Data<Value>) -> Option<String> {
            if let Some(rows) = cast::<Rows>(of) {
                return rows.data.is(data).then(String::new);
            }
            let Value::Record(parts) = of else { return None };
            parts.fields.iter().find_map(|(name, of)| Some(format!(".{name}{}", part(of, data)?)))
        }
        for (at, item) in self.program.items(self.program.main()) {
            let ItemKind::Def(ast::Def { kind: DefKind::Data, name: Some(name), .. }) = &item.kind else { continue };
            if let Some(part) = eval.known(at, &name.text).and_then(|of| part(&of, data)) {
                return format!("{}{part}", name.text);
            }
        }
        // Words of the library say nothing of the program.
        if span.file == self.program.main() { self.words(span) } else { String::new() }
    }

    /// The rows of a stage as a stage of their own.
    pub(super) fn data(&self, items: &Rc<dyn ItemSource + 'p>, span: Span) -> StageId {
        let mut inputs = Inputs::new("data");
        for (name, shown, hash) in items.parts() {
            inputs.part(name, shown, |hasher| {
                hasher.hash("of", &hash);
            });
        }
        let (hash, inputs) = inputs.finish();
        let kind = StageKind::Data(DataStage { rows: items.len(), passes: items.passes(), files: items.files() });
        // Words of the library say nothing of the program.
        let name = if span.file == self.program.main() { self.words(span) } else { String::new() };
        let reads: Vec<(StageId, Reads)> = items.drawn().into_iter().map(|stage| (stage, Reads::Drawn)).collect();
        self.add(Stage { name, span, hash, inputs, kind }, &reads)
    }

    /// What code that makes rows asks of policies here.
    pub(super) fn asked(&self) -> Rc<Asked> {
        let state = self.state.borrow();
        state.live.as_ref().map_or_else(|| state.asked.clone(), |live| live.asked.clone())
    }

    /// Runs code whose stages are named by what is bound, and a word.
    pub(super) fn named<T>(&self, word: &str, f: impl FnOnce() -> T) -> T {
        let outer = self.state.borrow().binding.clone();
        let name = outer.as_ref().map_or(word.to_string(), |name| format!("{name}.{word}"));
        self.state.borrow_mut().binding = Some(name);
        let result = f();
        self.state.borrow_mut().binding = outer;
        result
    }

    /// What stages that the next expressions ask for are named by.
    pub(super) fn bind(&self, name: String) {
        self.state.borrow_mut().binding = Some(name);
    }

    /// The text of a span, on one line.
    pub(super) fn words(&self, span: Span) -> String {
        self.program.sources.slice(span).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Data with all rows made, so that what is made of them is a pass of its own. Rows that only policies can make stay as they
/// are, and so do very many.
fn apart(eval: &mut Eval, value: Value) -> Res<Value> {
    let Some(rows) = cast::<Rows>(&value).filter(|rows| rows.data.len() <= READ_FIRST) else { return Ok(value) };
    let Ok(made) = rows.data.made(eval) else { return Ok(value) };
    let mapped = rows.mapped.clone();
    Ok(Value::Foreign(Rc::new(Rows { data: made, mapped })))
}

/// Primitives of the pipeline, beside the [`words`] of data.
pub const PRIMITIVES: [&str; 6] = ["load", "adapter", "history", "decode", "sample", "generate"];

impl Hooks for Builder<'_> {
    fn train(
        &self,
        eval: &mut Eval,
        span: Span,
        what: Value,
        pattern: Option<&Pattern>,
        slots: &Slots,
        env: &Env,
    ) -> Res<Value> {
        if super::remote::server_of(&what).is_some() {
            return Err(super::remote::lacks("weights to train", span));
        }
        super::lower::train(self, eval, span, what, pattern, slots, env)
    }

    fn command(&self, eval: &mut Eval, word: &Name, args: &ast::Args, env: &Env) -> Res<Value> {
        super::commands::command(self, eval, word, args, env)
    }

    fn builtin(&self, name: &str) -> Option<&'static str> {
        PRIMITIVES.into_iter().find(|word| *word == name).or_else(|| RowHooks.builtin(name))
    }

    fn call(&self, eval: &mut Eval, name: &'static str, call: &Call) -> Res<Value> {
        match name {
            "load" => self.load(eval, call),
            "adapter" => self.adapter(eval, call),
            "history" => {
                let (of, span) = words::argument(eval, call, 0, "a policy that was trained")?;
                let Value::Net(net) = &of else {
                    return fault("E0113", span, format!("`history` takes a policy, this is {}", of.kind()));
                };
                let mut stage = self.source(eval, net, span)?.stage;
                let state = self.state.borrow();
                if let StageKind::Part(_) = &state.graph.get(stage).kind {
                    stage = state.graph.input(stage, Reads::Policy).unwrap_or(stage);
                }
                match &state.graph.get(stage).kind {
                    StageKind::Train(_) => Ok(Value::Foreign(Rc::new(History { stage, name: None }))),
                    _ => fault("E0113", span, "this policy was not trained, so it has no history"),
                }
            }
            "mean" => {
                let (value, span) = words::argument(eval, call, 0, "data")?;
                match cast::<Rows>(&value) {
                    Some(rows) => super::metric::mean(self, eval, rows, span),
                    None => fault("E0113", span, format!("`mean` takes numbers, this is {}", value.kind())),
                }
            }
            "decode" => super::metric::decode(eval, call),
            "score" => super::score::judged(eval, call, &mut |more| self.warn(more)),
            "sample" => super::sample::sample(self, eval, call),
            "generate" => super::writes::generate(self, eval, call),
            "map" if !self.passes.has(MAPS) && self.runs() => {
                let mapped = RowHooks.call(eval, name, call)?;
                apart(eval, mapped)
            }
            _ => RowHooks.call(eval, name, call),
        }
    }

    fn settle(
        &self,
        eval: &mut Eval,
        rows: usize,
        after_draws: bool,
        f: &mut dyn FnMut(&mut Eval, usize) -> Res<()>,
    ) -> Res<Settled> {
        asked::settle(self, eval, rows, after_draws, f)
    }

    fn cast(
        &self,
        eval: &mut Eval,
        value: &Value,
        ty: &ast::Type,
        fields: Option<&[ast::Entry]>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        let mut note = |text: String| {
            let notes = &mut self.state.borrow_mut().graph.notes;
            if !notes.contains(&text) {
                notes.push(text);
            }
        };
        columns::cast_rows(eval, value, ty, fields, span, env, &mut note)
    }

    fn data(&self, value: Value) -> Value {
        RowHooks.data(value)
    }

    fn generator(&self, eval: &mut Eval, of: (&[(Pattern, Expr)], &Block), span: Span, env: &Env) -> Res<Value> {
        RowHooks.generator(eval, of, span, env)
    }

    fn field(&self, eval: &mut Eval, of: &Rc<dyn Foreign>, name: &Name) -> Option<Res<Value>> {
        if let Some(history) = of.as_any().downcast_ref::<History>() {
            let full = history.name.as_ref().map_or(name.text.clone(), |n| format!("{n}.{}", name.text));
            return Some(Ok(Value::Foreign(Rc::new(History { stage: history.stage, name: Some(full) }))));
        }
        RowHooks.field(eval, of, name)
    }

    fn infix(&self, eval: &mut Eval, op: InfixOp, left: &Value, right: &Value, span: Span) -> Option<Res<Value>> {
        RowHooks.infix(eval, op, left, right, span)
    }

    /// Arithmetic on numbers that only a run gives.
    fn map(&self, eval: &mut Eval, op: MapOp, inputs: &[Value], span: Span) -> Option<Res<Value>> {
        // In traced code these are tensors.
        if let Some(moving) = Moving::map(op, inputs).filter(|_| !eval.is_tracing()) {
            return Some(Ok(moving));
        }
        let one = |input: &Value| number(&eval.as_number(input.clone(), span).ok()?);
        let numbers: Vec<Number> = inputs.iter().map(one).collect::<Option<_>>()?;
        use MapOp::*;
        let is_bool = matches!(op, Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not | IsNan);
        Some(Ok(Later::value(Number::map(op, numbers), is_bool)))
    }

    fn column(&self, eval: &mut Eval, of: &Value, axis: &str, span: Span) -> Option<Res<Value>> {
        cast::<Rows>(of).map(|rows| super::metric::column(self, eval, rows, axis, span))
    }

    fn later(&self, graph: Graph, is_bool: bool) -> Option<Value> {
        OfRows::new(graph).map(|of| Later::value(Number::OfRows(Rc::new(of)), is_bool))
    }

    fn node(&self, eval: &mut Eval, of: &Rc<dyn Foreign>, span: Span) -> Option<Res<Node>> {
        Some(of.as_any().downcast_ref::<Moving>()?.node(eval, span))
    }

    fn has_stages(&self) -> bool {
        true
    }

    fn identity(&self, net: &Net) -> Option<ContentHash> {
        let state = self.state.borrow();
        let entry = state.nets.get(super::sources::place(net.source))?;
        match (entry.stage, &entry.policy) {
            (Some(stage), _) => Some(state.graph.get(stage).hash),
            // A policy as a stage trains it.
            (None, Some(_)) if entry.moving.is_empty() => Some(Hasher::new("moving").finish()),
            (None, Some(_)) => Some(Hasher::new("moving").text("which", &entry.moving).finish()),
            (None, None) => None,
        }
    }

    fn combined(&self, _: &mut Eval, tree: Tree, _: Span) -> Res<Value> {
        let (net, name) = (self.add_net(&tree.net, None, None), self.binding());
        self.state.borrow_mut().nets[super::sources::place(net.source)].made = Some((tree, name));
        Ok(Value::Net(net))
    }

    fn made_of(&self, net: &Net) -> Option<Tree> {
        let state = self.state.borrow();
        state.nets.get(super::sources::place(net.source))?.made.as_ref().map(|(tree, _)| tree.clone())
    }

    fn decides(&self, condition: &Rc<dyn Foreign>) -> bool {
        condition.as_any().downcast_ref::<Later>().is_some_and(|later| later.is_bool)
    }

    fn side(&self, condition: &Rc<dyn Foreign>, holds: Option<bool>) {
        let guards = &mut self.state.borrow_mut().guards;
        match (holds, condition.as_any().downcast_ref::<Later>()) {
            (Some(holds), Some(later)) => guards.push((later.number.clone(), holds)),
            _ => drop(guards.pop()),
        }
    }

    fn choose(&self, eval: &mut Eval, of: &Rc<dyn Foreign>, then: &Value, otherwise: &Value, at: Span) -> Res<Value> {
        match of.as_any().downcast_ref::<Later>() {
            Some(later) => super::choose::value(self, eval, &later.number, (then, otherwise), at),
            None => fault("E0124", at, format!("a condition is a Bool, this is a {}", of.kind())),
        }
    }

    fn binds(&self, name: Option<String>, at: Span) -> Option<String> {
        let mut state = self.state.borrow_mut();
        match state.within.is_some_and(|all| all.file == at.file && all.start <= at.start && at.end <= all.end) {
            true => std::mem::replace(&mut state.binding, name),
            false => None,
        }
    }

    /// Every net has weights of its own.
    fn born(&self, shape: &Rc<NetShape>) -> u32 {
        self.add_net(&Net::new(shape.clone()), None, None).source
    }

    fn put_on(&self, eval: &mut Eval, net: &Rc<Net>, of: &Rc<dyn Foreign>, span: Span) -> Option<Res<Value>> {
        let stored = of.as_any().downcast_ref::<Stored>()?;
        Some(self.with_stored(eval, net, stored, span))
    }

    fn merged(&self, eval: &mut Eval, net: &Rc<Net>, span: Span) -> Option<Res<Value>> {
        Some(super::merge::merged(self, eval, net, span))
    }

    /// A patched net has the weights of the one below, and some of its own.
    fn patched(&self, net: &Net) -> u32 {
        let source = self.add_net(net, None, None).source;
        self.state.borrow_mut().nets[super::sources::place(source)].from = Some(net.source);
        source
    }
}

/// Hooks of code that makes rows: data, but no stages.
pub(super) struct RowHooks;

impl Hooks for RowHooks {
    fn train(&self, _: &mut Eval, span: Span, _: Value, _: Option<&Pattern>, _: &Slots, _: &Env) -> Res<Value> {
        fault("E0141", span, "`train` does not stand in code that makes rows")
    }

    fn command(&self, _: &mut Eval, word: &Name, _: &ast::Args, _: &Env) -> Res<Value> {
        fault("E0141", word.span, format!("`{}` does not stand in code that makes rows", word.text))
    }

    fn builtin(&self, name: &str) -> Option<&'static str> {
        if name == "generate" { Some("generate") } else { words::find(name) }
    }

    fn call(&self, eval: &mut Eval, name: &'static str, call: &Call) -> Res<Value> {
        match name {
            "generate" => super::writes::nobody(call.span),
            _ => words::call(eval, name, call),
        }
    }

    fn cast(
        &self,
        eval: &mut Eval,
        value: &Value,
        ty: &ast::Type,
        fields: Option<&[ast::Entry]>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        columns::cast_rows(eval, value, ty, fields, span, env, &mut |_| {})
    }

    fn data(&self, value: Value) -> Value {
        match cast::<Rows>(&value) {
            Some(_) => value,
            None => words::as_data(&value).map_or(value, Rows::value),
        }
    }

    fn generator(
        &self,
        eval: &mut Eval,
        (overs, body): (&[(Pattern, Expr)], &Block),
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        super::generator::generate(eval, overs, body, span, env).map(Rows::value)
    }

    /// `data.f` maps `.f` over the rows.
    fn field(&self, _: &mut Eval, of: &Rc<dyn Foreign>, name: &Name) -> Option<Res<Value>> {
        let rows = of.as_any().downcast_ref::<Rows>()?;
        let f = Value::function(Function::Accessor(name.text.as_str().into()));
        Some(Ok(words::mapped(&rows.data, f, name.span)))
    }

    /// `a ++ b`: rows after others.
    fn infix(&self, _: &mut Eval, op: InfixOp, left: &Value, right: &Value, _: Span) -> Option<Res<Value>> {
        let (left, right) = (words::as_data(left)?, words::as_data(right)?);
        (op == InfixOp::Join).then(|| Ok(Rows::value(left.then(&right))))
    }

    fn map(&self, _: &mut Eval, _: MapOp, _: &[Value], _: Span) -> Option<Res<Value>> {
        None
    }
}

/// A name that is near to one of several, as help.
pub(super) fn near<'a>(diagnostic: Diagnostic, name: &str, all: impl IntoIterator<Item = &'a str>) -> Box<Diagnostic> {
    Box::new(match did_you_mean(name, all) {
        Some(near) => diagnostic.meant(near),
        None => diagnostic,
    })
}

#[cfg(test)]
mod tests;
