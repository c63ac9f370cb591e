//! Generation: the next token of a context, drawn from what a policy says and a sampler makes of it.
//!
//! A draw is one number in [0, 1), a multiple of 2^-24, by which the distribution that the log-weights normalise to is inverted.
//! It is keyed by (seed, row, sample, position), so what is drawn does not depend on what else is drawn beside it.

use super::build::{BuildOptions, Builder};
use super::data::Purpose;
use super::evaluate::PolicyUse;
use super::graph::{StageGraph, StageId};
use super::hash::Inputs;
use super::items::{ItemLayout, STREAM};
use super::narrow::Narrow;
use super::policy::PolicySpec;
use super::sources::Source;
use super::{metric, nets};
use crate::batch::{BatchOptions, batch};
use crate::eval::grammar::{Keeping, allowed_input, not_kept};
use crate::eval::sampler::with_settings;
use crate::eval::value::{Net, Stream, Value};
use crate::eval::{Eval, Res, fault};
use crate::program::Program;
use crate::rewrite::incremental::{Incremental, Kept, State, at_each, incremental};
use crate::rewrite::{PACKED, PER_ITEM, Rewrite, Rewrites, STEP, rewrite};
use crate::tensor::{Axis, DType, Graph, MapOp, Node, NodeData, Op, RandomKind, ReduceOp};
use crate::world::{Constraint, Grammar, Tokenizer, World};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The context, as the item's field.
pub const CONTEXT: &str = "context";
/// Inputs that key the draw of an item: a word of the seed and the row, the row, the sample of its row, and the place of the
/// token in the reply. Ints.
pub const KEYS: [&str; 4] = ["token.seed", "token.row", "token.sample", "token.position"];
/// Outputs, each on `item`: the token (an Int); its log-probability under the policy (at temperature 1, without a sampler); that
/// under what it was drawn from, which is not there where the largest is taken.
pub const DRAWN: [&str; 3] = ["token", "logp", "drawn"];

/// Outputs in the place of [`DRAWN`] where nothing is drawn: log-weights of the next token, and the policy's logits (at temperature 1,
/// without a sampler), which are not there where they are the same.
pub const WEIGHED: [&str; 2] = ["weights", "logits"];

/// Where each row has a temperature of its own ([`Drawing::by_row`]), the input that says it: a Float from 0 on; at 0 the largest
/// log-weight is taken.
pub const TEMPERATURE: &str = "token.temperature";

/// The input that says a setting of the sampler where each row has its own: a Float.
pub fn setting_input(name: &str) -> String {
    format!("token.setting.{name}")
}

/// Outputs beside [`DRAWN`] where [`Drawing::likeliest`] asks for them, each on `item` and an axis of so many: the most likely next tokens,
/// best first (Ints), and their log-probabilities under the policy (at temperature 1, without a sampler).
pub const LIKELIEST: [&str; 2] = ["likeliest", "likeliest.logp"];

/// How the next token is drawn.
#[derive(Clone)]
pub struct Drawing {
    /// Divides the logits, before a sampler sees them. 0: the largest log-weight is taken; a sampler then sees plain logits.
    pub temperature: f64,
    /// What makes log-weights of them; plain without.
    pub sampler: Option<Value>,
    /// Keys and values of earlier tokens are kept; else the whole context is computed for each token.
    pub incremental: bool,
    /// Nothing is drawn: the graphs give [`WEIGHED`], that of new tokens at each of them.
    pub weighs: bool,
    /// Each row has a temperature of its own ([`TEMPERATURE`]), and its own of these settings of the sampler ([`setting_input`]).
    /// `temperature` is not read then.
    pub by_row: Option<Vec<&'static str>>,
    /// So many of the most likely tokens are given too ([`LIKELIEST`]); fewer where the vocabulary is smaller.
    pub likeliest: usize,
}

impl Default for Drawing {
    fn default() -> Drawing {
        Drawing { temperature: 1.0, sampler: None, incremental: true, weighs: false, by_row: None, likeliest: 0 }
    }
}

/// Tokens whose kept keys and values lie together.
pub const PAGE: usize = 64;

/// What draws tokens from those that are new, over what is kept of earlier ones.
#[derive(Clone)]
pub struct OneToken {
    /// Of packed form: inputs of `layout`, the rows of `kept` and the states of each item before, outputs [`DRAWN`], the new rows of
    /// `kept` and the states after. The stream of an item holds its new tokens; those of several are drawn after the last one.
    pub graph: Graph,
    pub layout: ItemLayout,
    pub kept: Vec<Kept>,
    pub states: Vec<State>,
    /// The graph gives what it gives, and the states, at each new token.
    pub each: bool,
    /// Tokens at this distance and further are read by nothing.
    pub window: Option<usize>,
}

/// A grammar that a sampler reads.
#[derive(Clone)]
pub struct Allowed {
    /// The input that says which tokens it allows: Bools on the axis of weights, which has this size.
    pub input: String,
    pub size: usize,
    pub grammar: Grammar,
    pub constraint: Rc<dyn Constraint>,
}

/// What draws tokens of a policy.
#[derive(Clone)]
pub struct Generation {
    /// For one item, as it was traced: what it is, for hashes.
    pub item: Graph,
    /// Of packed form, for whole contexts: inputs of `layout`, outputs [`DRAWN`].
    pub whole: Graph,
    pub layout: ItemLayout,
    pub one: Option<OneToken>,
    /// The policies whose weights are read, each with what its paths begin with.
    pub policies: Vec<PolicyUse>,
    /// What is held in fewer bits of their weights.
    pub narrow: Vec<Narrow>,
    pub tokenizer: Rc<dyn Tokenizer>,
    pub allowed: Vec<Allowed>,
    /// The longest sequence that all policies are made for; `None` where they say nothing.
    pub context: Option<usize>,
}

impl Generation {
    /// The same with other names for weights: `prefixes` are what those of its policies begin with.
    pub(super) fn named(mut self, prefixes: Vec<String>) -> Generation {
        let before: Vec<String> = self.policies.iter().map(|used| used.prefix.clone()).collect();
        let name = |path: &str| {
            let found =
                before.iter().zip(&prefixes).find_map(|(old, new)| Some((path.strip_prefix(old.as_str())?, new)));
            found.map_or(path.to_string(), |(rest, new)| format!("{new}{rest}"))
        };
        self.whole = nets::renamed(&self.whole, &name);
        if let Some(one) = &mut self.one {
            one.graph = nets::renamed(&one.graph, &name);
        }
        self.policies.iter_mut().zip(prefixes).for_each(|(used, prefix)| used.prefix = prefix);
        self
    }

    /// Adds what decides which tokens are drawn, beside weights, rows and the seed.
    pub fn add_to(&self, inputs: &mut Inputs) {
        inputs.part("drawing", "", |hasher| {
            hasher.graph("graph", &self.item).text("tokenizer", &self.tokenizer.identity());
            for allowed in &self.allowed {
                hasher.text("grammar", &format!("{:?}", allowed.grammar));
            }
            hasher.int("context", self.context.map_or(0, |n| n as u64 + 1));
        });
    }
}

/// A policy that a graph reads.
pub(super) struct Reader {
    /// The source of its net, as traced paths begin with it.
    pub number: String,
    /// Where its weights come from; `None` for one that a stage is training.
    pub source: Option<Source>,
}

/// Traces what draws from a policy. Gives with it its policies, in the order of [`Generation::policies`].
pub(super) fn generation(
    builder: &Builder,
    eval: &mut Eval,
    net: &Rc<Net>,
    drawing: &Drawing,
    span: Span,
) -> Res<(Generation, Vec<Reader>)> {
    if !drawing.temperature.is_finite() || drawing.temperature < 0.0 {
        return fault("E0113", span, format!("a temperature is 0 or more, this is {}", drawing.temperature));
    }
    let traced = eval.in_graph_by_source(|eval| trace(eval, net, drawing, span));
    let asked = std::mem::take(&mut eval.keeping);
    let ((), graph) = traced?;
    let (item, policies, sources) = used(builder, eval, &graph, span)?;
    let layout = nets::layout(&item, span)?;
    let Some(reading) = metric::reading(&policies, span)? else {
        return fault("E0113", span, format!("{} has no tokenizer, so it writes no text", net.name()));
    };
    let allowed = allowed(builder.world, asked, &reading.tokenizer)?;
    let rewrites = builder.rewrites_of_evaluations();
    let whole = packed(&item, PER_ITEM, &BatchOptions::default(), &rewrites, span)?;
    let one = match drawing.incremental && rewrites.incremental {
        true => Some(one_token(&item, &rewrites, drawing.weighs, net, span)?),
        false => None,
    };
    let generation = Generation {
        item,
        whole,
        layout,
        one,
        policies,
        narrow: vec![],
        tokenizer: reading.tokenizer,
        allowed,
        context: reading.context,
    };
    Ok((generation, sources))
}

/// What draws from the policy of a program that has this name at its top, and the stages that make the weights it reads.
/// `sampler` names a sampler at the top of the program.
pub fn generation_of<'p>(
    program: &'p Program,
    options: &BuildOptions,
    world: &'p dyn World,
    policy: &str,
    (drawing, sampler): (&Drawing, Option<&str>),
) -> Result<(StageGraph<'p>, Generation, Vec<StageId>), Vec<Diagnostic>> {
    let builder = Builder::new(program, options, world)?;
    let mut eval = builder.eval();
    eval.hooks = Some(builder.clone());
    let mut traced = || -> Res<(Generation, Vec<Reader>)> {
        let span = Span { file: program.main(), start: 0, end: 0 };
        let mut drawing = drawing.clone();
        if let Some(sampler) = sampler {
            drawing.sampler = Some(eval.global(sampler, span)?);
        }
        match eval.global(policy, span)? {
            Value::Net(net) => generation(&builder, &mut eval, &net, &drawing, span),
            other => fault("E0113", span, format!("`{policy}` is not a policy but {}", other.kind())),
        }
    };
    let (generation, sources) = traced().map_err(|diagnostic| vec![*diagnostic])?;
    let stages = sources.into_iter().filter_map(|reader| reader.source).map(|source| source.stage).collect();
    let graph = std::mem::take(&mut builder.state.borrow_mut().graph);
    Ok((graph, generation, stages))
}

/// The policy of a program that has this name at its top, without its weights.
pub fn policy_of(
    program: &Program,
    options: &BuildOptions,
    world: &dyn World,
    policy: &str,
) -> Result<Rc<PolicySpec>, Vec<Diagnostic>> {
    let builder = Builder::new(program, options, world)?;
    let mut eval = builder.eval();
    eval.hooks = Some(builder.clone());
    let span = Span { file: program.main(), start: 0, end: 0 };
    let mut found = || match eval.global(policy, span)? {
        Value::Net(net) => builder.source(&mut eval, &net, span).map(|source| source.policy),
        other => fault("E0113", span, format!("`{policy}` is not a policy but {}", other.kind())),
    };
    found().map_err(|diagnostic| vec![*diagnostic])
}

/// The graph of one item, its outputs [`DRAWN`].
fn trace(eval: &mut Eval, net: &Rc<Net>, drawing: &Drawing, span: Span) -> Res<()> {
    let stream = Rc::new(Stream { path: CONTEXT.into(), is_prompt: true, each: None });
    let logits = eval.next_logits(net, &stream, span)?;
    let axes = eval.graph().axes(logits).to_vec();
    let [vocab] = &axes[..] else {
        let message = format!("logits of the next token lie on `vocab` alone, these have {}", eval.show_axes(&axes));
        return fault("E0216", span, message);
    };
    let greedy = drawing.temperature == 0.0 && drawing.by_row.is_none();
    let (temperature, is_greedy) = match drawing.by_row {
        Some(_) => {
            let (temperature, is_greedy) = temperature_of_row(eval.graph());
            (eval.tensor(temperature), Some(is_greedy))
        }
        None => (Value::Float(if greedy { 1.0 } else { drawing.temperature }), None),
    };
    let weights = match &drawing.sampler {
        Some(sampler) => {
            eval.keeping.drawn = Some((stream.path.clone(), vocab.clone()));
            let sampler = with_row_settings(eval, sampler, drawing, span)?;
            let context = Value::Stream(stream);
            eval.log_weights(&sampler, net, &context, (&temperature, vocab), span)?
        }
        None => eval.tempered(logits, &temperature, span)?,
    };
    let graph = eval.graph();
    if drawing.weighs {
        graph.output(WEIGHED[0], weights);
        if logits != weights {
            graph.output(WEIGHED[1], logits);
        }
        return Ok(());
    }
    let token = match is_greedy {
        Some(is_greedy) => {
            let (most, drawn) = (largest(graph, weights, vocab), draw(graph, weights, vocab));
            graph.map(MapOp::Where, &[is_greedy, most, drawn])
        }
        None if greedy => largest(graph, weights, vocab),
        None => draw(graph, weights, vocab),
    };
    let logp = log_probability(graph, logits, vocab, token);
    let drawn = (!greedy).then(|| log_probability(graph, weights, vocab, token));
    for (name, node) in DRAWN.into_iter().zip([Some(token), Some(logp), drawn]) {
        node.into_iter().for_each(|node| graph.output(name, node));
    }
    if drawing.likeliest > 0 {
        let best = Axis::fixed("likeliest", drawing.likeliest.min(vocab.fixed_size().unwrap_or(1)));
        let tokens = graph.topk(logits, vocab, &best);
        let logps = log_probability(graph, logits, vocab, tokens);
        LIKELIEST.into_iter().zip([tokens, logps]).for_each(|(name, node)| graph.output(name, node));
    }
    Ok(())
}

/// The temperature of a row, which is 1 where it takes the largest log-weight, and whether it does.
fn temperature_of_row(graph: &mut Graph) -> (Node, Node) {
    let given = graph.input(TEMPERATURE, vec![], DType::Float);
    let (zero, one) = (graph.float(0.0), graph.float(1.0));
    let is_greedy = graph.map(MapOp::Le, &[given, zero]);
    (graph.map(MapOp::Where, &[is_greedy, one, given]), is_greedy)
}

/// A sampler with the settings that each row has of its own.
fn with_row_settings(eval: &mut Eval, sampler: &Value, drawing: &Drawing, span: Span) -> Res<Value> {
    let Some(names) = drawing.by_row.as_ref().filter(|names| !names.is_empty()) else { return Ok(sampler.clone()) };
    let mut own = vec![];
    for name in names {
        let node = eval.graph().input(setting_input(name), vec![], DType::Float);
        own.push(((*name).into(), eval.tensor(node)));
    }
    match with_settings(sampler, own, span) {
        Some(sampler) => Ok(sampler),
        None => fault("E0113", span, format!("a sampler is expected, this is {}", sampler.kind())),
    }
}

/// The grammars that a sampler asked for, made ready. One that no token begins is an error.
fn allowed(world: &dyn World, asked: Keeping, tokenizer: &Rc<dyn Tokenizer>) -> Res<Vec<Allowed>> {
    let Some((_, vocab)) = asked.drawn else { return Ok(vec![]) };
    let size = vocab.fixed_size().unwrap_or(0);
    let ready = |(i, (grammar, span)): (usize, (Grammar, Span))| {
        let wrong = |said: String| not_kept(span, &grammar, &said);
        let constraint = world.grammar(&grammar, tokenizer).map_err(wrong)?;
        let mut first = vec![false; size];
        constraint.begin().allowed(&mut first).map_err(wrong)?;
        match first.contains(&true) {
            true => Ok(Allowed { input: allowed_input(i), size, grammar, constraint }),
            false => Err(wrong("no token of this policy may begin a reply".into())),
        }
    };
    asked.asked.into_iter().enumerate().map(ready).collect()
}

/// A draw from log-weights: the first index at which their running sum is above a share of all of it. An index without weight
/// adds nothing, so it is none.
fn draw(graph: &mut Graph, weights: Node, vocab: &Axis) -> Node {
    let over = std::slice::from_ref(vocab);
    let keys = KEYS.map(|name| graph.input(name, vec![], DType::Int)).to_vec();
    let op = Op::Random(RandomKind::Uniform, Purpose::Token as u32);
    let uniform = graph.push(NodeData::new(op, keys, vec![], DType::Float));
    let most = graph.reduce(ReduceOp::Max, weights, over);
    let shifted = graph.map(MapOp::Sub, &[weights, most]);
    let each = graph.map(MapOp::Exp, &[shifted]);
    let sums = graph.cumsum(each, vocab, false);
    let total = graph.reduce(ReduceOp::Max, sums, over);
    let share = graph.map(MapOp::Mul, &[uniform, total]);
    let (below, part) = (graph.map(MapOp::Le, &[sums, share]), graph.map(MapOp::Lt, &[sums, total]));
    let passed = graph.map(MapOp::And, &[below, part]);
    let passed = graph.cast(passed, DType::Int);
    graph.sum(passed, over)
}

/// The first index of the largest entry. Where nothing compares, as beside a nan, it is the last index.
fn largest(graph: &mut Graph, x: Node, vocab: &Axis) -> Node {
    let over = std::slice::from_ref(vocab);
    let most = graph.reduce(ReduceOp::Max, x, over);
    let is_most = graph.map(MapOp::Eq, &[x, most]);
    let (place, last) = (graph.iota(vocab), graph.int(vocab.fixed_size().unwrap_or(1) as i64 - 1));
    let places = graph.map(MapOp::Where, &[is_most, place, last]);
    graph.reduce(ReduceOp::Min, places, over)
}

/// `log_softmax` of logits at a token, or at several, as the core library writes it.
fn log_probability(graph: &mut Graph, logits: Node, vocab: &Axis, token: Node) -> Node {
    let over = std::slice::from_ref(vocab);
    let most = graph.reduce(ReduceOp::Max, logits, over);
    let most = graph.stop(most);
    let shifted = graph.map(MapOp::Sub, &[logits, most]);
    let exponentials = graph.map(MapOp::Exp, &[shifted]);
    let sum = graph.sum(exponentials, over);
    let log = graph.map(MapOp::Log, &[sum]);
    let own = graph.gather(shifted, vocab, token);
    graph.map(MapOp::Sub, &[own, log])
}

/// The policies that a graph reads, as [`nets::used`] gives them; also those that a stage is training.
fn used(builder: &Builder, eval: &mut Eval, graph: &Graph, span: Span) -> Res<(Graph, Vec<PolicyUse>, Vec<Reader>)> {
    let mut numbers: Vec<String> = vec![];
    nets::sources(graph, &mut numbers);
    let (mut uses, mut sources) = (vec![], vec![]);
    for (i, number) in numbers.iter().enumerate() {
        let Some(net) = number.parse().ok().and_then(|number: u32| builder.net(number)) else {
            return fault("E0113", span, "this reads a policy that the pipeline does not know");
        };
        let source = if builder.trains(&net) { None } else { Some(builder.source(eval, &net, span)?) };
        let policy = match &source {
            Some(source) => source.policy.clone(),
            None => builder.spec(eval, net.source, span)?,
        };
        uses.push(PolicyUse { prefix: format!("p{i}:"), policy });
        sources.push(Reader { number: number.clone(), source });
    }
    let graph = nets::renamed(graph, &|path| match path.split_once(':') {
        Some((number, rest)) => {
            let at = numbers.iter().position(|known| known == number).expect("every prefix was collected");
            format!("p{at}:{rest}")
        }
        None => path.to_string(),
    });
    Ok((graph, uses, sources))
}

/// The form for new tokens.
fn one_token(item: &Graph, rewrites: &Rewrites, each: bool, net: &Net, span: Span) -> Res<OneToken> {
    // On one stream there is nothing to share.
    let outlined =
        rewrite(item, PER_ITEM, &Rewrites { simplify: true, attention: true, prefixes: false, ..rewrites.clone() });
    let rewrite = if each { at_each } else { incremental };
    let found = rewrite(&outlined, &format!("{CONTEXT}{STREAM}")).map_err(|obstacle| {
        let message = format!("`{}` cannot go on from kept tokens: {}", net.name(), obstacle.what);
        let mut diagnostic = Diagnostic::error("E0501", span, message);
        if let Some(own) = outlined.origin(obstacle.node).own() {
            diagnostic = diagnostic.label(own, "this needs all tokens at once");
        }
        Box::new(diagnostic.help("`incremental: false` computes the whole context for each token"))
    })?;
    let Incremental { graph, kept, states, window } = found;
    let is_kept = |name: &str| kept.iter().any(|kept| kept.rows == name) || states.iter().any(|s| s.before == name);
    let mut layout = nets::layout(&graph, span)?;
    layout.inputs.retain(|input| !is_kept(&input.name));
    let options = BatchOptions { step_inputs: kept.iter().map(|kept| kept.rows.clone()).collect() };
    // Attention is found already.
    let graph = packed(&graph, &[], &options, rewrites, span)?;
    Ok(OneToken { graph, layout, kept, states, each, window })
}

/// The graph for items end to end.
fn packed(item: &Graph, per_item: &[Rewrite], options: &BatchOptions, rewrites: &Rewrites, span: Span) -> Res<Graph> {
    let item = rewrite(item, per_item, rewrites);
    let packed = batch(&item, options).or_else(|error| fault("E0407", span, error.what))?;
    let packed = rewrite(&packed, PACKED, rewrites);
    Ok(if rewrites.bf16.is_some() { rewrite(&packed, STEP, rewrites) } else { packed })
}
