//! `scan[a](xs, from: c, (carry, x) => ..)`: a state that goes along an axis.

use super::bind::bracket_words;
use super::call::{Call, wrong};
use super::leaves::{alike, filled, leaves, ordered, rebuilt};
use super::value::Value;
use super::{Eval, Frame, Res, fault};
use crate::tensor::{Axis, DType, Graph, Node, NodeData, Op};
use align_syntax::span::Span;

/// How often a body is traced until the axes of its carry are known.
const TRACES: usize = 4;

/// A body that was traced.
struct Traced {
    graph: Graph,
    captured: Vec<super::value::Tensor>,
    /// What it gives for each place of the axis; its leaves are the outputs after the carries.
    out: Value,
    /// Axes that the carries have after a step.
    axes: Vec<Vec<Axis>>,
}

/// The state may be a number, a tensor, or a tuple or record of these; so may be what goes along the axis. The function gives
/// the next state, or a pair: the next state and what is kept of this step. Else the states are kept.
pub(crate) fn scan(eval: &mut Eval, call: &Call) -> Res<Value> {
    let Some((word, at)) = call.brackets.and_then(|b| bracket_words(b).next()) else {
        return wrong(call, call.span, "takes an axis in its brackets");
    };
    let (Some(from), Some(xs)) = (call.named("from"), call.positional.first()) else {
        return wrong(call, call.span, "takes a value with the axis, `from:`, and a function");
    };
    let Some(f) = call.positional.get(1) else { return wrong(call, call.span, "takes a function") };
    let reverse = match call.named("reverse").map(|a| eval.arg(a, call.env)).transpose()? {
        Some(Value::Bool(reverse)) => reverse,
        None => false,
        Some(other) => return wrong(call, call.span, format!("takes a Bool as `reverse`, this is {}", other.kind())),
    };
    let (xs, from, f) = (eval.arg(xs, call.env)?, eval.arg(from, call.env)?, eval.arg(f, call.env)?);
    let slices = leaves(&xs);
    let first = slices.first().map(|leaf| eval.axes_of(leaf)).unwrap_or_default();
    let axis = match &eval.axis_word(word, at, &first, call.env)?[..] {
        [axis] if first.contains(axis) => axis.clone(),
        _ => return fault("E0212", at, format!("there is no axis `{word}`; the value has {}", eval.show_axes(&first))),
    };
    let slices = nodes(eval, &slices, call.span)?;
    let slices: Vec<Node> = slices.into_iter().map(|x| eval.graph().tile_to(x, std::slice::from_ref(&axis))).collect();
    let mut carries = nodes(eval, &leaves(&from), call.span)?;
    // A carry has the axes of its start and those of the first slice, as a Float unless both are of one other type.
    let dtype = eval.graph().dtype(slices[0]);
    let inner: Vec<Axis> = eval.graph().axes(slices[0]).iter().filter(|a| **a != axis).cloned().collect();
    for carry in &mut carries {
        let to = if eval.graph().dtype(*carry) == dtype { dtype } else { DType::Float };
        let cast = eval.graph().cast(*carry, to);
        *carry = if matches!(from, Value::Tensor(_)) || from.number().is_some() {
            eval.graph().tile_to(cast, &inner)
        } else {
            cast
        };
    }
    let mut traced = None;
    for _ in 0..TRACES {
        let before = eval.draws.count;
        let found = trace(eval, call, &f, &from, &xs, &carries, &slices, &axis)?;
        // A state that gains axes in a step has them from the start.
        let grows: Vec<bool> =
            carries.iter().zip(&found.axes).map(|(c, axes)| eval.graph().axes(*c).len() < axes.len()).collect();
        if !grows.contains(&true) {
            traced = Some(found);
            break;
        }
        for (carry, axes) in carries.iter_mut().zip(&found.axes) {
            *carry = eval.graph().tile_to(*carry, axes);
        }
        eval.draws.count = before;
    }
    let Some(Traced { graph, captured, out, .. }) = traced else {
        return wrong(call, call.span, "has a state that gains axes in every step");
    };
    let mut inputs = carries.clone();
    inputs.extend(&slices);
    for tensor in captured {
        inputs.push(eval.node(&Value::Tensor(tensor), call.span)?);
    }
    let op = Op::Scan { axis, reverse, carries: carries.len(), xs: slices.len(), body: Box::new(graph) };
    let node = eval.graph().push(NodeData::new(op, inputs, vec![], DType::Float));
    let mut next = carries.len();
    rebuilt(&out, &mut |_| {
        let result = eval.graph().result(node, next);
        next += 1;
        eval.tensor(result)
    })
    .map_or_else(|| wrong(call, call.span, "has a function that gives no numbers"), Ok)
}

/// Traces the function once, for carries with these axes.
fn trace(
    eval: &mut Eval,
    call: &Call,
    f: &Value,
    from: &Value,
    xs: &Value,
    carries: &[Node],
    slices: &[Node],
    axis: &Axis,
) -> Res<Traced> {
    let of = |eval: &mut Eval, node: Node| (eval.graph().axes(node).to_vec(), eval.graph().dtype(node));
    let carried: Vec<(Vec<Axis>, DType)> = carries.iter().map(|c| of(eval, *c)).collect();
    let sliced: Vec<(Vec<Axis>, DType)> = slices.iter().map(|x| of(eval, *x)).collect();
    eval.frames.push(Frame::default());
    let param = |eval: &mut Eval, axes: &[Axis], dtype: DType| {
        let node = eval.graph().param(axes.iter().filter(|a| *a != axis).cloned().collect::<Vec<_>>(), dtype);
        eval.tensor(node)
    };
    let states: Vec<Value> = carried.iter().map(|(axes, dtype)| param(eval, axes, *dtype)).collect();
    let parts: Vec<Value> = sliced.iter().map(|(axes, dtype)| param(eval, axes, *dtype)).collect();
    let args = vec![filled(from, states), filled(xs, parts)];
    let result = eval.call_value(f, args, call.span).and_then(|value| {
        let (next, out) = match &value {
            value if alike(value, from) => (value.clone(), value.clone()),
            Value::Tuple(pair) if pair.positional.len() == 2 && pair.named.is_empty() && alike(&pair.positional[0], from) => {
                (pair.positional[0].clone(), pair.positional[1].clone())
            }
            other => {
                let message = format!(
                    "has a function that gives {}; it gives the next state, which is like `from:`, or a pair of it and what is kept",
                    other.kind()
                );
                return wrong(call, call.span, message);
            }
        };
        let nexts = nodes(eval, &leaves(&ordered(&next, from)), call.span)?;
        let mut after = vec![];
        for (i, (next, (axes, dtype))) in nexts.into_iter().zip(&carried).enumerate() {
            let next = eval.graph().cast(next, *dtype);
            let next = eval.graph().tile_to(next, axes);
            eval.graph().output(format!("carry{i}"), next);
            after.push(eval.graph().axes(next).to_vec());
        }
        for (i, out) in nodes(eval, &leaves(&out), call.span)?.into_iter().enumerate() {
            eval.graph().output(format!("out{i}"), out);
        }
        Ok((out, after))
    });
    let frame = eval.frames.pop().expect("the frame of the body");
    let (out, axes) = result?;
    Ok(Traced { graph: frame.graph, captured: frame.captured.iter().map(|(tensor, _)| *tensor).collect(), out, axes })
}

fn nodes(eval: &mut Eval, leaves: &[Value], span: Span) -> Res<Vec<Node>> {
    leaves.iter().map(|leaf| eval.node(leaf, span)).collect()
}
