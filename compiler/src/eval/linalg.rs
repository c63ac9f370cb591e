//! Small dense linear algebra: `solve[a, b](m, y)`, `eigh[a, b](m)` and its like.

use super::call::{Call, wrong};
use super::derive::pair;
use super::index::bracket_axes;
use super::value::{Tuple, Value};
use super::{Eval, Res, fault};
use crate::tensor::{Axis, DType, Node};
use std::rc::Rc;

/// `solve[a, b](m, y)`: x on b with `sum[b](m * x) = y`. `cholesky[a, b](m)`: the lower triangle. `eigh[a, b](m)`: ascending
/// eigenvalues on b, and eigenvectors as columns on `[a, b]`. `qr[a, b](m)`, `svd[a, b](m)`: with the inner axis `rank`.
pub(crate) fn dense(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axes, m) = bracket_axes(eval, call)?;
    let ([a, b], Some(m)) = (&axes[..], m) else {
        return wrong(call, call.span, "takes two axes in its brackets, and a matrix");
    };
    let own = eval.axes_of(&m);
    for axis in [a, b] {
        if !own.contains(axis) {
            let message = format!("there is no axis `{}`; the matrix has {}", axis.name(), eval.show_axes(&own));
            return fault("E0212", call.span, message);
        }
    }
    let (Some(rows), Some(cols)) = (a.fixed_size(), b.fixed_size()) else {
        return fault("E0190", call.span, "matrices whose sizes the data decide are not built yet");
    };
    if rows != cols && !matches!(call.name, "qr" | "svd") {
        let message = format!("`{}` takes a square matrix, this is {rows} by {cols}", call.name);
        return fault("E0201", call.span, message);
    }
    let m = float(eval, &m, call)?;
    let values = |eval: &Eval, nodes: &[Node]| nodes.iter().map(|n| eval.tensor(*n)).collect::<Vec<_>>();
    Ok(match call.name {
        "solve" => {
            let Some(y) = call.positional.get(1) else {
                return wrong(call, call.span, "takes a matrix and a right side");
            };
            let y = eval.arg(y, call.env)?;
            if !eval.axes_of(&y).contains(a) {
                let found = eval.axes_of(&y);
                let message = format!("the right side has {}, not `{}`", eval.show_axes(&found), a.name());
                return fault("E0212", call.span, message);
            }
            let y = float(eval, &y, call)?;
            let node = eval.graph().solve(m, y, a, b);
            eval.tensor(node)
        }
        "cholesky" => {
            let node = eval.graph().cholesky(m, a, b);
            eval.tensor(node)
        }
        "eigh" => {
            let nodes = eval.graph().eigh(m, a, b);
            let [values, vectors] = nodes.map(|n| eval.tensor(n));
            pair(values, vectors)
        }
        "qr" => {
            let nodes = eval.graph().qr(m, a, b);
            seen(eval, call, &nodes);
            Value::Tuple(Rc::new(Tuple { positional: values(eval, &nodes), named: vec![] }))
        }
        _ => {
            let nodes = eval.graph().svd(m, a, b);
            seen(eval, call, &nodes);
            Value::Tuple(Rc::new(Tuple { positional: values(eval, &nodes), named: vec![] }))
        }
    })
}

fn float(eval: &mut Eval, value: &Value, call: &Call) -> Res<Node> {
    let node = eval.node(value, call.span)?;
    Ok(eval.graph().cast(node, DType::Float))
}

/// The axis `rank` is in sight from now on.
fn seen(eval: &mut Eval, call: &Call, nodes: &[Node]) {
    let axes: Vec<Axis> = nodes.iter().flat_map(|n| eval.graph().axes(*n).to_vec()).collect();
    call.env.body().see(&axes);
}
