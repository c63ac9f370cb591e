//! Scalar functions, index by index: the derivative by each argument is a factor, the same for cotangents and tangents.

use super::Site;
use super::cotangent::Cotangent;
use crate::tensor::{Graph, MapOp, Node, Op};

pub fn vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let op = map(site);
    let inputs = &site.data.inputs;
    let each = |i: usize| {
        if !site.wants[i] {
            return None;
        }
        let own = match (op, i) {
            (MapOp::Where, 1) => y.selected(graph, inputs[0]),
            (MapOp::Where, _) => {
                let other = graph.map(MapOp::Not, &[inputs[0]]);
                y.selected(graph, other)
            }
            // A square: both arguments at once.
            (MapOp::Mul, 1) if inputs[0] == inputs[1] => return None,
            _ => {
                let mut factor = y.value;
                if op == MapOp::Mul && inputs[0] == inputs[1] {
                    let two = graph.float(2.0);
                    factor = graph.map(MapOp::Mul, &[factor, two]);
                }
                let value = times_partial(graph, site, i, factor)?;
                let value = match y.mask {
                    Some(mask) if may_be_infinite(graph, site, i) => {
                        let zero = graph.float(0.0);
                        graph.map(MapOp::Where, &[mask, value, zero])
                    }
                    _ => value,
                };
                Cotangent { value, mask: y.mask }
            }
        };
        let axes = graph.axes(inputs[i]).to_vec();
        Some(own.summed_to(graph, &axes))
    };
    (0..inputs.len()).map(each).collect()
}

pub fn jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    if map(site) == MapOp::Where {
        let zero = graph.float(0.0);
        let [a, b] = [tangents[1], tangents[2]].map(|t| t.unwrap_or(zero));
        return Some(graph.map(MapOp::Where, &[site.data.inputs[0], a, b]));
    }
    let mut sum = None;
    for (i, tangent) in tangents.iter().enumerate() {
        let own = tangent.and_then(|t| times_partial(graph, site, i, t));
        sum = super::add(graph, sum, own);
    }
    sum
}

fn map(site: &Site) -> MapOp {
    match site.data.op {
        Op::Map(op) => op,
        _ => unreachable!("the row of maps"),
    }
}

/// t times the derivative by argument i; `None` where that is 0 everywhere.
fn times_partial(graph: &mut Graph, site: &Site, i: usize, t: Node) -> Option<Node> {
    use MapOp::*;
    let (x, y) = (&site.data.inputs, site.node);
    let g = graph;
    Some(match (map(site), i) {
        (Neg, _) | (Sub, 1) => g.map(Neg, &[t]),
        (Add, _) | (Sub, _) | (Rem, 0) | (Bf16, _) => t,
        (Abs, _) => {
            let sign = g.map(Sign, &[x[0]]);
            g.map(Mul, &[t, sign])
        }
        (Exp, _) => g.map(Mul, &[t, y]),
        (Log, _) => g.map(Div, &[t, x[0]]),
        (Sqrt, _) => {
            let half = g.float(0.5);
            let t = g.map(Mul, &[t, half]);
            g.map(Div, &[t, y])
        }
        (Rsqrt, _) => {
            let half = g.float(-0.5);
            let square = g.map(Mul, &[y, y]);
            let cube = g.map(Mul, &[square, y]);
            let factor = g.map(Mul, &[cube, half]);
            g.map(Mul, &[t, factor])
        }
        (Sin, _) => {
            let cos = g.map(Cos, &[x[0]]);
            g.map(Mul, &[t, cos])
        }
        (Cos, _) => {
            let sin = g.map(Sin, &[x[0]]);
            let product = g.map(Mul, &[t, sin]);
            g.map(Neg, &[product])
        }
        (Tanh, _) => {
            let one = g.float(1.0);
            let square = g.map(Mul, &[y, y]);
            let factor = g.map(Sub, &[one, square]);
            g.map(Mul, &[t, factor])
        }
        (Sigmoid, _) => {
            let one = g.float(1.0);
            let rest = g.map(Sub, &[one, y]);
            let factor = g.map(Mul, &[y, rest]);
            g.map(Mul, &[t, factor])
        }
        (Mul, _) => g.map(Mul, &[t, x[1 - i]]),
        (Div, 0) => g.map(Div, &[t, x[1]]),
        (Div, _) => {
            let t = g.map(Mul, &[t, y]);
            let quotient = g.map(Div, &[t, x[1]]);
            g.map(Neg, &[quotient])
        }
        (Rem, _) => {
            let quotient = g.map(Div, &[x[0], x[1]]);
            let whole = g.map(Floor, &[quotient]);
            let product = g.map(Mul, &[t, whole]);
            g.map(Neg, &[product])
        }
        (Pow, 0) => by_base(g, x[0], x[1], t)?,
        (Pow, _) => {
            // At 0 the power is 0 (or 1 for the exponent 0), and stays so.
            let zero = g.float(0.0);
            let at_zero = g.map(Eq, &[x[0], zero]);
            let log = g.map(Log, &[x[0]]);
            let factor = g.map(Mul, &[y, log]);
            let factor = g.map(Where, &[at_zero, zero, factor]);
            g.map(Mul, &[t, factor])
        }
        (op @ (Min | Max), _) => {
            let (own, other) = (x[i], x[1 - i]);
            let wins = g.map(if op == Min { Lt } else { Gt }, &[own, other]);
            let ties = g.map(Eq, &[own, other]);
            let (zero, half) = (g.float(0.0), g.float(0.5));
            let shared = g.map(Mul, &[t, half]);
            let shared = g.map(Where, &[ties, shared, zero]);
            g.map(Where, &[wins, t, shared])
        }
        (Where, _) => unreachable!("selects have rules of their own"),
        (Sign | Floor | Ceil | Round, _) => return None,
        (Not | IsNan | Eq | Ne | Lt | Le | Gt | Ge | And | Or, _) => return None,
    })
}

/// t · p · x^(p - 1), and 0 for the exponent 0.
fn by_base(g: &mut Graph, x: Node, p: Node, t: Node) -> Option<Node> {
    use MapOp::*;
    if let Some(p) = g.constant(p) {
        let factor = match p {
            0.0 => return None,
            1.0 => return Some(t),
            2.0 => x,
            _ => {
                let less = g.float(p - 1.0);
                g.map(Pow, &[x, less])
            }
        };
        let p = g.float(p);
        let factor = g.map(Mul, &[factor, p]);
        return Some(g.map(Mul, &[t, factor]));
    }
    let (zero, one) = (g.float(0.0), g.float(1.0));
    let flat = g.map(Eq, &[p, zero]);
    let less = g.map(Sub, &[p, one]);
    let power = g.map(Pow, &[x, less]);
    let factor = g.map(Mul, &[p, power]);
    let factor = g.map(Where, &[flat, zero, factor]);
    Some(g.map(Mul, &[t, factor]))
}

/// Whether the factor may be infinite or nan although the numbers that matter are not.
fn may_be_infinite(graph: &Graph, site: &Site, i: usize) -> bool {
    use MapOp::*;
    match map(site) {
        Neg | Add | Sub | Min | Max => false,
        Mul => graph.constant(site.data.inputs[1 - i]).is_none(),
        Div if i == 0 => graph.constant(site.data.inputs[1]).is_none(),
        _ => true,
    }
}
