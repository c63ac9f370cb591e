//! Which values are stored, and in what memory order. All others are worked out where they are read.

use super::groups::Group;
use super::items::{Item, Kind};
use super::order::UsualOrder;
use super::prepare::Prepared;
use super::views::{Seen, base, seen};
use super::{KernelError, Layouts};
use crate::kernel::ir::{Buffer, BufferId, BufferKind, View};
use crate::storage::Storage;
use crate::tensor::{Axis, AxisKind, CallKind, DType, Graph, MapOp, Node, NodeData, Op, TableKind};
use std::collections::{HashMap, HashSet};

/// A value stored once more: an output, or another memory order.
pub struct Extra {
    pub node: Node,
    pub buffer: BufferId,
}

pub struct Homes<'a> {
    pub graph: &'a Graph,
    pub adds_to: &'a HashMap<Node, Node>,
    pub buffers: Vec<Buffer>,
    /// Where a node's value is stored.
    home: Vec<Option<BufferId>>,
    /// Nodes whose value a library-like step reads.
    forced: HashSet<Node>,
    pub extras: Vec<Extra>,
    /// Operands that need another memory order: by node and outermost axis.
    turned: HashMap<(Node, Axis), BufferId>,
    order: HashMap<Node, Vec<Axis>>,
    usual: UsualOrder,
    tables: HashMap<(Axis, TableKind), BufferId>,
}

/// Steps of their own.
pub fn is_opaque(op: &Op) -> bool {
    matches!(
        op,
        Op::Contract(_)
            | Op::ScatterAdd(_)
            | Op::Argsort(_)
            | Op::Topk { .. }
            | Op::Cumsum { .. }
            | Op::Scan { .. }
            | Op::Loop { .. }
            | Op::Solve(..)
            | Op::Cholesky(..)
            | Op::Qr(..)
            | Op::Eigh(..)
            | Op::Svd(..)
            | Op::Call { .. }
    )
}

pub fn is_reduce(op: &Op) -> bool {
    matches!(op, Op::Reduce(..) | Op::SegmentReduce(..))
}

/// Given or made by a step, never worked out in passing.
pub fn is_anchor(op: &Op) -> bool {
    is_opaque(op) || is_reduce(op) || matches!(op, Op::Result(_)) || is_leaf(op)
}

fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Weight(_) | Op::Array(_) | Op::Table(..))
}

impl<'a> Homes<'a> {
    pub fn new(prepared: &'a Prepared, layouts: &Layouts) -> Result<Homes<'a>, KernelError> {
        let graph = &prepared.graph;
        let mut homes = Homes {
            graph,
            adds_to: &prepared.adds_to,
            buffers: vec![],
            home: vec![None; graph.len()],
            forced: HashSet::new(),
            extras: vec![],
            turned: HashMap::new(),
            order: HashMap::new(),
            usual: UsualOrder::of(graph, layouts),
            tables: HashMap::new(),
        };
        homes.leaves(layouts);
        homes.operands()?;
        homes.result_orders();
        let direct = homes.direct_outputs(layouts);
        let stored = super::items::costs::stored(&homes);
        // In the order of steps, so that what is added to has its buffer first.
        let mut nodes: Vec<(Node, &NodeData)> = graph.nodes().collect();
        nodes.sort_by_key(|(node, data)| if matches!(data.op, Op::Result(_)) { data.inputs[0] } else { *node });
        for (node, data) in nodes {
            let made = matches!(data.op, Op::Result(_)) || (is_opaque(&data.op) && !has_results(&data.op));
            if homes.home[node.0 as usize].is_some() || !(made || is_reduce(&data.op) || stored.contains(&node)) {
                continue;
            }
            let kind = direct.get(&node).map_or(BufferKind::Temp, |name| BufferKind::Output(name.clone()));
            let buffer = match prepared.adds_to.get(&node).and_then(|n| homes.home(*n)) {
                Some(shared) => {
                    homes.buffers[shared.0 as usize].kind = kind;
                    shared
                }
                None => {
                    let buffer = homes.add(node_name(graph, node), data.dtype, homes.layout(node), kind);
                    if data.op == Op::Map(MapOp::Bf16) {
                        homes.buffers[buffer.0 as usize].storage = Storage::Bf16;
                    }
                    buffer
                }
            };
            homes.home[node.0 as usize] = Some(buffer);
        }
        for (name, node) in graph.outputs.iter().filter(|(name, n)| direct.get(n) != Some(name)) {
            let axes = layouts.outputs.get(name).cloned().unwrap_or_else(|| graph.axes(*node).to_vec());
            let buffer = homes.add(name.clone(), graph.dtype(*node), axes, BufferKind::Output(name.clone()));
            homes.extras.push(Extra { node: *node, buffer });
        }
        Ok(homes)
    }

    fn add(&mut self, name: String, dtype: DType, axes: Vec<Axis>, kind: BufferKind) -> BufferId {
        self.buffers.push(Buffer { name, dtype, storage: Storage::F32, axes, kind });
        BufferId(self.buffers.len() as u32 - 1)
    }

    pub fn home(&self, node: Node) -> Option<BufferId> {
        self.home[node.0 as usize]
    }

    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Memory order of a node's own buffer.
    pub fn layout(&self, node: Node) -> Vec<Axis> {
        match self.home(node) {
            Some(buffer) => self.buffer(buffer).axes.clone(),
            None => self.order.get(&node).cloned().unwrap_or_else(|| self.usual(self.graph.axes(node))),
        }
    }

    /// Axes in the usual memory order.
    pub fn usual(&self, axes: &[Axis]) -> Vec<Axis> {
        self.usual.sorted(axes)
    }

    pub fn is_forced(&self, node: Node) -> bool {
        self.forced.contains(&node)
    }

    /// The buffer of a table.
    pub fn table(&mut self, axis: &Axis, kind: TableKind) -> BufferId {
        if let Some(buffer) = self.tables.get(&(axis.clone(), kind)) {
            return *buffer;
        }
        let on = match kind {
            TableKind::Segment | TableKind::Position => axis.clone(),
            TableKind::Start | TableKind::Length => axis.outer().expect("a table belongs to a packed axis"),
        };
        let name = format!("{} of {axis}", format!("{kind:?}").to_lowercase());
        let buffer = self.add(name, DType::Int, vec![on], BufferKind::Table(axis.clone(), kind));
        self.tables.insert((axis.clone(), kind), buffer);
        buffer
    }

    fn leaves(&mut self, layouts: &Layouts) {
        for (node, data) in self.graph.nodes() {
            let (name, kind) = match &data.op {
                Op::Input(name) => (name.clone(), BufferKind::Input(name.clone())),
                Op::Weight(path) => (path.clone(), BufferKind::Weight(path.clone())),
                Op::Array(values) => ("array".into(), BufferKind::Const(values.clone())),
                Op::Table(axis, kind) => {
                    self.home[node.0 as usize] = Some(self.table(axis, *kind));
                    continue;
                }
                _ => continue,
            };
            let axes = layouts.inputs.get(&name).cloned().unwrap_or_else(|| data.axes.clone());
            let storage = layouts.storage.get(&name).copied().unwrap_or_default();
            let buffer = self.add(name, data.dtype, axes, kind);
            self.buffers[buffer.0 as usize].storage = storage;
            self.home[node.0 as usize] = Some(buffer);
        }
    }

    /// Results that bodies write have the memory orders that bodies write them in.
    fn result_orders(&mut self) {
        for (node, data) in self.graph.nodes() {
            let Op::Result(i) = data.op else { continue };
            let step = self.graph.get(data.inputs[0]);
            let order = match &step.op {
                Op::Call { kind: CallKind::Chunked { axis }, .. } => first(axis, &self.usual(&data.axes)),
                Op::Scan { axis, carries, .. } if i >= *carries => first(axis, &self.usual(&data.axes)),
                Op::Scan { .. } | Op::Loop { .. } => self.layout(step.inputs[i]),
                _ => continue,
            };
            self.order.insert(node, order);
        }
    }

    /// Values of library-like steps that only one output reads are made in its buffer.
    fn direct_outputs(&mut self, layouts: &Layouts) -> HashMap<Node, String> {
        let uses = self.graph.uses();
        let mut direct = HashMap::new();
        for (name, node) in &self.graph.outputs {
            let op = self.graph.op(*node);
            if uses[node.0 as usize] != 1 || !(is_opaque(op) || matches!(op, Op::Result(_))) {
                continue;
            }
            let Some(axes) = layouts.outputs.get(name) else { continue };
            if self.order.get(node).is_some_and(|order| order != axes) {
                continue;
            }
            direct.insert(*node, name.clone());
            let chain = std::iter::successors(Some(*node), |n| self.adds_to.get(n).copied());
            chain.for_each(|n| {
                self.order.insert(n, axes.clone());
            });
        }
        // All that add to one buffer see it in one order: that of the last.
        for (node, before) in self.adds_to {
            let order = self.order.get(node).cloned().unwrap_or_else(|| self.usual(self.graph.axes(*node)));
            self.order.entry(*before).or_insert(order);
        }
        direct
    }

    /// Marks what library-like steps read, and what is rounded: it is held as bf16, not as what it was rounded from.
    fn operands(&mut self) -> Result<(), KernelError> {
        let left_out = |op: &Op| matches!(op, Op::Compact { .. } | Op::Expand { .. });
        if let Some((node, _)) = self.graph.nodes().find(|(_, data)| left_out(&data.op)) {
            let what = "places that are left out by a Bool have no kernels yet".into();
            return Err(KernelError { node, what });
        }
        let rounded = |data: &NodeData| data.op == Op::Map(MapOp::Bf16) && !data.axes.is_empty();
        for (node, _) in self.graph.nodes().filter(|(_, data)| rounded(data)) {
            self.force_whole(node);
        }
        for (_, data) in self.graph.nodes().filter(|(_, data)| is_opaque(&data.op)) {
            for (i, input) in data.inputs.iter().enumerate() {
                match outermost(&data.op, i, self.graph.axes(*input)) {
                    Some(axis) => self.turn(*input, &axis),
                    None if binds(&data.op) => self.force_whole(*input),
                    None => self.force(*input),
                }
            }
        }
        Ok(())
    }

    fn force(&mut self, node: Node) {
        let viewed = seen(self.graph, node, &|n| self.layout(n)).map_or(node, |seen| seen.base);
        if self.home(viewed).is_none() {
            self.forced.insert(viewed);
        }
    }

    fn force_whole(&mut self, node: Node) {
        if self.home(node).is_none() {
            self.forced.insert(node);
        }
    }

    /// Has the value stored with this axis outermost.
    fn turn(&mut self, node: Node, axis: &Axis) {
        let layout = self.layout(node);
        if layout.first() == Some(axis) && base(self.graph, node) == node {
            return self.force_whole(node);
        }
        let turned = first(axis, &layout);
        let free = !is_leaf(self.graph.op(node)) && !self.order.contains_key(&node) && base(self.graph, node) == node;
        if free && !self.forced.contains(&node) {
            self.order.insert(node, turned);
            return self.force_whole(node);
        }
        if !self.turned.contains_key(&(node, axis.clone())) {
            let name = node_name(self.graph, node);
            let buffer = self.add(name, self.graph.dtype(node), turned, BufferKind::Temp);
            self.turned.insert((node, axis.clone()), buffer);
            self.extras.push(Extra { node, buffer });
        }
    }

    /// The buffer of operand `i` of a step that binds whole buffers.
    pub fn bound(&self, op: &Op, i: usize, node: Node) -> BufferId {
        let axis = outermost(op, i, self.graph.axes(node));
        let turned = axis.and_then(|axis| self.turned.get(&(node, axis)).copied());
        turned.or_else(|| self.home(node)).expect("operands are stored")
    }

    /// The buffer that operand `i` is read from, and the node whose value is there.
    pub fn operand(&self, op: &Op, i: usize, node: Node) -> (BufferId, Node) {
        if binds(op) {
            return (self.bound(op, i, node), node);
        }
        let mut stored = node;
        while self.home(stored).is_none() {
            stored = self.graph.get(stored).inputs[0];
        }
        (self.home(stored).expect("operands are stored"), stored)
    }

    /// An operand through strides.
    pub fn view(&self, node: Node) -> View {
        let own = |n: Node| self.home(n);
        let seen: Option<Seen> = match own(node) {
            Some(_) => None,
            None => seen(self.graph, node, &|n| self.layout(n)),
        };
        match seen {
            Some(seen) => {
                let buffer = own(seen.base).expect("operands are stored");
                seen.view(buffer)
            }
            None => {
                let buffer = own(node).expect("operands are stored");
                let data = self.buffer(buffer);
                View { buffer, offset: 0, axes: data.axes.iter().cloned().zip(data.strides()).collect() }
            }
        }
    }

    /// The axes of an operand from slow to fast, as far as its buffer says.
    pub fn layout_order(&self, node: Node) -> Vec<Axis> {
        let mut axes = self.view(node).axes;
        axes.sort_by(|a, b| super::views::slower(&a.1, &b.1));
        axes.into_iter().map(|(axis, _)| axis).collect()
    }

    /// A buffer for a result that nothing reads.
    pub fn spare(&mut self, data: &NodeData) -> View {
        let buffer = self.add("unread".into(), data.dtype, data.axes.clone(), BufferKind::Temp);
        let data = self.buffer(buffer);
        View { buffer, offset: 0, axes: data.axes.iter().cloned().zip(data.strides()).collect() }
    }

    pub fn spare_like(&mut self, other: BufferId, dtype: DType) -> BufferId {
        let axes = self.buffer(other).axes.clone();
        self.add("unread".into(), dtype, axes, BufferKind::Temp)
    }

    /// Forgets stores whose value is read only where it is worked out.
    pub fn keep_needed(&mut self, items: &[Item], groups: &[Group]) {
        let mut group_of = vec![0; items.len()];
        for (g, group) in groups.iter().enumerate() {
            group.items.iter().for_each(|i| group_of[*i] = g);
        }
        let mut made_in: HashMap<Node, usize> = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            if let Some(node) = item.makes() {
                made_in.insert(node, group_of[i]);
            }
        }
        let mut needed: HashSet<Node> = self.forced.clone();
        for (i, item) in items.iter().enumerate() {
            let outside = item.demands.iter().filter(|d| made_in.get(&d.node) != Some(&group_of[i]));
            needed.extend(outside.map(|d| d.node));
        }
        for item in items.iter().filter(|item| !matches!(item.kind, Kind::Opaque { .. })) {
            if let Some(node) = item.makes().filter(|n| !needed.contains(n)) {
                self.home[node.0 as usize] = None;
            }
        }
    }
}

/// The axes with this one, if it is among them, outermost.
fn first(axis: &Axis, axes: &[Axis]) -> Vec<Axis> {
    let (mut order, rest): (Vec<Axis>, Vec<Axis>) = axes.iter().cloned().partition(|a| a == axis);
    order.extend(rest);
    order
}

/// Whether operands are bound to the inputs of a body.
fn binds(op: &Op) -> bool {
    matches!(op, Op::Call { kind: CallKind::Chunked { .. }, .. } | Op::Scan { .. } | Op::Loop { .. })
}

fn has_results(op: &Op) -> bool {
    matches!(op, Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. } | Op::Qr(..) | Op::Eigh(..) | Op::Svd(..))
}

/// The axis that must lie outermost in operand `i`: steps that run a body on parts of a buffer need it so. `None`: the
/// operand is read through strides, or bound as it is.
fn outermost(op: &Op, i: usize, axes: &[Axis]) -> Option<Axis> {
    match op {
        Op::Call { kind: CallKind::Chunked { axis }, .. } if axes.contains(axis) => Some(axis.clone()),
        Op::Scan { axis, carries, xs, .. } if (*carries..*carries + *xs).contains(&i) => Some(axis.clone()),
        _ => None,
    }
}

/// A short name for people.
fn node_name(graph: &Graph, node: Node) -> String {
    let data = graph.get(node);
    let word = match &data.op {
        Op::Map(op) => format!("{op:?}").to_lowercase(),
        Op::Contract(_) => "product".into(),
        Op::Reduce(op, _) | Op::SegmentReduce(op, _) => format!("{op:?}").to_lowercase(),
        Op::Result(_) => match graph.op(data.inputs[0]) {
            Op::Call { kind: CallKind::Attention(_), .. } => "attention".into(),
            Op::Call { kind: CallKind::AttentionGrad(_), .. } => "attention_grad".into(),
            Op::Call { .. } => "chunked".into(),
            _ => "result".into(),
        },
        Op::Gather(_) => "gather".into(),
        Op::ScatterAdd(_) => "scatter".into(),
        Op::Concat { .. } => "concat".into(),
        _ => "value".into(),
    };
    format!("{word}.{}", node.0)
}

/// Sizes as they usually are, to weigh costs.
pub fn usual_size(axis: &Axis) -> f64 {
    match axis.kind() {
        AxisKind::Fixed(n) => *n as f64,
        AxisKind::Item | AxisKind::Ragged { .. } => 8.0,
        AxisKind::Packed(_) | AxisKind::Paired(_) => 1024.0,
        AxisKind::Pairs(_) | AxisKind::Cross(..) => 1024.0 * 128.0,
        AxisKind::Dynamic(_) => 1e6,
    }
}

/// What one evaluation costs; 4 is a load of memory.
pub fn op_cost(op: &Op) -> f64 {
    use MapOp::*;
    match op {
        Op::Map(Exp) => 4.0,
        Op::Map(Log | Tanh | Sigmoid) => 5.0,
        Op::Map(Sin | Cos) => 8.0,
        Op::Map(Pow) => 10.0,
        Op::Map(Div | Rem | Sqrt | Rsqrt) => 1.5,
        Op::Map(_) | Op::Cast => 0.5,
        Op::Random(..) => 30.0,
        _ => 0.0,
    }
}
