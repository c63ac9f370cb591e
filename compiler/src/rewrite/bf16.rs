//! Products in bf16. Their factors are rounded, sums are taken in f32. What products give to later ones is rounded too where
//! the backward pass reads it, so that it is held in half the memory. All else is f32: norms, softmax, losses, what
//! is added up over layers, gradients of weights.
//!
//! A product is one of matrices: each factor has an axis that the other lacks. Sums of squares, means and dot products are none.

use super::rebuild::{Copies, finish, rebuild};
use crate::tensor::{Attention, Axis, CallKind, DType, Graph, MapOp, Node, NodeData, Op};
use std::collections::{HashMap, HashSet};

/// The graph of a step with its products in bf16. Weights named in `kept` are not rounded: they are held in fewer bits already,
/// or as the program says.
pub fn bf16(graph: &Graph, kept: &[String]) -> Graph {
    let is_kept = |data: &NodeData| matches!(&data.op, Op::Weight(name) if kept.contains(name));
    let kept = graph.nodes().filter(|(_, data)| is_kept(data)).map(|(node, _)| node).collect();
    rounded(graph, &kept, &held(graph))
}

/// The graph with factors rounded, and the values of `held`. What is seen of `kept` is left as it is.
fn rounded(graph: &Graph, kept: &HashSet<Node>, held: &HashSet<Node>) -> Graph {
    let mut round = Round { to: Graph::new(), done: HashMap::new(), kept: HashSet::new() };
    let mut copies = Copies::default();
    for (node, data) in graph.nodes() {
        round.to.come_from(data.origin.clone());
        let mut inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
        let mut of = data.clone();
        match &mut of.op {
            Op::Contract(_) if is_product(graph, data) => {
                inputs.iter_mut().for_each(|n| *n = round.of(*n));
            }
            Op::Call { kind: CallKind::Attention(a) | CallKind::AttentionGrad(a), .. } => {
                let wide = |n: &Node| has_features(graph.axes(*n), a);
                let both = inputs.iter_mut().zip(&data.inputs).filter(|(_, n)| wide(n));
                both.for_each(|(copy, _)| *copy = round.of(*copy));
            }
            Op::Call { kind, body } => {
                let mut own = HashSet::new();
                for (param, input) in body.params.iter().zip(&mut inputs) {
                    let outside = matches!(kind, CallKind::Chunked { .. }) && is_factor_alone(body, *param);
                    // Bodies read whole buffers, not views.
                    if outside {
                        *input = round.whole(*input);
                    }
                    if outside || round.is_kept(*input) {
                        own.insert(*param);
                    }
                }
                **body = rounded(body, &own, &HashSet::new());
            }
            Op::Scan { body, .. } | Op::Loop { body, .. } => {
                let params = body.params.iter().zip(&inputs);
                let own = params.filter(|(_, input)| round.is_kept(**input)).map(|(param, _)| *param).collect();
                **body = rounded(body, &own, &HashSet::new());
            }
            _ => {}
        }
        let mut copy = rebuild(&mut round.to, &of, &inputs);
        if kept.contains(&node) {
            round.kept.insert(copy);
        }
        if held.contains(&node) {
            copy = round.of(copy);
        }
        copies.insert(node, copy);
    }
    finish(graph, &mut round.to, &copies);
    round.to
}

struct Round {
    to: Graph,
    /// What was rounded, each once.
    done: HashMap<Node, Node>,
    kept: HashSet<Node>,
}

impl Round {
    /// The value rounded, below the views through which it is seen.
    fn of(&mut self, node: Node) -> Node {
        if !is_view(self.to.op(node)) {
            return self.whole(node);
        }
        if let Some(done) = self.done.get(&node) {
            return *done;
        }
        let data = self.to.get(node).clone();
        let below = self.of(data.inputs[0]);
        let done = if below == data.inputs[0] { node } else { rebuild(&mut self.to, &data, &[below]) };
        self.done.insert(node, done);
        done
    }

    /// The value rounded as it is.
    fn whole(&mut self, node: Node) -> Node {
        if let Some(done) = self.done.get(&node) {
            return *done;
        }
        let is_done =
            self.to.dtype(node) != DType::Float || self.is_kept(node) || self.to.op(node) == &Op::Map(MapOp::Bf16);
        let done = if is_done { node } else { self.to.map(MapOp::Bf16, &[node]) };
        self.done.insert(node, done);
        self.done.insert(done, done);
        done
    }

    fn is_kept(&self, mut node: Node) -> bool {
        while is_view(self.to.op(node)) {
            node = self.to.get(node).inputs[0];
        }
        self.kept.contains(&node)
    }
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Rename { .. } | Op::Flatten { .. } | Op::Split { .. } | Op::Slice { .. } | Op::Tile(_) | Op::Stop)
}

/// Whether a contraction multiplies matrices.
fn is_product(graph: &Graph, data: &NodeData) -> bool {
    let [x, y] = data.inputs[..] else { return false };
    let more = |x: Node, y: Node| graph.axes(x).iter().any(|axis| !graph.has(y, axis));
    matches!(data.op, Op::Contract(_)) && graph.dtype(x) == DType::Float && more(x, y) && more(y, x)
}

/// Queries, keys, values and what has their axes, but no numbers of rows.
fn has_features(axes: &[Axis], attention: &Attention) -> bool {
    axes.contains(&attention.hdim) || axes.contains(&attention.vdim)
}

/// Whether products alone read a body's param.
fn is_factor_alone(body: &Graph, param: Node) -> bool {
    let mut seen = HashSet::from([param]);
    let mut is_factor = false;
    for (node, data) in body.nodes() {
        if data.inputs.iter().any(|n| seen.contains(n)) {
            match is_view(&data.op) {
                true => drop(seen.insert(node)),
                false if is_product(body, data) => is_factor = true,
                false => return false,
            }
        }
    }
    is_factor && !body.outputs.iter().any(|(_, node)| seen.contains(node))
}

/// Values on rows of the batch that products make, that later products depend on, and that the backward pass reads, or a
/// function of them alone.
fn held(graph: &Graph) -> HashSet<Node> {
    let count = graph.len();
    let at = |node: &Node| node.0 as usize;
    let on_rows = |node: &Node| graph.axes(*node).iter().any(|axis| axis.fixed_size().is_none());
    // Sums and multiples of what products give, with what has no rows; functions of such values.
    let (mut linear, mut bent) = (vec![false; count], vec![false; count]);
    for (node, data) in graph.nodes() {
        let rows: Vec<&Node> = data.inputs.iter().filter(|n| on_rows(n)).collect();
        let all = |of: &[bool]| !rows.is_empty() && rows.iter().all(|n| of[at(n)]);
        linear[at(&node)] = match &data.op {
            Op::Contract(_) => is_product(graph, data),
            Op::Map(MapOp::Add | MapOp::Sub | MapOp::Neg) => all(&linear),
            Op::Map(MapOp::Mul) => rows.len() == 1 && all(&linear),
            op => is_view(op) && linear[at(&data.inputs[0])],
        };
        let either = |n: &&Node| linear[at(n)] || bent[at(n)];
        let is_pointwise = matches!(data.op, Op::Map(_)) || is_view(&data.op);
        bent[at(&node)] = !linear[at(&node)] && is_pointwise && !rows.is_empty() && rows.iter().all(either);
    }
    let mut is_forward = vec![false; count];
    for (name, node) in &graph.outputs {
        is_forward[at(node)] |= !name.starts_with("grad.");
    }
    // Whether a later product of the forward pass depends on it; whether the backward pass reads it.
    let (mut feeds, mut is_read) = (vec![false; count], vec![false; count]);
    for i in (0..count).rev() {
        let data = graph.get(Node(i as u32));
        let is_call = matches!(data.op, Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. });
        let multiplies = is_call || is_product(graph, data);
        for input in &data.inputs {
            is_forward[at(input)] |= is_forward[i];
            feeds[at(input)] |= is_forward[i] && (multiplies || feeds[i]);
            is_read[at(input)] |= match is_view(&data.op) || (is_forward[i] && bent[i]) {
                true => is_read[i],
                false => !is_forward[i] && !multiplies,
            };
        }
    }
    let wide = |node: &Node| on_rows(node) && graph.axes(*node).iter().any(|axis| axis.fixed_size() > Some(1));
    let mut found = HashSet::new();
    // What follows entry by entry from what is held is not held beside it.
    let mut follows = vec![false; count];
    for (node, data) in graph.nodes() {
        let i = at(&node);
        let mut rows = data.inputs.iter().filter(|n| on_rows(n)).peekable();
        let is_pointwise = matches!(data.op, Op::Map(_)) || is_view(&data.op);
        follows[i] = is_pointwise && rows.peek().is_some() && rows.all(|n| follows[at(n)]);
        let held = is_forward[i] && linear[i] && feeds[i] && is_read[i] && wide(&node) && !is_view(&data.op);
        if held && !follows[i] {
            found.insert(node);
            follows[i] = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::vjp;
    use crate::rewrite::simplify::simplify;
    use crate::tensor::AxisKind;
    use crate::tensor::print::print;

    fn axis(name: &str, size: usize) -> Axis {
        Axis::fixed(name, size)
    }

    /// A net of two layers with a gate, a bias and a norm, its loss a sum of squares of what it gives for each row.
    fn step() -> Graph {
        let rows = Axis::new("rows", AxisKind::Dynamic(0));
        let (dim, ff, out) = (axis("dim", 8), axis("ff", 16), axis("out", 3));
        let mut g = Graph::new();
        let x = g.input("x", vec![rows.clone(), dim.clone()], DType::Float);
        let up = g.weight("up", vec![dim.clone(), ff.clone()]);
        let bias = g.weight("bias", vec![ff.clone()]);
        let down = g.weight("down", vec![ff.clone(), out.clone()]);
        let still = g.weight("still", vec![dim.clone(), ff.clone()]);
        let square = g.contract(x, x, std::slice::from_ref(&dim));
        let size = g.map(MapOp::Rsqrt, &[square]);
        let normal = g.map(MapOp::Mul, &[x, size]);
        let product = g.contract(normal, up, std::slice::from_ref(&dim));
        let sum = g.map(MapOp::Add, &[product, bias]);
        let gate = g.contract(normal, still, std::slice::from_ref(&dim));
        let bent = g.map(MapOp::Tanh, &[sum]);
        let inner = g.map(MapOp::Mul, &[bent, gate]);
        let y = g.contract(inner, down, std::slice::from_ref(&ff));
        let loss = g.contract(y, y, &[rows, out]);
        g.output("loss", loss);
        let grads = vjp(&mut g, loss, None, &[up, down, bias]);
        ["up", "down", "bias"].iter().zip(grads).for_each(|(name, grad)| g.output(format!("grad.{name}"), grad));
        simplify(&g)
    }

    fn is_rounded(g: &Graph, node: Node) -> bool {
        *g.op(node) == Op::Map(MapOp::Bf16)
    }

    /// The values that are rounded, as their ops.
    fn readers(g: &Graph, of: impl Fn(&NodeData) -> bool) -> Vec<&Op> {
        let found = g.nodes().filter(|(_, data)| data.inputs.iter().any(|n| of(g.get(*n))));
        found.map(|(_, data)| &data.op).collect()
    }

    #[test]
    fn factors_are_rounded_and_what_is_held_between_products() {
        let plain = step();
        let g = bf16(&plain, &["still".into()]);
        let mut products = 0;
        for (_, data) in g.nodes().filter(|(_, data)| matches!(data.op, Op::Contract(_))) {
            let [x, y] = data.inputs[..] else { panic!("two factors") };
            match is_product(&g, data) {
                true => {
                    let fine = |n| is_rounded(&g, n) || *g.op(n) == Op::Weight("still".into());
                    assert!(fine(x) && fine(y), "{}", print(&g));
                    products += 1;
                }
                // The norm and the loss.
                false => assert!(!is_rounded(&g, x) && !is_rounded(&g, y), "{}", print(&g)),
            }
        }
        assert_eq!(products, 6, "three forward, three backward: {}", print(&g));
        let is = |name: &'static str| move |data: &NodeData| data.op == Op::Weight(name.to_string());
        assert_eq!(readers(&g, is("up")), [&Op::Map(MapOp::Bf16)]);
        assert!(!readers(&g, is("still")).contains(&&Op::Map(MapOp::Bf16)));
        assert_eq!(readers(&g, is("bias")), [&Op::Map(MapOp::Add)]);
        // The gate and what tanh is of are rounded once, for both passes; what the last product gives is not.
        let rounded = g.nodes().filter(|(node, _)| is_rounded(&g, *node)).map(|(_, data)| data.inputs[0]);
        let linear = |n: &Node| matches!(g.op(*n), Op::Contract(_) | Op::Map(MapOp::Add)) && g.has(*n, &axis("ff", 16));
        let linear: Vec<Node> = rounded.filter(linear).collect();
        assert_eq!(linear.len(), 2, "{}", print(&g));
        for node in linear {
            let read = readers(&g, |data| *data == *g.get(node));
            assert_eq!(read, [&Op::Map(MapOp::Bf16)], "{}", print(&g));
        }
        let last = |data: &NodeData| matches!(&data.op, Op::Contract(over) if over[..] == [axis("ff", 16)]);
        assert!(!readers(&g, last).contains(&&Op::Map(MapOp::Bf16)), "{}", print(&g));
        for (name, node) in &g.outputs {
            assert!(!is_rounded(&g, *node), "{name}");
        }
    }

    /// What is added up over layers is not rounded: it is no product's alone.
    #[test]
    fn sums_over_layers_are_not_held() {
        let rows = Axis::new("rows", AxisKind::Dynamic(0));
        let (dim, ff) = (axis("dim", 8), axis("ff", 16));
        let mut g = Graph::new();
        let mut x = g.input("x", vec![rows.clone(), dim.clone()], DType::Float);
        let mut weights = vec![];
        for layer in 0..2 {
            let up = g.weight(format!("up{layer}"), vec![dim.clone(), ff.clone()]);
            let down = g.weight(format!("down{layer}"), vec![ff.clone(), dim.clone()]);
            let square = g.contract(x, x, std::slice::from_ref(&dim));
            let size = g.map(MapOp::Rsqrt, &[square]);
            let normal = g.map(MapOp::Mul, &[x, size]);
            let inner = g.contract(normal, up, std::slice::from_ref(&dim));
            // Half of it follows from it.
            let half = g.float(0.5);
            let half = g.map(MapOp::Mul, &[inner, half]);
            let bent = g.map(MapOp::Tanh, &[half]);
            let inner = g.map(MapOp::Mul, &[inner, bent]);
            let more = g.contract(inner, down, std::slice::from_ref(&ff));
            x = g.map(MapOp::Add, &[x, more]);
            weights.extend([up, down]);
        }
        let loss = g.contract(x, x, &[rows, dim]);
        g.output("loss", loss);
        let grads = vjp(&mut g, loss, None, &weights);
        grads.into_iter().enumerate().for_each(|(i, grad)| g.output(format!("grad.{i}"), grad));
        let g = simplify(&g);
        // The last layer's is read by the loss alone, after all products.
        let found = held(&g);
        assert!(found.len() == 2 && found.iter().all(|n| g.has(*n, &ff)), "{found:?} {}", print(&g));
    }
}
