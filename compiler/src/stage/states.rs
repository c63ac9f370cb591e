//! States of a stage: `state slow = p` and `each 50 steps { slow = 0.9 * slow + 0.1 * q }`.
//!
//! A policy in a state is read like one that stays as it is; between steps some of its weights are given other numbers. A
//! number is an input of the step.

use super::build::Builder;
use super::convert::shown;
use super::evaluate::PolicyUse;
use super::foreign::cast;
use super::graph::MERGED;
use super::hash::Hasher;
use super::nets::{renamed, weight_paths};
use super::sources::Source;
use super::together::{Trained, of_source};
use super::train::WeightSpec;
use crate::batch::training::STATE;
use crate::eval::env::Env;
use crate::eval::tree::Tree;
use crate::eval::value::{Foreign, Net, Value};
use crate::eval::{Arg, Eval, Res, fault};
use crate::rewrite::lay_out::{Orders, lay_out};
use crate::rewrite::simplify::simplify;
use crate::tensor::{DType, Graph, MapOp, Node};
use align_syntax::ast::{Bind, BindTarget, BindValue, Block, Expr, ExprKind, Pattern, StmtKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::any::Any;
use std::fmt;
use std::rc::Rc;

/// What the states of a stage hold and how they move.
#[derive(Clone, Default)]
pub struct StageStates {
    pub policies: Vec<PolicyState>,
    pub numbers: Vec<NumberState>,
    /// In the order in which they happen after a step.
    pub events: Vec<Event>,
    /// Each gives [`MERGED`]. Weights are called by their places in what a [`Set`] reads; numbers are inputs by their names.
    pub graphs: Vec<Graph>,
}

/// A policy of [`super::train::TrainStage::frozen`] whose weights move.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyState {
    pub name: String,
    /// What the paths of its weights begin with in graphs.
    pub prefix: String,
    /// The weights that move, end to end.
    pub weights: Vec<WeightSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NumberState {
    /// The input that holds it.
    pub input: String,
    pub start: f64,
}

/// The input of [`StageStates::graphs`] that holds the number of steps made.
pub const STEP: &str = "state.train step";

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// It happens after steps that this divides.
    pub every: usize,
    pub sets: Vec<Set>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Set {
    Policy { state: usize, weights: Vec<SetWeight> },
    Number { state: usize, graph: usize },
}

/// A weight of a state, by its place among those that move.
#[derive(Clone, Debug, PartialEq)]
pub struct SetWeight {
    pub weight: usize,
    pub graph: usize,
    /// What the graph reads, as the step's graphs name it.
    pub reads: Vec<String>,
}

/// A number that moves while a stage trains.
#[derive(Clone, Debug)]
pub enum Moving {
    Input(String),
    Map(MapOp, Vec<Value>),
}

impl Foreign for Moving {
    fn kind(&self) -> String {
        "Float that moves with the steps".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Moving {
    /// Its node in the graph that is being traced.
    pub fn node(&self, eval: &mut Eval, span: Span) -> Res<Node> {
        match self {
            Moving::Input(name) => {
                let value = eval.outermost(|graph| graph.input(name, vec![], DType::Float));
                eval.node(&value, span)
            }
            Moving::Map(op, inputs) => {
                let nodes = inputs.iter().map(|input| eval.node(input, span)).collect::<Res<Vec<Node>>>()?;
                let value = eval.map_nodes(*op, &nodes);
                eval.node(&value, span)
            }
        }
    }

    /// A function of such numbers and of known ones; `None` if others are among them.
    pub fn map(op: MapOp, inputs: &[Value]) -> Option<Value> {
        let all = inputs.iter().all(|value| cast::<Moving>(value).is_some() || value.number().is_some());
        let any = inputs.iter().any(|value| cast::<Moving>(value).is_some());
        (all && any).then(|| Value::Foreign(Rc::new(Moving::Map(op, inputs.to_vec()))))
    }
}

/// The states that slots declare, before anything is traced.
#[derive(Default)]
pub(super) struct Declared<'s> {
    policies: Vec<Held>,
    numbers: Vec<(String, NumberState)>,
    each: Vec<(usize, &'s Block)>,
}

/// A policy in a state.
struct Held {
    name: String,
    span: Span,
    /// It has weights of its own, that begin as those of `source`.
    net: Rc<Net>,
    source: Source,
}

impl fmt::Debug for Declared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} policies, {} numbers", self.policies.len(), self.numbers.len())
    }
}

impl<'s> Declared<'s> {
    /// `state slow = p`, `state beta = 0.1`
    pub fn bind(&mut self, builder: &Builder, eval: &mut Eval, bind: &Bind, env: &Env) -> Res<()> {
        for binder in &bind.binders {
            let (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(expr))) = (&binder.target, &binder.value)
            else {
                return fault("E0190", bind.word_span, "a `state` in `train` is a name and a value: `state slow = p`");
            };
            let value = eval.arg(&Arg::Expr(expr), env)?;
            let held = match &value {
                Value::Net(net) => {
                    let source = builder.source(eval, net, expr.span)?;
                    let held = builder.add_net(net, Some(source.policy.clone()), Some(source.stage));
                    let (name, span) = (name.text.clone(), name.span);
                    self.policies.push(Held { name, span, net: held.clone(), source });
                    Value::Net(held)
                }
                value => match value.number() {
                    Some(start) => {
                        let input = format!("{STATE}train.{}", name.text);
                        self.numbers.push((name.text.clone(), NumberState { input: input.clone(), start }));
                        Value::Foreign(Rc::new(Moving::Input(input)))
                    }
                    None => {
                        let message =
                            format!("a state of a stage is a policy or a number yet, this is {}", value.kind());
                        return fault("E0190", expr.span, message);
                    }
                },
            };
            env.bind(&name.text, held);
        }
        Ok(())
    }

    /// `each 50 steps { .. }`
    pub fn each(&mut self, eval: &mut Eval, count: &Expr, body: &'s Block, env: &Env) -> Res<()> {
        let value = eval.arg(&Arg::Expr(count), env)?;
        match value.whole().filter(|n| *n > 0) {
            Some(n) => self.each.push((n as usize, body)),
            None => {
                let message = format!("`each` takes a number of steps above 0, this is {}", shown(&value));
                return fault("E0134", count.span, message);
            }
        }
        Ok(())
    }

    /// The inputs of the step that hold numbers.
    pub fn inputs(&self) -> impl Iterator<Item = String> {
        self.numbers.iter().map(|(_, number)| number.input.clone())
    }

    /// Whether a source, as it stands in paths, is of a policy that moves.
    pub fn has(&self, source: &str) -> bool {
        self.policies.iter().any(|held| held.net.source.to_string() == source)
    }

    /// Whether a weight, as graphs of the stage name it, is of a policy that moves. `numbers`: the sources of the policies that
    /// graphs read, by the places in their prefixes.
    pub fn holds(&self, numbers: &[String], path: &str) -> bool {
        let prefixes = numbers.iter().enumerate().filter(|(_, number)| self.has(number));
        prefixes.map(|(i, _)| format!("p{i}:")).any(|prefix| path.starts_with(&prefix))
    }

    /// Traces the events. `moving`: the nets that train, and which of their weights do. `numbers`, `frozen`
    /// and `sources` are the policies that graphs read so far; those that only events read come to them.
    pub fn traced(
        &self,
        builder: &Builder,
        eval: &mut Eval,
        moving: (&[Trained], &dyn Fn(&str) -> bool),
        (numbers, frozen, sources): (&mut Vec<String>, &mut Vec<PolicyUse>, &mut Vec<Source>),
        env: &Env,
    ) -> Res<StageStates> {
        let mut states = StageStates {
            numbers: self.numbers.iter().map(|(_, number)| number.clone()).collect(),
            ..StageStates::default()
        };
        let mut used = Used { builder, numbers, frozen, sources };
        for held in &self.policies {
            let prefix = used.prefix(eval, &held.net.source.to_string(), held.span)?;
            states.policies.push(PolicyState { name: held.name.clone(), prefix, weights: vec![] });
        }
        for (every, body) in &self.each {
            let inner = env.inner();
            inner.bind("step", Value::Foreign(Rc::new(Moving::Input(STEP.into()))));
            let mut sets = vec![];
            for stmt in &body.stmts {
                let StmtKind::Assign { target, value } = &stmt.kind else {
                    return fault("E0190", stmt.span, "`each` only gives states other values yet: `slow = q`");
                };
                sets.push(self.set(eval, (target, value), moving, &mut used, &mut states, &inner)?);
            }
            states.events.push(Event { every: *every, sets });
        }
        for state in &mut states.policies {
            let mut offset = 0;
            for weight in &mut state.weights {
                weight.offset = offset;
                offset += weight.len;
            }
        }
        Ok(states)
    }

    fn set(
        &self,
        eval: &mut Eval,
        (target, expr): (&Expr, &Expr),
        moving: (&[Trained], &dyn Fn(&str) -> bool),
        used: &mut Used,
        states: &mut StageStates,
        env: &Env,
    ) -> Res<Set> {
        let name = match &*target.kind {
            ExprKind::Word(name) => name.as_str(),
            _ => return fault("E0190", target.span, "parts of a state are not given other values yet"),
        };
        let value = eval.arg(&Arg::Expr(expr), env)?;
        if let Some(state) = self.numbers.iter().position(|(known, _)| known == name) {
            let (_, graph) = eval.in_new_graph(|eval| {
                let node = eval.node(&value, expr.span)?;
                let node = eval.graph().cast(node, DType::Float);
                if let Some(axis) = eval.graph().axes(node).first() {
                    return fault(
                        "E0190",
                        expr.span,
                        format!("this state is a number, and is given one with the axis {}", axis.name()),
                    );
                }
                eval.graph().output(MERGED, node);
                Ok(())
            })?;
            return Ok(Set::Number { state, graph: states.graph(simplify(&graph)) });
        }
        let Some(state) = self.policies.iter().position(|held| held.name == name) else {
            let names: Vec<&str> = self
                .policies
                .iter()
                .map(|held| held.name.as_str())
                .chain(self.numbers.iter().map(|n| n.0.as_str()))
                .collect();
            let diagnostic = Diagnostic::error("E0104", target.span, format!("this stage has no state `{name}`"));
            return Err(super::build::near(diagnostic, name, names));
        };
        let Value::Net(net) = &value else {
            return fault("E0122", expr.span, format!("the state `{name}` is a policy, and is given {}", value.kind()));
        };
        let Held { net: held, source, .. } = &self.policies[state];
        eval.alike(held, net, expr.span)?;
        let tree = eval.tree_of(&value).unwrap_or_else(|| Tree::of(net));
        // Where every policy that is read began as one, what is not trained is what it was.
        let (trained, is_trained) = moving;
        let is_trained = |path: &str| trained.iter().any(|one| is_trained(&format!("{}{path}", one.prefix)));
        let began = |net: &Rc<Net>| {
            let own = self.policies.iter().find(|held| held.net == *net).map(|held| held.source.stage);
            own.or_else(|| trained.iter().find(|one| one.net == *net).map(|one| one.from.stage))
        };
        let stays = tree.is_mean() && tree.nets().iter().all(|net| began(net) == Some(source.stage));
        let mut weights = vec![];
        for (place, weight) in source.policy.weights.iter().enumerate() {
            if stays && !is_trained(&weight.path) {
                continue;
            }
            let traced = eval.in_graph_by_source(|eval| {
                let node = eval.tree_weight(&tree, (place, &weight.path), &weight.axes, expr.span)?;
                eval.graph().output(MERGED, node);
                Ok(())
            });
            let graph = simplify(&traced?.1);
            let mut names: Vec<String> = vec![];
            weight_paths(&graph, &mut |path| {
                if !names.iter().any(|known| known == path) {
                    names.push(path.to_string());
                }
            });
            let mut reads = vec![];
            for name in &names {
                let (number, path) = name.split_once(':').unwrap_or(("", name));
                reads.push(match of_source(trained, number) {
                    Some(one) => format!("{}{path}", one.prefix),
                    None => format!("{}{path}", used.prefix(eval, number, expr.span)?),
                });
            }
            let place = |path: &str| names.iter().position(|known| known == path).unwrap_or_default().to_string();
            let graph = lay_out(&renamed(&graph, &place), &Orders::from([(0, weight.axes.clone())]));
            let graph = states.graph(graph);
            let own = &mut states.policies[state].weights;
            let at = own.iter().position(|known| known.path == weight.path).unwrap_or_else(|| {
                own.push(weight.clone());
                own.len() - 1
            });
            weights.push(SetWeight { weight: at, graph, reads });
        }
        Ok(Set::Policy { state, weights })
    }
}

impl StageStates {
    /// The place of a graph; equal ones are one.
    fn graph(&mut self, graph: Graph) -> usize {
        let known = self.graphs.iter().position(|known| *known == graph);
        known.unwrap_or_else(|| {
            self.graphs.push(graph);
            self.graphs.len() - 1
        })
    }

    /// Adds all of it to a hash.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        for policy in &self.policies {
            hasher.text("policy in a state", &policy.prefix);
        }
        for number in &self.numbers {
            hasher.text("number in a state", &number.input).float("starts", number.start);
        }
        for event in &self.events {
            hasher.text("event", &format!("{event:?}"));
        }
        for graph in &self.graphs {
            hasher.graph("sets", graph);
        }
    }
}

/// The policies that graphs of a stage read.
pub(super) struct Used<'u, 'b, 'p> {
    pub builder: &'b Builder<'p>,
    /// Their sources, as traced paths begin with them.
    pub numbers: &'u mut Vec<String>,
    pub frozen: &'u mut Vec<PolicyUse>,
    pub sources: &'u mut Vec<Source>,
}

impl Used<'_, '_, '_> {
    /// What the paths of weights of a policy begin with, by its source.
    pub fn prefix(&mut self, eval: &mut Eval, number: &str, span: Span) -> Res<String> {
        if let Some(at) = self.numbers.iter().position(|known| known == number) {
            return Ok(format!("p{at}:"));
        }
        let net = number.parse().ok().and_then(|number: u32| self.builder.net(number));
        let Some(net) = net else {
            return fault("E0113", span, "this reads a policy that the pipeline does not know");
        };
        let source = self.builder.source(eval, &net, span)?;
        let prefix = format!("p{}:", self.numbers.len());
        self.numbers.push(number.to_string());
        self.frozen.push(PolicyUse { prefix: prefix.clone(), policy: source.policy.clone() });
        self.sources.push(source);
        Ok(prefix)
    }
}
