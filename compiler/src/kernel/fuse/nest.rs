//! Builds the code of a nest: scalars of a node at a place, in the row or in the pass that the place belongs to.

use super::homes::Homes;
use super::index::{At, Ix, Part, identity, moved, onto, parts};
use crate::kernel::ir::{
    self, Address, Block, BufferId, Dim, Index, Let, Pass, Reduce, Scalar, Size, Span, Store, Term, Value,
};
use crate::tensor::{Axis, DType, MapOp, Node, Op, TableKind};
use std::collections::HashMap;
use std::rc::Rc;

pub struct Builder<'a, 'b> {
    homes: &'b mut Homes<'a>,
    rows: Vec<Axis>,
    /// The packed axis whose segments the rows are.
    segment: Option<Axis>,
    /// Start and length of the row's segment, once they are loaded.
    bounds: Option<(Value, Value)>,
    /// Loops of the pass that is being built.
    inner: Vec<Axis>,
    values: Vec<DType>,
    parts: Vec<ir::Part>,
    row: Block,
    pass: Block,
    reduces: Vec<Reduce>,
    /// The nodes of `reduces`.
    reduced: Vec<Node>,
    row_known: Known,
    pass_known: Known,
}

/// What was worked out already.
#[derive(Default)]
struct Known {
    nodes: HashMap<(Node, At), Value>,
    indices: HashMap<Ix, Value>,
    scalars: HashMap<(u64, DType), Value>,
}

impl<'a, 'b> Builder<'a, 'b> {
    pub fn new(homes: &'b mut Homes<'a>, rows: Vec<Axis>, segment: Option<Axis>) -> Builder<'a, 'b> {
        Builder {
            homes,
            rows,
            segment,
            bounds: None,
            inner: vec![],
            values: vec![],
            parts: vec![],
            row: Block::default(),
            pass: Block::default(),
            reduces: vec![],
            reduced: vec![],
            row_known: Known::default(),
            pass_known: Known::default(),
        }
    }

    /// The parts and the dtypes of values.
    pub fn finish(mut self) -> (Vec<ir::Part>, Vec<DType>) {
        self.end_row();
        (self.parts, self.values)
    }

    fn end_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if !row.lets.is_empty() || !row.stores.is_empty() {
            self.parts.push(ir::Part::Row(row));
        }
    }

    pub fn begin_pass(&mut self, inner: &[Axis]) {
        self.inner = inner.to_vec();
    }

    pub fn end_pass(&mut self) {
        let inner = std::mem::take(&mut self.inner);
        let loops = inner
            .into_iter()
            .map(|axis| {
                let within = (self.segment.as_ref() == Some(&axis)).then(|| {
                    let outer = axis.outer().expect("segments lie on a packed axis");
                    let bounds = self.bounds;
                    let mut bound = |kind| {
                        let buffer = self.homes.table(&axis, kind);
                        let at = self.address(buffer, std::slice::from_ref(&outer), &[Ix::Loop(outer.clone())].into());
                        self.emit(true, Scalar::Load(buffer, at), DType::Int)
                    };
                    let bounds = bounds.unwrap_or_else(|| (bound(TableKind::Start), bound(TableKind::Length)));
                    self.bounds = Some(bounds);
                    bounds
                });
                Span { dim: Dim { axes: vec![axis] }, within }
            })
            .collect();
        self.end_row();
        let block = std::mem::take(&mut self.pass);
        let reduces = std::mem::take(&mut self.reduces);
        let results: Vec<Value> = reduces.iter().map(|r| r.result).collect();
        self.parts.push(ir::Part::Pass(Pass { loops, block, reduces }));
        self.pass_known = Known::default();
        for (node, value) in std::mem::take(&mut self.reduced).into_iter().zip(results) {
            if let Some(buffer) = self.homes.home(node) {
                let axes = self.homes.graph.axes(node).to_vec();
                let at = self.address(buffer, &axes, &identity(&axes));
                self.row.stores.push(Store { buffer, at, value, add: false });
            }
        }
    }

    /// Whether a place is the same in the whole row.
    fn of_row(&self, at: &[Ix]) -> bool {
        let inner = |axis: &Axis| self.inner.contains(axis);
        !at.iter().any(|ix| match (ix, &self.segment) {
            (Ix::Segment(axis, i), Some(segment)) if axis == segment && **i == Ix::Loop(axis.clone()) => false,
            _ => ix.uses(&inner),
        })
    }

    fn emit(&mut self, row: bool, op: Scalar, dtype: DType) -> Value {
        let value = Value(self.values.len() as u32);
        self.values.push(dtype);
        let block = if row { &mut self.row } else { &mut self.pass };
        block.lets.push(Let { value, op });
        value
    }

    fn number(&mut self, x: f64, dtype: DType) -> Value {
        let key = (x.to_bits(), dtype);
        if let Some(value) = self.row_known.scalars.get(&key) {
            return *value;
        }
        let value = self.emit(true, Scalar::Const(x), dtype);
        self.row_known.scalars.insert(key, value);
        value
    }

    fn map(&mut self, op: MapOp, args: Vec<Value>, dtype: DType) -> Value {
        // In the row if all arguments are.
        let row = args.iter().all(|v| !self.pass.lets.iter().any(|l| l.value == *v));
        self.emit(row, Scalar::Map(op, args), dtype)
    }

    /// Stores the value; `through`: though the node has a home, it is worked out.
    pub fn store(&mut self, node: Node, at: &At, buffer: BufferId, through: bool) {
        let value = if through { self.work_out(node, at) } else { self.value(node, at) };
        let axes = self.homes.graph.axes(node).to_vec();
        let row = self.inner.is_empty();
        let at = self.address(buffer, &axes, at);
        let block = if row { &mut self.row } else { &mut self.pass };
        block.stores.push(Store { buffer, at, value, add: false });
    }

    pub fn reduce(&mut self, node: Node) {
        let data = self.homes.graph.get(node);
        let (Op::Reduce(op, _) | Op::SegmentReduce(op, _)) = data.op else { unreachable!("a reduction") };
        let x = data.inputs[0];
        let at = identity(self.homes.graph.axes(x));
        let value = self.value(x, &at);
        let result = Value(self.values.len() as u32);
        self.values.push(data.dtype);
        self.reduces.push(Reduce { op, value, result });
        self.reduced.push(node);
        self.row_known.nodes.insert((node, identity(&data.axes)), result);
    }

    /// The value of a node at a place.
    fn value(&mut self, node: Node, at: &At) -> Value {
        let row = self.of_row(at);
        let mut key = (node, at.clone());
        if row && let Some(segment) = &self.segment {
            // Seen from a place of the segment, the segment's own value.
            let outer = segment.outer().expect("segments lie on a packed axis");
            let of_place = Ix::Segment(segment.clone(), Rc::new(Ix::Loop(segment.clone())));
            let own = |ix: &Ix| (*ix == of_place).then(|| Ix::Loop(outer.clone()));
            key.1 = at.iter().map(|ix| own(ix).unwrap_or_else(|| ix.clone())).collect();
        }
        let known = if row { &self.row_known } else { &self.pass_known };
        if let Some(value) = known.nodes.get(&key) {
            return *value;
        }
        match self.homes.home(node) {
            None => self.work_out(node, &key.1),
            Some(buffer) => {
                let axes = self.homes.graph.axes(node).to_vec();
                let address = self.address(buffer, &axes, &key.1);
                let dtype = self.homes.graph.dtype(node);
                let value = self.emit(row, Scalar::Load(buffer, address), dtype);
                self.know(key, value);
                value
            }
        }
    }

    fn know(&mut self, key: (Node, At), value: Value) {
        let row = self.of_row(&key.1);
        let known = if row { &mut self.row_known } else { &mut self.pass_known };
        known.nodes.insert(key, value);
    }

    fn work_out(&mut self, node: Node, at: &At) -> Value {
        let graph = self.homes.graph;
        let data = graph.get(node);
        let row = self.of_row(at);
        let value = if let Some((x, at)) = moved(graph, node, at) {
            self.value(x, &at)
        } else if let Some(parts) = parts(graph, node, at) {
            self.parts_value(node, at, parts)
        } else {
            match &data.op {
                Op::Const(c) => self.number(*c, data.dtype),
                Op::Iota => self.index(&at[0]),
                Op::Map(op) => {
                    let args: Vec<Value> = self.inputs(node, at);
                    self.emit(row, Scalar::Map(*op, args), data.dtype)
                }
                Op::Cast => {
                    let x = self.inputs(node, at)[0];
                    self.emit(row, Scalar::Cast(x), data.dtype)
                }
                Op::Random(kind, stream) => {
                    let mut inputs = self.inputs(node, at);
                    let seed = inputs.remove(0);
                    let mut fixed: Vec<(Axis, Ix)> = data.axes.iter().cloned().zip(at.iter().cloned()).collect();
                    fixed.retain(|(axis, _)| axis.fixed_size().is_some());
                    fixed.sort_by(|a, b| a.0.cmp(&b.0));
                    let place = fixed.into_iter().fold(Ix::Const(0), |outer, (axis, ix)| match outer {
                        Ix::Const(0) => ix,
                        outer => Ix::Flat(Rc::new(outer), Rc::new(ix), axis),
                    });
                    inputs.push(self.index(&place));
                    self.emit(row, Scalar::Random { kind: *kind, stream: *stream, seed, counter: inputs }, data.dtype)
                }
                op => unreachable!("{op:?} is stored"),
            }
        };
        self.know((node, at.clone()), value);
        value
    }

    fn inputs(&mut self, node: Node, at: &At) -> Vec<Value> {
        let graph = self.homes.graph;
        let data = graph.get(node);
        data.inputs.iter().map(|n| self.value(*n, &onto(&data.axes, at, graph.axes(*n)))).collect()
    }

    /// The part that the place lies in, by conditions where only the index decides.
    fn parts_value(&mut self, node: Node, at: &At, parts: Vec<(Node, usize, Part, At)>) -> Value {
        let graph = self.homes.graph;
        let data = graph.get(node);
        let (to, pad) = match &data.op {
            Op::Pad { to, .. } => (to, true),
            Op::Concat { to, .. } => (to, false),
            _ => unreachable!("only these have parts"),
        };
        if let Some((x, _, _, at)) = parts.iter().find(|p| matches!(p.2, Part::Inside(_))) {
            return self.value(*x, at);
        }
        let place = at[data.axes.iter().position(|a| a == to).expect("its axis")].clone();
        let row = self.of_row(at);
        let mut result = pad.then(|| self.number(0.0, data.dtype));
        for (x, start, part, at) in parts.into_iter().rev() {
            let Part::Either(Ix::Clamp { size, .. }) = part else { continue };
            let value = self.value(x, &at);
            result = Some(match result {
                None => value,
                Some(other) => {
                    let index = self.index(&place);
                    let low = self.number(start as f64, DType::Int);
                    let high = self.number((start + size) as f64, DType::Int);
                    let after = self.emit(row, Scalar::Map(MapOp::Ge, vec![index, low]), DType::Bool);
                    let before = self.emit(row, Scalar::Map(MapOp::Lt, vec![index, high]), DType::Bool);
                    let inside = self.emit(row, Scalar::Map(MapOp::And, vec![after, before]), DType::Bool);
                    self.emit(row, Scalar::Map(MapOp::Where, vec![inside, value, other]), data.dtype)
                }
            });
        }
        result.unwrap_or_else(|| self.number(0.0, data.dtype))
    }

    fn loop_id(&self, axis: &Axis) -> usize {
        let inner = || self.inner.iter().position(|a| a == axis).map(|i| i + self.rows.len());
        self.rows.iter().position(|a| a == axis).or_else(inner).unwrap_or_else(|| panic!("no loop over {axis}"))
    }

    /// The index as an Int.
    fn index(&mut self, ix: &Ix) -> Value {
        let row = self.of_row(std::slice::from_ref(ix));
        let known = if row { &self.row_known } else { &self.pass_known };
        if let Some(value) = known.indices.get(ix) {
            return *value;
        }
        let value = match ix {
            Ix::Loop(axis) => {
                let id = self.loop_id(axis);
                self.emit(row, Scalar::Index(id), DType::Int)
            }
            Ix::Const(c) => self.number(*c as f64, DType::Int),
            Ix::Plus(ix, c) => {
                let (ix, c) = (self.index(ix), self.number(*c as f64, DType::Int));
                self.map(MapOp::Add, vec![ix, c], DType::Int)
            }
            Ix::Flat(a, b, axis) => {
                let (a, b, size) = (self.index(a), self.index(b), self.size(axis));
                let scaled = self.map(MapOp::Mul, vec![a, size], DType::Int);
                self.map(MapOp::Add, vec![scaled, b], DType::Int)
            }
            Ix::Div(ix, axis) => {
                let (ix, size) = (self.index(ix), self.size(axis));
                self.map(MapOp::Div, vec![ix, size], DType::Int)
            }
            Ix::Rem(ix, axis) => {
                let (ix, size) = (self.index(ix), self.size(axis));
                self.map(MapOp::Rem, vec![ix, size], DType::Int)
            }
            Ix::Clamp { ix, start, size } => {
                let (ix, start) = (self.index(ix), self.number(*start as f64, DType::Int));
                let (zero, last) = (self.number(0.0, DType::Int), self.number(*size as f64 - 1.0, DType::Int));
                let moved = self.map(MapOp::Sub, vec![ix, start], DType::Int);
                let low = self.map(MapOp::Max, vec![moved, zero], DType::Int);
                self.map(MapOp::Min, vec![low, last], DType::Int)
            }
            Ix::Node(node, at, _) => self.value(*node, at),
            Ix::Segment(axis, place) => {
                if let Some(outer) = self.own_segment(axis, place) {
                    return self.index(&Ix::Loop(outer));
                }
                let buffer = self.homes.table(axis, TableKind::Segment);
                let at = self.address(buffer, std::slice::from_ref(axis), &[(**place).clone()].into());
                self.emit(row, Scalar::Load(buffer, at), DType::Int)
            }
        };
        let known = if row { &mut self.row_known } else { &mut self.pass_known };
        known.indices.insert(ix.clone(), value);
        value
    }

    /// The row axis, if the place is the pass's own within the row's segment.
    fn own_segment(&self, axis: &Axis, place: &Ix) -> Option<Axis> {
        let own = self.segment.as_ref() == Some(axis) && *place == Ix::Loop(axis.clone());
        if own { axis.outer() } else { None }
    }

    fn size(&mut self, axis: &Axis) -> Value {
        match axis.fixed_size() {
            Some(n) => self.number(n as f64, DType::Int),
            None => self.emit(true, Scalar::Size(Size::of([axis])), DType::Int),
        }
    }

    /// Where the buffer holds the value at a place, given for `axes`.
    fn address(&mut self, buffer: BufferId, axes: &[Axis], at: &At) -> Address {
        let data = self.homes.buffer(buffer);
        let (order, strides) = (data.axes.clone(), data.strides());
        let at = onto(axes, at, &order);
        let mut address = Address::default();
        let mut done = vec![false; order.len()];
        for i in 0..order.len() {
            if done[i] {
                continue;
            }
            if let Ix::Div(whole, by) = &at[i]
                && let Some(j) = (0..order.len()).find(|j| at[*j] == Ix::Rem(whole.clone(), by.clone()))
                && strides[j].clone().times_axis(by) == strides[i]
            {
                done[j] = true;
                self.term(&mut address, whole, &strides[j]);
                continue;
            }
            if let Ix::Rem(whole, by) = &at[i]
                && let Some(j) = (i + 1..order.len()).find(|j| at[*j] == Ix::Div(whole.clone(), by.clone()))
                && strides[i].clone().times_axis(by) == strides[j]
            {
                done[j] = true;
                self.term(&mut address, whole, &strides[i]);
                continue;
            }
            self.term(&mut address, &at[i], &strides[i]);
        }
        address
    }

    fn term(&mut self, address: &mut Address, ix: &Ix, stride: &Size) {
        let index = match ix {
            Ix::Loop(axis) => Index::Loop(self.loop_id(axis)),
            Ix::Const(0) => return,
            Ix::Const(c) if stride.constant().is_some() => {
                address.offset += c * stride.factor;
                return;
            }
            Ix::Plus(ix, c) if stride.constant().is_some() => {
                address.offset += c * stride.factor;
                return self.term(address, ix, stride);
            }
            Ix::Flat(a, b, by) => {
                self.term(address, a, &stride.clone().times_axis(by));
                return self.term(address, b, stride);
            }
            Ix::Segment(packed, place) => match self.own_segment(packed, place) {
                Some(outer) => Index::Loop(self.loop_id(&outer)),
                None => Index::Value { value: self.index(ix), below: None },
            },
            Ix::Node(node, at, axis) => Index::Value { value: self.value(*node, at), below: Some(Size::of([axis])) },
            _ => Index::Value { value: self.index(ix), below: None },
        };
        let same = address.terms.iter_mut().find(|t| t.index == index && matches!(t.index, Index::Loop(_)));
        match same.filter(|t| t.stride.axes == stride.axes) {
            Some(term) => term.stride.factor += stride.factor,
            None => address.terms.push(Term { index, stride: stride.clone() }),
        }
    }
}
