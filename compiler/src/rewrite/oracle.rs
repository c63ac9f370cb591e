//! The interpreter as the tests of passes use it.

pub use crate::interp::{Named, Value};

use crate::interp::{self, Precision};
use crate::tensor::{DType, Graph, Lengths, MapOp, Op};
use std::collections::HashMap;

/// All named outputs, in f64.
pub fn run(graph: &Graph, given: &Named, lengths: &Lengths) -> HashMap<String, Value> {
    let outputs = interp::run(graph, given, lengths, Precision::F64).unwrap_or_else(|fault| panic!("{fault}"));
    outputs.into_iter().collect()
}

/// Numbers that look random, in -1..1.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// A value for every weight of the graph, and for every Float input that `given` lacks.
pub fn fill(graph: &Graph, given: &mut Named, lengths: &Lengths) {
    for (node, data) in graph.nodes() {
        let (Op::Weight(name) | Op::Input(name)) = &data.op else { continue };
        if data.dtype == DType::Float && !given.contains_key(name) {
            let count = data.axes.iter().map(|a| lengths.size(a)).product();
            given.insert(name.clone(), Value::floats(data.axes.clone(), noise(u64::from(node.0) + 7, count)));
        }
    }
}

/// Both graphs give the same outputs (in whatever layout), to 1e-10.
pub fn assert_same(a: &Graph, b: &Graph, given: &Named, lengths: &Lengths) {
    let (x, y) = (run(a, given, lengths), run(b, given, lengths));
    for (name, x) in &x {
        assert_close(name, &x.data, &y[name].laid_out(&x.axes, lengths).data);
    }
}

pub fn assert_close(name: &str, x: &[f64], y: &[f64]) {
    assert_eq!(x.len(), y.len(), "{name}");
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        assert!(x == y || (x - y).abs() <= 1e-10 * (1.0 + x.abs()), "{name}[{i}]: {x} and {y}");
    }
}

/// How many nodes do this.
pub fn count(graph: &Graph, which: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().filter(|(_, data)| which(&data.op)).count()
}

/// The map, for tests that only count.
pub fn is_map(op: &Op, map: MapOp) -> bool {
    *op == Op::Map(map)
}
