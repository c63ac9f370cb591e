//! Functions of functions: `grad`, `jvp`, `vmap`, `scan`.

use super::bind::Values;
use super::call::{Call, wrong};
use super::value::{Function, Tuple, Value};
use super::{Eval, Frame, Res, fault};
use crate::autodiff::{jvp, vjp};
use crate::tensor::{Axis, CallKind, DType, Node, NodeData, Op};
use align_syntax::span::Span;
use std::rc::Rc;

/// `grad(f)`, `jvp(f)`, `vmap[a](f)`: a function that waits for its arguments.
pub(crate) fn derived(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [of] = &call.positional[..] else { return wrong(call, call.span, "takes a function") };
    let of = eval.arg(of, call.env)?;
    if !matches!(of, Value::Function(_) | Value::Applied(_) | Value::Net(_) | Value::Sum(_)) {
        return wrong(call, call.span, format!("takes a function, this is {}", of.kind()));
    }
    // The axes of `vmap` are those of what it will be given: they are looked up among what is in sight.
    let brackets: Rc<[Axis]> = match call.brackets {
        Some(brackets) => {
            let mut axes = vec![];
            for (word, span) in super::bind::bracket_words(brackets) {
                axes.extend(eval.axis_word(word, span, &[], call.env)?.iter().cloned());
            }
            axes.into()
        }
        None => [].into(),
    };
    Ok(Value::function(Function::Derived { word: call.name, of, brackets }))
}

impl Eval<'_> {
    pub(crate) fn call_derived(
        &mut self,
        word: &str,
        of: &Value,
        axes: &[Axis],
        values: Values,
        span: Span,
    ) -> Res<Value> {
        match word {
            // Functions lift over axes that they do not name: `vmap` says that an axis is not seen inside.
            "vmap" => {
                self.hidden.extend(axes.iter().cloned());
                let result = self.call_with(of, &[], values, span);
                self.hidden.truncate(self.hidden.len() - axes.len());
                result
            }
            "jvp" => {
                let [(point, _), (tangent, _)] = &values.positional[..] else {
                    return fault("E0111", span, "`jvp(f)` takes a point and a direction");
                };
                let (point, tangent) = (point.clone(), tangent.clone());
                self.in_body(&[point, tangent], span, |eval, inputs| {
                    let f = eval.call_value(of, vec![inputs[0].clone()], span)?;
                    let (f, x, dx) = (eval.node(&f, span)?, eval.node(&inputs[0], span)?, eval.node(&inputs[1], span)?);
                    let tangents = jvp(eval.graph(), &[f], &[(x, dx)]);
                    Ok(tangents[0])
                })
            }
            _ => {
                let Some(((point, _), rest)) = values.positional.split_first() else {
                    return fault("E0111", span, "`grad(f)` takes the arguments of f");
                };
                if let Value::Function(f) = of
                    && let Function::Objective { fresh } = **f
                {
                    return self.objective(fresh, true, point, span);
                }
                let rest: Vec<Value> = rest.iter().map(|(v, _)| v.clone()).collect();
                self.in_body(std::slice::from_ref(point), span, |eval, inputs| {
                    let mut args = vec![inputs[0].clone()];
                    args.extend(rest.iter().cloned());
                    let f = eval.call_value(of, args, span)?;
                    let lifted = eval.axes_of(&f);
                    let own = eval.axes_of(&inputs[0]);
                    if let Some(axis) = lifted.iter().find(|a| !own.contains(a)) {
                        let message = format!("`grad` is of a number, this still has {}", eval.show_axis(axis));
                        return fault("E0406", span, message);
                    }
                    let (f, x) = (eval.node(&f, span)?, eval.node(&inputs[0], span)?);
                    Ok(vjp(eval.graph(), f, None, &[x])[0])
                })
            }
        }
    }

    /// Traces a body in which the inputs are told apart from everything else, and puts it into the current graph.
    fn in_body(
        &mut self,
        inputs: &[Value],
        span: Span,
        f: impl FnOnce(&mut Self, &[Value]) -> Res<Node>,
    ) -> Res<Value> {
        let nodes = inputs.iter().map(|v| self.node(v, span)).collect::<Res<Vec<Node>>>()?;
        let nodes: Vec<Node> = nodes.into_iter().map(|n| self.graph().cast(n, DType::Float)).collect();
        let axes: Vec<Vec<Axis>> = nodes.iter().map(|n| self.graph().axes(*n).to_vec()).collect();
        self.frames.push(Frame::default());
        let params: Vec<Node> = axes.into_iter().map(|a| self.graph().param(a, DType::Float)).collect();
        let values: Vec<Value> = params.iter().map(|p| self.tensor(*p)).collect();
        let result = f(self, &values);
        let mut frame = self.frames.pop().expect("the frame of the body");
        frame.graph.output("result", result?);
        let mut given = nodes;
        for (tensor, _) in &frame.captured {
            given.push(self.node(&Value::Tensor(*tensor), span)?);
        }
        let call = self.graph().call(CallKind::Plain, frame.graph, &given);
        let node = self.graph().result(call, 0);
        Ok(self.tensor(node))
    }
}

/// `scan[a](xs, from: c, (carry, x) => ..)`: the body gives the next carry, or (carry, y).
pub(crate) fn scan(eval: &mut Eval, call: &Call) -> Res<Value> {
    let Some((word, at)) = call.brackets.and_then(|b| super::bind::bracket_words(b).next()) else {
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
    let own = eval.axes_of(&xs);
    let axis = match &eval.axis_word(word, at, &own, call.env)?[..] {
        [axis] if own.contains(axis) => axis.clone(),
        _ => return fault("E0212", at, format!("there is no axis `{word}`; the value has {}", eval.show_axes(&own))),
    };
    let xs = eval.node(&xs, call.span)?;
    let start = eval.node(&from, call.span)?;
    let inner: Vec<Axis> = own.iter().filter(|a| **a != axis).cloned().collect();
    let dtype = eval.graph().dtype(xs);
    // The carry has the axes of its start and those of a slice, as a Float unless both are Ints.
    let carry_type = match (eval.graph().dtype(start), dtype) {
        (DType::Int, DType::Int) => DType::Int,
        (DType::Bool, DType::Bool) => DType::Bool,
        _ => DType::Float,
    };
    let start = eval.graph().cast(start, carry_type);
    let start = eval.graph().tile_to(start, &inner);
    let carry_axes = eval.graph().axes(start).to_vec();
    eval.frames.push(Frame::default());
    let carry = eval.graph().param(carry_axes.clone(), carry_type);
    let x = eval.graph().param(inner, dtype);
    let args = vec![eval.tensor(carry), eval.tensor(x)];
    let result = eval.call_value(&f, args, call.span).and_then(|value| {
        let (next, out) = match &value {
            Value::Tuple(t) if t.positional.len() == 2 => (t.positional[0].clone(), t.positional[1].clone()),
            Value::Tuple(_) => {
                return wrong(call, call.span, "gets a carry, or a carry and a value, from its function");
            }
            value => (value.clone(), value.clone()),
        };
        let (next, out) = (eval.node(&next, call.span)?, eval.node(&out, call.span)?);
        let next = eval.graph().cast(next, carry_type);
        let next = eval.graph().tile_to(next, &carry_axes);
        eval.graph().output("carry", next);
        eval.graph().output("out", out);
        let axes = eval.graph().axes(next).to_vec();
        if axes.iter().any(|a| !carry_axes.contains(a)) {
            return wrong(call, call.span, format!("has a carry that gains axes: {}", eval.show_axes(&axes)));
        }
        Ok(())
    });
    let frame = eval.frames.pop().expect("the frame of the body");
    result?;
    let mut inputs = vec![start, xs];
    for (tensor, _) in &frame.captured {
        inputs.push(eval.node(&Value::Tensor(*tensor), call.span)?);
    }
    let op = Op::Scan { axis, reverse, carries: 1, xs: 1, body: Box::new(frame.graph) };
    let node = eval.graph().push(NodeData { op, inputs, axes: vec![], dtype: DType::Float });
    let out = eval.graph().result(node, 1);
    Ok(eval.tensor(out))
}

/// Two values as a tuple.
pub(crate) fn pair(a: Value, b: Value) -> Value {
    Value::Tuple(Rc::new(Tuple { positional: vec![a, b], named: vec![] }))
}
