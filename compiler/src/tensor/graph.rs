//! The tensor graph: single assignment, append only, in order of evaluation. Building a node works out its axes and dtype.

use super::axis::{Axis, AxisKind};
use super::known::Known;
use super::op::{CallKind, DType, MapOp, Op, ReduceOp, TableKind};
use super::origin::Origin;
use std::fmt;
use std::sync::Arc;

/// A node of a [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Node(pub u32);

/// What a node is. A node with several results (`Scan`, `Call`, ..) has no axes of its own; `Result` nodes read it.
#[derive(Clone)]
pub struct NodeData {
    pub op: Op,
    pub inputs: Vec<Node>,
    /// In memory order, slowest first. The order is layout, never meaning.
    pub axes: Vec<Axis>,
    pub dtype: DType,
    /// No part of what the node is.
    pub origin: Origin,
}

impl NodeData {
    /// A node that comes from where the graph says.
    pub fn new(op: Op, inputs: Vec<Node>, axes: Vec<Axis>, dtype: DType) -> NodeData {
        NodeData { op, inputs, axes, dtype, origin: Origin::default() }
    }
}

impl PartialEq for NodeData {
    fn eq(&self, other: &NodeData) -> bool {
        (&self.op, &self.inputs, &self.axes, self.dtype) == (&other.op, &other.inputs, &other.axes, other.dtype)
    }
}

/// What the node is: content hashes are made of it.
impl fmt::Debug for NodeData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeData { op, inputs, axes, dtype, origin: _ } = self;
        let mut node = f.debug_struct("NodeData");
        node.field("op", op).field("inputs", inputs).field("axes", axes).field("dtype", dtype).finish()
    }
}

/// A graph, or the body of a call inside one. Copies share their nodes until one of them grows.
#[derive(Clone, Default)]
pub struct Graph {
    nodes: Arc<Vec<NodeData>>,
    /// For a body: its inputs in order. For a whole graph: empty, inputs are found by name.
    pub params: Vec<Node>,
    /// Named results.
    pub outputs: Vec<(String, Node)>,
    /// An equal node is never built twice.
    known: Arc<Known>,
    /// Where nodes come from that are added now.
    here: Origin,
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let nodes = Arc::ptr_eq(&self.nodes, &other.nodes) || self.nodes == other.nodes;
        nodes && self.params == other.params && self.outputs == other.outputs
    }
}

/// What the graph is: content hashes are made of it.
impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Graph { nodes, params, outputs, known, here: _ } = self;
        let mut graph = f.debug_struct("Graph");
        graph.field("nodes", nodes).field("params", params).field("outputs", outputs).field("known", known).finish()
    }
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn nodes(&self) -> impl Iterator<Item = (Node, &NodeData)> {
        self.nodes.iter().enumerate().map(|(i, n)| (Node(i as u32), n))
    }

    pub fn get(&self, node: Node) -> &NodeData {
        &self.nodes[node.0 as usize]
    }

    pub fn op(&self, node: Node) -> &Op {
        &self.get(node).op
    }

    pub fn axes(&self, node: Node) -> &[Axis] {
        &self.get(node).axes
    }

    pub fn dtype(&self, node: Node) -> DType {
        self.get(node).dtype
    }

    pub fn has(&self, node: Node, axis: &Axis) -> bool {
        self.axes(node).contains(axis)
    }

    /// The number, if the node is a scalar constant.
    pub fn constant(&self, node: Node) -> Option<f64> {
        match self.op(node) {
            Op::Const(c) => Some(*c),
            _ => None,
        }
    }

    pub fn output(&mut self, name: impl Into<String>, node: Node) {
        self.outputs.push((name.into(), node));
    }

    pub fn origin(&self, node: Node) -> &Origin {
        &self.get(node).origin
    }

    /// Nodes that are added from now on come from here, unless they say otherwise. Gives what held before.
    pub fn come_from(&mut self, origin: Origin) -> Origin {
        std::mem::replace(&mut self.here, origin)
    }

    /// Adds a node as it is, or finds its equal. The functions below work out axes and dtype; passes that copy nodes use this.
    pub fn push(&mut self, mut data: NodeData) -> Node {
        let next = Node(self.nodes.len() as u32);
        let node = Arc::make_mut(&mut self.known).find_or_add(&data, next, &self.nodes);
        if node == next {
            if !data.origin.is_known() {
                data.origin.clone_from(&self.here);
            }
            Arc::make_mut(&mut self.nodes).push(data);
        }
        node
    }

    fn add(&mut self, op: Op, inputs: &[Node], axes: Vec<Axis>, dtype: DType) -> Node {
        self.push(NodeData::new(op, inputs.to_vec(), axes, dtype))
    }

    // ------------------------------------------------------------------------------------------ leaves

    pub fn input(&mut self, name: impl Into<String>, axes: Vec<Axis>, dtype: DType) -> Node {
        self.add(Op::Input(name.into()), &[], axes, dtype)
    }

    /// An input of a body: also listed in `params`.
    pub fn param(&mut self, axes: Vec<Axis>, dtype: DType) -> Node {
        let node = self.input(format!("p{}", self.params.len()), axes, dtype);
        self.params.push(node);
        node
    }

    pub fn weight(&mut self, path: impl Into<String>, axes: Vec<Axis>) -> Node {
        self.add(Op::Weight(path.into()), &[], axes, DType::Float)
    }

    pub fn float(&mut self, value: f64) -> Node {
        self.add(Op::Const(value), &[], vec![], DType::Float)
    }

    pub fn int(&mut self, value: i64) -> Node {
        self.add(Op::Const(value as f64), &[], vec![], DType::Int)
    }

    pub fn bool(&mut self, value: bool) -> Node {
        self.add(Op::Const(f64::from(u8::from(value))), &[], vec![], DType::Bool)
    }

    pub fn array(&mut self, values: Vec<f64>, axes: Vec<Axis>, dtype: DType) -> Node {
        self.add(Op::Array(values), &[], axes, dtype)
    }

    pub fn iota(&mut self, axis: &Axis) -> Node {
        self.add(Op::Iota, &[], vec![axis.clone()], DType::Int)
    }

    pub fn table(&mut self, axis: &Axis, kind: TableKind) -> Node {
        let on = match kind {
            TableKind::Segment | TableKind::Position => axis.clone(),
            TableKind::Start | TableKind::Length => axis.outer().expect("a table belongs to a packed axis"),
        };
        self.add(Op::Table(axis.clone(), kind), &[], vec![on], DType::Int)
    }

    // ----------------------------------------------------------------------------------- element by element

    /// A scalar function over the union of the inputs' axes. Ints meet Floats as Floats, Bools are 0 or 1 in arithmetic.
    pub fn map(&mut self, op: MapOp, inputs: &[Node]) -> Node {
        use MapOp::*;
        let values = if op == Where { &inputs[1..] } else { inputs };
        let mut common = values.iter().map(|n| self.dtype(*n)).fold(DType::Bool, widest);
        match op {
            Exp | Log | Sqrt | Rsqrt | Sin | Cos | Tanh | Sigmoid | Floor | Ceil | Round | Bf16 | IsNan => {
                common = DType::Float
            }
            Div | Pow if common != DType::Int => common = DType::Float,
            Neg | Abs | Sign | Add | Sub | Mul | Rem | Min | Max if common == DType::Bool => common = DType::Int,
            Not | And | Or => common = DType::Bool,
            _ => {}
        }
        let mut cast: Vec<Node> = values.iter().map(|n| self.cast(*n, common)).collect();
        if op == Where {
            let condition = self.cast(inputs[0], DType::Bool);
            cast.insert(0, condition);
        }
        let result = match op {
            Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not | IsNan => DType::Bool,
            _ => common,
        };
        let axes = self.union(&cast);
        self.add(Op::Map(op), &cast, axes, result)
    }

    /// The union of axes, in the layout of the widest input.
    pub fn union(&self, inputs: &[Node]) -> Vec<Axis> {
        let mut axes: Vec<Axis> = vec![];
        let widest = inputs.iter().max_by_key(|n| self.axes(**n).len());
        for node in widest.into_iter().chain(inputs) {
            // A missing axis goes to the front: broadcast values lie inside.
            let missing: Vec<Axis> = self.axes(*node).iter().filter(|a| !axes.contains(a)).cloned().collect();
            axes.splice(0..0, missing);
        }
        axes
    }

    pub fn cast(&mut self, x: Node, to: DType) -> Node {
        if self.dtype(x) == to {
            return x;
        }
        if let (Some(c), true) = (self.constant(x), to != DType::Bool) {
            let value = if to == DType::Int { c.trunc() } else { c };
            return self.add(Op::Const(value), &[], vec![], to);
        }
        let axes = self.axes(x).to_vec();
        self.add(Op::Cast, &[x], axes, to)
    }

    pub fn stop(&mut self, x: Node) -> Node {
        let (axes, dtype) = (self.axes(x).to_vec(), self.dtype(x));
        self.add(Op::Stop, &[x], axes, dtype)
    }

    // -------------------------------------------------------------------------------------------- axes

    pub fn reduce(&mut self, op: ReduceOp, x: Node, over: &[Axis]) -> Node {
        if over.is_empty() {
            return x;
        }
        let axes = self.axes(x).iter().filter(|a| !over.contains(a)).cloned().collect();
        let dtype = match (op, self.dtype(x)) {
            (ReduceOp::Any | ReduceOp::All, _) => DType::Bool,
            (ReduceOp::Sum | ReduceOp::Prod, DType::Bool) => DType::Int,
            (_, dtype) => dtype,
        };
        let x = match op {
            ReduceOp::Any | ReduceOp::All => self.cast(x, DType::Bool),
            ReduceOp::Sum | ReduceOp::Prod => self.cast(x, dtype),
            ReduceOp::Max | ReduceOp::Min => x,
        };
        self.add(Op::Reduce(op, over.to_vec()), &[x], axes, dtype)
    }

    pub fn sum(&mut self, x: Node, over: &[Axis]) -> Node {
        self.reduce(ReduceOp::Sum, x, over)
    }

    /// Sum over `over` of x * y. Both are Floats. Every axis of `over` is in both.
    pub fn contract(&mut self, x: Node, y: Node, over: &[Axis]) -> Node {
        let (x, y) = (self.cast(x, DType::Float), self.cast(y, DType::Float));
        let keep = |n: &Axis| !over.contains(n);
        let mut axes: Vec<Axis> = self.axes(x).iter().filter(|a| keep(a)).cloned().collect();
        axes.extend(self.axes(y).iter().filter(|a| keep(a) && !self.has(x, a)).cloned());
        self.add(Op::Contract(over.to_vec()), &[x, y], axes, DType::Float)
    }

    /// x along a new axis, outermost.
    pub fn tile(&mut self, x: Node, axis: &Axis) -> Node {
        let mut axes = vec![axis.clone()];
        axes.extend(self.axes(x).iter().cloned());
        let dtype = self.dtype(x);
        self.add(Op::Tile(axis.clone()), &[x], axes, dtype)
    }

    /// x with exactly the axes of `axes`, tiled where it lacks one.
    pub fn tile_to(&mut self, x: Node, axes: &[Axis]) -> Node {
        axes.iter().rev().fold(x, |x, a| if self.has(x, a) { x } else { self.tile(x, a) })
    }

    pub fn rename(&mut self, x: Node, from: &Axis, to: &Axis) -> Node {
        let axes = self.axes(x).iter().map(|a| if a == from { to.clone() } else { a.clone() }).collect();
        let dtype = self.dtype(x);
        self.add(Op::Rename { from: from.clone(), to: to.clone() }, &[x], axes, dtype)
    }

    pub fn flatten(&mut self, x: Node, from: [Axis; 2], to: &Axis) -> Node {
        let at = self.axes(x).iter().position(|a| *a == from[0]).expect("flattened axis");
        let mut axes = self.axes(x).to_vec();
        axes[at] = to.clone();
        axes.retain(|a| *a != from[1]);
        let dtype = self.dtype(x);
        self.add(Op::Flatten { from, to: to.clone() }, &[x], axes, dtype)
    }

    pub fn split(&mut self, x: Node, from: &Axis, to: [Axis; 2]) -> Node {
        let axes = self.axes(x).iter().flat_map(|a| if a == from { to.to_vec() } else { vec![a.clone()] }).collect();
        let dtype = self.dtype(x);
        self.add(Op::Split { from: from.clone(), to }, &[x], axes, dtype)
    }

    pub fn slice(&mut self, x: Node, from: &Axis, to: &Axis, start: usize) -> Node {
        let axes = self.replaced(x, from, to);
        let dtype = self.dtype(x);
        self.add(Op::Slice { from: from.clone(), to: to.clone(), start }, &[x], axes, dtype)
    }

    pub fn pad(&mut self, x: Node, from: &Axis, to: &Axis, start: usize) -> Node {
        let axes = self.replaced(x, from, to);
        let dtype = self.dtype(x);
        self.add(Op::Pad { from: from.clone(), to: to.clone(), start }, &[x], axes, dtype)
    }

    /// Inputs have the axes `from[i]` and otherwise the same axes (tile them first).
    pub fn concat(&mut self, inputs: &[Node], from: &[Axis], to: &Axis) -> Node {
        let axes = self.replaced(inputs[0], &from[0], to);
        let dtype = inputs.iter().map(|n| self.dtype(*n)).fold(DType::Bool, widest);
        let inputs: Vec<Node> = inputs.iter().map(|n| self.cast(*n, dtype)).collect();
        self.add(Op::Concat { from: from.to_vec(), to: to.clone() }, &inputs, axes, dtype)
    }

    fn replaced(&self, x: Node, from: &Axis, to: &Axis) -> Vec<Axis> {
        self.axes(x).iter().map(|a| if a == from { to.clone() } else { a.clone() }).collect()
    }

    // ------------------------------------------------------------------------------------------ indices

    pub fn gather(&mut self, x: Node, axis: &Axis, index: Node) -> Node {
        let mut axes = vec![];
        for a in self.axes(x) {
            if a == axis {
                let missing = |b: &&Axis| !self.has(x, b) || *b == axis;
                axes.extend(self.axes(index).iter().filter(missing).cloned());
            } else {
                axes.push(a.clone());
            }
        }
        let dtype = self.dtype(x);
        self.add(Op::Gather(axis.clone()), &[x, index], axes, dtype)
    }

    /// Zeros over `axes` (which holds `axis`), with `values` added where `index` points along `axis`.
    pub fn scatter_add(&mut self, index: Node, values: Node, axis: &Axis, axes: Vec<Axis>) -> Node {
        let values = self.cast(values, DType::Float);
        self.add(Op::ScatterAdd(axis.clone()), &[index, values], axes, DType::Float)
    }

    /// The places of `from` where `keep` (Bool, on `from`) holds, on the ragged axis `to`.
    pub fn compact(&mut self, x: Node, keep: Node, from: &Axis, to: &Axis) -> Node {
        let axes = self.replaced(x, from, to);
        let dtype = self.dtype(x);
        self.add(Op::Compact { from: from.clone(), to: to.clone() }, &[x, keep], axes, dtype)
    }

    /// The adjoint of `compact`: x on `to` back on `from`, zeros where `keep` does not hold.
    pub fn expand(&mut self, x: Node, keep: Node, from: &Axis, to: &Axis) -> Node {
        let axes = self.replaced(x, to, from);
        let dtype = self.dtype(x);
        self.add(Op::Expand { from: from.clone(), to: to.clone() }, &[x, keep], axes, dtype)
    }

    /// What each item of the step has for x, on `axis`, an axis paired with `item`. Only in a graph for one item.
    pub fn items(&mut self, x: Node, axis: &Axis) -> Node {
        let mut axes = self.axes(x).to_vec();
        axes.insert(0, axis.clone());
        let dtype = self.dtype(x);
        self.add(Op::Items(axis.clone()), &[x], axes, dtype)
    }

    /// The place of this item among those of the step, from 0. Only in a graph for one item.
    pub fn here(&mut self) -> Node {
        self.add(Op::Here, &[], vec![], DType::Int)
    }

    pub fn argsort(&mut self, x: Node, axis: &Axis) -> Node {
        let axes = self.axes(x).to_vec();
        self.add(Op::Argsort(axis.clone()), &[x], axes, DType::Int)
    }

    pub fn topk(&mut self, x: Node, from: &Axis, to: &Axis) -> Node {
        let axes = self.replaced(x, from, to);
        self.add(Op::Topk { from: from.clone(), to: to.clone() }, &[x], axes, DType::Int)
    }

    pub fn cumsum(&mut self, x: Node, axis: &Axis, reverse: bool) -> Node {
        let axes = self.axes(x).to_vec();
        let dtype = self.dtype(x);
        self.add(Op::Cumsum { axis: axis.clone(), reverse }, &[x], axes, dtype)
    }

    // ----------------------------------------------------------------------------------- linear algebra

    /// x on `b` with `sum[b](m * x) = y`: m has `a` and `b`, of one size, y has `a`. Other axes run along.
    pub fn solve(&mut self, m: Node, y: Node, a: &Axis, b: &Axis) -> Node {
        let mut axes = self.replaced(y, a, b);
        axes.extend(self.axes(m).iter().filter(|n| *n != a && *n != b && !self.has(y, n)).cloned());
        self.add(Op::Solve(a.clone(), b.clone()), &[m, y], axes, DType::Float)
    }

    /// The lower triangle L on `[a, b]` with L L' = m.
    pub fn cholesky(&mut self, m: Node, a: &Axis, b: &Axis) -> Node {
        let axes = self.axes(m).to_vec();
        self.add(Op::Cholesky(a.clone(), b.clone()), &[m], axes, DType::Float)
    }

    /// q on `[a, rank]`, r on `[rank, b]`: see [`rank_axis`].
    pub fn qr(&mut self, m: Node, a: &Axis, b: &Axis) -> [Node; 2] {
        let rank = self.rank(a, b);
        let results = [vec![a.clone(), rank.clone()], vec![rank, b.clone()]];
        self.decompose(Op::Qr(a.clone(), b.clone()), m, a, b, results)
    }

    /// Ascending eigenvalues on `b`, eigenvectors as columns on `[a, b]`, of a symmetric m.
    pub fn eigh(&mut self, m: Node, a: &Axis, b: &Axis) -> [Node; 2] {
        let results = [vec![b.clone()], vec![a.clone(), b.clone()]];
        self.decompose(Op::Eigh(a.clone(), b.clone()), m, a, b, results)
    }

    /// u on `[a, rank]`, s descending on `[rank]`, v on `[b, rank]`, with m = u s v'.
    pub fn svd(&mut self, m: Node, a: &Axis, b: &Axis) -> [Node; 3] {
        let rank = self.rank(a, b);
        let results = [vec![a.clone(), rank.clone()], vec![rank.clone()], vec![b.clone(), rank]];
        self.decompose(Op::Svd(a.clone(), b.clone()), m, a, b, results)
    }

    fn rank(&self, a: &Axis, b: &Axis) -> Axis {
        let size = |axis: &Axis| axis.fixed_size().expect("the sides of a matrix have fixed sizes");
        rank_axis(size(a), size(b))
    }

    fn decompose<const N: usize>(&mut self, op: Op, m: Node, a: &Axis, b: &Axis, results: [Vec<Axis>; N]) -> [Node; N] {
        let others: Vec<Axis> = self.axes(m).iter().filter(|n| *n != a && *n != b).cloned().collect();
        let of = self.add(op, &[m], vec![], DType::Float);
        let mut i = 0;
        results.map(|own| {
            let axes = others.iter().cloned().chain(own).collect();
            i += 1;
            self.add(Op::Result(i - 1), &[of], axes, DType::Float)
        })
    }

    // ------------------------------------------------------------------------------------------- packed

    pub fn segment_reduce(&mut self, op: ReduceOp, x: Node, axis: &Axis) -> Node {
        let outer = axis.outer().expect("segments lie on a packed axis");
        let axes = self.replaced(x, axis, &outer);
        let dtype = match (op, self.dtype(x)) {
            (ReduceOp::Any | ReduceOp::All, _) => DType::Bool,
            (ReduceOp::Sum | ReduceOp::Prod, DType::Bool) => DType::Int,
            (_, dtype) => dtype,
        };
        let x = if dtype == DType::Bool || dtype == DType::Int { self.cast(x, dtype) } else { x };
        self.add(Op::SegmentReduce(op, axis.clone()), &[x], axes, dtype)
    }

    pub fn segment_tile(&mut self, x: Node, axis: &Axis) -> Node {
        let outer = axis.outer().expect("segments lie on a packed axis");
        let axes = self.replaced(x, &outer, axis);
        let dtype = self.dtype(x);
        self.add(Op::SegmentTile(axis.clone()), &[x], axes, dtype)
    }

    // ---------------------------------------------------------------------------------- several results

    /// A call of `body`; read its results with [`Graph::result`].
    pub fn call(&mut self, kind: CallKind, body: Graph, inputs: &[Node]) -> Node {
        self.add(Op::Call { kind, body: Box::new(body) }, inputs, vec![], DType::Float)
    }

    /// Result i of a node with several, whose axes and dtype the caller knows.
    pub fn result(&mut self, of: Node, i: usize) -> Node {
        let (axes, dtype) = match self.op(of) {
            Op::Call { body, .. } => {
                let data = body.get(body.outputs[i].1);
                (data.axes.clone(), data.dtype)
            }
            Op::Scan { axis, carries, body, .. } => {
                let data = body.get(body.outputs[i].1);
                let mut axes = data.axes.clone();
                if i >= *carries {
                    axes.insert(0, axis.clone());
                }
                (axes, data.dtype)
            }
            Op::Loop { body, .. } => {
                let data = body.get(body.outputs[i + 1].1);
                (data.axes.clone(), data.dtype)
            }
            op => panic!("{op:?} has one result, or its results are built by its own function"),
        };
        self.add(Op::Result(i), &[of], axes, dtype)
    }

    /// How often each node is read by other nodes and by outputs.
    pub fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.len()];
        for (_, data) in self.nodes() {
            data.inputs.iter().for_each(|n| uses[n.0 as usize] += 1);
        }
        self.outputs.iter().for_each(|(_, n)| uses[n.0 as usize] += 1);
        uses
    }
}

fn widest(a: DType, b: DType) -> DType {
    match (a, b) {
        (DType::Float, _) | (_, DType::Float) => DType::Float,
        (DType::Int, _) | (_, DType::Int) => DType::Int,
        _ => DType::Bool,
    }
}

/// The inner axis of a decomposition of a matrix: as many places as its shorter side.
pub fn rank_axis(rows: usize, columns: usize) -> Axis {
    Axis::fixed("rank", rows.min(columns))
}

/// Whether the axis has a length for each item.
pub fn is_ragged(axis: &Axis) -> bool {
    matches!(axis.kind(), AxisKind::Ragged { .. } | AxisKind::Paired(_)) && !axis.is_batch()
}
