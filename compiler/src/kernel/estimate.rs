//! How long a program is likely to take on a device, by what the device reaches.

use super::ir::{Program, Step};
use crate::tensor::Lengths;

/// What a device reaches, in large kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Operations on floats a second in a product.
    pub product: f64,
    /// Bytes a second that a kernel reads and writes.
    pub memory: f64,
    /// Seconds that each kernel costs beside its work.
    pub kernel: f64,
    /// Seconds that a run costs beside its kernels.
    pub run: f64,
}

/// Seconds of a run for these lengths: each step takes as long as its operations or as its bytes, whichever is longer.
pub fn seconds(program: &Program, lengths: &Lengths, rates: &Rates) -> f64 {
    rates.run + steps(program, lengths, rates)
}

fn steps(program: &Program, lengths: &Lengths, rates: &Rates) -> f64 {
    let step = |step: &Step| match step {
        Step::Chunked(c) => {
            let size = lengths.size(&c.axis);
            let block = lengths.clone().with(c.axis.clone(), vec![size.min(c.block)]);
            size.div_ceil(c.block.max(1)) as f64 * steps(&c.body, &block, rates)
        }
        Step::Scan(s) => lengths.size(&s.axis) as f64 * steps(&s.body, lengths, rates),
        Step::Loop(l) => l.within as f64 * steps(&l.body, lengths, rates),
        step => {
            let work = step.work(program, lengths);
            rates.kernel + (work.flops / rates.product).max(work.bytes / rates.memory)
        }
    };
    program.steps.iter().map(step).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fuse;
    use crate::tensor::{Axis, DType, Graph};

    const RATES: Rates = Rates { product: 1e9, memory: 1e8, kernel: 1e-6, run: 1e-3 };

    fn product(side: usize) -> Program {
        let [m, k, n] = ["m", "k", "n"].map(|name| Axis::fixed(name, side));
        let mut g = Graph::new();
        let x = g.input("x", vec![m, k.clone()], DType::Float);
        let w = g.weight("w", vec![k.clone(), n]);
        let y = g.contract(x, w, &[k]);
        g.output("y", y);
        fuse(&g).expect("it fuses")
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-9
    }

    #[test]
    fn a_step_takes_as_long_as_its_operations_or_its_bytes() {
        let none = Lengths::new();
        // 2 n³ operations, three matrices.
        assert!(near(seconds(&product(1000), &none, &RATES), 1e-3 + 1e-6 + 2.0));
        assert!(near(seconds(&product(2), &none, &RATES), 1e-3 + 1e-6 + 48.0 / 1e8));
    }

    /// A device that is faster at work and costs more to ask.
    #[test]
    fn the_faster_device_depends_on_the_work() {
        let near_by = Rates { product: 2e11, memory: 2e10, kernel: 1e-6, run: 0.0 };
        let far = Rates { product: 2e13, memory: 1e12, kernel: 5e-6, run: 1e-4 };
        let of = |side: usize, rates: &Rates| seconds(&product(side), &Lengths::new(), rates);
        assert!(of(16, &near_by) < of(16, &far));
        assert!(of(2000, &near_by) > 10.0 * of(2000, &far));
    }

    /// Blocks of a long axis are steps of their own, over and over.
    #[test]
    fn blocks_count_as_often_as_they_run() {
        let rows = Axis::ragged("time", 0, None).packed();
        let text = |block: usize| {
            let mut program = product(10);
            let body = Box::new(std::mem::take(&mut program));
            Program {
                steps: vec![Step::Chunked(crate::kernel::Chunked {
                    axis: rows.clone(),
                    block,
                    body,
                    inputs: vec![],
                    outputs: vec![],
                })],
                ..Program::default()
            }
        };
        let lengths = Lengths::new().with(Axis::item(), vec![1]).with(rows.clone(), vec![7]);
        let once = steps(&product(10), &Lengths::new(), &RATES);
        assert!(near(steps(&text(2), &lengths, &RATES), 4.0 * once));
        assert!(near(steps(&text(8), &lengths, &RATES), once));
    }
}
