//! What a loss reads of policies that stay as they are: worked out once for each row before a stage trains, so that the stage
//! holds no weights of theirs.
//!
//! A value is *fixed* if it follows from the item and weights that stay alone: no weight of the policy that trains, no state, no
//! draw, no other item. What the rest of the loss reads of fixed values is *kept* if it is numbers of the item or of its tokens;
//! a policy is given up only if everything that is read of it can be kept (a teacher's logits cannot: they would not fit).

use super::items::ItemInput;
use crate::batch::training::is_of_the_step;
use crate::rewrite::rebuild::copy_with;
use crate::rewrite::simplify::drop_dead;
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, AxisKind, Graph, Node, NodeData, Op};
use std::collections::BTreeSet;

/// Begins the name of an input of a loss that is worked out before the stage.
pub const KEPT: &str = "kept.";

/// A loss without the policies that it need not hold.
pub struct Hoisted {
    /// The loss; what is kept are inputs.
    pub loss: Graph,
    /// What is kept, as outputs of the inputs' names.
    pub kept: Graph,
    pub inputs: Vec<ItemInput>,
}

/// Cuts the graph of a loss for one item. `policy` names the policy of a weight that stays as it is, by the weight's path. `None`
/// if nothing can be kept.
pub fn hoist<'a>(graph: &'a Graph, policy: impl Fn(&'a str) -> Option<&'a str>) -> Option<Hoisted> {
    let facts = facts(graph, &policy);
    // Policies of which something else is read too.
    let mut held: BTreeSet<&str> = BTreeSet::new();
    let cut = loop {
        let cut = frontier(graph, &facts, &held);
        let more = cut.remaining.iter().flat_map(|node| &facts[node.0 as usize].own).filter(|p| !held.contains(*p));
        let more: BTreeSet<&str> = more.copied().collect();
        if more.is_empty() {
            break cut;
        }
        held.extend(more);
    };
    if cut.kept.is_empty() {
        return None;
    }
    let inputs = cut.kept.iter().enumerate().map(|(i, node)| ItemInput {
        name: format!("{KEPT}{i}"),
        axes: outer_first(graph.axes(*node)),
        dtype: graph.dtype(*node),
    });
    let inputs: Vec<ItemInput> = inputs.collect();
    let loss = copy_with(graph, |to, node, _| {
        let at = cut.kept.iter().position(|kept| *kept == node)?;
        let ItemInput { name, axes, dtype } = inputs[at].clone();
        Some(to.input(name, axes, dtype))
    });
    let mut kept = graph.clone();
    kept.outputs.clear();
    for (input, node) in inputs.iter().zip(&cut.kept) {
        kept.output(input.name.clone(), *node);
    }
    Some(Hoisted { loss: drop_dead(&loss), kept: drop_dead(&kept), inputs })
}

/// What is known of a node.
#[derive(Clone, Default)]
struct Facts<'a> {
    fixed: bool,
    /// Something of the item is in it.
    of_item: bool,
    /// Policies that it follows from.
    policies: BTreeSet<&'a str>,
    /// Those whose weights it reads itself.
    own: BTreeSet<&'a str>,
}

fn facts<'a>(graph: &'a Graph, policy: &impl Fn(&'a str) -> Option<&'a str>) -> Vec<Facts<'a>> {
    let mut facts: Vec<Facts> = Vec::with_capacity(graph.len());
    for (_, data) in graph.nodes() {
        let mut here = itself(data, policy);
        for input in &data.inputs {
            let of = &facts[input.0 as usize];
            here.fixed &= of.fixed;
            here.of_item |= of.of_item;
            here.policies.extend(&of.policies);
        }
        facts.push(here);
    }
    facts
}

/// Of a node without its inputs.
fn itself<'a>(data: &'a NodeData, policy: &impl Fn(&'a str) -> Option<&'a str>) -> Facts<'a> {
    let mut here = Facts { fixed: true, ..Facts::default() };
    match &data.op {
        Op::Input(name) => {
            here.fixed = !is_of_the_step(name);
            here.of_item = true;
        }
        Op::Weight(path) => match policy(path) {
            Some(of) => {
                here.policies.insert(of);
                here.own.insert(of);
            }
            None => here.fixed = false,
        },
        Op::Random(..) | Op::Items(_) | Op::Here => here.fixed = false,
        Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => {
            for (_, data) in body.nodes() {
                let inside = itself(data, policy);
                here.fixed &= inside.fixed;
                here.policies.extend(&inside.policies);
                here.own.extend(&inside.own);
            }
        }
        _ => {}
    }
    here.fixed &= !data.axes.iter().any(Axis::is_batch);
    here
}

struct Cut {
    kept: Vec<Node>,
    /// Nodes that the loss still works out.
    remaining: Vec<Node>,
}

/// The values at which a loss can be cut, without those of policies that it holds in any case.
fn frontier(graph: &Graph, facts: &[Facts], held: &BTreeSet<&str>) -> Cut {
    let kept = |node: Node| {
        let facts = &facts[node.0 as usize];
        let several = matches!(graph.op(node), Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. });
        facts.fixed
            && facts.of_item
            && !several
            && !facts.policies.is_empty()
            && facts.policies.is_disjoint(held)
            && is_narrow(graph.axes(node))
    };
    let mut seen = vec![false; graph.len()];
    let mut cut = Cut { kept: vec![], remaining: vec![] };
    let mut open: Vec<Node> = graph.outputs.iter().map(|(_, node)| *node).collect();
    while let Some(node) = open.pop() {
        if std::mem::replace(&mut seen[node.0 as usize], true) {
            continue;
        }
        if kept(node) {
            cut.kept.push(node);
        } else {
            cut.remaining.push(node);
            open.extend(&graph.get(node).inputs);
        }
    }
    cut.kept.sort_unstable_by_key(|node| node.0);
    cut
}

/// One number of the item, or one for each place of a ragged axis.
fn is_narrow(axes: &[Axis]) -> bool {
    let plain = |axis: &Axis| is_ragged(axis) && matches!(axis.kind(), AxisKind::Ragged { .. });
    let axes = outer_first(axes);
    axes.iter().all(plain) && axes.windows(2).all(|pair| is_inside(&pair[1], &pair[0]))
}

fn is_inside(inner: &Axis, outer: &Axis) -> bool {
    matches!(inner.kind(), AxisKind::Ragged { outer: Some(of), .. } if of == outer)
}

fn outer_first(axes: &[Axis]) -> Vec<Axis> {
    let depth = |axis: &Axis| match axis.kind() {
        AxisKind::Ragged { outer: Some(_), .. } => 1,
        _ => 0,
    };
    let mut axes = axes.to_vec();
    axes.sort_by_key(depth);
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, MapOp};

    fn policy(path: &str) -> Option<&str> {
        path.split_once(':').map(|(policy, _)| policy)
    }

    fn paths(graph: &Graph) -> Vec<&str> {
        let weight = |(_, data): (Node, &'_ NodeData)| matches!(data.op, Op::Weight(_));
        graph.nodes().filter(|n| weight(*n)).map(|(_, d)| if let Op::Weight(p) = &d.op { &p[..] } else { "" }).collect()
    }

    /// Scores of one policy minus those of another, summed over time; each is a product of an embedded token.
    struct Pair {
        graph: Graph,
        time: Axis,
        dim: Axis,
    }

    impl Pair {
        fn new() -> Pair {
            Pair { graph: Graph::new(), time: Axis::ragged("time", 1, None), dim: Axis::fixed("dim", 4) }
        }

        fn wide(&mut self, prefix: &str) -> Node {
            let vocab = Axis::fixed("vocab", 9);
            let tokens = self.graph.input("y.tokens", vec![self.time.clone()], DType::Int);
            let embed = self.graph.weight(format!("{prefix}embed"), vec![vocab.clone(), self.dim.clone()]);
            self.graph.gather(embed, &vocab, tokens)
        }

        fn score(&mut self, prefix: &str) -> Node {
            let x = self.wide(prefix);
            let out = self.graph.weight(format!("{prefix}out"), vec![self.dim.clone()]);
            self.graph.contract(x, out, std::slice::from_ref(&self.dim))
        }

        fn loss(mut self, of: Node) -> Graph {
            let sum = self.graph.sum(of, std::slice::from_ref(&self.time));
            self.graph.output("loss", sum);
            self.graph
        }
    }

    #[test]
    fn scores_of_a_reference_are_kept() {
        let mut pair = Pair::new();
        let (own, other) = (pair.score(""), pair.score("7:"));
        let difference = pair.graph.map(MapOp::Sub, &[own, other]);
        let time = pair.time.clone();
        let hoisted = hoist(&pair.loss(difference), policy).unwrap();
        assert_eq!(paths(&hoisted.loss), ["embed", "out"]);
        assert_eq!(paths(&hoisted.kept), ["7:embed", "7:out"]);
        let input = ItemInput { name: "kept.0".into(), axes: vec![time], dtype: DType::Float };
        assert_eq!(hoisted.inputs, [input]);
        assert_eq!(hoisted.kept.outputs.len(), 1);
    }

    /// What is read of a policy in full is worked out in the step, and then all of that policy is.
    #[test]
    fn wide_values_stay_in_the_step() {
        let mut pair = Pair::new();
        let (own, teacher) = (pair.wide(""), pair.wide("7:"));
        let (score, reference) = (pair.score("7:"), pair.score("8:"));
        let product = pair.graph.contract(own, teacher, std::slice::from_ref(&pair.dim));
        let sum = pair.graph.map(MapOp::Add, &[product, score]);
        let sum = pair.graph.map(MapOp::Add, &[sum, reference]);
        let hoisted = hoist(&pair.loss(sum), policy).unwrap();
        assert_eq!(paths(&hoisted.kept), ["8:embed", "8:out"]);
        assert!(paths(&hoisted.loss).contains(&"7:out"));
        let mut alone = Pair::new();
        let (own, teacher) = (alone.wide(""), alone.wide("7:"));
        let product = alone.graph.contract(own, teacher, std::slice::from_ref(&alone.dim));
        assert!(hoist(&alone.loss(product), policy).is_none());
    }

    #[test]
    fn what_moves_is_not_kept() {
        let mut pair = Pair::new();
        let (own, other) = (pair.score(""), pair.score("7:"));
        let state = pair.graph.input("state.mean", vec![], DType::Float);
        // A product with a state moves, its factor does not.
        let other = pair.graph.map(MapOp::Mul, &[other, state]);
        let difference = pair.graph.map(MapOp::Sub, &[own, other]);
        let hoisted = hoist(&pair.loss(difference), policy).unwrap();
        assert_eq!(paths(&hoisted.loss), ["embed", "out"]);
        assert!(hoisted.kept.nodes().all(|(_, data)| data.op != Op::Input("state.mean".into())));
        // Without an item there is nothing for each row.
        let mut decay = Pair::new();
        let own = decay.score("");
        let far = decay.graph.weight("7:out", vec![decay.dim.clone()]);
        let far = decay.graph.sum(far, std::slice::from_ref(&decay.dim));
        let sum = decay.graph.map(MapOp::Sub, &[own, far]);
        assert!(hoist(&decay.loss(sum), policy).is_none());
    }
}
