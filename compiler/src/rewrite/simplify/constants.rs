//! Rules about numbers: constants, neutral elements, signs, casts.

use crate::tensor::{Axis, DType, Graph, MapOp, Node, NodeData, Op};
use half::bf16;

/// A map of constants is a constant.
pub fn fold(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Map(op) = data.op else { return None };
    let args: Vec<f64> = data.inputs.iter().map(|n| graph.constant(*n)).collect::<Option<_>>()?;
    let of_ints = data.inputs.last().is_some_and(|n| graph.dtype(*n) == DType::Int);
    let value = scalar(op, &args, of_ints)?;
    if data.dtype == DType::Int && !(value.fract() == 0.0 && value.abs() < 2f64.powi(31)) {
        return None;
    }
    Some(graph.push(NodeData::new(Op::Const(value), vec![], vec![], data.dtype)))
}

/// The function on numbers; `None` where it is a fault or has no number.
pub fn scalar(op: MapOp, x: &[f64], of_ints: bool) -> Option<f64> {
    use MapOp::*;
    let bool = |b: bool| if b { 1.0 } else { 0.0 };
    Some(match op {
        Neg => -x[0],
        Abs => x[0].abs(),
        Sign => match x[0] == 0.0 || x[0].is_nan() {
            true => x[0],
            false => x[0].signum(),
        },
        Exp => x[0].exp(),
        Log => x[0].ln(),
        Sqrt => x[0].sqrt(),
        Rsqrt => 1.0 / x[0].sqrt(),
        Sin => x[0].sin(),
        Cos => x[0].cos(),
        Tanh => x[0].tanh(),
        Sigmoid => 1.0 / (1.0 + (-x[0]).exp()),
        Floor => x[0].floor(),
        Ceil => x[0].ceil(),
        Round => x[0].round_ties_even(),
        Bf16 => bf16::from_f64(x[0]).to_f64(),
        Not => bool(x[0] == 0.0),
        IsNan => bool(x[0].is_nan()),
        Add => x[0] + x[1],
        Sub => x[0] - x[1],
        Mul => x[0] * x[1],
        Div if of_ints && x[1] == 0.0 => return None,
        Div if of_ints => (x[0] / x[1]).floor(),
        Div => x[0] / x[1],
        Rem if x[1] == 0.0 => return None,
        Rem => x[0] - x[1] * (x[0] / x[1]).floor(),
        Pow => x[0].powf(x[1]),
        Min => match x[0].is_nan() || x[1].is_nan() {
            true => f64::NAN,
            false => x[0].min(x[1]),
        },
        Max => match x[0].is_nan() || x[1].is_nan() {
            true => f64::NAN,
            false => x[0].max(x[1]),
        },
        Eq => bool(x[0] == x[1]),
        Ne => bool(x[0] != x[1]),
        Lt => bool(x[0] < x[1]),
        Le => bool(x[0] <= x[1]),
        Gt => bool(x[0] > x[1]),
        Ge => bool(x[0] >= x[1]),
        And => bool(x[0] != 0.0 && x[1] != 0.0),
        Or => bool(x[0] != 0.0 || x[1] != 0.0),
        Where => {
            if x[0] != 0.0 {
                x[1]
            } else {
                x[2]
            }
        }
    })
}

/// `x + 0`, `x - 0`, `x * 1`, `x / 1`, `x ^ 1`, `c and true`, `c or false` are x; `0 - x` and `x * -1` are `-x`; an Int times 0 is 0.
pub fn neutral(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    use MapOp::*;
    let (Op::Map(op), &[x, y]) = (&data.op, data.inputs.as_slice()) else { return None };
    match (op, graph.constant(x), graph.constant(y)) {
        (Add | Sub, _, Some(0.0)) | (Mul | Div | Pow, _, Some(1.0)) => Some(x),
        (Add, Some(0.0), _) | (Mul, Some(1.0), _) => Some(y),
        (Sub, Some(0.0), _) | (Mul, Some(-1.0), _) => Some(graph.map(Neg, &[y])),
        (Mul, _, Some(-1.0)) => Some(graph.map(Neg, &[x])),
        (Mul, Some(0.0), _) if data.dtype == DType::Int => Some(tiled(graph, x, &data.axes)),
        (Mul, _, Some(0.0)) if data.dtype == DType::Int => Some(tiled(graph, y, &data.axes)),
        (And, _, Some(c)) if c != 0.0 => Some(x),
        (And, Some(c), _) if c != 0.0 => Some(y),
        (Or, _, Some(0.0)) => Some(x),
        (Or, Some(0.0), _) => Some(y),
        _ => None,
    }
}

/// Small whole exponents are products.
pub fn powers(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Map(MapOp::Pow), &[x, p]) = (&data.op, data.inputs.as_slice()) else { return None };
    if data.dtype != DType::Float {
        return None;
    }
    match graph.constant(p)? {
        2.0 => Some(graph.map(MapOp::Mul, &[x, x])),
        3.0 => {
            let square = graph.map(MapOp::Mul, &[x, x]);
            Some(graph.map(MapOp::Mul, &[square, x]))
        }
        -1.0 => {
            let one = graph.float(1.0);
            Some(graph.map(MapOp::Div, &[one, x]))
        }
        _ => None,
    }
}

/// `where(c, a, b)` with a constant c, or with a and b the same, or with `not c`.
pub fn condition(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Map(MapOp::Where), &[c, a, b]) = (&data.op, data.inputs.as_slice()) else { return None };
    let chosen = match graph.constant(c) {
        Some(0.0) => b,
        Some(_) => a,
        None if a == b => a,
        None if graph.op(c) == &Op::Map(MapOp::Not) => {
            let c = graph.get(c).inputs[0];
            return Some(graph.map(MapOp::Where, &[c, b, a]));
        }
        None => return None,
    };
    Some(tiled(graph, chosen, &data.axes))
}

/// `(x * c) * d` is `x * (c * d)`, and constants stand on the right.
pub fn factors(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Map(MapOp::Mul), &[x, y]) = (&data.op, data.inputs.as_slice()) else { return None };
    if graph.constant(x).is_some() && graph.constant(y).is_none() {
        return Some(graph.map(MapOp::Mul, &[y, x]));
    }
    graph.constant(y)?;
    let (Op::Map(MapOp::Mul), &[inner, c]) = (graph.op(x), graph.get(x).inputs.as_slice()) else { return None };
    graph.constant(c)?;
    let c = graph.map(MapOp::Mul, &[c, y]);
    Some(graph.map(MapOp::Mul, &[inner, c]))
}

/// `--x`, `not not c`, `x + -y`, `x - -y`, `-x * -y`.
pub fn negations(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    use MapOp::*;
    let Op::Map(op) = data.op else { return None };
    let under = |graph: &Graph, node: Node, sign: MapOp| match graph.op(node) {
        Op::Map(found) if *found == sign => Some(graph.get(node).inputs[0]),
        _ => None,
    };
    match (op, &data.inputs[..]) {
        (Neg | Not, [x]) => under(graph, *x, op),
        (Add, [x, y]) => match (under(graph, *x, Neg), under(graph, *y, Neg)) {
            (_, Some(y)) => Some(graph.map(Sub, &[*x, y])),
            (Some(x), None) => Some(graph.map(Sub, &[*y, x])),
            (None, None) => None,
        },
        (Sub, [x, y]) => under(graph, *y, Neg).map(|y| graph.map(Add, &[*x, y])),
        (Mul | Div, [x, y]) => {
            let (x, y) = (under(graph, *x, Neg)?, under(graph, *y, Neg)?);
            Some(graph.map(op, &[x, y]))
        }
        _ => None,
    }
}

/// A cast of a cast that has lost nothing is one cast, or none.
pub fn casts(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Cast = data.op else { return None };
    let inner = graph.get(data.inputs[0]);
    let Op::Cast = inner.op else { return None };
    let x = inner.inputs[0];
    let keeps = match (graph.dtype(x), inner.dtype) {
        (DType::Bool, _) | (DType::Int, DType::Float) => true,
        (DType::Int, _) | (DType::Float, _) => false,
    };
    keeps.then(|| graph.cast(x, data.dtype))
}

/// `stop` of constants, Ints and Bools, and of `stop`.
pub fn stops(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Stop = data.op else { return None };
    let x = data.inputs[0];
    let plain = match graph.op(x) {
        Op::Const(_) | Op::Array(_) | Op::Stop => true,
        Op::Cast => graph.dtype(graph.get(x).inputs[0]) != DType::Float,
        _ => graph.dtype(x) != DType::Float,
    };
    plain.then_some(x)
}

/// The value with (at least) these axes.
pub fn tiled(graph: &mut Graph, node: Node, axes: &[Axis]) -> Node {
    graph.tile_to(node, axes)
}
