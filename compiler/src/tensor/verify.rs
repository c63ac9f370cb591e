//! Checks that a graph is well formed: that each node's inputs come before it, and that its axes and dtype follow from them.

use super::axis::{Axis, AxisKind};
use super::graph::{Graph, NodeData};
use super::op::{DType, MapOp, Op, ReduceOp, TableKind};

/// All that is wrong, a line each; empty for a good graph.
pub fn verify(graph: &Graph) -> Vec<String> {
    let mut wrong = vec![];
    for (node, data) in graph.nodes() {
        if let Some(n) = data.inputs.iter().find(|n| **n >= node) {
            wrong.push(format!("%{}: reads %{}, which comes later", node.0, n.0));
            continue;
        }
        if let Err(what) = check(graph, data) {
            wrong.push(format!("%{}: {:?}: {what}", node.0, data.op));
        }
        if let Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } = &data.op {
            wrong.extend(verify(body).into_iter().map(|line| format!("in the body of %{}: {line}", node.0)));
        }
    }
    for node in graph.params.iter().chain(graph.outputs.iter().map(|(_, n)| n)) {
        if node.0 as usize >= graph.len() {
            wrong.push(format!("%{} is not there", node.0));
        }
    }
    wrong
}

fn check(graph: &Graph, data: &NodeData) -> Result<(), String> {
    if (0..data.axes.len()).any(|i| data.axes[..i].contains(&data.axes[i])) {
        return Err(format!("an axis stands twice in {:?}", data.axes));
    }
    let (count, dtype) = signature(graph, data);
    if let Some(count) = count
        && data.inputs.len() != count
    {
        return Err(format!("{} inputs, {count} expected", data.inputs.len()));
    }
    if let Some(dtype) = dtype
        && data.dtype != dtype
    {
        return Err(format!("a {:?}, {dtype:?} expected", data.dtype));
    }
    if let Some(axes) = axes(graph, data)?
        && !same(&axes, &data.axes)
    {
        return Err(format!("lies on {:?}, {axes:?} expected", data.axes));
    }
    indices(graph, data)
}

/// How many inputs, and which dtype, where the op decides it.
fn signature(graph: &Graph, data: &NodeData) -> (Option<usize>, Option<DType>) {
    use MapOp::*;
    let of = |i: usize| data.inputs.get(i).map(|n| graph.dtype(*n));
    match &data.op {
        Op::Input(_) | Op::Const(_) | Op::Array(_) => (Some(0), None),
        Op::Weight(_) => (Some(0), Some(DType::Float)),
        Op::Iota | Op::Table(..) | Op::Here => (Some(0), Some(DType::Int)),
        Op::Random(..) | Op::Concat { .. } | Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. } => (None, None),
        Op::Map(Eq | Ne | Lt | Le | Gt | Ge | And | Or) => (Some(2), Some(DType::Bool)),
        Op::Map(Not | IsNan) => (Some(1), Some(DType::Bool)),
        Op::Map(Where) => (Some(3), of(1)),
        Op::Map(Add | Sub | Mul | Div | Rem | Pow | Min | Max) => (Some(2), of(0)),
        Op::Map(_) => (Some(1), of(0)),
        Op::Cast => (Some(1), None),
        Op::Contract(_) => (Some(2), Some(DType::Float)),
        Op::Gather(_) => (Some(2), of(0)),
        Op::ScatterAdd(_) => (Some(2), Some(DType::Float)),
        Op::Argsort(_) | Op::Topk { .. } => (Some(1), Some(DType::Int)),
        Op::Compact { .. } | Op::Expand { .. } => (Some(2), of(0)),
        Op::Solve(..) => (Some(2), Some(DType::Float)),
        Op::Cholesky(..) | Op::Qr(..) | Op::Eigh(..) | Op::Svd(..) => (Some(1), Some(DType::Float)),
        Op::Reduce(ReduceOp::Any | ReduceOp::All, _) | Op::SegmentReduce(ReduceOp::Any | ReduceOp::All, _) => {
            (Some(1), Some(DType::Bool))
        }
        Op::Result(_) => (Some(1), None),
        _ => (Some(1), of(0)),
    }
}

/// The axes that follow from the inputs; `None` where they are the node's own.
fn axes(graph: &Graph, data: &NodeData) -> Result<Option<Vec<Axis>>, String> {
    let of = |i: usize| graph.axes(data.inputs[i]);
    let has = |i: usize, axis: &Axis| match of(i).contains(axis) {
        true => Ok(()),
        false => Err(format!("input {i} lies on {:?}, without {axis}", of(i))),
    };
    let swap = |from: &[&Axis], to: &[&Axis]| -> Result<Option<Vec<Axis>>, String> {
        from.iter().try_for_each(|a| has(0, a))?;
        let kept = of(0).iter().filter(|a| !from.contains(a)).cloned();
        Ok(Some(kept.chain(to.iter().map(|a| (*a).clone())).collect()))
    };
    let sized = |a: &Axis, b: &Axis| match (a.fixed_size(), b.fixed_size()) {
        (Some(n), Some(m)) if n != m => Err(format!("{a} and {b} have different sizes")),
        _ => Ok(()),
    };
    Ok(match &data.op {
        Op::Const(_) | Op::Here => Some(vec![]),
        Op::Items(axis) if !axis.is_batch() => return Err(format!("{axis} does not count items")),
        Op::Table(axis, kind) => match kind {
            TableKind::Segment | TableKind::Position => Some(vec![axis.clone()]),
            TableKind::Start | TableKind::Length => Some(vec![axis.outer().ok_or("the axis is not packed")?]),
        },
        Op::Array(all) => {
            let size: Option<usize> = data.axes.iter().map(Axis::fixed_size).product();
            if size != Some(all.len()) {
                return Err(format!("{} numbers on {:?}", all.len(), data.axes));
            }
            None
        }
        Op::Iota if data.axes.len() != 1 => return Err("an index runs along one axis".into()),
        Op::Map(_) => Some(union((0..data.inputs.len()).map(of))),
        Op::Cast | Op::Stop | Op::Argsort(_) | Op::Cumsum { .. } | Op::Cholesky(..) => Some(of(0).to_vec()),
        Op::Reduce(_, over) => {
            over.iter().try_for_each(|a| has(0, a))?;
            swap(&over.iter().collect::<Vec<_>>(), &[])?
        }
        Op::Contract(over) => {
            over.iter().try_for_each(|a| has(0, a).and(has(1, a)))?;
            let all = union([of(0), of(1)].into_iter());
            Some(all.into_iter().filter(|a| !over.contains(a)).collect())
        }
        Op::Tile(axis) | Op::Items(axis) => swap(&[], &[axis])?,
        Op::Rename { from, to } => {
            sized(from, to)?;
            swap(&[from], &[to])?
        }
        Op::Flatten { from: [a, b], to } => swap(&[a, b], &[to])?,
        Op::Split { from, to: [a, b] } => swap(&[from], &[a, b])?,
        Op::Slice { from, to, start } => {
            within(to, from, *start)?;
            swap(&[from], &[to])?
        }
        Op::Pad { from, to, start } => {
            within(from, to, *start)?;
            swap(&[from], &[to])?
        }
        Op::Concat { from, to } => {
            from.iter().enumerate().try_for_each(|(i, a)| has(i, a))?;
            swap(&[&from[0]], &[to])?
        }
        Op::Topk { from, to } | Op::Compact { from, to } => swap(&[from], &[to])?,
        Op::Expand { from, to } => swap(&[to], &[from])?,
        Op::Gather(axis) => {
            has(0, axis)?;
            let kept: Vec<Axis> = of(0).iter().filter(|a| *a != axis).cloned().collect();
            Some(union([&kept[..], of(1)].into_iter()))
        }
        Op::ScatterAdd(axis) if !data.axes.contains(axis) => return Err(format!("{axis} is not there")),
        Op::Solve(a, b) => {
            has(0, a).and(has(0, b)).and(has(1, a))?;
            let all = union([of(0), of(1)].into_iter());
            Some(all.into_iter().filter(|n| n != a).collect())
        }
        Op::SegmentReduce(_, axis) => swap(&[axis], &[&axis.outer().ok_or("the axis is not packed")?])?,
        Op::SegmentTile(axis) => swap(&[&axis.outer().ok_or("the axis is not packed")?], &[axis])?,
        Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. } | Op::Qr(..) | Op::Eigh(..) | Op::Svd(..) => Some(vec![]),
        _ => None,
    })
}

/// Indices are Ints, what is kept is a Bool, bodies have as many params as inputs.
fn indices(graph: &Graph, data: &NodeData) -> Result<(), String> {
    let is = |i: usize, dtype: DType| match graph.dtype(data.inputs[i]) {
        found if found == dtype => Ok(()),
        found => Err(format!("input {i} is a {found:?}, {dtype:?} expected")),
    };
    match &data.op {
        Op::Gather(_) => is(1, DType::Int),
        Op::ScatterAdd(_) => is(0, DType::Int).and(is(1, DType::Float)),
        Op::Compact { .. } | Op::Expand { .. } => is(1, DType::Bool),
        Op::Map(MapOp::Where) => is(0, DType::Bool),
        Op::Table(axis, _)
            if !matches!(axis.kind(), AxisKind::Packed(_) | AxisKind::Pairs(_) | AxisKind::Cross(..)) =>
        {
            Err(format!("{axis} has no tables"))
        }
        Op::Scan { body, carries, xs, .. } => {
            if body.params.len() != data.inputs.len() || carries + xs > data.inputs.len() {
                return Err(format!("{} inputs, the body has {}", data.inputs.len(), body.params.len()));
            }
            Ok(())
        }
        Op::Loop { body, .. } | Op::Call { body, .. } if body.params.len() != data.inputs.len() => {
            Err(format!("{} inputs, the body has {}", data.inputs.len(), body.params.len()))
        }
        Op::Result(i) => {
            let count = match graph.op(data.inputs[0]) {
                Op::Scan { body, .. } | Op::Call { body, .. } => body.outputs.len(),
                Op::Loop { carries, .. } => *carries,
                Op::Qr(..) | Op::Eigh(..) => 2,
                Op::Svd(..) => 3,
                _ => return Err("the input has one result".into()),
            };
            if *i < count { Ok(()) } else { Err(format!("the input has {count} results")) }
        }
        _ => Ok(()),
    }
}

fn within(part: &Axis, whole: &Axis, start: usize) -> Result<(), String> {
    match (part.fixed_size(), whole.fixed_size()) {
        (Some(n), Some(m)) if start + n > m => Err(format!("{part} from {start} does not fit into {whole}")),
        _ => Ok(()),
    }
}

fn union<'a>(all: impl Iterator<Item = &'a [Axis]>) -> Vec<Axis> {
    let mut axes: Vec<Axis> = vec![];
    for axis in all.flatten() {
        if !axes.contains(axis) {
            axes.push(axis.clone());
        }
    }
    axes
}

fn same(a: &[Axis], b: &[Axis]) -> bool {
    a.len() == b.len() && a.iter().all(|axis| b.contains(axis))
}

/// The first thing that is wrong, as a panic: for tests between passes.
pub fn assert_valid(graph: &Graph) {
    let wrong = verify(graph);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), super::print::print(graph));
}
