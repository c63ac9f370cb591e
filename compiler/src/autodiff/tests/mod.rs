//! Every primitive against finite differences, forwards against backwards, and derivatives of derivatives.

mod bodies;
mod dense;
mod maps;
mod nested;
mod structure;

use super::{jvp, vjp};
use crate::rewrite::oracle::{Named, Value, fill, noise, run};
use crate::rewrite::simplify::simplify;
use crate::tensor::verify::assert_valid;
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Node, Op};

/// A function of Float inputs, and numbers at which it is looked at.
struct Case {
    lengths: Lengths,
    given: Named,
}

impl Case {
    fn new() -> Case {
        Case { lengths: Lengths::new(), given: Named::new() }
    }

    fn length(mut self, axis: Axis, lengths: &[usize]) -> Case {
        self.lengths.set(axis, lengths.to_vec());
        self
    }

    fn with(mut self, name: &str, value: Value) -> Case {
        self.given.insert(name.into(), value);
        self
    }

    /// First and second derivatives of the outputs that `build` makes, by all Float inputs: backwards and forwards in all
    /// orders, with and without simplification, and by finite differences.
    fn check(self, build: impl Fn(&mut Graph) -> Vec<Node>) {
        let (graph, names) = with_derivatives(build);
        assert_valid(&graph);
        let Case { lengths, mut given } = self;
        fill(&graph, &mut given, &lengths);
        let found = run(&graph, &given, &lengths);
        let simple = run(&simplify(&graph), &given, &lengths);
        for (name, value) in &found {
            close(name, 1e-9, &value.data, &simple[name].laid_out(&value.axes, &lengths).data);
        }
        let dot = |of: &str| -> f64 {
            let sum = |name: &String| {
                let (x, y) = (&found[&format!("{of}.{name}")], &given[&format!("tangent.{name}")]);
                let y = y.laid_out(&x.axes, &lengths);
                x.data.iter().zip(&y.data).map(|(x, y)| x * y).sum::<f64>()
            };
            names.iter().map(sum).sum()
        };
        close("forwards and backwards", 1e-10, &found["moved"].data, &[dot("grad")]);
        for name in &names {
            let value = |of: &str| found[&format!("{of}.{name}")].laid_out(&given[name].axes, &lengths).data;
            let [backward, mixed] = [
                differences(&graph, "whole", name, &given, &lengths),
                differences(&graph, "moved", name, &given, &lengths),
            ];
            close(&format!("differences by {name}"), 1e-6, &value("grad"), &backward);
            close(&format!("backwards twice by {name}"), 1e-6, &value("rr"), &mixed);
            close(&format!("forwards of backwards by {name}"), 1e-9, &value("fr"), &value("rr"));
            close(&format!("backwards of forwards by {name}"), 1e-9, &value("rf"), &value("rr"));
        }
    }
}

/// The graph with, as outputs, `whole` (a sum of all outputs, each entry with a factor of its own), its tangent `moved`,
/// and by input: `grad`, and the product of the Hessian with the tangents in three ways. Names of the inputs.
fn with_derivatives(build: impl Fn(&mut Graph) -> Vec<Node>) -> (Graph, Vec<String>) {
    let mut g = Graph::new();
    let outputs = build(&mut g);
    let inputs: Vec<(String, Node)> = g
        .nodes()
        .filter(|(_, data)| data.dtype == DType::Float)
        .filter_map(|(node, data)| match &data.op {
            Op::Input(name) | Op::Weight(name) => Some((name.clone(), node)),
            _ => None,
        })
        .collect();
    let mut whole = g.float(0.0);
    for (i, output) in outputs.into_iter().enumerate() {
        let axes = g.axes(output).to_vec();
        let factor = g.input(format!("factor{i}"), axes, DType::Float);
        let sum = product_sum(&mut g, factor, output);
        whole = g.map(MapOp::Add, &[whole, sum]);
    }
    let nodes: Vec<Node> = inputs.iter().map(|(_, n)| *n).collect();
    let tangents: Vec<(Node, Node)> = inputs
        .iter()
        .map(|(name, node)| (*node, g.input(format!("tangent.{name}"), g.axes(*node).to_vec(), DType::Float)))
        .collect();
    let grads = vjp(&mut g, whole, None, &nodes);
    let moved = jvp(&mut g, &[whole], &tangents)[0];
    let mut along = g.float(0.0);
    for (grad, (_, tangent)) in grads.iter().zip(&tangents) {
        let sum = product_sum(&mut g, *grad, *tangent);
        along = g.map(MapOp::Add, &[along, sum]);
    }
    let rr = vjp(&mut g, along, None, &nodes);
    let fr = jvp(&mut g, &grads, &tangents);
    let rf = vjp(&mut g, moved, None, &nodes);
    g.output("whole", whole);
    g.output("moved", moved);
    for (i, (name, node)) in inputs.iter().enumerate() {
        for (of, values) in [("grad", &grads), ("rr", &rr), ("fr", &fr), ("rf", &rf)] {
            assert_eq!(sorted(&g, values[i]), sorted(&g, *node), "{of}.{name} has the axes of {name}");
            g.output(format!("{of}.{name}"), values[i]);
        }
    }
    (g, inputs.into_iter().map(|(name, _)| name).collect())
}

fn sorted(graph: &Graph, node: Node) -> Vec<Axis> {
    let mut axes = graph.axes(node).to_vec();
    axes.sort();
    axes
}

/// Σ x y over all axes.
fn product_sum(g: &mut Graph, x: Node, y: Node) -> Node {
    let product = g.map(MapOp::Mul, &[x, y]);
    let axes = g.axes(product).to_vec();
    g.sum(product, &axes)
}

/// Central differences of a scalar output by each entry of an input.
fn differences(graph: &Graph, output: &str, by: &str, given: &Named, lengths: &Lengths) -> Vec<f64> {
    let mut only = graph.clone();
    only.outputs.retain(|(name, _)| name == output);
    let only = crate::rewrite::simplify::drop_dead(&only);
    let at = |i: usize, h: f64| {
        let mut given = given.clone();
        given.get_mut(by).expect("an input").data[i] += h;
        run(&only, &given, lengths)[output].data[0]
    };
    let h = 1e-5;
    (0..given[by].data.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect()
}

fn close(what: &str, tolerance: f64, x: &[f64], y: &[f64]) {
    assert_eq!(x.len(), y.len(), "{what}");
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        let size = 1.0 + x.abs().max(y.abs());
        assert!((x - y).abs() <= tolerance * size, "{what}[{i}]: {x} and {y}");
    }
}

fn axis(name: &str, size: usize) -> Axis {
    Axis::fixed(name, size)
}

/// Numbers between two bounds.
fn between(seed: u64, axes: &[Axis], lengths: &Lengths, low: f64, high: f64) -> Value {
    let count = axes.iter().map(|a| lengths.size(a)).product();
    let data = noise(seed, count).into_iter().map(|x| low + (high - low) * (x + 1.0) / 2.0).collect();
    Value::floats(axes.to_vec(), data)
}
