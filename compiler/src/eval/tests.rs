//! Tests in the language: `test "name" { .. }`, and those that compare with a file of numbers.

mod examples;
mod numbers;

use super::bind::bracket_words;
use super::call::{Arg, Call, wrong};
use super::env::Env;
use super::value::{Foreign, Net, Record, Value};
use super::{Eval, Res, Tracing, fault};
use crate::autodiff::vjp;
use crate::interp::{self, Named};
use crate::philox::Philox;
use crate::program::Program;
use crate::rewrite::simplify::simplify;
use crate::stage::convert::shown;
use crate::stage::items;
use crate::tensor::{Axis, AxisKind, DType, Graph, Lengths, Node, Op, ReduceOp};
use crate::world::World;
use align_syntax::ast::{self, Args, Expr, ExprKind, InfixOp, ItemKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use examples::{PROMPT, example_input, reply_length};
pub(crate) use examples::{drawn, example, stub};
use numbers::{Numbers, compare, numbers, spelt};
use std::rc::Rc;

/// The two values that a condition compares.
fn compared(condition: &Expr) -> Option<(&Expr, &Expr)> {
    use InfixOp::{Eq, Ge, Gt, Le, Lt, Ne};
    match &*condition.kind {
        ExprKind::Infix { op: Eq | Ne | Lt | Le | Gt | Ge, left, right, .. } => Some((left, right)),
        ExprKind::Call(callee, args) => match (&*callee.kind, &args.positional[..]) {
            (ExprKind::Word(name), [left, right, ..]) if name == "near" => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// What came of a test; with vectors, of each case of its file.
#[derive(Clone, Debug)]
pub struct TestResult {
    pub name: String,
    /// Which case of the file of numbers, from 0.
    pub case: Option<usize>,
    pub span: Span,
    pub outcome: TestOutcome,
    /// Outputs that the file has and the test does not name.
    pub not_compared: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum TestOutcome {
    Passed,
    Failed(Box<Diagnostic>),
    /// Why it did not run: there is no file of numbers.
    Skipped(String),
}

/// How far a number may be from what the file has: `relative · |x| + absolute · max |x|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// How tests are run.
pub struct TestOptions<'a> {
    /// The file of numbers of a name, if there is one; the error is a sentence.
    pub vectors: &'a dyn Fn(&str) -> Result<Option<serde_json::Value>, String>,
    /// Runs a graph: the interpreter in f64, or kernels.
    pub run: &'a dyn Fn(&Graph, &Named, &Lengths) -> Result<Vec<(String, interp::Value)>, String>,
    pub tolerance: Tolerance,
}

/// The interpreter in f64.
pub fn interpret(graph: &Graph, given: &Named, lengths: &Lengths) -> Result<Vec<(String, interp::Value)>, String> {
    interp::run(graph, given, lengths, interp::Precision::F64).map_err(|fault| fault.to_string())
}

/// What the interpreter must reach.
pub const EXACT: Tolerance = Tolerance { relative: 1e-9, absolute: 1e-9 };
/// What kernels in f32 must reach.
pub const SINGLE: Tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };

/// Runs the tests of the program's own file.
pub fn run_tests(program: &Program, world: &dyn World, options: &TestOptions) -> Vec<TestResult> {
    let mut results = vec![];
    for (_, item) in program.items(program.main()) {
        let ItemKind::Test { name, vectors, body } = &item.kind else { continue };
        let run = |case: Option<(&str, &serde_json::Value)>, index: Option<usize>| {
            let mut not_compared = vec![];
            let outcome = match run_test(program, world, options, body, case, item.span, &mut not_compared) {
                Ok(()) => TestOutcome::Passed,
                Err(diagnostic) => TestOutcome::Failed(diagnostic),
            };
            TestResult { name: name.clone(), case: index, span: item.span, outcome, not_compared }
        };
        let Some((file, binder)) = vectors else {
            results.push(run(None, None));
            continue;
        };
        let found = (options.vectors)(file).map(|numbers| {
            let numbers = numbers?;
            let cases = numbers["cases"].as_array().cloned().unwrap_or_default();
            Some((numbers, cases))
        });
        let (numbers, cases) = match found {
            Ok(Some((numbers, cases))) if !cases.is_empty() => (numbers, cases),
            other => {
                let failed = |message| TestOutcome::Failed(Box::new(Diagnostic::error("E0702", item.span, message)));
                let outcome = match other {
                    Ok(None) => TestOutcome::Skipped(format!("there is no file of numbers `{file}`")),
                    Ok(Some(_)) => failed(format!("the file of numbers `{file}` has no `cases`")),
                    Err(message) => failed(message),
                };
                let not_compared = vec![];
                results.push(TestResult { name: name.clone(), case: None, span: item.span, outcome, not_compared });
                continue;
            }
        };
        for (i, case) in cases.iter().enumerate() {
            let mut case = case.clone();
            case["hyper"] = numbers["hyper"].clone();
            results.push(run(Some((&binder.text, &case)), Some(i)));
        }
    }
    results
}

/// While a test runs: what it reads of the file, and what is to be checked.
#[derive(Default)]
pub(crate) struct TestTrace {
    case: serde_json::Value,
    /// Arrays that were read, with the inputs that stand for them.
    arrays: Vec<(String, Node)>,
    given: Named,
    asserts: Vec<(Node, Span)>,
    compared: Vec<(String, Node, Span)>,
    has_gradients: Option<Span>,
    drawn: Vec<(u32, Rc<Net>, u64)>,
}

fn run_test(
    program: &Program,
    world: &dyn World,
    options: &TestOptions,
    body: &ast::Block,
    case: Option<(&str, &serde_json::Value)>,
    span: Span,
    not_compared: &mut Vec<String>,
) -> Res<()> {
    let mut eval = Eval::new(program, world);
    let env = eval.top(program.main()).inner();
    let mut trace = TestTrace::default();
    if let Some((_, case)) = case {
        trace.case = case.clone();
    }
    eval.tracing = Tracing::Test(Box::new(trace));
    if let Some((name, case)) = case {
        let record = eval.case(case)?;
        env.bind(name, record);
    }
    eval.block(body, &env)?;
    eval.finish_test(options, span, not_compared)
}

impl Eval<'_> {
    fn trace(&mut self) -> &mut TestTrace {
        if !matches!(self.tracing, Tracing::Test(_)) {
            self.tracing = Tracing::Test(Box::default());
        }
        match &mut self.tracing {
            Tracing::Test(trace) => trace,
            _ => unreachable!("just set"),
        }
    }

    /// The inputs and settings of a case.
    fn case(&mut self, case: &serde_json::Value) -> Res<Value> {
        let mut record = Record::default();
        // A plain number is one in the program too.
        let plain = |json: &serde_json::Value| match json {
            serde_json::Value::Number(n) => n.as_i64().map(Value::Int).or(n.as_f64().map(Value::Float)),
            serde_json::Value::Bool(b) => Some(Value::Bool(*b)),
            serde_json::Value::String(s) => Some(Value::text(s)),
            _ => None,
        };
        for (name, json) in case["hyper"].as_object().into_iter().flatten() {
            record.set(&spelt(name), plain(json).unwrap_or(Value::None));
        }
        for (name, json) in case["inputs"].as_object().into_iter().flatten() {
            let value = match numbers(name, json) {
                Some(array) if array.shape.is_empty() => self.read_array(&array, vec![]),
                Some(array) => Value::Foreign(Rc::new(array)),
                None => match plain(json) {
                    Some(value) => value,
                    None => continue,
                },
            };
            record.set(&spelt(name), value);
        }
        Ok(Value::Record(Rc::new(record)))
    }

    /// An array as an input of the graph with these axes.
    fn read_array(&mut self, array: &Numbers, axes: Vec<Axis>) -> Value {
        let name = format!("v.{} {axes:?}", array.name);
        let node = self.graph().input(name.clone(), axes.clone(), array.dtype);
        let value = interp::Value { axes, dtype: array.dtype, data: array.data.clone() };
        let trace = self.trace();
        trace.given.insert(name, value);
        if !trace.arrays.contains(&(array.name.clone(), node)) {
            trace.arrays.push((array.name.clone(), node));
        }
        self.tensor(node)
    }

    /// `tensor[axes](v.x)`; `None` if the value is no array of a file.
    pub(crate) fn test_array(&mut self, value: &Value, brackets: &Args, call: &Call) -> Res<Option<Value>> {
        let Value::Foreign(foreign) = value else { return Ok(None) };
        let Some(array) = foreign.as_any().downcast_ref::<Numbers>() else { return Ok(None) };
        let words: Vec<(&str, Span)> = bracket_words(brackets).collect();
        if words.len() != array.shape.len() {
            return wrong(
                call,
                call.span,
                format!("names {} axes, `{}` has the shape {:?}", words.len(), array.name, array.shape),
            );
        }
        let mut axes = vec![];
        for ((word, span), n) in words.into_iter().zip(&array.shape) {
            let axis = match call.env.get(word) {
                Some(Value::Axes(known)) if known.len() == 1 => known[0].clone(),
                _ => Axis::fixed(word, *n),
            };
            if axis.fixed_size() != Some(*n) {
                return fault(
                    "E0201",
                    span,
                    format!("`{}` has {n} places along it, not {}", array.name, self.show_axis(&axis)),
                );
            }
            axes.push(axis);
        }
        call.env.body().see(&axes);
        Ok(Some(self.read_array(array, axes)))
    }

    /// `assert e`
    pub(crate) fn assert(&mut self, args: &Args, span: Span, env: &Env) -> Res<Value> {
        let [condition] = &args.positional[..] else { return fault("E0111", span, "`assert` takes one condition") };
        let drawn = self.draws.count;
        match self.apart(condition, env)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                // The same draws again.
                self.draws.count = drawn;
                let mut message = "this does not hold".to_string();
                if let Some((left, right)) = compared(condition) {
                    let (left, right) = (self.apart(left, env)?, self.apart(right, env)?);
                    message.push_str(&format!(": the values are {} and {}", shown(&left), shown(&right)));
                }
                return fault("E0700", condition.span, message);
            }
            value @ Value::Tensor(_) => {
                let node = self.node(&value, condition.span)?;
                let axes = self.graph().axes(node).to_vec();
                let node = self.graph().reduce(ReduceOp::All, node, &axes);
                self.trace().asserts.push((node, condition.span));
            }
            other => return fault("E0124", condition.span, format!("a condition is a Bool, this is {}", other.kind())),
        }
        Ok(Value::Unit)
    }

    /// Works out all that the test put into its graph, and compares.
    fn finish_test(&mut self, options: &TestOptions, span: Span, not_compared: &mut Vec<String>) -> Res<()> {
        let trace = match std::mem::take(&mut self.tracing) {
            Tracing::Test(trace) => *trace,
            _ => TestTrace::default(),
        };
        let mut graph = std::mem::take(self.graph());
        for (i, (node, _)) in trace.asserts.iter().enumerate() {
            graph.output(format!("assert {i}"), *node);
        }
        for (name, node, _) in &trace.compared {
            graph.output(format!("value {name}"), *node);
        }
        let empty = serde_json::Map::new();
        let outputs = trace.case["outputs"].as_object().unwrap_or(&empty);
        let gradients = trace.case["grads"].as_object().unwrap_or(&empty);
        if trace.has_gradients.is_some() {
            not_compared
                .extend(outputs.keys().filter(|k| !trace.compared.iter().any(|(n, ..)| *n == spelt(k))).cloned());
        }
        let first = outputs.keys().next().and_then(|name| trace.compared.iter().find(|(n, ..)| *n == spelt(name)));
        if let Some((_, first, at)) = first {
            let axes = graph.axes(*first).to_vec();
            let first = graph.cast(*first, DType::Float);
            let sum = graph.sum(first, &axes);
            for name in gradients.keys() {
                let reads: Vec<Node> = trace.arrays.iter().filter(|(n, _)| n == name).map(|(_, node)| *node).collect();
                let [read] = reads[..] else {
                    let message = match reads.is_empty() {
                        true => format!("the file has a gradient by `{name}`, which the test does not read"),
                        false => format!("`{name}` is read with different axes; its gradient needs one reading"),
                    };
                    return fault("E0710", *at, message);
                };
                let gradient = vjp(&mut graph, sum, None, &[read])[0];
                let axes = graph.axes(read).to_vec();
                let gradient = graph.tile_to(gradient, &axes);
                graph.output(format!("gradient {name}"), gradient);
            }
        }
        let graph = simplify(&graph);
        let (given, lengths) = self.test_inputs(&graph, &trace, span)?;
        let values =
            (options.run)(&graph, &given, &lengths).map_err(|m| Box::new(Diagnostic::error("E0710", span, m)))?;
        let find = |name: &str| values.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        for (i, (_, at)) in trace.asserts.iter().enumerate() {
            if find(&format!("assert {i}")).is_none_or(|v| v.data.contains(&0.0)) {
                return fault("E0700", *at, "this does not hold");
            }
        }
        for (name, _, at) in &trace.compared {
            let Some(expected) = outputs.iter().find(|(n, _)| spelt(n) == *name).and_then(|(n, json)| numbers(n, json))
            else {
                return fault("E0710", *at, format!("the file has no output `{name}`"));
            };
            let found = find(&format!("value {name}"));
            compare(name, found, &expected, options.tolerance)
                .map_err(|m| Box::new(Diagnostic::error("E0711", *at, m)))?;
        }
        if let Some(at) = trace.has_gradients {
            for (name, json) in gradients {
                let Some(expected) = numbers(name, json) else { continue };
                let found = find(&format!("gradient {name}"));
                let name = format!("the gradient by {name}");
                compare(&name, found, &expected, options.tolerance)
                    .map_err(|m| Box::new(Diagnostic::error("E0711", at, m)))?;
            }
        }
        Ok(())
    }

    /// Values of all inputs: arrays of the file, weights that were drawn, tokens and numbers of example items.
    fn test_inputs(&mut self, graph: &Graph, trace: &TestTrace, span: Span) -> Res<(Named, Lengths)> {
        let mut given = trace.given.clone();
        let mut lengths = Lengths::new();
        let mut weights = Named::new();
        for (source, net, seed) in &trace.drawn {
            for (place, weight) in self.net_weights(net, span)?.into_iter().enumerate() {
                let mut random = Philox::new(weight.start.seed.unwrap_or(*seed), place as u64);
                let n = weight.axes.iter().filter_map(Axis::fixed_size).product();
                let data = (0..n).map(|_| weight.start.dist.draw(&mut random)).collect();
                let value = interp::Value { axes: weight.axes, dtype: DType::Float, data };
                weights.insert(format!("{source}:{}", weight.path), value);
            }
        }
        for (_, data) in graph.nodes() {
            for axis in &data.axes {
                let AxisKind::Ragged { origin, .. } = axis.kind() else { continue };
                let name = self.origins.get(*origin as usize).cloned().unwrap_or_default();
                let length = match name.strip_suffix(items::STREAM) {
                    Some(of) => PROMPT + reply_length(of),
                    None => reply_length(&name),
                };
                lengths.set(axis.clone(), vec![length]);
            }
        }
        for (_, data) in graph.nodes() {
            match &data.op {
                Op::Weight(path) => match weights.get(path) {
                    Some(value) => drop(given.insert(path.clone(), value.clone())),
                    None => {
                        return fault(
                            "E0710",
                            span,
                            format!("the weight {path} has no values in a test; use `tiny_policy`"),
                        );
                    }
                },
                Op::Input(name) if !given.contains_key(name) => {
                    given.insert(name.clone(), example_input(name, &data.axes, data.dtype, &lengths));
                }
                _ => {}
            }
        }
        Ok((given, lengths))
    }
}

/// `agrees(v, name: e, ..)`
pub(crate) fn agrees(eval: &mut Eval, call: &Call) -> Res<Value> {
    for (name, arg) in &call.named {
        let value = match arg {
            Arg::Expr(expr) => eval.apart(expr, call.env)?,
            arg => eval.arg(arg, call.env)?,
        };
        let node = eval.node(&value, arg.span())?;
        eval.trace().compared.push((name.text.clone(), node, arg.span()));
    }
    eval.trace().has_gradients = Some(call.span);
    Ok(Value::Unit)
}

/// An array of a file as a List of its rows; `None` if it is something else. Gradients do not reach the array from there.
pub(super) fn as_list(foreign: &dyn Foreign) -> Option<Value> {
    foreign.as_any().downcast_ref::<Numbers>().map(Numbers::list)
}
