//! Scatter-add without atomics: each thread takes some columns of the output, or some rows where columns are few, and goes
//! through all indices in order.

use super::view::{Shared, sizes, strides, union, walk};
use crate::pool::even;
use crate::unit::Frame;
use align_compiler::kernel::{Fault, Program, Scatter};
use align_compiler::tensor::Axis;
use std::ops::Range;

pub struct Task(pub Scatter);

/// Entries of the innermost loop that go together: some cache lines.
const COLUMNS: usize = 64;
/// Entries of a block of rows below which another thread does not pay.
const GRAIN: usize = 1 << 14;

impl Task {
    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, program: &Program, frame: &Frame) -> Result<(), Fault> {
        let Scatter { axis, index, values, out, add } = &self.0;
        let lengths = frame.lengths;
        let indices = Shared(frame.place(index.buffer).cast::<i32>().wrapping_add(index.offset));
        let from = Shared(frame.floats(values.buffer).wrapping_add(values.offset));
        let to = Shared(frame.floats(out.buffer).wrapping_add(out.offset));
        let below = lengths.size(axis);
        // All indices are looked at first: nothing is written outside, and the fault does not depend on threads.
        let axes = union([index]);
        let mut wrong = None;
        walk(&sizes(&axes, lengths), [&strides(index, &axes, lengths)], |[at]| {
            // SAFETY: within the view.
            let i = unsafe { indices.get(at) };
            if i < 0 || i as usize >= below {
                wrong = wrong.or(Some(i));
            }
        });
        if let Some(index) = wrong {
            let buffer = program.buffer(out.buffer).name.clone();
            return Err(Fault::Index { step: "scatter".into(), buffer, index: i64::from(index) });
        }
        let zeroes = !*add && !frame.adds(out.buffer);
        // Indices outside, the axes of the output inside, the one that lies densely last.
        let mut axes = union([index, values]);
        let dense = |a: &Axis| values.stride(a).is_one() && out.stride(a).is_one();
        axes.sort_by_key(|a| (out.has(a) && a != axis && !index.has(a), dense(a)));
        let sizes = sizes(&axes, lengths);
        let (i, v) = (strides(index, &axes, lengths), strides(values, &axes, lengths));
        let mut o = strides(out, &axes, lengths);
        axes.iter().zip(&mut o).filter(|(a, _)| *a == axis).for_each(|(_, stride)| *stride = 0);
        let row = out.stride(axis).get(lengths);
        // What goes to some rows of the output; `bases` are where the part of values and output begins.
        let body = |rows: &Range<usize>, sizes: &[usize], bases: [usize; 2]| {
            let (last, outer) = match sizes.split_last() {
                Some((last, outer)) => (*last, outer),
                None => (1, sizes),
            };
            let inner = outer.len();
            let step = |strides: &[usize]| strides.get(inner).copied().unwrap_or(0);
            let (is, vs, os) = (step(&i), step(&v), step(&o));
            walk(outer, [&i[..inner], &v[..inner], &o[..inner]], |[ia, va, oa]| {
                // SAFETY: within the views, and indices were looked at; blocks have different rows or columns of the output.
                unsafe {
                    if is == 0 && last > 0 {
                        let target = indices.get(ia) as usize;
                        if !rows.contains(&target) {
                            return;
                        }
                        let (target, source) = (oa + target * row + bases[1], va + bases[0]);
                        if (vs, os) == (1, 1) {
                            let source = std::slice::from_raw_parts(from.0.add(source), last);
                            let target = std::slice::from_raw_parts_mut(to.0.add(target), last);
                            target.iter_mut().zip(source).for_each(|(to, x)| *to += x);
                            return;
                        }
                        for x in 0..last {
                            let at = target + x * os;
                            to.set(at, to.get(at) + from.get(source + x * vs));
                        }
                        return;
                    }
                    for x in 0..last {
                        let target = indices.get(ia + x * is) as usize;
                        if rows.contains(&target) {
                            let at = oa + x * os + target * row + bases[1];
                            to.set(at, to.get(at) + from.get(va + x * vs + bases[0]));
                        }
                    }
                }
            });
        };
        // Columns only where the last loop leads to different places of the output, and is long enough for a few threads.
        let free = axes.last().is_some_and(|a| out.has(a) && a != axis && !index.has(a));
        let many = sizes.last().is_some_and(|last| last.div_ceil(COLUMNS) >= 4);
        let whole = union([out]);
        let (counts, steps) = (self::sizes(&whole, lengths), strides(out, &whole, lengths));
        if free && many {
            if zeroes {
                columns(&counts, [&steps, &steps], frame, |sizes, bases| {
                    // SAFETY: within the view; blocks have different columns.
                    unsafe { zero(to, bases[0], sizes, &steps) };
                });
            }
            columns(&sizes, [&v, &o], frame, |sizes, bases| body(&(0..below), sizes, bases));
            return Ok(());
        }
        let along = whole.iter().position(|a| a == axis);
        let work = sizes.iter().product::<usize>() + counts.iter().product::<usize>();
        let block = even(below, GRAIN * below / work.max(1));
        frame.pool.run(below.div_ceil(block), &|_, number| {
            let rows = number * block..((number + 1) * block).min(below);
            if zeroes {
                let mut counts = counts.clone();
                along.into_iter().for_each(|along| counts[along] = rows.len());
                // SAFETY: within the view; blocks have different rows.
                unsafe { zero(to, rows.start * row, &counts, &steps) };
            }
            body(&rows, &sizes, [0, 0]);
        });
        Ok(())
    }
}

/// Writes zeros to all indices of some loops.
///
/// # Safety
/// The places are valid, and nobody else uses them.
unsafe fn zero(to: Shared<f32>, first: usize, sizes: &[usize], strides: &[usize]) {
    if let (Some((last, outer)), Some((1, apart))) = (sizes.split_last(), strides.split_last()) {
        walk(outer, [apart], |[at]| {
            // SAFETY: by the caller.
            unsafe { std::slice::from_raw_parts_mut(to.0.add(first + at), *last) }.fill(0.0);
        });
        return;
    }
    // SAFETY: by the caller.
    walk(sizes, [strides], |[at]| unsafe { to.set(first + at, 0.0) });
}

/// Cuts the last loop into blocks for the pool. `body` gets the sizes of its part, and the offsets where it begins.
fn columns(sizes: &[usize], strides: [&[usize]; 2], frame: &Frame, body: impl Fn(&[usize], [usize; 2]) + Sync) {
    let Some((last, outer)) = sizes.split_last() else {
        body(sizes, [0, 0]);
        return;
    };
    frame.pool.run(last.div_ceil(COLUMNS), &|_, block| {
        let from = block * COLUMNS;
        let mut sizes = outer.to_vec();
        sizes.push(COLUMNS.min(last - from));
        body(&sizes, strides.map(|s| from * s[outer.len()]));
    });
}
