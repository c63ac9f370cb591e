//! The memory order of values that no one else decides: axes of the batch outermost, then fixed ones as inputs and weights
//! mostly have them. So neighbouring steps agree, and products need no copies.

use super::Layouts;
use crate::tensor::{Axis, Graph, Op};
use std::collections::HashMap;

pub struct UsualOrder {
    /// How often the first axis comes before the second, less how often it comes after.
    before: HashMap<(Axis, Axis), i32>,
    /// Whole orders of inputs and weights.
    whole: Vec<Vec<Axis>>,
}

impl UsualOrder {
    pub fn of(graph: &Graph, layouts: &Layouts) -> UsualOrder {
        let mut order = UsualOrder { before: HashMap::new(), whole: vec![] };
        for (_, data) in graph.nodes() {
            let axes = match &data.op {
                Op::Input(name) => layouts.inputs.get(name).unwrap_or(&data.axes),
                Op::Weight(_) | Op::Array(_) => &data.axes,
                _ => continue,
            };
            for (i, a) in axes.iter().enumerate() {
                for b in &axes[i + 1..] {
                    *order.before.entry((a.clone(), b.clone())).or_default() += 1;
                    *order.before.entry((b.clone(), a.clone())).or_default() -= 1;
                }
            }
            if axes.len() > 1 && !order.whole.contains(axes) {
                order.whole.push(axes.clone());
            }
        }
        order
    }

    pub fn sorted(&self, axes: &[Axis]) -> Vec<Axis> {
        if axes.len() < 2 {
            return axes.to_vec();
        }
        let same = |own: &&Vec<Axis>| own.len() == axes.len() && own.iter().all(|a| axes.contains(a));
        if let Some(own) = self.whole.iter().find(same) {
            return own.clone();
        }
        let (mut sorted, mut rest): (Vec<Axis>, Vec<Axis>) =
            axes.iter().cloned().partition(|a| a.fixed_size().is_none());
        while !rest.is_empty() {
            let votes = |a: &Axis| -> i32 {
                rest.iter().map(|b| self.before.get(&(a.clone(), b.clone())).map_or(0, |n| n.signum())).sum()
            };
            // The first of equals.
            let most = rest.iter().map(votes).max().unwrap_or(0);
            let next = rest.iter().position(|a| votes(a) == most).unwrap_or(0);
            sorted.push(rest.remove(next));
        }
        sorted
    }
}
