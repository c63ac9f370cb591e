//! Attention steps: views become operands.

use crate::attention::{self, Operand, Problem, backward, forward};
use crate::unit::Frame;
use align_compiler::kernel::{AttentionGradStep, AttentionStep, BufferId, Cache, Program, Tree, View};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Attention, Axis, TableKind};

pub struct Task {
    kind: Kind,
    /// What it reads in bf16.
    narrow: Vec<BufferId>,
}

enum Kind {
    Forward(AttentionStep),
    Backward(AttentionGradStep),
}

impl Task {
    pub fn forward(program: &Program, step: &AttentionStep) -> Task {
        let kind = Kind::Forward(step.clone());
        Task { kind, narrow: narrow(program, [&step.query, &step.key, &step.value]) }
    }

    pub fn backward(program: &Program, step: &AttentionGradStep) -> Task {
        let kind = Kind::Backward(step.clone());
        Task { kind, narrow: narrow(program, [&step.query, &step.key, &step.value, &step.out, &step.cotangent]) }
    }

    pub fn output(&self) -> BufferId {
        match &self.kind {
            Kind::Forward(a) => a.out.buffer,
            Kind::Backward(a) => a.query_grad.buffer,
        }
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, frame: &Frame) {
        match &self.kind {
            Kind::Forward(a) => {
                let operand = |view, width| self.operand(frame, &a.attention, view, width);
                let Attention { hdim, vdim, .. } = &a.attention;
                let operands = [
                    operand(&a.query, Some(hdim)),
                    operand(&a.key, Some(hdim)),
                    operand(&a.value, Some(vdim)),
                    operand(&a.out, Some(vdim)),
                    operand(&a.lse, None),
                ];
                // SAFETY: views lie within their buffers.
                unsafe {
                    let mut problem = problem(frame, &a.attention, a.tree.as_ref());
                    problem.cache = a.cache.as_ref().map(|cache| self.cache(frame, &a.attention, cache));
                    forward(frame.pool, &problem, operands.each_ref());
                }
            }
            Kind::Backward(a) => {
                let operand = |view, width| self.operand(frame, &a.attention, view, width);
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
                unsafe {
                    let problem = problem(frame, &a.attention, a.tree.as_ref());
                    backward(frame.pool, &problem, operands.each_ref());
                }
            }
        }
    }

    /// # Safety
    /// The frame holds a valid place for the rows.
    unsafe fn cache(&self, frame: &Frame, a: &Attention, cache: &Cache) -> attention::Cache {
        let by_row = |view: &View, width: &Axis| {
            let row = cache.row().map_or(0, |row| view.stride(row).get(frame.lengths));
            Operand { time: row, ..self.operand(frame, a, view, Some(width)) }
        };
        let cached = a.cached.as_ref().expect("what has rows kept says of which places");
        let table = |kind| frame.lengths.table(cached, kind);
        let last = cache.row().map_or(0, |row| frame.lengths.size(row)).saturating_sub(1);
        let (from, stride) = (
            frame.place(cache.rows.buffer).cast::<i32>().wrapping_add(cache.rows.offset),
            cache.rows.stride(cached).get(frame.lengths),
        );
        // SAFETY: by the caller; views lie within their buffers.
        let row = |i: usize| unsafe { (*from.add(i * stride)).max(0) as usize };
        let bounds = table(TableKind::Start).into_iter().zip(table(TableKind::Length));
        attention::Cache {
            keys: by_row(&cache.keys, &a.hdim),
            values: by_row(&cache.values, &a.vdim),
            segments: bounds.map(|(start, length)| (start as usize, length as usize)).collect(),
            rows: (0..frame.lengths.size(cached)).map(|i| row(i).min(last)).collect(),
        }
    }

    fn operand(&self, frame: &Frame, a: &Attention, view: &View, width: Option<&Axis>) -> Operand {
        let stride = |axis: &Axis| view.stride(axis).get(frame.lengths);
        let offsets = |axes: &[Axis]| {
            axes.iter().fold(vec![0], |all, axis| {
                let (size, stride) = (frame.lengths.size(axis), stride(axis));
                all.into_iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect()
            })
        };
        let has_rep = a.rep.iter().any(|axis| view.has(axis));
        let (at, bf16) = (frame.floats(view.buffer), self.narrow.contains(&view.buffer));
        Operand {
            at: if bf16 { at.cast::<u16>().wrapping_add(view.offset).cast() } else { at.wrapping_add(view.offset) },
            bf16,
            time: stride(&a.time),
            width: width.map_or(1, stride),
            kv: offsets(&a.kv),
            rep: if has_rep { offsets(&a.rep) } else { vec![0] },
            add: frame.adds(view.buffer),
        }
    }
}

fn narrow<const N: usize>(program: &Program, views: [&View; N]) -> Vec<BufferId> {
    let all = views.into_iter().map(|view| view.buffer);
    all.filter(|buffer| program.buffer(*buffer).storage == Storage::Bf16).collect()
}

/// # Safety
/// The frame holds valid places for the tables of a tree.
unsafe fn problem(frame: &Frame, a: &Attention, tree: Option<&Tree>) -> Problem {
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
        tree: tree.map(|tree| {
            let ints = |view: &View| -> Vec<i32> {
                let (from, stride) = (frame.place(view.buffer).cast::<i32>(), view.stride(&a.time).get(frame.lengths));
                let at = |i: usize| view.offset + i * stride;
                // SAFETY: by the caller; views lie within their buffers.
                (0..frame.lengths.size(&a.time)).map(|i| unsafe { *from.add(at(i)) }).collect()
            };
            attention::Tree { ends: ints(&tree.ends), places: ints(&tree.places) }
        }),
        cache: None,
    }
}
