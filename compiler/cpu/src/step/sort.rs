//! Orders: argsort, and the largest entries.

use super::view::{Shared, place, sizes, strides, union};
use crate::unit::Frame;
use align_compiler::kernel::{Program, Sort, SortKind};
use align_compiler::tensor::DType;
use std::cmp::Ordering;

pub struct Task(pub Sort);

impl Task {
    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, program: &Program, frame: &Frame) {
        let Sort { kind, axis, input, out } = &self.0;
        let lengths = frame.lengths;
        let to_axis = match kind {
            SortKind::Argsort => axis,
            SortKind::Top(to) => to,
        };
        let others: Vec<_> = union([input]).into_iter().filter(|a| a != axis).collect();
        let sizes = sizes(&others, lengths);
        let (from, to) = (strides(input, &others, lengths), strides(out, &others, lengths));
        let (step_in, step_out) = (input.stride(axis).get(lengths), out.stride(to_axis).get(lengths));
        let (count, kept) = (lengths.size(axis), lengths.size(to_axis));
        let buffer = program.buffer(input.buffer);
        let source = Shared(frame.place(input.buffer).wrapping_add(buffer.bytes_of(input.offset)));
        let target = Shared(frame.place(out.buffer).cast::<i32>().wrapping_add(out.offset));
        frame.pool.run(sizes.iter().product(), &|_, row| {
            let (from, to) = (place(row, &sizes, &from), place(row, &sizes, &to));
            let key = |i: usize| {
                let at = from + i * step_in;
                // SAFETY: within the view.
                unsafe {
                    match buffer.dtype {
                        DType::Float => f64::from(Shared(source.0.cast::<f32>()).get(at)),
                        DType::Int => f64::from(Shared(source.0.cast::<i32>()).get(at)),
                        DType::Bool => f64::from(source.get(at)),
                    }
                }
            };
            let keys: Vec<f64> = (0..count).map(key).collect();
            let mut order: Vec<u32> = (0..count as u32).collect();
            let ascending = matches!(kind, SortKind::Argsort);
            let compare = |a: &u32, b: &u32| {
                let (x, y) = (keys[*a as usize], keys[*b as usize]);
                // nan last in both.
                let by_key = match (x.is_nan(), y.is_nan()) {
                    (false, false) if ascending => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
                    (false, false) => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
                    (x, y) => x.cmp(&y),
                };
                by_key.then(a.cmp(b))
            };
            if kept < count && kept > 0 {
                order.select_nth_unstable_by(kept - 1, compare);
                order.truncate(kept);
            }
            order.sort_unstable_by(compare);
            for (i, index) in order.iter().take(kept).enumerate() {
                // SAFETY: within the view.
                unsafe { target.set(to + i * step_out, *index as i32) };
            }
        });
    }
}
