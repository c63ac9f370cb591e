//! Which device is likely to run a program faster: its first training stage's step, weighed by what devices reach.

use std::time::Instant;

use align_compiler::kernel::estimate::{Rates, seconds};
use align_compiler::kernel::{Program, fuse, fuse_in};
use align_compiler::stage::graph::{StageGraph, StageKind, TrainNode};
use align_compiler::stage::items::{Item, pack};
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::BatchSize;
use align_compiler::tensor::{Axis, DType, Graph, Lengths, MapOp};

use super::{Bindings, Cpu, Slot};
use crate::train::kept::WithKept;

/// Tokens of the rows that are looked at: more make an estimate no better.
const ENOUGH: usize = 16_384;
/// Floats that are moved to measure memory, and runs of which the best counts.
const MOVED: usize = 1 << 24;
const ROUNDS: usize = 3;
/// Seconds that a kernel costs on the host, where threads are waiting for it.
const HANDED_OUT: f64 = 2e-6;

/// A step of a program's first training stage.
pub struct FirstStep {
    pub stage: String,
    program: Program,
    /// Of its first rows.
    lengths: Lengths,
    /// Whole steps, by such rows.
    rows: f64,
    /// Bytes that an update of the weights moves.
    update: f64,
    /// Bytes that stay from step to step: weights, gradients, states.
    pub held: usize,
}

impl FirstStep {
    /// Nothing where no stage trains, or where its rows or kernels cannot be made: a run says why.
    pub fn of(graph: &StageGraph) -> Option<FirstStep> {
        let train = graph.order().into_iter().find_map(|id| match &graph.get(id).kind {
            StageKind::Train(node) => Some(&**node),
            _ => None,
        })?;
        FirstStep::of_stage(train)
    }

    /// As [`FirstStep::of`], of a stage.
    pub fn of_stage(train: &TrainNode) -> Option<FirstStep> {
        let stage = &train.stage;
        let (mut items, mut tokens) = (Vec::<Item>::new(), 0);
        for row in 0..train.items.len() {
            let full = match stage.batch {
                BatchSize::Examples(n) => items.len() >= n,
                BatchSize::Tokens(n) => tokens >= n,
            };
            if full || tokens >= ENOUGH {
                break;
            }
            let item = WithKept::new(&*train.items, &stage.layout, None).item(row).ok()?;
            tokens += item.tokens;
            items.push(item);
        }
        let rows = match stage.batch {
            BatchSize::Examples(n) => n.min(train.items.len()) as f64 / items.len() as f64,
            BatchSize::Tokens(n) => n as f64 / tokens.max(1) as f64,
        };
        let trained: usize = train.trained().iter().map(|weight| weight.len).sum();
        let states = stage.optimizer.groups.iter().map(|group| group.states.len()).max().unwrap_or(0);
        (!items.is_empty()).then_some(())?;
        Some(FirstStep {
            stage: stage.name.clone(),
            program: fuse_in(&stage.step, &layouts(&stage.narrow)).ok()?,
            lengths: pack(&stage.layout, &items).lengths,
            rows: rows.max(1.0),
            // The gradient is read, weights and states are read and written.
            update: (4 * trained * (3 + 2 * states)) as f64,
            held: 4 * trained * (2 + states) + fixed(train),
        })
    }

    /// Seconds that a step is likely to take on a device.
    pub fn seconds(&self, rates: &Rates) -> f64 {
        self.rows * seconds(&self.program, &self.lengths, rates) + self.update / rates.memory
    }
}

/// Seconds that a graph is likely to take for these lengths.
pub fn pass(graph: &Graph, lengths: &Lengths, rates: &Rates) -> Option<f64> {
    Some(seconds(&fuse(graph).ok()?, lengths, rates))
}

/// Bytes of the weights that a stage reads and does not train.
fn fixed(train: &TrainNode) -> usize {
    let stage = &train.stage;
    let bytes = |prefix: &str, policy: &PolicySpec| -> usize {
        let trained = |path: &str| prefix.is_empty() && train.trains(path);
        let of = |axes: &[Axis], path: &str| {
            let count: usize = axes.iter().filter_map(Axis::fixed_size).product();
            let name = format!("{prefix}{path}");
            let narrow = stage.narrow.iter().find(|narrow| narrow.name == name);
            let (numbers, bytes) = narrow.map_or((1, 4), |narrow| narrow.form.storage.block());
            count / numbers * bytes
        };
        policy.weights.iter().filter(|weight| !trained(&weight.path)).map(|w| of(&w.axes, &w.path)).sum()
    };
    bytes("", &train.policy) + stage.frozen.iter().map(|used| bytes(&used.prefix, &used.policy)).sum::<usize>()
}

/// What the host reaches now: measured, in some tenths of a second.
pub fn rates(cpu: &Cpu) -> Option<Rates> {
    let mut graph = Graph::new();
    let x = graph.input("x", vec![Axis::fixed("entry", MOVED)], DType::Float);
    let y = graph.map(MapOp::Neg, &[x]);
    graph.output("y", y);
    let code = cpu.compile(&fuse(&graph).ok()?).ok()?;
    let (from, mut to) = (vec![0.5f32; MOVED], vec![0.0f32; MOVED]);
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let mut bindings = Bindings::from([("x", Slot::Floats(&from)), ("y", Slot::Write(&mut to))]);
        let start = Instant::now();
        code.run(&Lengths::new(), &mut bindings).ok()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let memory = 8.0 * MOVED as f64 / best.max(1e-9);
    Some(Rates { product: cpu.peak(), memory, kernel: HANDED_OUT, run: 0.0 })
}

#[cfg(test)]
mod tests {
    use align_compiler::program::load;
    use align_compiler::stage::build::{BuildOptions, build};

    use super::*;
    use crate::world::Files;

    const HOST: Rates = Rates { product: 2e11, memory: 2e10, kernel: 2e-6, run: 0.0 };
    const GPU: Rates = Rates { product: 2e13, memory: 1e12, kernel: 5e-6, run: 1e-4 };

    fn first(width: usize, batch: &str, more: &str) -> FirstStep {
        let text = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..40, b in 0..40 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
pipeline {
  let taught = train gpt(layers: 2, width: WIDTH, heads: 2, tokenizer: bytes) MORE { on sums; loss sft(.answer); optimizer adamw(lr: 1e-3); batch BATCH; steps 3 }
}
"#;
        let text = text.replace("WIDTH", &width.to_string()).replace("BATCH", batch).replace("MORE", more);
        let world = Files::new(".");
        let (program, diagnostics) = load("main.align", &text, &world);
        assert!(diagnostics.is_empty(), "{diagnostics:#?}");
        let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}"));
        FirstStep::of(&graph).expect("it trains")
    }

    #[test]
    fn a_small_step_stays_on_the_host_and_a_large_one_does_not() {
        let small = first(8, "1 examples", "");
        assert_eq!(small.stage, "taught");
        assert!(small.seconds(&HOST) < small.seconds(&GPU), "{} {}", small.seconds(&HOST), small.seconds(&GPU));
        let large = first(512, "4096 tokens", "");
        assert!(large.seconds(&HOST) > 10.0 * large.seconds(&GPU), "{} {}", large.seconds(&HOST), large.seconds(&GPU));
    }

    /// More rows than are looked at count too.
    #[test]
    fn a_step_takes_as_long_as_its_rows() {
        let rates = Rates { kernel: 0.0, ..HOST };
        let [few, many] = ["20000 tokens", "200000 tokens"].map(|batch| first(32, batch, "").seconds(&rates));
        assert!((many / few - 10.0).abs() < 0.5, "{few} {many}");
    }

    /// Weights, gradients and both states; below a patch weights alone, in fewer bits where it is so.
    #[test]
    fn what_stays_is_counted() {
        let all = first(64, "8 examples", "").held;
        let patched = first(64, "8 examples", "with lora(rank: 1)").held;
        assert_eq!(all % 16, 0);
        assert!(patched > all / 4 && patched < all / 3, "{patched} of {all}");
    }
}
