//! Values that are other values seen with other strides.

use crate::kernel::ir::{BufferId, Size, View};
use crate::tensor::{Axis, Graph, Node, Op};

/// A node as a part of another, which is stored: the stride of each axis of the node.
pub struct Seen {
    pub base: Node,
    pub offset: usize,
    pub axes: Vec<(Axis, Size)>,
}

/// The node that is stored if the value is read through strides: the first one below that is more than a view.
pub fn base(graph: &Graph, mut node: Node) -> Node {
    while let Op::Rename { .. } | Op::Flatten { .. } | Op::Split { .. } | Op::Slice { .. } | Op::Tile(_) | Op::Stop =
        graph.op(node)
    {
        node = graph.get(node).inputs[0];
    }
    node
}

/// The node through the strides of its base, whose memory order is given. `None` if strides do not say it.
pub fn seen(graph: &Graph, node: Node, layout: &impl Fn(Node) -> Vec<Axis>) -> Option<Seen> {
    let data = graph.get(node);
    let below = |layout: &_| seen(graph, data.inputs[0], layout);
    match &data.op {
        Op::Stop => below(layout),
        Op::Tile(axis) => {
            let mut x = below(layout)?;
            x.axes.push((axis.clone(), Size::zero()));
            Some(x)
        }
        Op::Rename { from, to } => {
            let mut x = below(layout)?;
            x.axes.iter_mut().filter(|(a, _)| a == from).for_each(|(a, _)| *a = to.clone());
            Some(x)
        }
        Op::Slice { from, to, start } => {
            let mut x = below(layout)?;
            let (axis, stride) = x.axes.iter_mut().find(|(a, _)| a == from)?;
            x.offset += stride.constant()? * start;
            *axis = to.clone();
            Some(x)
        }
        Op::Split { from, to: [first, second] } => {
            let mut x = below(layout)?;
            let at = x.axes.iter().position(|(a, _)| a == from)?;
            let stride = x.axes[at].1.clone();
            x.axes[at] = (first.clone(), stride.clone().times_axis(second));
            x.axes.push((second.clone(), stride));
            Some(x)
        }
        Op::Flatten { from: [first, second], to } => {
            let mut x = below(layout)?;
            let stride = |x: &Seen, a: &Axis| x.axes.iter().find(|(b, _)| a == b).map(|(_, s)| s.clone());
            let (outer, inner) = (stride(&x, first)?, stride(&x, second)?);
            if inner.clone().times_axis(second) != outer {
                return None;
            }
            x.axes.retain(|(a, _)| a != first && a != second);
            x.axes.push((to.clone(), inner));
            Some(x)
        }
        _ => {
            let axes = layout(node);
            let strides = (0..axes.len()).map(|i| Size::of(&axes[i + 1..])).collect::<Vec<_>>();
            Some(Seen { base: node, offset: 0, axes: axes.into_iter().zip(strides).collect() })
        }
    }
}

impl Seen {
    pub fn view(self, buffer: BufferId) -> View {
        View { buffer, offset: self.offset, axes: self.axes }
    }
}

/// Which of two strides is the greater: that one's axis is slower. Sizes that only a batch knows count as large.
pub fn slower(a: &Size, b: &Size) -> std::cmp::Ordering {
    (b.axes.len(), b.factor).cmp(&(a.axes.len(), a.factor))
}
