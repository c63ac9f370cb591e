//! From all weights of a family at once to one of them: the axis `tensor` goes, and what reduces over it is gathered.

use crate::rewrite::inline::inline_plain;
use crate::rewrite::rebuild::{Copies, rebuild};
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp};

/// The weights of a family, in the order of the stage.
pub fn tensor_axis() -> Axis {
    Axis::new("tensor", AxisKind::Dynamic(1))
}

/// The graph for one weight. What is read of other weights is an output `all.<k>` for each and an input of this name,
/// with the axis [`tensor_axis`], for all of them. The error is a clause.
pub fn localize(graph: &Graph) -> Result<Graph, String> {
    let graph = inline_plain(graph);
    let tensor = tensor_axis();
    let mut pass = Localize { to: Graph::new(), copies: Copies::default(), gathered: vec![], tensor };
    for (node, data) in graph.nodes() {
        pass.to.come_from(data.origin.clone());
        let copy = pass.node(data)?;
        pass.copies.insert(node, copy);
    }
    let Localize { mut to, copies, gathered, .. } = pass;
    for (name, node) in &graph.outputs {
        to.output(name.clone(), copies[node]);
    }
    for (k, node) in gathered.into_iter().enumerate() {
        to.output(format!("all.{k}"), node);
    }
    Ok(to)
}

struct Localize {
    to: Graph,
    copies: Copies,
    /// What each weight gives for the others.
    gathered: Vec<Node>,
    tensor: Axis,
}

impl Localize {
    fn node(&mut self, data: &NodeData) -> Result<Node, String> {
        let inputs: Vec<Node> = data.inputs.iter().map(|n| self.copies[n]).collect();
        let tensor = self.tensor.clone();
        let without = |axes: &[Axis]| axes.iter().filter(|a| **a != tensor).cloned().collect::<Vec<_>>();
        let local = |data: &NodeData| NodeData { axes: without(&data.axes), inputs: inputs.clone(), ..data.clone() };
        Ok(match &data.op {
            Op::Iota if data.axes.contains(&tensor) => self.here(),
            Op::Reduce(op, over) if over.contains(&tensor) => {
                let own = self.to.reduce(*op, inputs[0], &without(over));
                let all = self.gather(own)?;
                self.to.reduce(*op, all, &[tensor])
            }
            Op::Contract(over) if over.contains(&tensor) => {
                let rest = without(over);
                let own = match rest.is_empty() {
                    true => self.to.map(MapOp::Mul, &inputs),
                    false => self.to.contract(inputs[0], inputs[1], &rest),
                };
                let all = self.gather(own)?;
                self.to.reduce(ReduceOp::Sum, all, &[tensor])
            }
            Op::Tile(axis) if *axis == tensor => inputs[0],
            Op::Gather(axis) if *axis == tensor => {
                let all = self.gather(inputs[0])?;
                self.to.gather(all, &tensor, inputs[1])
            }
            Op::Argsort(axis) | Op::Cumsum { axis, .. } if *axis == tensor => {
                let all = self.gather(inputs[0])?;
                let done = rebuild(&mut self.to, data, &[all]);
                let here = self.here();
                self.to.gather(done, &tensor, here)
            }
            Op::Rename { from, .. }
            | Op::Slice { from, .. }
            | Op::Pad { from, .. }
            | Op::Topk { from, .. }
            | Op::Split { from, .. }
                if *from == tensor =>
            {
                return Err(format!("{} along `tensor`", word(&data.op)));
            }
            Op::Flatten { from, .. } if from.contains(&tensor) => return Err("`flatten` along `tensor`".into()),
            Op::Concat { from, .. } if from.contains(&tensor) => return Err("`concat` along `tensor`".into()),
            Op::ScatterAdd(axis) if *axis == tensor => return Err("`place` along `tensor`".into()),
            Op::Scan { axis, .. } if *axis == tensor => return Err("`scan` along `tensor`".into()),
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => {
                let mut data = local(data);
                let body = stripped(body, &tensor)?;
                match &mut data.op {
                    Op::Scan { body: b, .. } | Op::Loop { body: b, .. } | Op::Call { body: b, .. } => **b = body,
                    _ => {}
                }
                self.to.push(data)
            }
            Op::Input(_) | Op::Weight(_) | Op::Random(..) | Op::ScatterAdd(_) | Op::Result(_) => {
                self.to.push(local(data))
            }
            _ => rebuild(&mut self.to, data, &inputs),
        })
    }

    /// A number of this weight, of all of them.
    fn gather(&mut self, own: Node) -> Result<Node, String> {
        let dtype = self.to.dtype(own);
        let own = self.to.cast(own, DType::Float);
        let k = self.gathered.iter().position(|node| *node == own).unwrap_or_else(|| {
            self.gathered.push(own);
            self.gathered.len() - 1
        });
        let mut axes = vec![self.tensor.clone()];
        axes.extend(self.to.axes(own).iter().cloned());
        if let Some(axis) = axes[1..].iter().find(|axis| axis.fixed_size().is_none() || axis.name() == "entry") {
            return Err(format!("all weights are read entry by entry along `{}`: reduce it first", axis.name()));
        }
        let all = self.to.input(format!("all.{k}"), axes, DType::Float);
        Ok(self.to.cast(all, dtype))
    }

    fn here(&mut self) -> Node {
        self.to.input("here", vec![], DType::Int)
    }
}

/// A body for one weight. Nothing in it may be of several.
fn stripped(body: &Graph, tensor: &Axis) -> Result<Graph, String> {
    let mut new = Graph::new();
    let mut nodes: Vec<Node> = vec![];
    for (_, data) in body.nodes() {
        let mut data = data.clone();
        data.inputs.iter_mut().for_each(|n| *n = nodes[n.0 as usize]);
        data.axes.retain(|axis| axis != tensor);
        match &mut data.op {
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => **body = stripped(body, tensor)?,
            Op::Reduce(_, over) | Op::Contract(over) if over.contains(tensor) => {
                return Err("a reduction over `tensor` inside of `scan`".into());
            }
            Op::Iota if data.axes.is_empty() => return Err("`index[tensor]` inside of `scan`".into()),
            Op::Tile(axis) if axis == tensor => {
                nodes.push(data.inputs[0]);
                continue;
            }
            _ => {}
        }
        nodes.push(new.push(data));
    }
    new.params = body.params.iter().map(|n| nodes[n.0 as usize]).collect();
    new.outputs = body.outputs.iter().map(|(name, n)| (name.clone(), nodes[n.0 as usize])).collect();
    Ok(new)
}

fn word(op: &Op) -> &'static str {
    match op {
        Op::Rename { .. } => "`rename`",
        Op::Topk { .. } => "`topk`",
        Op::Split { .. } => "`split`",
        _ => "a slice",
    }
}
