//! Arrays that stay in a device's memory: what crosses over, and that numbers are those of the host.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use align_compiler::kernel::Layouts;
use align_compiler::kernel::device::{DeviceArray, DeviceBytes, DeviceError};
use align_compiler::tensor::{Graph, Lengths};
use align_runtime::engine::{Bindings, Compiled, Device, Fault, Slot};

use super::stored::times;
use super::*;

/// Floats that cross between host and device.
#[derive(Default)]
struct Crossed {
    /// A program runs, and reads and writes its arrays where they lie.
    runs: Cell<bool>,
    /// Into new arrays, into old ones, and back.
    put: Cell<usize>,
    written: Cell<usize>,
    read: Cell<usize>,
    /// Bytes of numbers in fewer bits.
    bytes: Cell<usize>,
    /// The most that a slot of a run brings or takes.
    slot: Cell<usize>,
}

fn add(counter: &Cell<usize>, count: usize) {
    counter.set(counter.get() + count);
}

/// The interpreter, whose arrays count.
#[derive(Default)]
struct Counted(Rc<Crossed>);

struct CountedArray {
    inner: Box<dyn DeviceArray>,
    crossed: Rc<Crossed>,
}

struct CountedRuns {
    inner: Box<dyn Compiled>,
    crossed: Rc<Crossed>,
}

impl Counted {
    fn array(&self, inner: Box<dyn DeviceArray>) -> Box<dyn DeviceArray> {
        Box::new(CountedArray { inner, crossed: self.0.clone() })
    }
}

impl Engine for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, graph: &Graph, layouts: &Layouts) -> align_runtime::Result<Box<dyn Compiled>> {
        let inner = Interpreter.compile(graph, layouts)?;
        Ok(Box::new(CountedRuns { inner, crossed: self.0.clone() }))
    }

    fn device(&self) -> Option<&dyn Device> {
        Some(self)
    }
}

impl Device for Counted {
    fn floats(&self, values: &[f32]) -> Box<dyn DeviceArray> {
        add(&self.0.put, values.len());
        self.array(Interpreter.floats(values))
    }

    fn zeroed(&self, len: usize) -> Box<dyn DeviceArray> {
        self.array(Interpreter.zeroed(len))
    }

    fn bytes(&self, bytes: &[u8]) -> Box<dyn DeviceBytes> {
        add(&self.0.bytes, bytes.len());
        Interpreter.bytes(bytes)
    }
}

impl CountedArray {
    fn count(&self, counter: &Cell<usize>, len: usize) {
        if !self.crossed.runs.get() {
            add(counter, len);
        }
    }
}

fn inner(array: &dyn DeviceArray) -> &dyn DeviceArray {
    &*array.as_any().downcast_ref::<CountedArray>().expect("arrays of one engine").inner
}

impl DeviceArray for CountedArray {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>, DeviceError> {
        self.count(&self.crossed.read, range.len());
        self.inner.read(range)
    }

    fn write(&self, at: usize, values: &[f32]) {
        self.count(&self.crossed.written, values.len());
        self.inner.write(at, values);
    }

    fn zeros(&self, len: usize) -> Box<dyn DeviceArray> {
        Box::new(CountedArray { inner: self.inner.zeros(len), crossed: self.crossed.clone() })
    }

    fn fill(&self, value: f32) {
        self.inner.fill(value);
    }

    fn copy(&self, at: usize, from: &dyn DeviceArray, range: Range<usize>) {
        self.inner.copy(at, inner(from), range);
    }

    fn scale(&self, factor: f32) {
        self.inner.scale(factor);
    }

    fn norm(&self) -> Result<f64, DeviceError> {
        self.inner.norm()
    }

    fn fold(&self, carry: &dyn DeviceArray) {
        self.inner.fold(inner(carry));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Compiled for CountedRuns {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> Result<(), Fault> {
        let most = bindings.values().map(|slot| match slot {
            Slot::Floats(x) => x.len(),
            Slot::Write(x) | Slot::Add(x) => x.len(),
            Slot::Ints(x) => x.len(),
            Slot::WriteInts(x) => x.len(),
            Slot::Bools(x) => x.len(),
            Slot::WriteBools(x) => x.len(),
            Slot::Stored(_, bytes) => bytes.len(),
            Slot::Over(_) | Slot::Held(_) | Slot::StoredHeld(..) | Slot::WriteHeld(_) | Slot::AddHeld(_) => 0,
        });
        self.crossed.slot.set(most.fold(self.crossed.slot.get(), usize::max));
        self.crossed.runs.set(true);
        let result = self.inner.run(lengths, bindings);
        self.crossed.runs.set(false);
        result
    }

    fn memory(&self, lengths: &Lengths) -> usize {
        self.inner.memory(lengths)
    }

    fn overlays(&self, input: &str, output: &str) -> bool {
        self.inner.overlays(input, output)
    }
}

/// A policy beside the one that trains is held in fewer bits, and the optimizer asks for gradients at points of its own.
const TRAINED: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.metrics { perplexity }
use std.optimizers { u_dog, adamw, muon, by_dims }

record Double { question: Prompt, answer: Reply[question] }
data doubles = for a in 0..12 { Double { question: """{a}*2=""", answer: """{2 * a}""" } } |> shuffle(seed: 1)

policy start = gpt(layers: 1, width: 32, heads: 2, inner: 32, tokenizer: bytes, context: 12)
policy other = gpt(layers: 1, width: 32, heads: 2, inner: 32, tokenizer: bytes, context: 12)

loss near(policy: Policy, reply: Reply, reference: Policy) per token = (logp(policy, reply) - logp(reference, reply))^2

pipeline {
  let tuned = train start as p {
    on doubles; loss sft(.answer) + 0.1 * near(.answer, reference: other); optimizer OPTIMIZER
    batch 12 examples; steps 3; precision f32, frozen: q8
    eval perplexity(p, doubles, .answer), every: 2
    keep least(perplexity)
  }
  show perplexity(tuned, doubles, .answer)
}
"#;

/// An optimizer, and bytes with which a step is cut into so many micro-batches that their gradients are folded.
const ASKS: (&str, usize) = ("u_dog(r_eps: 1e-2); clip none", 1800 << 10);
/// By matrices, and pointwise.
const MIXED: (&str, usize) = ("by_dims(matrices: muon(lr: 0.02), vectors: adamw(lr: 1e-2))", 2300 << 10);
const ENOUGH: usize = 1 << 30;

fn trained(folder: &Path, optimizer: &str, engine: &dyn Engine, memory: usize, stop: usize) {
    let flag = AtomicBool::new(false);
    let little = |options: &mut RunOptions| options.memory = Some(memory);
    let text = TRAINED.replace("OPTIMIZER", optimizer);
    // The policy beside stays on the device, in fewer bits.
    let run = (engine, &mut Stops(&flag, stop) as &mut dyn Progress, &flag);
    let report = run_without(folder, &text, &[], &["reference"], run, &little);
    assert_eq!(report.unwrap_or_else(|error| panic!("{error}")).stopped, stop > 0);
}

fn columns(folder: &Path) -> Vec<[Option<f64>; 3]> {
    lines(folder).iter().map(|line| ["loss", "grad_norm", "perplexity"].map(|name| line[name].as_f64())).collect()
}

/// Numbers are those of the host. Weights go there when the stage begins and come back when it ends; a step brings its items and
/// takes scalars.
#[test]
fn steps_leave_arrays_in_a_devices_memory() {
    for (optimizer, little) in [ASKS, MIXED] {
        let host = tempfile::tempdir().unwrap();
        trained(host.path(), optimizer, &Cpu::new(2), ENOUGH, 0);
        let host = columns(host.path());
        assert_eq!((host.len(), host[0][2], host[1][2].is_some()), (3, None, true));
        for memory in [ENOUGH, little] {
            let (device, engine) = (tempfile::tempdir().unwrap(), Counted::default());
            trained(device.path(), optimizer, &engine, memory, 0);
            let parts = times(device.path(), "parts");
            assert!(parts.iter().all(|n| if memory == little { *n > 4.0 } else { *n == 1.0 }), "{parts:?}");
            let device = columns(device.path());
            let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-4 * b.abs(),
                (a, b) => a == b,
            };
            let same = host.iter().flatten().zip(device.iter().flatten()).all(|(a, b)| near(*a, *b));
            assert!(same, "{optimizer}\n{host:?}\n{device:?}");
            let crossed = &engine.0;
            let all = crossed.read.get();
            assert!(all > 15_000, "the weights that are kept come back once: {all}");
            // The policy beside has three vectors; its matrices are blocks of 32 numbers in 34 bytes.
            let vectors = 3 * 32;
            assert_eq!(crossed.put.get(), 2 * all + vectors, "for the stage, and for the evaluation after it");
            assert_eq!(crossed.bytes.get(), (all - vectors) / 32 * 34);
            assert_eq!(crossed.written.get(), 0);
            assert!(crossed.slot.get() < 200, "{}", crossed.slot.get());
        }
    }
}

/// A checkpoint reads arrays back, and what goes on from it has the same bits.
#[test]
fn checkpoints_hold_what_the_device_has() {
    for (optimizer, little) in [ASKS, MIXED] {
        let [whole, halves] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        trained(whole.path(), optimizer, &Counted::default(), little, 0);
        let first = Counted::default();
        trained(halves.path(), optimizer, &first, little, 2);
        let second = Counted::default();
        trained(halves.path(), optimizer, &second, little, 0);
        assert_eq!(lines(halves.path()), lines(whole.path()), "{optimizer}");
        // Weights and states take the place of those that the stage began with, the best ones come beside them.
        let (weights, put) = (second.0.read.get(), second.0.put.get());
        assert_eq!(put, 3 * weights + 3 * 32, "{optimizer}");
        assert_eq!(first.0.read.get(), weights + second.0.written.get(), "{optimizer}");
        assert!(second.0.written.get() > weights, "{optimizer}");
    }
}
