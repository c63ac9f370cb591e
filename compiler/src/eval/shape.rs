//! Tensors out of nothing, and changes of axes.

use super::call::{Call, wrong};
use super::field::ItemNumbers;
use super::index::bracket_axes;
use super::net;
use super::value::Value;
use super::{Eval, Res, fault};
use crate::tensor::{Axis, AxisKind, DType, MapOp, Node, Op, ReduceOp};
use align_syntax::ast::ExprKind;
use align_syntax::span::Span;

/// `zeros[dim]`, `ones[dim: 3]`; without brackets a start of a weight.
pub(crate) fn filled(eval: &mut Eval, call: &Call) -> Res<Value> {
    let value = match call.name {
        "zeros" => Value::Float(0.0),
        "ones" => Value::Float(1.0),
        _ => match &call.positional[..] {
            [value] => eval.arg(value, call.env)?,
            _ => return wrong(call, call.span, "takes the value"),
        },
    };
    if call.brackets.is_none() {
        return match value.number() {
            Some(x) => Ok(Value::Dist(super::value::Dist::Constant(x).into())),
            None => wrong(call, call.span, "takes axes in brackets"),
        };
    }
    let axes = own_axes(eval, call)?;
    let node = eval.node(&value, call.span)?;
    let node = eval.graph().tile_to(node, &axes);
    Ok(eval.tensor(node))
}

/// Axes in brackets that belong to no argument.
fn own_axes(eval: &mut Eval, call: &Call) -> Res<Vec<Axis>> {
    let alone = Call { positional: vec![], named: vec![], ..*call };
    Ok(bracket_axes(eval, &alone)?.0)
}

/// `eye[a, b]`
pub(crate) fn eye(eval: &mut Eval, call: &Call) -> Res<Value> {
    let axes = own_axes(eval, call)?;
    let [a, b] = &axes[..] else { return wrong(call, call.span, "takes two axes in its brackets") };
    let (i, j) = (eval.graph().iota(a), eval.graph().iota(b));
    let same = eval.graph().map(MapOp::Eq, &[i, j]);
    let node = eval.graph().cast(same, DType::Float);
    Ok(eval.tensor(node))
}

/// `linspace[a: n](x, y)`: n numbers from x to y.
pub(crate) fn linspace(eval: &mut Eval, call: &Call) -> Res<Value> {
    let axes = own_axes(eval, call)?;
    let ([axis], [from, to]) = (&axes[..], &call.positional[..]) else {
        return wrong(call, call.span, "takes one axis in its brackets, and two numbers");
    };
    let (from, to) = (eval.arg(from, call.env)?, eval.arg(to, call.env)?);
    let (Some(from), Some(to), Some(n)) = (from.number(), to.number(), axis.fixed_size()) else {
        return wrong(call, call.span, "takes two numbers, and an axis whose size is known");
    };
    let step = (to - from) / (n.max(2) - 1) as f64;
    let values = (0..n).map(|i| from + step * i as f64).collect();
    let node = eval.graph().array(values, vec![axis.clone()], DType::Float);
    Ok(eval.tensor(node))
}

/// `tensor[a, b](list)`: nested lists of numbers as a tensor.
pub(crate) fn tensor(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [list] = &call.positional[..] else { return wrong(call, call.span, "takes one list") };
    let list_value = eval.arg(list, call.env)?;
    let Some(brackets) = call.brackets else { return wrong(call, call.span, "takes its axes in brackets") };
    if let Some(read) = eval.test_array(&list_value, brackets, call)? {
        return Ok(read);
    }
    if let ([bracket], Some(hooks)) = (&brackets.positional[..], eval.hooks.clone())
        && let ExprKind::Word(word) = &*bracket.kind
        && let Some(column) = hooks.column(eval, &list_value, word, list.span())
    {
        let column = column?;
        let axes = eval.axes_of(&column);
        call.env.body().see(&axes);
        return Ok(column);
    }
    let row = match &list_value {
        Value::Foreign(foreign) => foreign.as_any().downcast_ref::<ItemNumbers>(),
        _ => None,
    };
    let (mut shape, mut values, mut dtype) = (vec![], vec![], DType::Bool);
    match row {
        Some(row) => shape = row.shape.clone(),
        None => flatten_list(&list_value, 0, &mut shape, &mut values, &mut dtype, list.span())?,
    }
    let mut axes = vec![];
    for (i, bracket) in brackets.positional.iter().enumerate() {
        let ExprKind::Word(word) = &*bracket.kind else {
            return wrong(call, bracket.span, "takes names of axes in its brackets");
        };
        let Some(n) = shape.get(i) else {
            return wrong(
                call,
                bracket.span,
                format!("has {} axes, the list is nested {} deep", brackets.positional.len(), shape.len()),
            );
        };
        axes.push(match call.env.get(word) {
            Some(Value::Axes(known)) if known.len() == 1 => known[0].clone(),
            _ => Axis::fixed(word, *n),
        });
    }
    if axes.len() != shape.len() || axes.iter().zip(&shape).any(|(a, n)| a.fixed_size() != Some(*n)) {
        return wrong(call, call.span, format!("does not fit a list of shape {shape:?}"));
    }
    call.env.body().see(&axes);
    if let Some(row) = row {
        return row.read(eval, axes, call.span);
    }
    let node = eval.graph().array(values, axes, dtype);
    Ok(eval.tensor(node))
}

/// The shape and type of a list of numbers, nested or not. `None` if it is none, or not of one shape.
pub(crate) fn list_shape(value: &Value, span: Span) -> Option<(Vec<usize>, DType)> {
    let (mut shape, mut values, mut dtype) = (vec![], vec![], DType::Bool);
    flatten_list(value, 0, &mut shape, &mut values, &mut dtype, span).ok()?;
    (!values.is_empty()).then_some((shape, dtype))
}

fn flatten_list(
    value: &Value,
    depth: usize,
    shape: &mut Vec<usize>,
    out: &mut Vec<f64>,
    dtype: &mut DType,
    span: Span,
) -> Res<()> {
    let Value::List(list) = value else {
        let Some(x) = value.number() else {
            return fault("E0113", span, format!("a list of numbers holds {}", value.kind()));
        };
        let own = value.dtype().expect("a number has a dtype");
        *dtype = match (*dtype, own) {
            (DType::Float, _) | (_, DType::Float) => DType::Float,
            (DType::Int, _) | (_, DType::Int) => DType::Int,
            _ => DType::Bool,
        };
        out.push(x);
        return Ok(());
    };
    if shape.len() == depth {
        shape.push(list.len());
    }
    if shape[depth] != list.len() {
        return fault("E0113", span, "the lists inside are not of one length");
    }
    list.iter().try_for_each(|v| flatten_list(v, depth + 1, shape, out, dtype, span))
}

/// `rename(x, time: past)`
pub(crate) fn rename(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    let mut value = eval.arg(operand, call.env)?;
    if call.named.iter().any(|(name, _)| name.text == "batch") {
        let own = eval.axes_of(&value);
        let axes = eval.axis_word("batch", operand.span(), &own, call.env)?;
        value = eval.with_items(value, &axes, operand.span())?;
    }
    let own = eval.axes_of(&value);
    let mut x = eval.node(&value, operand.span())?;
    for (name, arg) in &call.named {
        let super::Arg::Expr(to) = arg else { return wrong(call, call.span, "takes names of axes") };
        let ExprKind::Word(word) = &*to.kind else { return wrong(call, to.span, "takes names of axes") };
        let axes = eval.axis_word(&name.text, name.span, &own, call.env)?;
        let [from] = &axes[..] else { return wrong(call, name.span, "takes one axis for each name") };
        if !own.contains(from) {
            let message = format!("there is no axis `{}`; the value has {}", name.text, eval.show_axes(&own));
            return fault("E0212", name.span, message);
        }
        let target = eval.rename_target(from, word, &own, call);
        if eval.graph().has(x, &target) {
            return fault("E0215", to.span, format!("the value has an axis `{word}` already"));
        }
        x = eval.graph().rename(x, from, &target);
        call.env.body().see(&[target]);
    }
    Ok(eval.tensor(x))
}

impl Eval<'_> {
    /// The axis that a rename makes: back to what it was made from, a known axis of this name and size, or a new one.
    fn rename_target(&mut self, from: &Axis, word: &str, own: &[Axis], call: &Call) -> Axis {
        if let AxisKind::Paired(of) = from.kind()
            && of.name() == word
            && !from.is_batch()
        {
            return of.clone();
        }
        if let Some(Value::Axes(axes)) = call.env.get(word)
            && let [axis] = &axes[..]
            && (axis.fixed_size().is_some() && axis.fixed_size() == from.fixed_size())
        {
            return axis.clone();
        }
        let body = call.env.body();
        let known = body.axes.borrow().iter().any(|a| a.name() == word) || own.iter().any(|a| a.name() == word);
        if !known && !body.paired.borrow().iter().any(|p| p == word) {
            body.paired.borrow_mut().push(word.to_string());
        }
        match from.kind() {
            AxisKind::Fixed(n) => Axis::fixed(word, *n),
            AxisKind::Paired(of) => Axis::new(word, AxisKind::Paired(of.clone())),
            _ => Axis::new(word, AxisKind::Paired(from.clone())),
        }
    }
}

/// `tile[a](x)`, `tile[a: n](x)`
pub(crate) fn tile(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    let value = eval.arg(operand, call.env)?;
    let axes = own_axes(eval, call)?;
    let node = eval.node(&value, operand.span())?;
    let node = eval.graph().tile_to(node, &axes);
    call.env.body().see(&axes);
    Ok(eval.tensor(node))
}

/// `concat[a](x, y)`, and `stack[a](x, y)` along a new axis; `stack(n, net)` is a net.
pub(crate) fn join(eval: &mut Eval, call: &Call) -> Res<Value> {
    if call.name == "stack" && call.brackets.is_none() {
        return net::stack(eval, call);
    }
    let Some((word, at)) = call.brackets.and_then(|b| super::bind::bracket_words(b).next()) else {
        return wrong(call, call.span, "takes one axis in its brackets");
    };
    let given = call.positional.iter().map(|a| eval.arg(a, call.env)).collect::<Res<Vec<_>>>()?;
    let values = match &given[..] {
        [Value::List(list)] => list.to_vec(),
        _ => given,
    };
    if values.is_empty() {
        return wrong(call, call.span, "takes values, or a list of them");
    }
    let mut nodes = values.iter().map(|v| eval.node(v, call.span)).collect::<Res<Vec<Node>>>()?;
    let mut from: Vec<Axis> = vec![];
    let bound = match call.env.get(word) {
        Some(Value::Axes(axes)) if axes.len() == 1 => Some(axes[0].name().to_string()),
        _ => None,
    };
    let word = bound.as_deref().unwrap_or(word);
    let to = if call.name == "stack" {
        let to = Axis::fixed(word, nodes.len());
        let one = Axis::fixed(word, 1);
        for node in &mut nodes {
            *node = eval.graph().tile(*node, &one);
            from.push(one.clone());
        }
        to
    } else {
        let mut total = 0;
        let known: Vec<Option<Axis>> =
            values.iter().map(|v| eval.axes_of(v).into_iter().find(|a| a.name() == word)).collect();
        if known.iter().all(Option::is_none) {
            let own = eval.axes_of(&values[0]);
            return fault("E0212", at, format!("there is no axis `{word}`; a value has {}", eval.show_axes(&own)));
        }
        // A value without the axis is one place of it.
        let one = Axis::fixed(word, 1);
        for (known, node) in known.into_iter().zip(&mut nodes) {
            let Some(axis) = known else {
                *node = eval.graph().tile(*node, &one);
                total += 1;
                from.push(one.clone());
                continue;
            };
            let Some(n) = axis.fixed_size() else {
                return fault(
                    "E0190",
                    at,
                    format!("joining along `{word}`, whose length the data decide, is not built yet"),
                );
            };
            total += n;
            from.push(axis);
        }
        Axis::fixed(word, total)
    };
    let node = eval.joined(&nodes, &from, &to);
    call.env.body().see(&[to]);
    Ok(eval.tensor(node))
}

impl Eval<'_> {
    /// Values end to end on `to`, each of which lies along its axis of `from`. What one of them has beside it, all get.
    pub(super) fn joined(&mut self, nodes: &[Node], from: &[Axis], to: &Axis) -> Node {
        let graph = self.graph();
        let mut all: Vec<Axis> = vec![];
        for (node, own) in nodes.iter().zip(from) {
            let new: Vec<Axis> = graph.axes(*node).iter().filter(|a| *a != own && !all.contains(a)).cloned().collect();
            all.extend(new);
        }
        let nodes: Vec<Node> = nodes.iter().map(|node| graph.tile_to(*node, &all)).collect();
        graph.concat(&nodes, from, to)
    }
}

/// `flatten[a, b](x, c)`
pub(crate) fn flatten(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand, super::Arg::Expr(to)] = &call.positional[..] else {
        return wrong(call, call.span, "takes a value and the name of the new axis");
    };
    let ExprKind::Word(word) = &*to.kind else { return wrong(call, to.span, "takes the name of the new axis") };
    let first = Call { positional: vec![operand.clone()], named: vec![], ..*call };
    let (axes, value) = bracket_axes(eval, &first)?;
    let value = value.unwrap_or(Value::Unit);
    let [a, b] = &axes[..] else { return wrong(call, call.span, "takes two axes in its brackets") };
    let (Some(m), Some(n)) = (a.fixed_size(), b.fixed_size()) else {
        return fault("E0190", call.span, "flattening axes whose lengths the data decide is not built yet");
    };
    let to = Axis::fixed(word, m * n);
    let x = eval.node(&value, call.span)?;
    let node = eval.graph().flatten(x, [a.clone(), b.clone()], &to);
    call.env.body().see(&[to]);
    Ok(eval.tensor(node))
}

/// `split[c](x, a: ids)` is not here yet; with fixed sizes `split[a: 2, b: 3](x, c)`.
pub(crate) fn cumsum(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axis, x) = one_axis(eval, call)?;
    let reverse = match call.named("reverse").map(|a| eval.arg(a, call.env)).transpose()? {
        Some(Value::Bool(reverse)) => reverse,
        None => call.name == "reverse_cumsum",
        Some(other) => return wrong(call, call.span, format!("takes a Bool as `reverse`, this is {}", other.kind())),
    };
    let node = eval.graph().cumsum(x, &axis, reverse);
    Ok(eval.tensor(node))
}

/// The one axis in the brackets, and the operand.
fn one_axis(eval: &mut Eval, call: &Call) -> Res<(Axis, Node)> {
    let (axes, value) = bracket_axes(eval, call)?;
    let Some(value) = value else { return wrong(call, call.span, "takes a value") };
    let value = eval.with_items(value, &axes, call.span)?;
    let own = eval.axes_of(&value);
    let axis = match (&axes[..], &own[..]) {
        ([axis], _) => axis.clone(),
        ([], [axis]) => axis.clone(),
        _ => return wrong(call, call.span, "takes one axis in its brackets"),
    };
    if !own.contains(&axis) {
        let message = format!("there is no axis `{}`; the value has {}", axis.name(), eval.show_axes(&own));
        return fault("E0212", call.span, message);
    }
    let node = eval.node(&value, call.span)?;
    Ok((axis, node))
}

/// `argsort[a](x)`
pub(crate) fn argsort(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axis, x) = one_axis(eval, call)?;
    let node = eval.graph().argsort(x, &axis);
    Ok(eval.tensor(node))
}

/// `topk[a](x, k)`: indices, best first; `argmax[a](x)`, `argmin[a](x)`: the first of them.
pub(crate) fn topk(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axis, mut x) = one_axis(eval, call)?;
    let k = match (call.name, call.positional.get(1)) {
        ("topk", Some(k)) => match eval.arg(k, call.env)?.whole().and_then(|k| usize::try_from(k).ok()) {
            Some(k) => k,
            None => return wrong(call, k.span(), "takes a number of places"),
        },
        ("topk", None) => return wrong(call, call.span, "takes a number of places"),
        _ => 1,
    };
    if call.name == "argmin" {
        x = eval.graph().map(MapOp::Neg, &[x]);
    }
    let best = Axis::fixed(axis.name(), k);
    let node = eval.graph().topk(x, &axis, &best);
    let node = match call.name {
        "topk" => node,
        _ => eval.graph().reduce(ReduceOp::Max, node, &[best]),
    };
    Ok(eval.tensor(node))
}

/// `stop(x)`
pub(crate) fn stop(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    match eval.arg(operand, call.env)? {
        value @ Value::Tensor(_) => {
            let node = eval.node(&value, call.span)?;
            let node = match eval.graph().op(node) {
                Op::Const(_) => node,
                _ => eval.graph().stop(node),
            };
            Ok(eval.tensor(node))
        }
        value => Ok(value),
    }
}
