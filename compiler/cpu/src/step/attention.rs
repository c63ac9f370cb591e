//! Attention steps: views become operands.

use crate::attention::{Operand, Problem, backward, forward};
use crate::unit::Frame;
use align_compiler::kernel::{AttentionGradStep, AttentionStep, BufferId, View};
use align_compiler::tensor::{Attention, Axis, TableKind};

pub enum Task {
    Forward(AttentionStep),
    Backward(AttentionGradStep),
}

impl Task {
    pub fn output(&self) -> BufferId {
        match self {
            Task::Forward(a) => a.out.buffer,
            Task::Backward(a) => a.query_grad.buffer,
        }
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, frame: &Frame) {
        match self {
            Task::Forward(a) => {
                let operand = |view: &View, width: Option<&Axis>| operand(frame, &a.attention, view, width);
                let Attention { hdim, vdim, .. } = &a.attention;
                let operands = [
                    operand(&a.query, Some(hdim)),
                    operand(&a.key, Some(hdim)),
                    operand(&a.value, Some(vdim)),
                    operand(&a.out, Some(vdim)),
                    operand(&a.lse, None),
                ];
                // SAFETY: views lie within their buffers.
                unsafe { forward(frame.pool, &problem(frame, &a.attention), operands.each_ref()) };
            }
            Task::Backward(a) => {
                let operand = |view: &View, width: Option<&Axis>| operand(frame, &a.attention, view, width);
                let Attention { hdim, vdim, .. } = &a.attention;
                let operands = [
                    operand(&a.query, Some(hdim)),
                    operand(&a.key, Some(hdim)),
                    operand(&a.value, Some(vdim)),
                    operand(&a.out, Some(vdim)),
                    operand(&a.lse, None),
                    operand(&a.cotangent, Some(vdim)),
                    operand(&a.query_grad, Some(hdim)),
                    operand(&a.key_grad, Some(hdim)),
                    operand(&a.value_grad, Some(vdim)),
                ];
                // SAFETY: views lie within their buffers.
                unsafe { backward(frame.pool, &problem(frame, &a.attention), operands.each_ref()) };
            }
        }
    }
}

fn problem(frame: &Frame, a: &Attention) -> Problem {
    let size = |axes: &[Axis]| axes.iter().map(|axis| frame.lengths.size(axis)).product();
    let table = |kind| frame.lengths.table(&a.time, kind);
    let bounds = table(TableKind::Start).into_iter().zip(table(TableKind::Length));
    Problem {
        segments: bounds.map(|(start, length)| (start as usize, length as usize)).collect(),
        kv: size(&a.kv),
        rep: size(&a.rep),
        hdim: frame.lengths.size(&a.hdim),
        vdim: frame.lengths.size(&a.vdim),
        scale: a.scale as f32,
        window: a.window,
    }
}

fn operand(frame: &Frame, a: &Attention, view: &View, width: Option<&Axis>) -> Operand {
    let stride = |axis: &Axis| view.stride(axis).get(frame.lengths);
    let offsets = |axes: &[Axis]| {
        axes.iter().fold(vec![0], |all, axis| {
            let (size, stride) = (frame.lengths.size(axis), stride(axis));
            all.into_iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect()
        })
    };
    let has_rep = a.rep.iter().any(|axis| view.has(axis));
    Operand {
        at: frame.floats(view.buffer).wrapping_add(view.offset),
        time: stride(&a.time),
        width: width.map_or(1, stride),
        kv: offsets(&a.kv),
        rep: if has_rep { offsets(&a.rep) } else { vec![0] },
        add: frame.adds(view.buffer),
    }
}
