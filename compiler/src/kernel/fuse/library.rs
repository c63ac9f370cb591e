//! Training steps of the library's nets: they give what their graphs give, and in as few steps as they should.

use super::tests::check_with;
use super::{Program, fuse};
use crate::batch::BatchOptions;
use crate::batch::training::training_step;
use crate::eval::Eval;
use crate::eval::checks::{Library, explained, nowhere, program, sums};
use crate::interp::{Named, Value};
use crate::kernel::ir::Step;
use crate::rewrite::Rewrites;
use crate::rewrite::oracle::fill;
use crate::tensor::{Axis, DType, Graph, Lengths, Op};

/// The training step of a net that `net` makes, for the loss `sft(.shown)`.
pub fn llama_step(net: &str, wide: usize) -> Graph {
    let text =
        format!("use std.nets {{ llama, gpt2 }}\nuse std.losses {{ sft }}\nlet net = {net}\nlet loss = sft(.shown)\n");
    let program = program(&text);
    let mut eval = Eval::new(&program, &Library);
    let net = explained(&program, eval.global("net", nowhere()));
    let loss = explained(&program, eval.global("loss", nowhere()));
    let traced = explained(&program, eval.trace_loss(&loss, &net, &sums(), &[], nowhere()));
    let terms: Vec<_> = traced.terms.iter().map(|(o, _)| o.clone()).collect();
    let rewrites = Rewrites { wide, ..Rewrites::default() };
    let options = BatchOptions::default();
    let step = training_step(&traced.graph, &terms, &traced.tracks, &options, &rewrites, |_| true);
    step.expect("it has gradients").step
}

/// Values for the inputs of a step of `sft`, and the lengths of its items.
fn given(step: &Graph, vocab: i64) -> (Named, Lengths) {
    let mut lengths = Lengths::new().with(Axis::item(), vec![3]);
    let mut named = Named::new();
    let (total, reply) = (vec![5, 2, 9], vec![2, 1, 5]);
    for (_, data) in step.nodes() {
        let (Op::Input(name), Some(axis)) = (&data.op, data.axes.first()) else { continue };
        let own = if name.ends_with("stream") { &total } else { &reply };
        lengths.set(axis.clone(), own.clone());
        let starts = total.iter().zip(&reply).map(|(t, r)| (t - r) as i64);
        let values: Vec<i64> = match name.ends_with("places") {
            true => starts.zip(&reply).flat_map(|(s, r)| s..s + *r as i64).collect(),
            false => (0..own.iter().sum::<usize>() as i64).map(|i| (i * 5 + 2) % vocab).collect(),
        };
        assert_eq!(data.dtype, DType::Int, "{name}");
        named.insert(name.clone(), Value::ints(vec![axis.clone()], values));
    }
    fill(step, &mut named, &lengths);
    (named, lengths)
}

fn count(program: &Program) -> [usize; 6] {
    let mut kinds = [0; 6];
    for step in &program.steps {
        kinds[match step {
            Step::Rows(_) => 0,
            Step::Contraction(_) => 1,
            Step::Attention(_) => 2,
            Step::AttentionGrad(_) => 3,
            Step::Chunked(_) => 4,
            _ => 5,
        }] += 1;
    }
    kinds
}

#[test]
fn steps_of_nets() {
    for net in [
        "llama(vocab_size: 11, layers: 2, width: 8, heads: 4, kv_heads: 2, inner: 10)",
        "llama(vocab_size: 11, layers: 1, width: 6, heads: 1, inner: 5, tied: false)",
        "gpt2(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 10, context: 16)",
    ] {
        for wide in [11, 4096] {
            let step = llama_step(net, wide);
            let (named, lengths) = given(&step, 11);
            check_with(&step, &named, &lengths);
        }
    }
}

/// Forward: a norm with the sum before it, three products, two rotations, attention, a product, a norm, two products, the
/// gate, a product. Backward: each product gives two, each norm a sum for its scale.
#[test]
fn steps_for_each_block() {
    let llama = |layers: usize| {
        let net = format!("llama(vocab_size: 8192, layers: {layers}, width: 48, heads: 6, kv_heads: 2, inner: 80)");
        let program = fuse(&llama_step(&net, 4096)).expect("it has kernels");
        count(&program)
    };
    let (two, three) = (llama(2), llama(3));
    let block: Vec<usize> = two.iter().zip(&three).map(|(a, b)| b - a).collect();
    assert_eq!(block[2..5], [1, 1, 0], "attention, its gradient, chunks");
    assert!(block[0] <= 14 && block[1] == 21, "{} nests, {} products", block[0], block[1]);
    assert_eq!(two[4], 1, "logits are made once");
}
