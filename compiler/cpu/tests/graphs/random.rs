//! Random graphs, and their derivatives.

use crate::harness::{check_with, dim, fill, lengths, many, token};
use align_compiler::autodiff::vjp;
use align_compiler::interp::Named;
use align_compiler::tensor::{Axis, DType, Graph, MapOp, Node, ReduceOp};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())].clone()
    }
}

fn head() -> Axis {
    Axis::fixed("head", 3)
}

/// Keeps values small, so that a chain of many does not leave the floats.
fn tame(g: &mut Graph, x: Node) -> Node {
    let (one, size) = (g.float(1.0), g.map(MapOp::Abs, &[x]));
    let below = g.map(MapOp::Add, &[one, size]);
    g.map(MapOp::Div, &[x, below])
}

fn grown(dice: &mut Dice, g: &mut Graph, values: &[Node]) -> Node {
    let (x, y) = (dice.pick(values), dice.pick(values));
    let axes = g.axes(x).to_vec();
    match dice.roll(12) {
        0..3 => {
            let op = dice.pick(&[MapOp::Add, MapOp::Sub, MapOp::Mul, MapOp::Max, MapOp::Min]);
            g.map(op, &[x, y])
        }
        3 => {
            let op = dice.pick(&[MapOp::Sin, MapOp::Cos, MapOp::Tanh, MapOp::Exp, MapOp::Neg, MapOp::Abs]);
            let x = tame(g, x);
            g.map(op, &[x])
        }
        4 => {
            let zero = g.float(0.1);
            let condition = g.map(MapOp::Lt, &[x, zero]);
            g.map(MapOp::Where, &[condition, x, y])
        }
        5 | 6 if !axes.is_empty() => {
            let over = dice.pick(&axes);
            let op = dice.pick(&[ReduceOp::Sum, ReduceOp::Sum, ReduceOp::Max]);
            let r = g.reduce(op, x, &[over]);
            tame(g, r)
        }
        7 | 8 => {
            let shared: Vec<Axis> = axes.iter().filter(|a| g.has(y, a)).cloned().collect();
            if shared.is_empty() {
                return x;
            }
            let over = dice.pick(&shared);
            let c = g.contract(x, y, &[over]);
            tame(g, c)
        }
        9 if g.has(x, &token()) => {
            let s = g.segment_reduce(ReduceOp::Sum, x, &token());
            let t = g.segment_tile(s, &token());
            tame(g, t)
        }
        10 if g.has(x, &token()) => {
            let c = g.cumsum(x, &token(), dice.roll(2) == 0);
            tame(g, c)
        }
        11 if g.has(x, &dim(5)) => {
            let i = g.input("tokens", vec![token()], DType::Int);
            g.gather(x, &dim(5), i)
        }
        _ => x,
    }
}

fn graph(seed: u64) -> Graph {
    let mut dice = Dice(seed);
    let mut g = Graph::new();
    let shapes = [vec![token(), dim(5)], vec![dim(5), head()], vec![many(), head()], vec![token()], vec![]];
    let mut values: Vec<Node> = vec![];
    for (i, axes) in shapes.into_iter().enumerate() {
        values.push(g.weight(format!("w{i}"), axes));
    }
    let leaves = values.clone();
    for _ in 0..12 {
        let next = grown(&mut dice, &mut g, &values);
        // At most four axes, and not all the large ones, so that the interpreter ends.
        if g.axes(next).len() <= 3 && !(g.has(next, &token()) && g.has(next, &many())) {
            values.push(next);
        }
    }
    let mut total = g.float(0.0);
    for (i, value) in values.iter().enumerate().skip(leaves.len()) {
        if i % 3 == 0 {
            g.output(format!("value{i}"), *value);
        }
        let axes = g.axes(*value).to_vec();
        let sum = g.sum(*value, &axes);
        total = g.map(MapOp::Add, &[total, sum]);
    }
    g.output("total", total);
    let grads = vjp(&mut g, total, None, &leaves);
    for (i, grad) in grads.iter().enumerate() {
        g.output(format!("grad{i}"), *grad);
    }
    g
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn values_and_derivatives_of_random_graphs() {
    for seed in 0..60 {
        let g = graph(seed);
        let mut given = Named::new();
        fill(&g, &mut given, &lengths());
        let result = std::panic::catch_unwind(|| check_with(&g, &given, &lengths()));
        assert!(result.is_ok(), "seed {seed}");
    }
}
