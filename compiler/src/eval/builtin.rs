//! The primitives of the language, by name. What the pipeline adds comes from [`super::Hooks`].

use super::call::{Call, wrong};
use super::value::Value;
use super::{
    Eval, Res, batch, derive, draw, grammar, host, index, linalg, optimizer, policy, rational, read, reduce, shape,
    text, weights,
};
use crate::tensor::{DType, MapOp};
use std::collections::HashMap;
use std::sync::OnceLock;

type Primitive = fn(&mut Eval, &Call) -> Res<Value>;

const TABLE: &[(&str, Primitive)] = &[
    // ---- at every index
    ("abs", pointwise),
    ("exp", pointwise),
    ("log", pointwise),
    ("sqrt", pointwise),
    ("rsqrt", pointwise),
    ("sin", pointwise),
    ("cos", pointwise),
    ("tanh", pointwise),
    ("sigmoid", pointwise),
    ("sign", pointwise),
    ("floor", pointwise),
    ("ceil", pointwise),
    ("round", pointwise),
    ("is_nan", pointwise),
    ("where", choose),
    ("int", int),
    ("float", int),
    ("stop", shape::stop),
    // ---- reductions
    ("sum", reduce::reduction),
    ("max", reduce::reduction),
    ("min", reduce::reduction),
    ("prod", reduce::reduction),
    ("any", reduce::reduction),
    ("all", reduce::reduction),
    ("mean", reduce::reduction),
    // ---- axes
    ("here", batch::here),
    ("index", index::iota),
    ("size", index::size),
    ("rename", shape::rename),
    ("tile", shape::tile),
    ("concat", shape::join),
    ("stack", shape::join),
    ("flatten", shape::flatten),
    ("zeros", shape::filled),
    ("ones", shape::filled),
    ("full", shape::filled),
    ("eye", shape::eye),
    ("linspace", shape::linspace),
    ("tensor", shape::tensor),
    ("cumsum", shape::cumsum),
    ("reverse_cumsum", shape::cumsum),
    ("argsort", shape::argsort),
    ("topk", shape::topk),
    ("argmax", shape::topk),
    ("argmin", shape::topk),
    // ---- functions of functions
    ("scan", super::scan::scan),
    ("grad", derive::derived),
    ("jvp", derive::derived),
    ("vmap", derive::derived),
    // ---- linear algebra
    ("solve", linalg::dense),
    ("cholesky", linalg::dense),
    ("eigh", linalg::dense),
    ("qr", linalg::dense),
    ("svd", linalg::dense),
    // ---- optimizers
    ("fresh", optimizer::fresh),
    ("dims", optimizer::dims),
    ("fan_in", optimizer::fan_in),
    ("wide_in", optimizer::wide_side),
    ("wide_out", optimizer::wide_side),
    ("wide", super::net::wide),
    ("weights", super::flat::weights),
    // ---- nets and policies
    ("normal", draw::distribution),
    ("uniform", draw::distribution),
    ("matrix", weights::matrix),
    ("merged", super::merged::merged),
    ("training", super::noise::training),
    ("logits", policy::logits),
    ("logp", policy::logp),
    ("entropy", policy::entropy),
    ("hidden", read::hidden),
    ("read", read::read),
    ("value", policy::of_net),
    ("score", policy::of_net),
    ("next", policy::next),
    ("allowed", grammar::allowed),
    ("json_schema", grammar::json_schema),
    ("matching", grammar::matching),
    ("reply", policy::reply),
    ("empty_reply", policy::empty_reply),
    // ---- lists, maps, texts
    ("map", host::map),
    ("filter", host::map),
    ("flat_map", host::map),
    ("filter_map", host::map),
    ("zip", host::zip),
    ("range", host::range),
    ("length", host::length),
    ("take", host::take),
    ("first", host::first),
    ("last", host::first),
    ("indexed", host::indexed),
    ("opening", host::opening),
    ("sort_by", host::sort_by),
    ("lines", host::text),
    ("chars", host::text),
    ("contains", host::text),
    ("join", host::text),
    ("number", host::text),
    ("lower", text::of_one),
    ("upper", text::of_one),
    ("trim", text::of_one),
    ("starts_with", text::of_two),
    ("ends_with", text::of_two),
    ("find", text::of_two),
    ("replace", text::of_three),
    ("between", text::between),
    ("split", text::split),
    ("has", text::pattern),
    ("match", text::pattern),
    ("matches", text::pattern),
    ("count", text::count),
    ("rational", rational::read),
    ("numbers", rational::read),
    ("every", host::every),
    ("distinct", host::distinct),
    ("some", host::some),
    ("or_else", host::some),
    ("and_then", host::some),
    // ---- tests
    ("stub", super::tests::stub),
    ("example", super::tests::example),
    ("drawn", super::tests::drawn),
    ("agrees", super::tests::agrees),
];

/// The primitive's own name.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    by_name().get(name).map(|at| TABLE[*at].0)
}

pub(crate) fn function(name: &str) -> Option<Primitive> {
    by_name().get(name).map(|at| TABLE[*at].1)
}

/// Places in the table: host code looks names up for every row.
fn by_name() -> &'static HashMap<&'static str, usize> {
    static PLACES: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    PLACES.get_or_init(|| TABLE.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect())
}

/// Names of all primitives.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(n, _)| *n).chain(["none", "inf"])
}

pub(crate) fn constant(name: &str) -> Option<Value> {
    match name {
        "none" => Some(Value::None),
        "inf" => Some(Value::Float(f64::INFINITY)),
        _ => None,
    }
}

fn pointwise(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    // A function of one argument does not hide a product from the reduction around it.
    let value = match operand {
        super::Arg::Expr(expr) => eval.expr(expr, call.env)?,
        operand => eval.arg(operand, call.env)?,
    };
    let op = match call.name {
        "abs" => MapOp::Abs,
        "exp" => MapOp::Exp,
        "log" => MapOp::Log,
        "sqrt" => MapOp::Sqrt,
        "rsqrt" => MapOp::Rsqrt,
        "sin" => MapOp::Sin,
        "cos" => MapOp::Cos,
        "tanh" => MapOp::Tanh,
        "sigmoid" => MapOp::Sigmoid,
        "sign" => MapOp::Sign,
        "floor" => MapOp::Floor,
        "ceil" => MapOp::Ceil,
        "round" => MapOp::Round,
        _ => MapOp::IsNan,
    };
    eval.map(op, &[value], call.span, call.env)
}

fn choose(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [c, a, b] = &call.positional[..] else {
        return wrong(call, call.span, "takes a condition and two values");
    };
    let values = [c, a, b].into_iter().map(|x| match x {
        super::Arg::Expr(expr) => eval.expr(expr, call.env),
        x => eval.arg(x, call.env),
    });
    let values = values.collect::<Res<Vec<_>>>()?;
    eval.map(MapOp::Where, &values, call.span, call.env)
}

/// `int(x)`: towards zero. `float(x)`.
fn int(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    let value = eval.arg(operand, call.env)?;
    let to_int = call.name == "int";
    match (&value, value.number()) {
        (_, Some(x)) if !to_int => Ok(Value::Float(x)),
        (Value::Int(_), _) => Ok(value),
        (_, Some(x)) if x.trunc().abs() < 9.3e18 => Ok(Value::Int(x.trunc() as i64)),
        (_, Some(_)) => wrong(call, operand.span(), "takes a finite number"),
        _ => {
            let node = eval.node(&value, operand.span())?;
            let node = eval.graph().cast(node, if to_int { DType::Int } else { DType::Float });
            Ok(eval.tensor(node))
        }
    }
}
