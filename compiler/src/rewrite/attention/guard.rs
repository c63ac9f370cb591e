//! What a guard says about the distance `index[time] - index[past]`.

use crate::tensor::{Axis, Graph, MapOp, Node, Op};

/// Keys at distances `0..window`; without a window at all distances from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    pub window: Option<usize>,
}

/// The band in which the condition has the truth `holds`, if it is one that begins at 0.
pub fn band(graph: &Graph, condition: Node, holds: bool, time: &Axis, past: &Axis) -> Option<Band> {
    let mut range = Range { least: None, most: None };
    narrow(graph, condition, holds, time, past, &mut range)?;
    (range.least == Some(0)).then_some(())?;
    let window = range.most.map(|most| usize::try_from(most + 1)).transpose().ok()?;
    (window != Some(0)).then_some(Band { window })
}

/// Bounds of the distance, both included.
struct Range {
    least: Option<i64>,
    most: Option<i64>,
}

fn narrow(graph: &Graph, c: Node, holds: bool, time: &Axis, past: &Axis, range: &mut Range) -> Option<()> {
    use MapOp::*;
    let data = graph.get(c);
    match (&data.op, &data.inputs[..]) {
        (Op::Tile(_) | Op::Stop | Op::Cast, [x]) => narrow(graph, *x, holds, time, past, range),
        (Op::Const(c), _) => ((*c != 0.0) == holds).then_some(()),
        (Op::Map(Not), [x]) => narrow(graph, *x, !holds, time, past, range),
        (Op::Map(And), [a, b]) if holds => {
            narrow(graph, *a, true, time, past, range)?;
            narrow(graph, *b, true, time, past, range)
        }
        (Op::Map(Or), [a, b]) if !holds => {
            narrow(graph, *a, false, time, past, range)?;
            narrow(graph, *b, false, time, past, range)
        }
        (Op::Map(op @ (Lt | Le | Gt | Ge)), [a, b]) => {
            let (a, b) = (linear(graph, *a, time, past)?, linear(graph, *b, time, past)?);
            // form = a - b compared with 0
            let form = a.plus(b, -1)?;
            let (least, strict) = match (op, holds) {
                (Ge, true) | (Lt, false) => (true, 0),
                (Gt, true) | (Le, false) => (true, 1),
                (Le, true) | (Gt, false) => (false, 0),
                _ => (false, 1),
            };
            (form.past == -form.time).then_some(())?;
            // ±distance + constant >= strict, or <= -strict
            let (distance_least, bound) = match (form.time, least) {
                (1, true) => (true, strict - form.constant),
                (1, false) => (false, -strict - form.constant),
                (-1, true) => (false, form.constant - strict),
                (-1, false) => (true, form.constant + strict),
                _ => return None,
            };
            match distance_least {
                true => range.least = Some(range.least.map_or(bound, |x| x.max(bound))),
                false => range.most = Some(range.most.map_or(bound, |x| x.min(bound))),
            }
            Some(())
        }
        _ => None,
    }
}

/// `time · index[time] + past · index[past] + constant`.
#[derive(Clone, Copy)]
struct Linear {
    time: i64,
    past: i64,
    constant: i64,
}

impl Linear {
    fn plus(self, other: Linear, times: i64) -> Option<Linear> {
        let add = |a: i64, b: i64| a.checked_add(b.checked_mul(times)?);
        Some(Linear {
            time: add(self.time, other.time)?,
            past: add(self.past, other.past)?,
            constant: add(self.constant, other.constant)?,
        })
    }
}

fn linear(graph: &Graph, node: Node, time: &Axis, past: &Axis) -> Option<Linear> {
    let data = graph.get(node);
    let zero = Linear { time: 0, past: 0, constant: 0 };
    match (&data.op, &data.inputs[..]) {
        (Op::Tile(_) | Op::Stop | Op::Cast, [x]) => linear(graph, *x, time, past),
        (Op::Rename { from, to }, [x]) if from == time && to == past => {
            let inner = linear(graph, *x, time, past)?;
            (inner.past == 0).then_some(Linear { time: 0, past: inner.time, ..inner })
        }
        (Op::Iota, _) if data.axes == [time.clone()] => Some(Linear { time: 1, ..zero }),
        (Op::Iota, _) if data.axes == [past.clone()] => Some(Linear { past: 1, ..zero }),
        (Op::Const(c), _) if c.fract() == 0.0 && c.abs() < 1e15 => Some(Linear { constant: *c as i64, ..zero }),
        (Op::Map(MapOp::Neg), [x]) => zero.plus(linear(graph, *x, time, past)?, -1),
        (Op::Map(MapOp::Add), [a, b]) => linear(graph, *a, time, past)?.plus(linear(graph, *b, time, past)?, 1),
        (Op::Map(MapOp::Sub), [a, b]) => linear(graph, *a, time, past)?.plus(linear(graph, *b, time, past)?, -1),
        _ => None,
    }
}
