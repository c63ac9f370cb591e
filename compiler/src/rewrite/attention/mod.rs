//! Finds causal attention in a per-item graph and outlines it into `Call{Attention}`.
//!
//! What counts is the meaning, not how it was written: `Σ_past softmax_past(where(guard, scale · Σ_hdim q k', -inf)) v'`,
//! with k' and v' on `past`, the softmax written with or without its maximum, as a quotient or as `exp(log_softmax)`,
//! divided before or after the sum with v'. The guard may be any conjunction of linear comparisons of both indices that
//! says `0 <= index[time] - index[past] (< window)`.

mod body;
mod guard;

use super::rebuild::{Copies, copy_with};
use super::simplify::drop_dead;
use crate::tensor::{Attention, Axis, AxisKind, CallKind, Graph, MapOp, Node, Op, ReduceOp};
pub(super) use body::body;
pub use body::row;
use guard::Band;

/// The graph with every attention outlined.
pub fn attention(graph: &Graph) -> Graph {
    let outlined = copy_with(graph, |to, node, copies| {
        let found = find(graph, node)?;
        outline(to, copies, &found)
    });
    drop_dead(&outlined)
}

/// A recognised attention: nodes of the graph it was found in.
struct Found {
    query: Node,
    /// On `past`, as the value.
    key: Node,
    value: Node,
    past: Axis,
    time: Axis,
    hdim: Axis,
    scale: f64,
    band: Band,
}

fn find(graph: &Graph, node: Node) -> Option<Found> {
    let inputs = &graph.get(node).inputs;
    match graph.op(node) {
        // Σ p v'
        Op::Contract(over) => {
            let [past] = &over[..] else { return None };
            let AxisKind::Paired(time) = past.kind() else { return None };
            let (weights, value) = one_with(graph, inputs, time)?;
            let x = Softmax { graph, past }.probabilities(weights)?;
            scores(graph, x, value, past, time)
        }
        // (Σ e v') / Σ e
        Op::Map(MapOp::Div) => {
            let Op::Contract(over) = graph.op(inputs[0]) else { return None };
            let [past] = &over[..] else { return None };
            let AxisKind::Paired(time) = past.kind() else { return None };
            let (exponentials, value) = one_with(graph, &graph.get(inputs[0]).inputs, time)?;
            let x = Softmax { graph, past }.quotient(exponentials, inputs[1])?;
            scores(graph, x, value, past, time)
        }
        _ => None,
    }
}

/// The one of two that has the axis, then the other.
fn one_with(graph: &Graph, pair: &[Node], axis: &Axis) -> Option<(Node, Node)> {
    match (graph.has(pair[0], axis), graph.has(pair[1], axis)) {
        (true, false) => Some((pair[0], pair[1])),
        (false, true) => Some((pair[1], pair[0])),
        _ => None,
    }
}

/// Recognises a softmax over `past`.
///
/// Under a causal guard each row has a finite maximum and a sum of at least 1, so what guards against empty rows says nothing.
struct Softmax<'a> {
    graph: &'a Graph,
    past: &'a Axis,
}

impl Softmax<'_> {
    fn map(&self, node: Node, op: MapOp) -> Option<&[Node]> {
        let data = self.graph.get(node);
        (data.op == Op::Map(op)).then_some(&data.inputs)
    }

    /// x, if the node is softmax(x).
    fn probabilities(&self, node: Node) -> Option<Node> {
        let node = self.bare(node);
        if let Some(&[e, sum]) = self.map(node, MapOp::Div) {
            return self.quotient(e, sum);
        }
        if let Some(&[a, b]) = self.map(node, MapOp::Mul) {
            let inverse = |n: Node| match self.map(self.bare(n), MapOp::Div) {
                Some(&[one, sum]) if self.graph.constant(one) == Some(1.0) => Some(sum),
                _ => None,
            };
            return inverse(b).and_then(|s| self.quotient(a, s)).or_else(|| self.quotient(b, inverse(a)?));
        }
        // exp(x - m - log Σ exp(x - m)), or with m and the logarithm in one.
        let &[log] = self.map(node, MapOp::Exp)? else { return None };
        let &[x, log_sum] = self.map(self.bare(log), MapOp::Sub)? else { return None };
        let sum_of = |n: Node| match self.map(self.bare(n), MapOp::Log) {
            Some(&[sum]) => self.sum(sum),
            _ => None,
        };
        if let Some(e) = sum_of(log_sum) {
            let own = self.exponent(e)?;
            return (own == self.bare(x)).then(|| self.without_maximum(own)).flatten();
        }
        let &[a, b] = self.map(self.bare(log_sum), MapOp::Add)? else { return None };
        let (e, m) = sum_of(b).map(|e| (e, a)).or_else(|| sum_of(a).map(|e| (e, b)))?;
        let own = self.without_maximum(self.exponent(e)?)?;
        (own == self.bare(x) && self.is_maximum(m, own)).then_some(own)
    }

    /// x, if e is exp(x - m) and the divisor is its sum.
    fn quotient(&self, e: Node, sum: Node) -> Option<Node> {
        let e = self.bare(e);
        (self.sum(sum)? == e).then_some(())?;
        self.without_maximum(self.exponent(e)?)
    }

    /// What is summed over `past`.
    fn sum(&self, node: Node) -> Option<Node> {
        self.reduced(node, ReduceOp::Sum)
    }

    fn reduced(&self, node: Node, op: ReduceOp) -> Option<Node> {
        let data = self.graph.get(self.bare(node));
        let over = [self.past.clone()];
        (data.op == Op::Reduce(op, over.to_vec())).then(|| self.bare(data.inputs[0]))
    }

    fn exponent(&self, node: Node) -> Option<Node> {
        self.map(node, MapOp::Exp).map(|x| self.bare(x[0]))
    }

    /// x of `x - m`; without a maximum the node itself.
    fn without_maximum(&self, node: Node) -> Option<Node> {
        match self.map(node, MapOp::Sub) {
            Some(&[x, m]) if self.is_maximum(m, self.bare(x)) => Some(self.bare(x)),
            Some(_) => None,
            None => Some(node),
        }
    }

    fn is_maximum(&self, node: Node, of: Node) -> bool {
        let mut node = self.bare(node);
        while let Op::Stop = self.graph.op(node) {
            node = self.bare(self.graph.get(node).inputs[0]);
        }
        self.reduced(node, ReduceOp::Max).is_some_and(|x| self.unstopped(x) == self.unstopped(of))
    }

    fn unstopped(&self, node: Node) -> Node {
        match self.graph.op(node) {
            Op::Stop => self.unstopped(self.bare(self.graph.get(node).inputs[0])),
            _ => node,
        }
    }

    /// The value without tiles and without guards against empty rows.
    fn bare(&self, node: Node) -> Node {
        let data = self.graph.get(node);
        match (&data.op, &data.inputs[..]) {
            (Op::Tile(_), [x]) => self.bare(*x),
            (Op::Map(MapOp::Where), [c, a, b]) => match self.decided(*c) {
                Some(true) => self.bare(*a),
                Some(false) => self.bare(*b),
                None => node,
            },
            (Op::Map(MapOp::Max), [x, floor]) => match (self.row_value(*x), self.graph.constant(self.bare(*floor))) {
                (Some(RowValue::Sum), Some(c)) if c <= 1.0 => self.bare(*x),
                (Some(RowValue::Maximum), Some(c)) if c <= -1e20 => self.bare(*x),
                _ => node,
            },
            _ => node,
        }
    }

    /// The truth of a condition on a row's maximum or sum.
    fn decided(&self, condition: Node) -> Option<bool> {
        use MapOp::*;
        let data = self.graph.get(condition);
        match (&data.op, &data.inputs[..]) {
            (Op::Tile(_), [x]) => self.decided(*x),
            (Op::Map(Not), [x]) => self.decided(*x).map(|b| !b),
            (Op::Map(op @ (Eq | Ne | Gt | Ge)), [x, c]) => {
                let c = self.graph.constant(self.bare(*c))?;
                let below = match self.row_value(*x)? {
                    RowValue::Sum => c <= 0.0,
                    RowValue::Maximum => c == f64::NEG_INFINITY,
                };
                below.then_some(*op != Eq)
            }
            _ => None,
        }
    }

    fn row_value(&self, node: Node) -> Option<RowValue> {
        let data = self.graph.get(node);
        match (&data.op, &data.inputs[..]) {
            (Op::Tile(_) | Op::Stop, [x]) => self.row_value(*x),
            (Op::Reduce(ReduceOp::Max, over), _) if over == std::slice::from_ref(self.past) => Some(RowValue::Maximum),
            (Op::Reduce(ReduceOp::Sum, over), [x]) if over == std::slice::from_ref(self.past) => {
                matches!(self.graph.op(*x), Op::Map(MapOp::Exp)).then_some(RowValue::Sum)
            }
            _ => None,
        }
    }
}

enum RowValue {
    /// Of the guarded scores: finite.
    Maximum,
    /// Of exp(score - maximum): at least 1.
    Sum,
}

/// Takes guarded and scaled scores apart.
fn scores(graph: &Graph, x: Node, value: Node, past: &Axis, time: &Axis) -> Option<Found> {
    let (mut node, mut scale, mut band) = (x, 1.0, None);
    loop {
        let data = graph.get(node);
        let constant = |n: Node| graph.constant(untiled(graph, n));
        let is = |n: Node, c: f64| constant(n) == Some(c);
        let hidden = f64::NEG_INFINITY;
        node = match (&data.op, &data.inputs[..]) {
            (Op::Tile(_), [x]) => *x,
            (Op::Map(MapOp::Where), [c, y, low]) if is(*low, hidden) && band.is_none() => {
                band = Some(guard::band(graph, *c, true, time, past)?);
                *y
            }
            (Op::Map(MapOp::Where), [c, low, y]) if is(*low, hidden) && band.is_none() => {
                band = Some(guard::band(graph, *c, false, time, past)?);
                *y
            }
            (Op::Map(MapOp::Add), [a, b]) if band.is_none() => {
                let (found, y) = additive(graph, *a, time, past)
                    .map(|g| (g, *b))
                    .or_else(|| additive(graph, *b, time, past).map(|g| (g, *a)))?;
                band = Some(found);
                y
            }
            (Op::Map(MapOp::Neg), [y]) => {
                scale = -scale;
                *y
            }
            (Op::Map(MapOp::Mul), [a, b]) => match (constant(*a), constant(*b)) {
                (_, Some(c)) => {
                    scale *= c;
                    *a
                }
                (Some(c), None) => {
                    scale *= c;
                    *b
                }
                (None, None) => return None,
            },
            (Op::Map(MapOp::Div), [a, b]) => {
                scale /= constant(*b)?;
                *a
            }
            (Op::Contract(over), [a, b]) => {
                let [hdim] = &over[..] else { return None };
                let (query, key) = one_with(graph, &[*a, *b], time)?;
                let apart = graph.has(key, past) && !graph.has(query, past) && graph.has(value, past);
                // Hidden places must stay hidden: a guard under a factor of 0 or less would not.
                let (hdim, past, time, value) = (hdim.clone(), past.clone(), time.clone(), value);
                return (apart && scale > 0.0 && scale.is_finite()).then_some(Found {
                    query,
                    key,
                    value,
                    past,
                    time,
                    hdim,
                    scale,
                    band: band?,
                });
            }
            _ => return None,
        };
    }
}

/// The guard of `where(guard, 0, -inf)`.
fn additive(graph: &Graph, node: Node, time: &Axis, past: &Axis) -> Option<Band> {
    let data = graph.get(untiled(graph, node));
    let (Op::Map(MapOp::Where), &[c, a, b]) = (&data.op, data.inputs.as_slice()) else { return None };
    let constant = |n: Node| graph.constant(untiled(graph, n));
    match (constant(a)?, constant(b)?) {
        (0.0, f64::NEG_INFINITY) => guard::band(graph, c, true, time, past),
        (f64::NEG_INFINITY, 0.0) => guard::band(graph, c, false, time, past),
        _ => None,
    }
}

fn untiled(graph: &Graph, node: Node) -> Node {
    match graph.op(node) {
        Op::Tile(_) => untiled(graph, graph.get(node).inputs[0]),
        _ => node,
    }
}

/// The call in the place of what was found; `None` if its axes are not those of attention.
fn outline(to: &mut Graph, copies: &Copies, found: &Found) -> Option<Node> {
    let Found { past, time, hdim, .. } = found;
    let query = copies[&found.query];
    let key = to.rename(copies[&found.key], past, time);
    let value = to.rename(copies[&found.value], past, time);
    let heads = |graph: &Graph, n: Node| -> Vec<Axis> {
        graph.axes(n).iter().filter(|a| *a != time && *a != hdim).cloned().collect()
    };
    let (rep, kv): (Vec<Axis>, Vec<Axis>) = heads(to, query).into_iter().partition(|a| !to.has(key, a));
    if heads(to, key).iter().any(|a| !kv.contains(a)) || rep.iter().any(|a| to.has(value, a)) {
        return None;
    }
    let own: Vec<Axis> = to.axes(value).iter().filter(|a| *a != time && !kv.contains(a)).cloned().collect();
    let [vdim] = &own[..] else { return None };
    let value = to.tile_to(value, &kv);
    let attention = Attention {
        time: time.clone(),
        hdim: hdim.clone(),
        vdim: vdim.clone(),
        kv,
        rep,
        scale: found.scale,
        window: found.band.window,
        tree: false,
        cached: None,
    };
    let inputs = [query, key, value];
    let body = body(&attention, past, &inputs.map(|n| to.axes(n).to_vec()));
    let call = to.call(CallKind::Attention(attention), body, &inputs);
    Some(to.result(call, 0))
}

#[cfg(test)]
mod tests;
