//! Attention in primitives: what a call of it means.

use crate::tensor::{Attention, Axis, AxisKind, DType, Graph, MapOp, Node, ReduceOp};

/// The body of a call whose first three inputs have these axes. `past` is paired with the axis of places.
pub fn body(attention: &Attention, past: &Axis, axes: &[Vec<Axis>; 3]) -> Graph {
    let Attention { time, hdim, scale, window, tree, cached, .. } = attention;
    let mut g = Graph::new();
    let [query, key, value] = axes.clone().map(|axes| g.param(axes, DType::Float));
    let tree = tree.then(|| [0; 2].map(|_| g.param(vec![time.clone()], DType::Int)));
    let earlier = cached.as_ref().map(|cached| Earlier::new(&mut g, attention, cached, axes));
    let key = g.rename(key, time, past);
    let value = g.rename(value, time, past);
    let score = g.contract(query, key, std::slice::from_ref(hdim));
    let scale = g.float(*scale);
    let score = g.map(MapOp::Mul, &[score, scale]);
    let (here, there) = (g.iota(time), g.iota(past));
    let mut guard = g.map(MapOp::Le, &[there, here]);
    if let Some([end, _]) = tree {
        let end = g.rename(end, time, past);
        let below = g.map(MapOp::Lt, &[here, end]);
        guard = g.map(MapOp::And, &[guard, below]);
    }
    if let Some(window) = window {
        let window = g.int(*window as i64);
        let (here, there) = match tree {
            Some([_, place]) => (place, g.rename(place, time, past)),
            None => (here, there),
        };
        let distance = g.map(MapOp::Sub, &[here, there]);
        let near = g.map(MapOp::Lt, &[distance, window]);
        guard = g.map(MapOp::And, &[guard, near]);
    }
    let hidden = g.float(f64::NEG_INFINITY);
    let score = g.map(MapOp::Where, &[guard, score, hidden]);
    let over = std::slice::from_ref(past);
    let mut maximum = g.reduce(ReduceOp::Max, score, over);
    let before = earlier.map(|earlier| {
        let score = earlier.scores(&mut g, query, attention, scale);
        let own = g.reduce(ReduceOp::Max, score, std::slice::from_ref(&earlier.seen));
        maximum = g.map(MapOp::Max, &[maximum, own]);
        (earlier, score)
    });
    let maximum = g.stop(maximum);
    let shifted = g.map(MapOp::Sub, &[score, maximum]);
    let e = g.map(MapOp::Exp, &[shifted]);
    let mut sum = g.sum(e, over);
    let before = before.map(|(earlier, score)| {
        let shifted = g.map(MapOp::Sub, &[score, maximum]);
        let e = g.map(MapOp::Exp, &[shifted]);
        let own = g.sum(e, std::slice::from_ref(&earlier.seen));
        sum = g.map(MapOp::Add, &[sum, own]);
        (earlier, e)
    });
    let p = g.map(MapOp::Div, &[e, sum]);
    let mut attended = g.contract(p, value, over);
    if let Some((earlier, e)) = before {
        let p = g.map(MapOp::Div, &[e, sum]);
        let own = g.contract(p, earlier.values, std::slice::from_ref(&earlier.seen));
        attended = g.map(MapOp::Add, &[attended, own]);
    }
    let log = g.map(MapOp::Log, &[sum]);
    let lse = g.map(MapOp::Add, &[maximum, log]);
    g.output("attended", attended);
    g.output("lse", lse);
    g
}

/// Keys and values of the places that come before.
struct Earlier {
    /// These places, seen from later ones.
    seen: Axis,
    keys: Node,
    values: Node,
    /// How many they are.
    count: Node,
}

impl Earlier {
    fn new(g: &mut Graph, attention: &Attention, cached: &Axis, axes: &[Vec<Axis>; 3]) -> Earlier {
        let row = row();
        let kept = |axes: &Vec<Axis>| {
            let rest = axes.iter().filter(|axis| **axis != attention.time).cloned();
            std::iter::once(row.clone()).chain(rest).collect::<Vec<_>>()
        };
        let (keys, values) = (g.param(kept(&axes[1]), DType::Float), g.param(kept(&axes[2]), DType::Float));
        let rows = g.param(vec![cached.clone()], DType::Int);
        let seen = Axis::new("seen", AxisKind::Paired(cached.clone()));
        let [keys, values] = [keys, values].map(|kept| {
            let own = g.gather(kept, &row, rows);
            g.rename(own, cached, &seen)
        });
        let one = g.int(1);
        let ones = g.tile(one, cached);
        let count = g.reduce(ReduceOp::Sum, ones, std::slice::from_ref(cached));
        Earlier { seen, keys, values, count }
    }

    fn scores(&self, g: &mut Graph, query: Node, attention: &Attention, scale: Node) -> Node {
        let score = g.contract(query, self.keys, std::slice::from_ref(&attention.hdim));
        let score = g.map(MapOp::Mul, &[score, scale]);
        let Some(window) = attention.window else { return score };
        let (here, there) = (g.iota(&attention.time), g.iota(&self.seen));
        let here = g.map(MapOp::Add, &[here, self.count]);
        let distance = g.map(MapOp::Sub, &[here, there]);
        let window = g.int(window as i64);
        let near = g.map(MapOp::Lt, &[distance, window]);
        let hidden = g.float(f64::NEG_INFINITY);
        g.map(MapOp::Where, &[near, score, hidden])
    }
}

/// The axis of the rows of what is kept of earlier places.
pub fn row() -> Axis {
    Axis::new("row", AxisKind::Dynamic(0))
}
