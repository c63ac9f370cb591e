//! The evaluator. One walk over the tree serves all three levels: configuration and host code are worked out at once,
//! what touches a tensor adds nodes to the graph that is being traced.
//!
//! A tensor's axes are known while it is traced, so functions lift by themselves: an axis that a body does not name is
//! carried along. What a body must not see (lifted axes) and what may meet although it does not nest (paired axes) is kept
//! in [`env::Body`].

mod adapted;
mod added;
pub mod asks;
mod batch;
mod bind;
mod block;
mod bookmarks;
mod builtin;
mod call;
#[cfg(test)]
pub(crate) mod checks;
mod coerce;
mod derive;
mod draw;
pub mod env;
pub mod environment;
mod expr;
mod field;
mod flat;
pub mod fuel;
pub mod grammar;
mod here;
mod host;
mod index;
mod known;
mod later;
mod leaves;
mod linalg;
mod loops;
pub mod loss;
mod merged;
pub mod net;
mod noise;
mod operator;
pub mod optimizer;
pub mod patch;
mod policy;
mod rational;
mod read;
mod reduce;
pub(crate) mod sampler;
mod scan;
pub mod score;
mod shape;
mod stack;
mod tensor;
pub mod tests;
mod text;
pub mod tree;
pub mod value;
pub mod weights;

use crate::program::{ItemRef, Program};
use crate::stage::asked::Settled;
use crate::tensor::{Axis, Graph, Node, Origin};
use crate::world::World;
use align_syntax::ast::{self, DefKind, Expr, ExprId, InfixOp, Name, Pattern, Slots};
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use env::{Body, Env};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use value::{DefCode, Foreign, Function, LambdaCode, Net, Tensor, Value};

pub(crate) use added::lacks;
pub(crate) use asks::pending;
pub(crate) use bookmarks::Bookmarks;
pub use builtin::names as primitives;
pub use call::{Arg, Call};
pub(crate) use expr::{MISSING, NONE};
pub(crate) use loops::{FUEL, Loop};
pub(crate) use shape::list_shape;
pub use stack::on_deep_stack;

/// A value, or why there is none: a fault with the place where it arose and the calls that led there.
pub type Res<T> = Result<T, Box<Diagnostic>>;

/// A fault at a place.
pub fn fault<T>(code: &'static str, span: Span, message: impl Into<String>) -> Res<T> {
    Err(Box::new(Diagnostic::error(code, span, message)))
}

/// What the pipeline adds to the language: stages, data, commands. Without hooks their words are faults.
pub trait Hooks {
    /// `train what as pattern { slots }`
    fn train(
        &self,
        eval: &mut Eval,
        span: Span,
        what: Value,
        pattern: Option<&Pattern>,
        slots: &Slots,
        env: &Env,
    ) -> Res<Value>;
    /// `show`, `save`, `plot`; also `assert` outside tests.
    fn command(&self, eval: &mut Eval, word: &Name, args: &ast::Args, env: &Env) -> Res<Value>;
    /// The primitive of this name, if the pipeline has one.
    fn builtin(&self, name: &str) -> Option<&'static str>;
    /// A call of such a primitive. A method call `data.shuffle(..)` does not exist; `data |> shuffle(..)` comes here.
    fn call(&self, eval: &mut Eval, name: &'static str, call: &Call) -> Res<Value>;
    /// `data as Record { .. }`
    fn cast(
        &self,
        eval: &mut Eval,
        value: &Value,
        ty: &ast::Type,
        fields: Option<&[ast::Entry]>,
        span: Span,
        env: &Env,
    ) -> Res<Value>;
    /// A List where Data are expected.
    fn data(&self, value: Value) -> Value {
        value
    }
    /// A loop where Data are expected: its rounds are rows.
    fn generator(&self, eval: &mut Eval, of: (&[(Pattern, Expr)], &ast::Block), span: Span, env: &Env) -> Res<Value> {
        let _ = (eval, of, env);
        fault("E0141", span, "data stand in a pipeline")
    }
    /// Calls `f` for each of so many rows, where policies may answer what it asks. `after_draws`: nobody has drawn their replies yet.
    fn settle(
        &self,
        eval: &mut Eval,
        rows: usize,
        _after_draws: bool,
        f: &mut dyn FnMut(&mut Eval, usize) -> Res<()>,
    ) -> Res<Settled> {
        (0..rows).try_for_each(|row| f(eval, row))?;
        Ok(Settled::default())
    }
    /// A field of a foreign value; `None` if it has none of this name.
    fn field(&self, eval: &mut Eval, of: &Rc<dyn Foreign>, name: &Name) -> Option<Res<Value>>;
    /// A place of a foreign value or of a net: `p.blocks[0..8]`; `None` if it has none.
    fn index(&self, _eval: &mut Eval, _of: &Value, _index: &Value, _span: Span) -> Option<Res<Value>> {
        None
    }
    /// An operator of which one side is foreign; `None` if it means nothing.
    fn infix(&self, eval: &mut Eval, op: InfixOp, left: &Value, right: &Value, span: Span) -> Option<Res<Value>>;
    /// A function of numbers, one of which is foreign.
    fn map(&self, eval: &mut Eval, op: crate::tensor::MapOp, inputs: &[Value], span: Span) -> Option<Res<Value>>;
    /// A call of a declared function with foreign arguments that the pipeline does itself: `accuracy(policy, data)`.
    fn applied(&self, _eval: &mut Eval, _def: &Rc<DefCode>, _call: &Call) -> Option<Res<Value>> {
        None
    }
    /// A net was built: the number of its weights among all nets of the pipeline. See [`Net::source`].
    fn born(&self, _shape: &Rc<value::NetShape>) -> u32 {
        0
    }
    /// A net got a patch: the number of its weights among all nets of the pipeline. See [`Net::source`].
    fn patched(&self, net: &Net) -> u32 {
        net.source
    }
    /// `net with v`, v foreign: a patch that the pipeline knows; `None` if v is none.
    fn put_on(&self, _eval: &mut Eval, _net: &Rc<Net>, _of: &Rc<dyn Foreign>, _span: Span) -> Option<Res<Value>> {
        None
    }
    /// A policy whose weights have its patches in them; `None` where they are worked out on the spot.
    fn merged(&self, _eval: &mut Eval, _net: &Rc<Net>, _span: Span) -> Option<Res<Value>> {
        None
    }
    /// Data as a tensor with one axis: a number of each row.
    fn column(&self, _eval: &mut Eval, _of: &Value, _axis: &str, _span: Span) -> Option<Res<Value>> {
        None
    }
    /// The one number that a graph gives, if all it reads is what evaluations give for rows.
    fn later(&self, _graph: crate::tensor::Graph, _is_bool: bool) -> Option<Value> {
        None
    }
    /// What a foreign value is in the graph that is being traced; `None` if it is no number.
    fn node(&self, _eval: &mut Eval, _of: &Rc<dyn Foreign>, _span: Span) -> Option<Res<Node>> {
        None
    }
    /// What a net's weights are, as a hash; none where that is not known, or not yet.
    fn identity(&self, _net: &Net) -> Option<crate::stage::hash::ContentHash> {
        None
    }
    /// Whether code here makes stages.
    fn has_stages(&self) -> bool {
        false
    }
    /// The net whose weights a stage works out from those of others.
    fn combined(&self, _eval: &mut Eval, _tree: tree::Tree, span: Span) -> Res<Value> {
        fault("E0141", span, "weights are worked out in a pipeline")
    }
    /// How the weights of such a net are worked out.
    fn made_of(&self, _net: &Net) -> Option<tree::Tree> {
        None
    }
    /// A name is about to be bound to a value: it names the stages that the value asks for. Gives back the name that
    /// held before.
    fn binds(&self, _name: Option<String>, _at: Span) -> Option<String> {
        None
    }
    /// Whether a value is a condition that only a run decides.
    fn decides(&self, _condition: &Rc<dyn Foreign>) -> bool {
        false
    }
    /// The code that follows stands in the side of an `if` where such a condition holds, or does not; `None`: no longer.
    fn side(&self, _condition: &Rc<dyn Foreign>, _holds: Option<bool>) {}
    /// The one value where such a condition holds, else the other.
    fn choose(&self, _: &mut Eval, of: &Rc<dyn Foreign>, _then: &Value, _otherwise: &Value, at: Span) -> Res<Value> {
        fault("E0124", at, format!("a condition is a Bool, this is a {}", of.kind()))
    }
}

/// The evaluator's state.
pub struct Eval<'p> {
    pub program: &'p Program,
    pub world: &'p dyn World,
    pub hooks: Option<Rc<dyn Hooks + 'p>>,
    /// Values of `param` that were set from outside, by name.
    pub settings: HashMap<String, Value>,
    /// The seed of draws in host code.
    pub seed: u64,
    /// Rounds of enclosing `for`s, and how many draws were made in this one: what keys the draws of host code.
    draws: Draws,
    /// What the enclosing `for`s have bound to plain names in this round, the outermost first.
    pub(crate) rounds: Vec<(Name, Value)>,
    /// Where the code stands that runs, and the origin that it gives to nodes.
    at: here::At,
    here: (here::At, Origin),
    /// Graphs that are being traced, the innermost last. The first is that of the outermost code.
    frames: Vec<Frame>,
    /// Values of items, by item and name.
    items: HashMap<(ItemRef, String), Value>,
    /// Items that are being worked out: a name that needs itself is a fault.
    busy: Vec<(ItemRef, Span)>,
    defs: HashMap<ItemRef, Rc<DefCode>>,
    lambdas: HashMap<(FileId, ExprId), Rc<LambdaCode>>,
    /// Axes that `vmap` hides from the functions that are called.
    hidden: Vec<Axis>,
    /// Names of the reduction's axes under which the current operand stands.
    under: Vec<String>,
    /// What the paths of weights begin with, by the source of their net.
    pub(crate) prefixes: Vec<(u32, String)>,
    /// Weights of the graphs that are being traced with the patches that are on them.
    patched: Vec<(Tensor, Vec<value::PatchedWeight>)>,
    /// How many graphs are being traced: none where code of a pipeline runs.
    traced: usize,
    /// The function of weights that runs.
    drawing: Option<tree::Drawing>,
    /// Where inner values of a net are noted.
    reading: Option<read::Reading>,
    /// Names of origins of ragged axes: `chosen`.
    origins: Vec<String>,
    /// The loss or test that is being traced.
    tracing: Tracing,
    /// The draws of the loss of a stage, while it is traced.
    noise: Option<noise::Noise>,
    /// The sources of the nets whose methods run, the innermost last.
    methods: Vec<u32>,
    /// What a step of an optimizer outside of a stage is told beside the gradient (`total`, `loss`), or a reward beside its item
    /// (`progress`, `step`).
    pub offered: Vec<(String, Value)>,
    /// The optimizer that runs.
    updating: Option<optimizer::Updating>,
    /// The axes of the weight that it updates, outside of a stage.
    weight_axes: Vec<Axis>,
    /// Where the items of the optimizer step are, for `batch`.
    step: batch::Step,
    /// What divides the logits that `next` gives: that of the draws for which a sampler runs.
    temperature: value::Value,
    /// The draws for which a sampler runs, for grammars.
    pub keeping: grammar::Keeping,
    /// How rewards went, by name. Who runs the code takes it: `std::mem::take(&mut *eval.tally.borrow_mut())`.
    pub tally: Rc<RefCell<score::Tally>>,
    /// Rows of data that are being made, one for another.
    rows: usize,
    /// Who answers what host code asks of policies.
    asks: Option<Rc<dyn asks::Asks>>,
    /// Where in the loops of its row that code stands, where these had come to, and the names that it has assigned, each with the
    /// number of its scope.
    place: loops::Place,
    bookmarks: Option<Bookmarks>,
    assigned: Vec<(u64, Rc<str>)>,
    fuel: fuel::Fuel,
    patterns: text::Patterns,
}

#[derive(Default)]
struct Draws {
    rounds: Vec<u64>,
    count: u64,
    /// Loops so far in the innermost round.
    loops: u64,
}

/// A graph under construction.
#[derive(Default)]
struct Frame {
    graph: Graph,
    /// Tensors of outer graphs that this one reads, each with its parameter.
    captured: Vec<(Tensor, Node)>,
}

/// What the kind of code that is being traced adds.
#[derive(Default)]
enum Tracing {
    #[default]
    Nothing,
    Loss(loss::LossTrace),
    Test(Box<tests::TestTrace>),
}

impl<'p> Eval<'p> {
    pub fn new(program: &'p Program, world: &'p dyn World) -> Eval<'p> {
        Eval {
            program,
            world,
            hooks: None,
            settings: HashMap::new(),
            seed: 0,
            draws: Draws::default(),
            rounds: vec![],
            at: here::At::default(),
            here: Default::default(),
            frames: vec![Frame::default()],
            items: HashMap::new(),
            busy: vec![],
            defs: HashMap::new(),
            lambdas: HashMap::new(),
            hidden: vec![],
            under: vec![],
            prefixes: vec![],
            patched: vec![],
            traced: 0,
            drawing: None,
            reading: None,
            origins: vec![],
            tracing: Tracing::Nothing,
            noise: None,
            methods: vec![],
            offered: vec![],
            updating: None,
            weight_axes: vec![],
            step: batch::Step::None,
            temperature: value::Value::Float(1.0),
            keeping: grammar::Keeping::default(),
            tally: Rc::default(),
            rows: 0,
            asks: None,
            place: loops::Place::default(),
            bookmarks: None,
            assigned: vec![],
            fuel: fuel::Fuel::default(),
            patterns: text::Patterns::default(),
        }
    }

    /// The scope of the top of a file.
    pub fn top(&self, file: FileId) -> Env {
        Env::new(Body::new(file))
    }

    /// The value of a name at the top of the program's own file.
    pub fn global(&mut self, name: &str, span: Span) -> Res<Value> {
        let main = self.program.main();
        self.word(name, span, &self.top(main))
    }

    /// The value of an expression. `env` may be [`Eval::top`].
    pub fn eval(&mut self, expr: &Expr, env: &Env) -> Res<Value> {
        self.expr(expr, env)
    }

    /// The name of the value that a ragged axis belongs to, such as `chosen`; a new origin for a new name.
    pub(crate) fn origin(&mut self, name: &str) -> u32 {
        let at = self.origins.iter().position(|n| n == name).unwrap_or_else(|| {
            self.origins.push(name.to_string());
            self.origins.len() - 1
        });
        at as u32
    }

    // ------------------------------------------------------------------------------------------------ names

    /// What a word means here.
    pub(crate) fn word(&mut self, name: &str, span: Span, env: &Env) -> Res<Value> {
        if let Some(value) = env.get(name) {
            return Ok(value);
        }
        if let Some(net) = env.body().net.clone()
            && let Some(value) = self.member(&net, name, env)?
        {
            return Ok(value);
        }
        if let Some(at) = self.program.lookup(env.file(), name) {
            return self.item(at, name, span);
        }
        if let Some(name) = builtin::find(name) {
            return Ok(Value::builtin(name));
        }
        if let Some(name) = self.hooks.as_ref().and_then(|h| h.builtin(name)) {
            return Ok(Value::builtin(name));
        }
        if let Some(value) = builtin::constant(name) {
            return Ok(value);
        }
        if let Some(tokenizer) = self.world.tokenizer(name) {
            return Ok(Value::Tokenizer(tokenizer));
        }
        let mut names: Vec<String> = env.names().iter().map(|n| n.to_string()).collect();
        names.extend(self.program.names(env.file()).map(str::to_string));
        names.extend(builtin::names().map(str::to_string));
        let mut diagnostic = Diagnostic::error("E0104", span, format!("`{name}` is not defined"));
        if let Some(near) = align_syntax::diag::did_you_mean(name, names.iter().map(String::as_str)) {
            diagnostic = diagnostic.meant(near);
        }
        Err(Box::new(diagnostic))
    }

    /// The value of an item at the top of a file.
    pub(super) fn item(&mut self, at: ItemRef, name: &str, span: Span) -> Res<Value> {
        if let Some(value) = self.items.get(&(at, name.to_string())).cloned() {
            return Ok(self.thawed(&value));
        }
        let program = self.program;
        let item = program.item(at);
        if self.busy.iter().any(|(busy, _)| *busy == at) {
            return fault("E0105", span, format!("`{name}` needs its own value"));
        }
        let env = self.top(at.file);
        self.busy.push((at, span));
        let outer = std::mem::take(&mut self.under);
        let value = match &item.kind {
            // A tensor at the top of a file is read by many graphs, so it belongs to none of them.
            ast::ItemKind::Bind(_) => {
                let made = self.in_new_graph(|eval| {
                    let value = eval.item_value(at, &item.kind, name, &env)?;
                    eval.frozen(&value, span)
                });
                made.map(|(value, _)| value)
            }
            kind => self.item_value(at, kind, name, &env),
        };
        self.under = outer;
        self.busy.pop();
        let value = value?;
        self.items.insert((at, name.to_string()), value.clone());
        Ok(self.thawed(&value))
    }

    /// The value of an item at the top of a file, if something has asked for it.
    pub(crate) fn known(&self, at: ItemRef, name: &str) -> Option<Value> {
        self.items.get(&(at, name.to_string())).cloned()
    }

    fn item_value(&mut self, at: ItemRef, item: &ast::ItemKind, name: &str, env: &Env) -> Res<Value> {
        match item {
            ast::ItemKind::Param { name, ty, value, .. } => {
                let set = self.settings.get(&name.text).cloned();
                match set {
                    Some(value) => Ok(value),
                    None => {
                        let value = self.expr(value, env)?;
                        self.coerce(value, ty.as_ref(), name.span, env)
                    }
                }
            }
            ast::ItemKind::Def(def) if def.params.is_empty() && matches!(def.kind, DefKind::Policy | DefKind::Data) => {
                // Its draws do not depend on where it is first asked for.
                let value = self.keyed(&[], |eval| match def.kind {
                    DefKind::Data => eval.data_body(&def.body, env),
                    _ => eval.body(&def.body, env),
                })?;
                let value = self.coerce(value, def.result.as_ref(), def.kind_span, env)?;
                match &self.hooks {
                    Some(hooks) if def.kind == DefKind::Data => Ok(hooks.data(value)),
                    _ => Ok(value),
                }
            }
            ast::ItemKind::Def(def) => {
                let def = self.def_code(at, def);
                Ok(Value::function(Function::Def { def, given: None }))
            }
            ast::ItemKind::Bind(bind) => {
                self.bind(bind, env)?;
                Ok(env.get(name).unwrap_or(Value::Unit))
            }
            _ => Ok(Value::Unit),
        }
    }

    fn def_code(&mut self, at: ItemRef, def: &ast::Def) -> Rc<DefCode> {
        let make = || Rc::new(DefCode { def: def.clone(), file: at.file, env: None });
        self.defs.entry(at).or_insert_with(make).clone()
    }

    /// A net that models are loaded as, or a patch on one, by its name, with these settings.
    pub fn loaded_net(&mut self, name: &str, settings: Vec<(Rc<str>, Value)>, span: Span) -> Option<Res<Value>> {
        let at = self.program.loadable(name).or_else(|| self.program.lookup(self.program.main(), name))?;
        let ast::ItemKind::Def(def) = &self.program.item(at).kind else { return None };
        let def = self.def_code(at, def);
        let has = |name: &str| def.def.params.iter().flatten().any(|p| bind::param_name(p) == name);
        let named =
            settings.into_iter().filter(|(name, _)| has(name)).map(|(name, value)| (name, value, span)).collect();
        let values = bind::Values { positional: vec![], named };
        let net = Value::function(Function::Def { def, given: None });
        Some(self.call_with(&net, &[], values, span))
    }

    /// A declaration of the program by its name, for those who run it: pipelines have none and are found by their items.
    pub fn declaration(&mut self, name: &str, file: FileId) -> Option<Rc<DefCode>> {
        let at = self.program.lookup(file, name)?;
        match &self.program.item(at).kind {
            ast::ItemKind::Def(def) => Some(self.def_code(at, def)),
            _ => None,
        }
    }

    // ----------------------------------------------------------------------------------------------- graphs

    /// The graph that is being traced.
    pub(crate) fn graph(&mut self) -> &mut Graph {
        self.graph_of(self.frames.len() - 1)
    }

    /// Traces into a new graph of its own: what `f` makes is given back with what `f` gives.
    pub(crate) fn in_new_graph<T>(&mut self, f: impl FnOnce(&mut Self) -> Res<T>) -> Res<(T, Graph)> {
        let outer = std::mem::replace(&mut self.frames, vec![Frame::default()]);
        let under = std::mem::take(&mut self.under);
        let patched = std::mem::take(&mut self.patched);
        self.traced += 1;
        let result = f(self);
        self.traced -= 1;
        let mut frames = std::mem::replace(&mut self.frames, outer);
        (self.under, self.patched) = (under, patched);
        Ok((result?, frames.pop().expect("the new graph").graph))
    }

    /// As [`Eval::in_new_graph`]; weights go by the sources of their nets.
    pub(crate) fn in_graph_by_source<T>(&mut self, f: impl FnOnce(&mut Self) -> Res<T>) -> Res<(T, Graph)> {
        let prefixes = std::mem::take(&mut self.prefixes);
        let result = self.in_new_graph(f);
        self.prefixes = prefixes;
        result
    }

    /// Whether code stands in a graph that is being traced, not in a pipeline.
    pub(crate) fn is_tracing(&self) -> bool {
        self.traced > 0
    }

    /// The axes of a tensor; none for anything else.
    pub(crate) fn axes_of(&self, value: &Value) -> Vec<Axis> {
        match value {
            Value::Tensor(t) => self.frames[t.frame as usize].graph.axes(t.node).to_vec(),
            _ => vec![],
        }
    }
}

/// Net values that mean the same weights are one net.
impl PartialEq for Net {
    fn eq(&self, other: &Net) -> bool {
        Rc::ptr_eq(&self.shape, &other.shape)
            && self.prefix == other.prefix
            && self.source == other.source
            && Rc::ptr_eq(&self.patches, &other.patches)
            && self.given.is_empty()
            && other.given.is_empty()
    }
}

/// The word of a kind of declaration.
impl value::KindWord for DefKind {
    fn word(&self) -> &'static str {
        match self {
            DefKind::Fn => "fn",
            DefKind::Loss => "loss",
            DefKind::Reward => "reward",
            DefKind::Optimizer => "optimizer",
            DefKind::Schedule => "schedule",
            DefKind::Sampler => "sampler",
            DefKind::Env => "env",
            DefKind::Net => "net",
            DefKind::Policy => "policy",
            DefKind::Data => "data",
            DefKind::Pipeline => "pipeline",
            DefKind::Study => "study",
        }
    }
}
