//! Tensor graphs as text: a line a node, bodies in braces. [`super::parse`] reads it back.

use super::graph::{Graph, Node, NodeData};
use super::op::{Attention, CallKind, Op};
use std::fmt::{self, Write as _};

/// The text of a graph.
pub fn print(graph: &Graph) -> String {
    let mut text = String::new();
    write_graph(&mut text, graph, 0).expect("a String takes all text");
    text
}

fn write_graph(out: &mut String, graph: &Graph, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    if !graph.params.is_empty() {
        writeln!(out, "{indent}params {}", list(&graph.params))?;
    }
    for (node, data) in graph.nodes() {
        write!(out, "{indent}%{} = ", node.0)?;
        write_node(out, data, depth)?;
        writeln!(out)?;
    }
    let outputs: Vec<String> = graph.outputs.iter().map(|(name, n)| format!("{name:?} = %{}", n.0)).collect();
    writeln!(out, "{indent}outputs {}", outputs.join(", "))
}

fn write_node(out: &mut String, data: &NodeData, depth: usize) -> fmt::Result {
    let inputs = list(&data.inputs);
    match &data.op {
        Op::Input(name) => write!(out, "input {name:?}")?,
        Op::Weight(path) => write!(out, "weight {path:?}")?,
        Op::Const(c) => write!(out, "const {c:?}")?,
        Op::Array(all) => {
            let all: Vec<String> = all.iter().map(|x| format!("{x:?}")).collect();
            write!(out, "array {{{}}}", all.join(", "))?;
        }
        Op::Iota => write!(out, "iota")?,
        Op::Table(axis, kind) => write!(out, "table {} {axis}", name(kind))?,
        Op::Random(kind, stream) => write!(out, "random {} {stream} ({inputs})", name(kind))?,
        Op::Map(op) => write!(out, "{} ({inputs})", name(op))?,
        Op::Cast => write!(out, "cast ({inputs})")?,
        Op::Stop => write!(out, "stop ({inputs})")?,
        Op::Reduce(op, over) => write!(out, "reduce {} {over:?} ({inputs})", name(op))?,
        Op::Contract(over) => write!(out, "contract {over:?} ({inputs})")?,
        Op::Tile(axis) => write!(out, "tile {axis} ({inputs})")?,
        Op::Rename { from, to } => write!(out, "rename {from} {to} ({inputs})")?,
        Op::Flatten { from: [a, b], to } => write!(out, "flatten {a} {b} {to} ({inputs})")?,
        Op::Split { from, to: [a, b] } => write!(out, "split {from} {a} {b} ({inputs})")?,
        Op::Slice { from, to, start } => write!(out, "slice {from} {to} {start} ({inputs})")?,
        Op::Pad { from, to, start } => write!(out, "pad {from} {to} {start} ({inputs})")?,
        Op::Concat { from, to } => write!(out, "concat {from:?} {to} ({inputs})")?,
        Op::Items(axis) => write!(out, "items {axis} ({inputs})")?,
        Op::Here => write!(out, "here")?,
        Op::Gather(axis) => write!(out, "gather {axis} ({inputs})")?,
        Op::ScatterAdd(axis) => write!(out, "scatter_add {axis} ({inputs})")?,
        Op::Argsort(axis) => write!(out, "argsort {axis} ({inputs})")?,
        Op::Topk { from, to } => write!(out, "topk {from} {to} ({inputs})")?,
        Op::Compact { from, to } => write!(out, "compact {from} {to} ({inputs})")?,
        Op::Expand { from, to } => write!(out, "expand {from} {to} ({inputs})")?,
        Op::Cumsum { axis, reverse } => write!(out, "cumsum {axis} {} ({inputs})", direction(*reverse))?,
        Op::Scan { axis, reverse, carries, xs, body } => {
            write!(out, "scan {axis} {} {carries} {xs} ({inputs}) ", direction(*reverse))?;
            write_body(out, body, depth)?;
        }
        Op::Loop { within, carries, body } => {
            write!(out, "loop {within} {carries} ({inputs}) ")?;
            write_body(out, body, depth)?;
        }
        Op::Solve(a, b) => write!(out, "solve {a} {b} ({inputs})")?,
        Op::Cholesky(a, b) => write!(out, "cholesky {a} {b} ({inputs})")?,
        Op::Qr(a, b) => write!(out, "qr {a} {b} ({inputs})")?,
        Op::Eigh(a, b) => write!(out, "eigh {a} {b} ({inputs})")?,
        Op::Svd(a, b) => write!(out, "svd {a} {b} ({inputs})")?,
        Op::SegmentReduce(op, axis) => write!(out, "segment_reduce {} {axis} ({inputs})", name(op))?,
        Op::SegmentTile(axis) => write!(out, "segment_tile {axis} ({inputs})")?,
        Op::Call { kind, body } => {
            match kind {
                CallKind::Plain => write!(out, "call plain")?,
                CallKind::Chunked { axis } => write!(out, "call chunked {axis}")?,
                CallKind::Attention(attention) => write_attention(out, "attention", attention)?,
                CallKind::AttentionGrad(attention) => write_attention(out, "attention_grad", attention)?,
            }
            write!(out, " ({inputs}) ")?;
            write_body(out, body, depth)?;
        }
        Op::Result(i) => write!(out, "result {i} ({inputs})")?,
    }
    write!(out, " : {}{:?}", name(&data.dtype), data.axes)
}

fn write_attention(out: &mut String, word: &str, a: &Attention) -> fmt::Result {
    let window = a.window.map_or("none".to_string(), |n| n.to_string());
    let Attention { time, hdim, vdim, kv, rep, scale, .. } = a;
    let tree = if a.tree { " tree" } else { "" };
    let cached = a.cached.as_ref().map_or(String::new(), |axis| format!(" cached {axis}"));
    write!(out, "call {word} {time} {hdim} {vdim} {kv:?} {rep:?} {scale:?} {window}{tree}{cached}")
}

fn write_body(out: &mut String, body: &Graph, depth: usize) -> fmt::Result {
    writeln!(out, "{{")?;
    write_graph(out, body, depth + 1)?;
    write!(out, "{}}}", "  ".repeat(depth))
}

fn list(nodes: &[Node]) -> String {
    nodes.iter().map(|n| format!("%{}", n.0)).collect::<Vec<_>>().join(", ")
}

fn direction(reverse: bool) -> &'static str {
    if reverse { "reverse" } else { "forward" }
}

/// The name of a variant in lower case: `Add` is `add`, `IsNan` is `is_nan`.
pub(crate) fn name(variant: &impl fmt::Debug) -> String {
    let mut text = String::new();
    for c in format!("{variant:?}").chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}
