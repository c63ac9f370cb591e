//! Graphs inside nodes: attention and scans.

use super::{Batch, Rows, Value};
use crate::tensor::graph::is_ragged;
use crate::tensor::{CallKind, Graph, Node, NodeData, Op};

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
            return Err(format!("{} has a length for each item; it cannot be scanned yet", axis.name()));
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
}
