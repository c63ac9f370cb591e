//! Graphs as text that says what their values are, and nothing of how they were built: content hashes are made of it.
//!
//! Nodes are numbered from the values down, so what else a graph holds (a tracked mean, say) leaves no mark, and so are the
//! texts that ragged axes belong to.

use crate::tensor::{Graph, Node, Op};
use std::collections::HashMap;
use std::fmt::Write;

/// The nodes that `of` depend on, a line each, and where `of` stand among them.
pub fn canonical(graph: &Graph, of: &[Node]) -> String {
    renumbered(&text(graph, of))
}

fn text(graph: &Graph, of: &[Node]) -> String {
    let (mut places, mut out) = (HashMap::<Node, usize>::new(), String::new());
    // The parameters of a body are told apart by their order, whether it reads them or not.
    for (i, param) in graph.params.iter().enumerate() {
        places.insert(*param, i);
        let data = graph.get(*param);
        let _ = writeln!(out, "param {:?} {:?}", data.axes, data.dtype);
    }
    for root in of {
        let mut stack = vec![(*root, false)];
        while let Some((node, seen)) = stack.pop() {
            if places.contains_key(&node) {
                continue;
            }
            let data = graph.get(node);
            if !seen {
                stack.push((node, true));
                stack.extend(data.inputs.iter().rev().map(|input| (*input, false)));
                continue;
            }
            let inputs: Vec<usize> = data.inputs.iter().map(|input| places[input]).collect();
            places.insert(node, places.len());
            let _ = match body(&data.op) {
                None => writeln!(out, "{:?} {inputs:?} {:?} {:?}", data.op, data.axes, data.dtype),
                Some((op, body)) => {
                    let results: Vec<Node> = body.outputs.iter().map(|(_, node)| *node).collect();
                    let body = text(&body, &results);
                    writeln!(out, "{op:?} {inputs:?} {:?} {:?} {{\n{body}}}", data.axes, data.dtype)
                }
            };
        }
    }
    let _ = writeln!(out, "{:?}", of.iter().map(|node| places[node]).collect::<Vec<_>>());
    out
}

/// An operation without its body, and that.
fn body(op: &Op) -> Option<(Op, Graph)> {
    let mut op = op.clone();
    match &mut op {
        Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => {
            let body = std::mem::take(&mut **body);
            Some((op, body))
        }
        _ => None,
    }
}

/// With the numbers behind `#`, by which ragged axes are told apart, from 0 on as they come.
fn renumbered(text: &str) -> String {
    let (mut known, mut out) = (HashMap::<&str, usize>::new(), String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('#') {
        let (before, after) = rest.split_at(at + 1);
        out += before;
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        if !number.is_empty() {
            let next = known.len();
            let _ = write!(out, "{}", known.entry(number).or_insert(next));
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Axis, DType, MapOp};

    #[test]
    fn what_else_a_graph_holds_leaves_no_mark() {
        let built = |origin: u32, more: bool, name: &str| {
            let mut g = Graph::new();
            let time = Axis::ragged("time", origin, None);
            if more {
                let other = g.input("other", vec![Axis::ragged("time", 1, None)], DType::Float);
                g.map(MapOp::Exp, &[other]);
            }
            let x = g.input(name, vec![time], DType::Float);
            let two = g.float(2.0);
            let y = g.map(MapOp::Mul, &[x, two]);
            canonical(&g, &[y])
        };
        assert_eq!(built(3, false, "x"), built(7, true, "x"));
        assert_ne!(built(3, false, "x"), built(3, false, "y"));
    }

    #[test]
    fn axes_of_two_texts_are_two() {
        let built = |second: u32| {
            let mut g = Graph::new();
            let [a, b] = [("a", 4), ("b", second)]
                .map(|(name, origin)| g.input(name, vec![Axis::ragged("time", origin, None)], DType::Float));
            canonical(&g, &[a, b])
        };
        assert_eq!(built(5), built(9));
        assert_ne!(built(5), built(4));
    }
}
