//! Scatter-add without atomics: each thread takes some columns of the output and goes through all indices in order.

use super::view::{Shared, sizes, strides, union, walk};
use crate::unit::Frame;
use align_compiler::kernel::{Fault, Program, Scatter};
use align_compiler::tensor::Axis;

pub struct Task(pub Scatter);

/// Entries of the innermost loop that go together: some cache lines.
const COLUMNS: usize = 64;

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
        if !*add && !frame.adds(out.buffer) {
            let axes = union([out]);
            let (sizes, strides) = (sizes(&axes, lengths), strides(out, &axes, lengths));
            columns(&sizes, &[&strides], frame, |sizes, bases| {
                // SAFETY: within the view; blocks have different columns.
                walk(sizes, [&strides], |[at]| unsafe { to.set(bases[0] + at, 0.0) });
            });
        }
        // Indices outside, the axes of the output inside, the one that lies densely last.
        let mut axes = union([index, values]);
        let dense = |a: &Axis| values.stride(a).is_one() && out.stride(a).is_one();
        axes.sort_by_key(|a| (out.has(a) && a != axis && !index.has(a), dense(a)));
        let sizes = sizes(&axes, lengths);
        let (i, v) = (strides(index, &axes, lengths), strides(values, &axes, lengths));
        let mut o = strides(out, &axes, lengths);
        axes.iter().zip(&mut o).filter(|(a, _)| *a == axis).for_each(|(_, stride)| *stride = 0);
        let row = out.stride(axis).get(lengths);
        let body = |sizes: &[usize], bases: &[usize]| {
            let (last, outer) = match sizes.split_last() {
                Some((last, outer)) => (*last, outer),
                None => (1, sizes),
            };
            let inner = outer.len();
            let step = |strides: &[usize]| strides.get(inner).copied().unwrap_or(0);
            let (is, vs, os) = (step(&i), step(&v), step(&o));
            walk(outer, [&i[..inner], &v[..inner], &o[..inner]], |[ia, va, oa]| {
                // SAFETY: within the views, and indices were looked at; blocks have different columns of the output.
                unsafe {
                    if is == 0 && last > 0 {
                        let target = oa + indices.get(ia) as usize * row + bases[1];
                        let source = va + bases[0];
                        for x in 0..last {
                            let at = target + x * os;
                            to.set(at, to.get(at) + from.get(source + x * vs));
                        }
                        return;
                    }
                    for x in 0..last {
                        let at = oa + x * os + indices.get(ia + x * is) as usize * row + bases[1];
                        to.set(at, to.get(at) + from.get(va + x * vs + bases[0]));
                    }
                }
            });
        };
        // Only a loop that leads to different places of the output can be shared among threads.
        let free = axes.last().is_some_and(|a| out.has(a) && a != axis && !index.has(a));
        match free {
            true => columns(&sizes, &[&v, &o], frame, body),
            false => body(&sizes, &[0, 0]),
        }
        Ok(())
    }
}

/// Cuts the last loop into blocks for the pool. `body` gets the sizes of its part, and the offsets where it begins.
fn columns(sizes: &[usize], strides: &[&[usize]], frame: &Frame, body: impl Fn(&[usize], &[usize]) + Sync) {
    let Some((last, outer)) = sizes.split_last() else {
        body(sizes, &vec![0; strides.len()]);
        return;
    };
    frame.pool.run(last.div_ceil(COLUMNS), &|_, block| {
        let from = block * COLUMNS;
        let mut sizes = outer.to_vec();
        sizes.push(COLUMNS.min(last - from));
        let bases: Vec<usize> = strides.iter().map(|s| from * s[outer.len()]).collect();
        body(&sizes, &bases);
    });
}
