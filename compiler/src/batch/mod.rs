//! The batch pass: from the graph of one item to the graph of a micro-batch without ragged axes.
//!
//! All items' positions of a ragged axis lie end to end on its packed axis, numbers of items on the axis `item`. Weights
//! and constants have neither. [`rows`] says where a value lies and brings values to a common place; [`index`] does
//! gathers and scatters along packed axes; [`bodies`] the graphs inside `Call` and `Scan`.
//!
//! What couples the items of a step (`Op::Items`) is `item` under another name: such a value, and what is reduced from it, is
//! one for the whole step, and meets the items' own by broadcast. The packed graph is right only on all items of the step.

mod bodies;
mod index;
pub mod objective;
pub mod rows;
mod sort;
pub mod sweeps;
pub mod training;

use crate::rewrite::inline::inline_plain;
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, AxisKind, Graph, MapOp, Node, NodeData, Op, ReduceOp, TableKind};
use align_syntax::span::Span;
pub use rows::Rows;
use rows::{cross_axis, pairs_axis, rows_of};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// What the graph alone does not say.
#[derive(Clone, Debug, Default)]
pub struct BatchOptions {
    /// Inputs that are one value for the whole step (`progress`, `scale.<term>`); all others belong to the item.
    pub step_inputs: BTreeSet<String>,
}

/// Why a graph has no packed form (yet).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchError {
    /// The node of the per-item graph (of the innermost body that holds it).
    pub node: Node,
    /// A sentence for the user.
    pub what: String,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

impl std::error::Error for BatchError {}

/// The packed form of a per-item graph. Inputs and outputs keep their names; an input on `time` is one on `time*`, a number
/// of the item one on `item`. Outputs lie where they are worked out: see [`Rows`].
pub fn batch(graph: &Graph, options: &BatchOptions) -> Result<Graph, BatchError> {
    let graph = inline_plain(graph);
    let mut pass = Batch::new(&graph, options);
    pass.nodes()?;
    for (name, node) in &graph.outputs {
        let value = pass.value(*node);
        pass.new.output(name.clone(), value.node);
    }
    Ok(pass.new)
}

/// The expression of the program by which a graph cannot be packed.
pub fn obstacle(graph: &Graph, options: &BatchOptions) -> Option<Span> {
    let graph = inline_plain(graph);
    Batch::new(&graph, options).nodes().err().and_then(|error| graph.origin(error.node).own())
}

/// A packed value and where it lies.
#[derive(Clone, Debug)]
struct Value {
    node: Node,
    rows: Rows,
}

struct Batch<'a> {
    old: &'a Graph,
    options: &'a BatchOptions,
    new: Graph,
    values: HashMap<Node, Value>,
    /// Where the results of `Call` and `Scan` nodes lie.
    results: HashMap<Node, Vec<Rows>>,
}

impl<'a> Batch<'a> {
    fn new(old: &'a Graph, options: &'a BatchOptions) -> Batch<'a> {
        Batch { old, options, new: Graph::new(), values: HashMap::new(), results: HashMap::new() }
    }

    /// Packs every node that has no value yet.
    fn nodes(&mut self) -> Result<(), BatchError> {
        for (node, data) in self.old.nodes() {
            if self.values.contains_key(&node) {
                continue;
            }
            self.new.come_from(data.origin.clone());
            let value = self.node(node, data).map_err(|what| BatchError { node, what })?;
            if let Some(value) = value {
                self.values.insert(node, value);
            }
        }
        Ok(())
    }

    fn value(&self, node: Node) -> Value {
        self.values[&node].clone()
    }

    /// One node; `None` for nodes with several results.
    fn node(&mut self, node: Node, data: &NodeData) -> Result<Option<Value>, String> {
        let inputs: Vec<Value> = match &data.op {
            Op::Result(_) => vec![],
            _ => data.inputs.iter().map(|n| self.value(*n)).collect(),
        };
        let value = match &data.op {
            Op::Input(name) => {
                let mut rows = rows_of(&data.axes)?;
                if rows == Rows::Step && !self.options.step_inputs.contains(name) {
                    rows = Rows::Of(Axis::item());
                }
                let node = self.new.input(name.clone(), packed_axes(&rows, &data.axes), data.dtype);
                Value { node, rows }
            }
            Op::Weight(_) | Op::Const(_) | Op::Array(_) => {
                Value { node: self.new.push(data.clone()), rows: Rows::Step }
            }
            Op::Iota => match rows_of(&data.axes)? {
                Rows::Step => Value { node: self.new.push(data.clone()), rows: Rows::Step },
                rows => {
                    let axis = rows.axis().expect("ragged rows have an axis");
                    Value { node: self.new.table(&axis, TableKind::Position), rows }
                }
            },
            Op::Map(op) => {
                let (rows, nodes) = self.meet(&inputs)?;
                Value { node: self.new.map(*op, &nodes), rows }
            }
            Op::Cast => Value { node: self.new.cast(inputs[0].node, data.dtype), rows: inputs[0].rows.clone() },
            Op::Stop => Value { node: self.new.stop(inputs[0].node), rows: inputs[0].rows.clone() },
            Op::Reduce(op, over) => self.reduce(*op, inputs[0].clone(), over)?,
            Op::Contract(over) => {
                let (rows, nodes) = self.meet(&inputs)?;
                let (ragged, fixed): (Vec<Axis>, Vec<Axis>) = over.iter().cloned().partition(is_ragged);
                let product = match fixed.is_empty() {
                    true => self.new.map(MapOp::Mul, &nodes),
                    false => self.new.contract(nodes[0], nodes[1], &fixed),
                };
                self.reduce(ReduceOp::Sum, Value { node: product, rows }, &ragged)?
            }
            Op::Tile(axis) if is_ragged(axis) => {
                let rows = inputs[0].rows.join(&rows_of(std::slice::from_ref(axis))?)?;
                Value { node: self.spread(&inputs[0], &rows), rows }
            }
            Op::Tile(axis) => Value { node: self.new.tile(inputs[0].node, axis), rows: inputs[0].rows.clone() },
            Op::Items(axis) => self.items(&inputs[0], axis)?,
            Op::Here => Value { node: self.new.iota(&Axis::item()), rows: Rows::Of(Axis::item()) },
            Op::Rename { from, to } => self.rename(&inputs[0], from, to)?,
            Op::Gather(axis) => self.gather(axis, &inputs[0], &inputs[1])?,
            Op::ScatterAdd(axis) => self.scatter_add(axis, &data.axes, &inputs[0], &inputs[1])?,
            Op::Cumsum { axis, reverse } => {
                let axis = match (&inputs[0].rows, is_ragged(axis)) {
                    (_, false) => axis.clone(),
                    (Rows::Of(packed), true) if *packed == axis.packed() => packed.clone(),
                    _ => return Err(format!("a running sum along {} of a value with pairs of places", axis.name())),
                };
                Value { node: self.new.cumsum(inputs[0].node, &axis, *reverse), rows: inputs[0].rows.clone() }
            }
            Op::Random(..) => {
                let (joined, _) = self.meet(&inputs)?;
                let rows = joined.join(&rows_of(&data.axes)?)?;
                let mut nodes: Vec<Node> = inputs.iter().map(|v| self.lift(v, &rows)).collect();
                nodes[0] = self.spread(&inputs[0], &rows);
                self.raw(data, nodes, rows)
            }
            Op::Concat { from, .. } => {
                no_ragged(from, "laid one after another")?;
                let (rows, _) = self.meet(&inputs)?;
                let nodes = inputs.iter().map(|v| self.spread(v, &rows)).collect();
                self.raw(data, nodes, rows)
            }
            Op::Flatten { from, .. } => self.on_fixed(data, from, "flattened", &inputs)?,
            Op::Split { from, .. } => self.on_fixed(data, std::slice::from_ref(from), "split", &inputs)?,
            Op::Slice { from, .. } | Op::Pad { from, .. } => {
                self.on_fixed(data, std::slice::from_ref(from), "cut", &inputs)?
            }
            Op::Argsort(axis) if is_ragged(axis) => self.argsort(axis, &inputs[0])?,
            Op::Argsort(axis) | Op::Topk { from: axis, .. } => {
                self.on_fixed(data, std::slice::from_ref(axis), "sorted", &inputs)?
            }
            Op::Solve(a, b) | Op::Cholesky(a, b) => {
                let axes = [a.clone(), b.clone()];
                self.on_fixed(data, &axes, "axes of a matrix", &inputs)?
            }
            Op::Compact { from, .. } | Op::Expand { from, .. } => {
                return Err(format!("places of {} that are left out by a Bool are not packed yet", from.name()));
            }
            Op::Qr(..) | Op::Eigh(..) | Op::Svd(..) => {
                return Err("a decomposition of a matrix that belongs to an item is not packed yet".into());
            }
            Op::Loop { .. } => return Err("a loop whose end depends on the item is not packed yet".into()),
            Op::Scan { .. } => {
                self.scan(node, data, &inputs)?;
                return Ok(None);
            }
            Op::Call { .. } => {
                self.call(node, data, &inputs)?;
                return Ok(None);
            }
            Op::Result(i) => {
                if let Op::Scan { axis, carries, .. } = self.old.op(data.inputs[0])
                    && i < carries
                    && is_ragged(axis)
                {
                    return Err(format!("the last state of a scan along {}", axis.name()));
                }
                let of = self.value(data.inputs[0]).node;
                Value { node: self.new.result(of, *i), rows: self.results[&data.inputs[0]][*i].clone() }
            }
            Op::Table(..) | Op::SegmentReduce(..) | Op::SegmentTile(..) => {
                return Err("the graph is packed already".into());
            }
        };
        Ok(Some(value))
    }

    /// An op that works within rows, on fixed axes.
    fn on_fixed(&mut self, data: &NodeData, axes: &[Axis], word: &str, inputs: &[Value]) -> Result<Value, String> {
        no_ragged(axes, word)?;
        let (rows, nodes) = self.meet(inputs)?;
        Ok(self.raw(data, nodes, rows))
    }

    /// The same op on packed inputs; its axes are its fixed ones and the row axis of `rows`.
    fn raw(&mut self, data: &NodeData, inputs: Vec<Node>, rows: Rows) -> Value {
        let axes = packed_axes(&rows, &data.axes);
        Value { node: self.new.push(NodeData::new(data.op.clone(), inputs, axes, data.dtype)), rows }
    }

    fn reduce(&mut self, op: ReduceOp, x: Value, over: &[Axis]) -> Result<Value, String> {
        let (mut ragged, fixed): (Vec<Axis>, Vec<Axis>) = over.iter().cloned().partition(is_ragged);
        let Value { mut node, mut rows } = x;
        node = self.new.reduce(op, node, &fixed);
        while !ragged.is_empty() {
            let (at, inner) = match &rows {
                Rows::Of(packed) => (ragged.iter().position(|r| r.packed() == *packed), packed.clone()),
                Rows::Past { packed, paired } => (ragged.iter().position(|r| r == paired), packed.clone()),
                Rows::Pairs { packed, paired } => match ragged.iter().position(|r| r == paired) {
                    Some(i) => (Some(i), pairs_axis(packed)),
                    None => {
                        // Reduces the queries of each key: seen from the key first.
                        let pairs = pairs_axis(packed);
                        let turned = self.turned(&pairs, packed, &pairs, packed);
                        node = self.new.gather(node, &pairs, turned);
                        (ragged.iter().position(|r| r.packed() == *packed), pairs_axis(packed))
                    }
                },
                Rows::Cross { packed, of, paired } => match ragged.iter().position(|r| r == paired) {
                    Some(i) => (Some(i), cross_axis(packed, of)),
                    None => {
                        let (pairs, other) = (cross_axis(packed, of), cross_axis(of, packed));
                        let turned = self.turned(&pairs, packed, &other, of);
                        node = self.new.gather(node, &pairs, turned);
                        (ragged.iter().position(|r| r.packed() == *packed), other)
                    }
                },
                Rows::Step => (None, Axis::item()),
            };
            let Some(at) = at else {
                return Err(format!("{} is reduced before an axis that depends on it", ragged[0].name()));
            };
            let reduced = ragged.remove(at);
            rows = match rows {
                Rows::Pairs { packed, paired } if reduced != paired => Rows::Past { packed, paired },
                Rows::Cross { of, paired, .. } if reduced != paired => Rows::Past { packed: of, paired },
                _ => Rows::Of(inner.outer().expect("a packed axis has an outer one")),
            };
            node = self.new.segment_reduce(op, node, &inner);
        }
        Ok(Value { node, rows })
    }

    /// The values of all items, one for the whole step: what lies on `item` is seen from outside.
    fn items(&mut self, x: &Value, axis: &Axis) -> Result<Value, String> {
        let item = Axis::item();
        let node = match &x.rows {
            Rows::Step => self.new.tile(x.node, axis),
            Rows::Of(rows) if *rows == item => self.new.rename(x.node, &item, axis),
            rows => {
                let name = rows.axis().map(|a| a.name().to_string()).unwrap_or_default();
                return Err(format!("{name} has a length for each item; reduce it before the items of a step meet"));
            }
        };
        Ok(Value { node, rows: Rows::Step })
    }

    fn rename(&mut self, x: &Value, from: &Axis, to: &Axis) -> Result<Value, String> {
        match (is_ragged(from), is_ragged(to)) {
            (false, false) => return Ok(Value { node: self.new.rename(x.node, from, to), rows: x.rows.clone() }),
            (true, true) => {}
            _ => return Err(format!("{} and {} do not always have one size", from.name(), to.name())),
        }
        let rows = match (&x.rows, from.kind(), to.kind()) {
            (Rows::Of(packed), _, AxisKind::Paired(of)) if of == from && *packed == from.packed() => {
                Rows::Past { packed: packed.clone(), paired: to.clone() }
            }
            (Rows::Past { packed, paired }, _, AxisKind::Ragged { .. }) if paired == from && to.packed() == *packed => {
                Rows::Of(packed.clone())
            }
            (Rows::Past { packed, paired }, AxisKind::Paired(a), AxisKind::Paired(b)) if paired == from && a == b => {
                Rows::Past { packed: packed.clone(), paired: to.clone() }
            }
            (Rows::Pairs { packed, paired }, AxisKind::Paired(a), AxisKind::Paired(b)) if paired == from && a == b => {
                Rows::Pairs { packed: packed.clone(), paired: to.clone() }
            }
            (Rows::Cross { packed, of, paired }, AxisKind::Paired(a), AxisKind::Paired(b))
                if paired == from && a == b =>
            {
                Rows::Cross { packed: packed.clone(), of: of.clone(), paired: to.clone() }
            }
            _ => return Err(format!("{} has no packed form under the name {}", from.name(), to.name())),
        };
        Ok(Value { node: x.node, rows })
    }
}

/// The row axis of `rows` and the axes that are not ragged.
fn packed_axes(rows: &Rows, axes: &[Axis]) -> Vec<Axis> {
    rows.axis().into_iter().chain(axes.iter().filter(|a| !is_ragged(a)).cloned()).collect()
}

fn no_ragged(axes: &[Axis], word: &str) -> Result<(), String> {
    match axes.iter().find(|a| is_ragged(a)) {
        Some(axis) => Err(format!("{} has a length for each item; it cannot be {word} yet", axis.name())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
