//! How many kernels a step has, on the CPU and on a GPU: what fusion is for.

use std::collections::BTreeMap;

use align_compiler::kernel::{Program, Step, fuse};
use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::graph::{StageGraph, StageKind};
use align_compiler::stage::train::TrainStage;
use align_compiler::tensor::{Axis, AxisKind, Lengths};
use align_runtime::world::Files;

/// Trains a decoder of so many blocks (RMSNorm, rotary positions, SwiGLU).
fn program(layers: usize) -> String {
    format!(
        r#"
edition 2026
use std.nets {{ gpt }}
use std.losses {{ sft }}
use std.optimizers {{ adamw }}
record Sum {{ question: Prompt, answer: Reply[question] }}
data sums = for a in 0..8 {{ Sum {{ question: """{{a}}+1=""", answer: """{{a + 1}}""" }} }}
policy start = gpt(layers: {layers}, width: 64, heads: 4, tokenizer: bytes)
pipeline {{
  let trained = train start {{ on sums; loss sft(.answer); optimizer adamw(lr: 1e-3); batch 8 examples; steps 2 }}
}}
"#
    )
}

fn with_stage<T>(layers: usize, look: impl FnOnce(&TrainStage) -> T) -> T {
    let world = Files::new(".");
    let text = program(layers);
    let (program, diagnostics) = load("kernels.align", &text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let graph: StageGraph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|e| panic!("{e:?}"));
    let stage = graph.stages().find_map(|(_, stage)| match &stage.kind {
        StageKind::Train(node) => Some(&node.stage),
        _ => None,
    });
    look(stage.expect("it trains"))
}

/// Steps of a program by kind, those of bodies too.
fn steps(program: &Program, all: &mut BTreeMap<&'static str, usize>) {
    for step in &program.steps {
        match step {
            Step::Chunked(c) => steps(&c.body, all),
            _ => *all.entry(step.word()).or_default() += 1,
        }
    }
}

/// Eight items of eight tokens.
fn lengths(program: &Program) -> Lengths {
    let mut lengths = Lengths::new().with(Axis::item(), vec![8]);
    for axis in program.buffers.iter().flat_map(|b| &b.axes) {
        if matches!(axis.kind(), AxisKind::Packed(_)) {
            lengths.set(axis.clone(), vec![8; 8]);
        }
    }
    lengths
}

/// What a block has beside what a model of one block has: its kernels by kind, and dispatches on a GPU.
fn of_block() -> (BTreeMap<&'static str, usize>, usize) {
    let of = |layers| {
        with_stage(layers, |stage| {
            let program = fuse(&stage.step).unwrap_or_else(|e| panic!("{e}"));
            let mut all = BTreeMap::new();
            steps(&program, &mut all);
            (all, dispatches(&program, &lengths(&program)))
        })
    };
    let ((mut two, on_gpu), (one, on_gpu_one)) = (of(3), of(2));
    one.into_iter().for_each(|(word, count)| *two.get_mut(word).expect("a larger model has no fewer") -= count);
    two.retain(|_, count| *count > 0);
    (two, on_gpu - on_gpu_one)
}

#[cfg(feature = "gpu")]
fn dispatches(program: &Program, lengths: &Lengths) -> usize {
    align_runtime::engine::graphics::shader::dispatches(program, lengths)
}

#[cfg(not(feature = "gpu"))]
fn dispatches(_: &Program, _: &Lengths) -> usize {
    0
}

#[test]
fn a_block_of_a_transformer() {
    let (kernels, dispatches) = of_block();
    // Products with the seven weights of a block, with their gradients and those of what comes in. Attention and its
    // derivative. Two norms, their derivatives, and the gradients of their scales. The rest is positions (queries and keys),
    // the gate, and what of these is made again for the backward pass.
    let want = [("attention", 2), ("pointwise", 8), ("product", 21), ("reduction", 6)];
    assert_eq!(kernels, BTreeMap::from(want));
    // The derivative of attention is three dispatches.
    if cfg!(feature = "gpu") {
        assert_eq!(dispatches, 37 + 2);
    }
}

#[test]
fn adamw_of_all_weights_is_one() {
    for layers in [1, 4] {
        with_stage(layers, |stage| {
            let [group] = &stage.optimizer.groups[..] else { panic!("one set of programs") };
            assert_eq!(group.weights.len(), stage.weights.len());
            let [variant] = &group.variants[..] else { panic!("one way to step") };
            let [phase] = &variant.phases[..] else { panic!("one phase") };
            assert!(phase.pointwise, "so all weights are one stretch");
            let program = fuse(&phase.graph).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(program.steps.len(), 1, "{program}");
        });
    }
}
