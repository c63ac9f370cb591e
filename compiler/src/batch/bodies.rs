//! Graphs inside nodes: attention and scans.

use super::{Batch, Rows, Value, packed_axes};
use crate::tensor::graph::is_ragged;
use crate::tensor::{CallKind, Graph, MapOp, Node, NodeData, Op, TableKind};

impl Batch<'_> {
    /// Packs a body whose inputs lie on `params`; each output is brought to `outputs(its rows)`.
    fn body(
        &self,
        body: &Graph,
        params: &[Rows],
        outputs: impl Fn(usize, Rows) -> Rows,
    ) -> Result<(Graph, Vec<Rows>), String> {
        let mut inner = Batch::new(body, self.options);
        for (node, rows) in body.params.iter().zip(params) {
            let axes = super::packed_axes(rows, body.axes(*node));
            let param = inner.new.param(axes, body.dtype(*node));
            inner.values.insert(*node, Value { node: param, rows: rows.clone() });
        }
        inner.nodes().map_err(|e| e.what)?;
        let mut rows = vec![];
        for (i, (name, node)) in body.outputs.iter().enumerate() {
            let value = inner.value(*node);
            let to = outputs(i, value.rows.clone());
            let node = inner.spread(&value, &to);
            inner.new.output(name.clone(), node);
            rows.push(to);
        }
        Ok((inner.new, rows))
    }

    pub(super) fn call(&mut self, node: Node, data: &NodeData, inputs: &[Value]) -> Result<(), String> {
        let Op::Call { kind, body } = &data.op else { unreachable!("only calls come here") };
        let (CallKind::Attention(attention) | CallKind::AttentionGrad(attention)) = kind else {
            return Err("a region is cut into blocks before it is packed".into());
        };
        let mut attention = attention.clone();
        attention.time = attention.time.packed();
        // What its segments belong to is no head: the samples of a group.
        attention.kv.retain(|axis| !is_ragged(axis));
        if let Some(axis) = attention.rep.iter().find(|axis| is_ragged(axis)) {
            return Err(format!("queries differ by {}, keys do not; that is not packed yet", axis.name()));
        }
        let rows = Rows::Of(attention.time.clone());
        let mut lie = vec![rows.clone(); inputs.len()];
        if let Some(cached) = &mut attention.cached {
            // What is kept belongs to no item; which rows of it are one's own does.
            *cached = cached.packed();
            let first = inputs.len() - 3;
            lie.splice(first.., [Rows::Step, Rows::Step, Rows::Of(cached.clone())]);
        }
        let nodes: Vec<Node> = inputs.iter().zip(&lie).map(|(v, rows)| self.spread(v, rows)).collect();
        let (body, results) = self.body(body, &lie, |_, _| rows.clone())?;
        let kind = match kind {
            CallKind::AttentionGrad(_) => CallKind::AttentionGrad(attention),
            _ => CallKind::Attention(attention),
        };
        let call = self.new.call(kind, body, &nodes);
        self.values.insert(node, Value { node: call, rows });
        self.results.insert(node, results);
        Ok(())
    }

    /// A scan over a fixed axis: each item, or each row, by itself. Carries lie where the first ones, or what becomes of
    /// them, lie.
    pub(super) fn scan(&mut self, node: Node, data: &NodeData, inputs: &[Value]) -> Result<(), String> {
        let Op::Scan { axis, reverse, carries, xs, body } = &data.op else { unreachable!("only scans come here") };
        if is_ragged(axis) {
            return self.scan_along(node, data, inputs);
        }
        let mut rows: Vec<Rows> = inputs.iter().map(|v| v.rows.clone()).collect();
        loop {
            let (_, results) = self.body(body, &rows, |_, rows| rows)?;
            let mut settled = true;
            for i in 0..*carries {
                let joined = rows[i].join(&results[i])?;
                settled &= joined == rows[i];
                rows[i] = joined;
            }
            if settled {
                break;
            }
        }
        let (body, results) = self.body(body, &rows, |i, own| if i < *carries { rows[i].clone() } else { own })?;
        let nodes = inputs.iter().zip(&rows).map(|(v, rows)| self.spread(v, rows)).collect();
        let op = Op::Scan { axis: axis.clone(), reverse: *reverse, carries: *carries, xs: *xs, body: Box::new(body) };
        let scan = self.new.push(NodeData::new(op, nodes, vec![], data.dtype));
        self.values.insert(node, Value { node: scan, rows: Rows::Step });
        self.results.insert(node, results);
        Ok(())
    }

    /// A scan over a ragged axis: one over all places of its packed axis, in which each segment begins anew. What a body reads
    /// of an item goes along with its places.
    fn scan_along(&mut self, node: Node, data: &NodeData, inputs: &[Value]) -> Result<(), String> {
        let Op::Scan { axis, reverse, carries, xs, body } = &data.op else { unreachable!("only scans come here") };
        let packed = axis.packed();
        let along = Rows::Of(packed.clone());
        let here = |value: &Value| match value.rows.join(&along)? == along {
            true => Ok(()),
            false => Err(format!("a scan along {} of values with pairs of places", axis.name())),
        };
        inputs.iter().try_for_each(here)?;
        let place = self.new.table(&packed, TableKind::Position);
        let first = match reverse {
            false => self.new.int(0),
            true => {
                let outer = packed.outer().expect("a packed axis has an outer one");
                let length = Value { node: self.new.table(&packed, TableKind::Length), rows: Rows::Of(outer) };
                let (length, one) = (self.lift(&length, &along), self.new.int(1));
                self.new.map(MapOp::Sub, &[length, one])
            }
        };
        let begins = self.new.map(MapOp::Eq, &[place, first]);

        let mut inner = Batch::new(body, self.options);
        let param = |inner: &mut Batch, of: Node| {
            let axes = packed_axes(&Rows::Step, body.axes(of));
            inner.new.param(axes, body.dtype(of))
        };
        let carried: Vec<Node> = body.params[..*carries].iter().map(|n| param(&mut inner, *n)).collect();
        let step = |node| Value { node, rows: Rows::Step };
        let mut nodes = vec![];
        for (node, value) in body.params[*carries..*carries + *xs].iter().zip(&inputs[*carries..]) {
            let slice = param(&mut inner, *node);
            inner.values.insert(*node, step(slice));
            nodes.push(self.spread(value, &along));
        }
        let begins_here = inner.new.param(vec![], self.new.dtype(begins));
        nodes.push(begins);
        for ((node, raw), value) in body.params.iter().zip(&carried).zip(inputs) {
            let start = param(&mut inner, *node);
            let start = inner.new.map(MapOp::Where, &[begins_here, start, *raw]);
            inner.values.insert(*node, step(start));
            nodes.push(self.spread(value, &along));
        }
        let rest = || body.params.iter().zip(inputs).skip(*carries + *xs);
        let of_item = |value: &Value| value.rows != Rows::Step;
        for (node, value) in rest().filter(|(_, value)| of_item(value)) {
            let slice = param(&mut inner, *node);
            inner.values.insert(*node, step(slice));
            nodes.push(self.lift(value, &along));
        }
        let slices = nodes.len();
        for (node, value) in rest().filter(|(_, value)| !of_item(value)) {
            let captured = param(&mut inner, *node);
            inner.values.insert(*node, step(captured));
            nodes.push(value.node);
        }
        inner.nodes().map_err(|e| e.what)?;
        for (i, (name, node)) in body.outputs.iter().enumerate() {
            let Value { node: mut value, rows } = inner.value(*node);
            if rows != Rows::Step {
                return Err(format!("a scan along {} whose steps read what belongs to items", axis.name()));
            }
            if i < *carries {
                let axes = inner.new.axes(carried[i]).to_vec();
                value = inner.new.tile_to(value, &axes);
            }
            inner.new.output(name.clone(), value);
        }
        // What goes in before the first place is read by nothing.
        let mut starts = vec![];
        for (node, raw) in body.params.iter().zip(&carried) {
            let zero = self.new.float(0.0);
            let zero = self.new.cast(zero, body.dtype(*node));
            starts.push(self.new.tile_to(zero, inner.new.axes(*raw)));
        }
        starts.append(&mut nodes);
        let op = Op::Scan {
            axis: packed,
            reverse: *reverse,
            carries: *carries,
            xs: slices,
            body: Box::new(std::mem::take(&mut inner.new)),
        };
        let rows = (0..body.outputs.len()).map(|i| if i < *carries { Rows::Step } else { along.clone() }).collect();
        let scan = self.new.push(NodeData::new(op, starts, vec![], data.dtype));
        self.values.insert(node, Value { node: scan, rows: Rows::Step });
        self.results.insert(node, rows);
        Ok(())
    }
}
