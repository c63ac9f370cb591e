//! Functions of functions: `grad`, `jvp`, `vmap`.

use super::bind::Values;
use super::call::{Call, wrong};
use super::leaves::{filled, leaves};
use super::value::{Function, Tuple, Value};
use super::{Eval, Frame, Res, fault};
use crate::autodiff::{jvp, vjp};
use crate::stage::optimizer::Objective;
use crate::tensor::{Axis, CallKind, DType, Node};
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
                if let Some((of, gradient)) = objective(of) {
                    return self.objective(of, gradient, &point, Some(&tangent), span);
                }
                let tangents = self.in_body(&[point, tangent], span, |eval, inputs| {
                    let f = eval.call_value(of, vec![inputs[0].clone()], span)?;
                    let (f, x, dx) = (eval.node(&f, span)?, eval.node(&inputs[0], span)?, eval.node(&inputs[1], span)?);
                    Ok(jvp(eval.graph(), &[f], &[(x, dx)]))
                })?;
                Ok(tangents[0].clone())
            }
            "between" => super::text::of_between(self, of, values, span),
            _ => {
                let Some(((point, _), rest)) = values.positional.split_first() else {
                    return fault("E0111", span, "`grad(f)` takes the arguments of f");
                };
                if let Value::Function(f) = of
                    && let Function::Objective(of) = **f
                {
                    return self.objective(of, true, point, None, span);
                }
                let rest: Vec<Value> = rest.iter().map(|(v, _)| v.clone()).collect();
                // Of a tuple or record of tensors the gradient is one of gradients.
                let parts = leaves(point);
                let gradients = self.in_body(&parts, span, |eval, inputs| {
                    let mut args = vec![filled(point, inputs.to_vec())];
                    args.extend(rest.iter().cloned());
                    let f = eval.call_value(of, args, span)?;
                    let lifted = eval.axes_of(&f);
                    let own: Vec<Axis> = inputs.iter().flat_map(|input| eval.axes_of(input)).collect();
                    if let Some(axis) = lifted.iter().find(|a| !own.contains(a)) {
                        let message = format!("`grad` is of a number, this still has {}", eval.show_axis(axis));
                        return fault("E0406", span, message);
                    }
                    let f = eval.node(&f, span)?;
                    let by = inputs.iter().map(|x| eval.node(x, span)).collect::<Res<Vec<Node>>>()?;
                    Ok(vjp(eval.graph(), f, None, &by))
                })?;
                Ok(filled(point, gradients))
            }
        }
    }

    /// Traces a body in which the inputs are told apart from everything else, and puts it into the current graph.
    fn in_body(
        &mut self,
        inputs: &[Value],
        span: Span,
        f: impl FnOnce(&mut Self, &[Value]) -> Res<Vec<Node>>,
    ) -> Res<Vec<Value>> {
        let nodes = inputs.iter().map(|v| self.node(v, span)).collect::<Res<Vec<Node>>>()?;
        let nodes: Vec<Node> = nodes.into_iter().map(|n| self.graph().cast(n, DType::Float)).collect();
        let axes: Vec<Vec<Axis>> = nodes.iter().map(|n| self.graph().axes(*n).to_vec()).collect();
        self.frames.push(Frame::default());
        let params: Vec<Node> = axes.into_iter().map(|a| self.graph().param(a, DType::Float)).collect();
        let values: Vec<Value> = params.iter().map(|p| self.tensor(*p)).collect();
        let result = f(self, &values);
        let mut frame = self.frames.pop().expect("the frame of the body");
        let results = result?;
        for (i, node) in results.iter().enumerate() {
            frame.graph.output(format!("result{i}"), *node);
        }
        let mut given = nodes;
        for (tensor, _) in &frame.captured {
            given.push(self.node(&Value::Tensor(*tensor), span)?);
        }
        let call = self.graph().call(CallKind::Plain, frame.graph, &given);
        let results = (0..results.len()).map(|i| {
            let node = self.graph().result(call, i);
            self.tensor(node)
        });
        Ok(results.collect())
    }
}

/// The objective that a function is, or whose gradient it is, and whether the gradient.
fn objective(of: &Value) -> Option<(Objective, bool)> {
    let Value::Function(f) = of else { return None };
    match &**f {
        Function::Objective(of) => Some((*of, false)),
        Function::Derived { word: "grad", of: Value::Function(of), .. } => match **of {
            Function::Objective(of) => Some((of, true)),
            _ => None,
        },
        _ => None,
    }
}

/// Two values as a tuple.
pub(crate) fn pair(a: Value, b: Value) -> Value {
    Value::Tuple(Rc::new(Tuple { positional: vec![a, b], named: vec![] }))
}
