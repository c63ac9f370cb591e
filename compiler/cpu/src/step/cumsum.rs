//! Running sums, one after another, in double precision.

use super::view::{Shared, place, sizes, strides, union};
use crate::unit::Frame;
use align_compiler::kernel::{Cumsum, Program};
use align_compiler::tensor::{AxisKind, DType};

pub struct Task(pub Cumsum);

impl Task {
    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, program: &Program, frame: &Frame) {
        let Cumsum { axis, reverse, input, out } = &self.0;
        let lengths = frame.lengths;
        let segments = match axis.kind() {
            AxisKind::Packed(_) | AxisKind::Pairs(_) | AxisKind::Cross(..) => lengths.lengths(axis),
            _ => vec![lengths.size(axis)],
        };
        let others: Vec<_> = union([input, out]).into_iter().filter(|a| a != axis).collect();
        let sizes = sizes(&others, lengths);
        let (from, to) = (strides(input, &others, lengths), strides(out, &others, lengths));
        let (step_in, step_out) = (input.stride(axis).get(lengths), out.stride(axis).get(lengths));
        let ints = program.buffer(out.buffer).dtype == DType::Int;
        let source = Shared(frame.place(input.buffer).cast::<u32>().wrapping_add(input.offset));
        let target = Shared(frame.place(out.buffer).cast::<u32>().wrapping_add(out.offset));
        frame.pool.run(sizes.iter().product(), &|_, row| {
            let (from, to) = (place(row, &sizes, &from), place(row, &sizes, &to));
            let mut start = 0;
            for length in &segments {
                let (mut sum, mut count) = (0f64, 0i32);
                for i in 0..*length {
                    let at = start + if *reverse { length - 1 - i } else { i };
                    // SAFETY: within the views.
                    unsafe {
                        let bits = source.get(from + at * step_in);
                        sum += f64::from(f32::from_bits(bits));
                        count = count.wrapping_add(bits as i32);
                        let bits = if ints { count as u32 } else { (sum as f32).to_bits() };
                        target.set(to + at * step_out, bits);
                    }
                }
                start += length;
            }
        });
    }
}
