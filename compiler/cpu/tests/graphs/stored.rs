//! Weights that lie in fewer bits than f32.

use crate::harness::{check_in, fill, lengths, many, token};
use align_compiler::batch::BatchOptions;
use align_compiler::batch::objective::{Objective, Per};
use align_compiler::batch::training::training_step;
use align_compiler::interp::{Named, Value};
use align_compiler::kernel::{Bindings, BufferKind, Layouts, Slot, fuse_in};
use align_compiler::rewrite::Rewrites;
use align_compiler::rewrite::model::{self, Style, model};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, DType, Graph, Lengths, MapOp, Op};

const FEWER: [Storage; 3] = [Storage::Bf16, Storage::Q8, Storage::Q4];

/// All weights in fewer bits, their axes in order or turned round.
fn layouts(graph: &Graph, storage: Storage, turned: bool) -> Layouts {
    let mut layouts = Layouts::default();
    for (_, data) in graph.nodes() {
        let Op::Weight(name) = &data.op else { continue };
        let mut axes = data.axes.clone();
        if turned {
            axes.reverse();
        }
        layouts.inputs.insert(name.clone(), axes);
        layouts.storage.insert(name.clone(), storage);
    }
    layouts
}

fn check_all(build: impl Fn(&mut Graph)) {
    let mut graph = Graph::new();
    build(&mut graph);
    let mut given = Named::new();
    fill(&graph, &mut given, &lengths());
    for storage in FEWER {
        for turned in [false, true] {
            check_in(&graph, &given, &lengths(), &layouts(&graph, storage, turned));
        }
    }
}

/// Sizes with whole blocks, and with blocks that begin in the middle of a row.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn products() {
    for width in [64, 70] {
        let (wide, narrow) = (Axis::fixed("wide", width), Axis::fixed("narrow", 33));
        check_all(|g| {
            let x = g.input("x", vec![many(), wide.clone()], DType::Float);
            let y = g.input("y", vec![many(), narrow.clone()], DType::Float);
            let w = g.weight("w", vec![wide.clone(), narrow.clone()]);
            let v = g.weight("v", vec![wide.clone(), narrow.clone()]);
            let (right, left) =
                (g.contract(x, w, std::slice::from_ref(&wide)), g.contract(y, w, std::slice::from_ref(&narrow)));
            let both = g.contract(w, v, std::slice::from_ref(&wide));
            [("right", right), ("left", left), ("both", both)].into_iter().for_each(|(name, n)| g.output(name, n));
        });
    }
}

/// What nests read: rows that are looked up, entries in and across the order of memory, sums.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn nests() {
    for width in [32, 45] {
        let (words, dim) = (Axis::fixed("words", 5), Axis::fixed("dim", width));
        check_all(|g| {
            let tokens = g.input("tokens", vec![token()], DType::Int);
            let w = g.weight("w", vec![words.clone(), dim.clone()]);
            let row = g.gather(w, &words, tokens);
            let exp = g.map(MapOp::Exp, &[w]);
            let sums = [words.clone(), dim.clone()].map(|axis| g.sum(exp, &[axis]));
            let scaled = g.input("scaled", vec![many(), dim.clone(), words.clone()], DType::Float);
            let scaled = g.map(MapOp::Mul, &[scaled, w]);
            let outputs =
                [("row", row), ("over words", sums[0]), ("over dim", sums[1]), ("product", scaled), ("itself", w)];
            outputs.into_iter().for_each(|(name, n)| g.output(name, n));
        });
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn a_training_step_below_which_weights_are_stored_so() {
    let term = |name: &str, per, value: &str| Objective { name: name.into(), per, value: value.into(), weight: None };
    let terms = [term("token", Per::Token, "nll"), term("example", Per::Example, "mean")];
    let rewrites = Rewrites { wide: 9, ..Rewrites::default() };
    let options = BatchOptions::default();
    let graphs = training_step(&model(Style::Quotient), &terms, &[], &options, &rewrites, |path| path == "0.norm1");
    let step = graphs.expect("it has a gradient").step;
    let (mut given, lengths) = model::packed(&step);
    given.insert("scale.token".into(), Value::number(0.3));
    given.insert("scale.example".into(), Value::number(0.7));
    for storage in FEWER {
        let mut layouts = layouts(&step, storage, true);
        layouts.storage.retain(|name, _| !name.contains("norm"));
        layouts.inputs.retain(|name, _| !name.contains("norm"));
        check_in(&step, &given, &lengths, &layouts);
    }
}

/// Scales of blocks that only f16's smallest numbers hold, and what is not finite.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn numbers_of_all_sizes() {
    let dim = Axis::fixed("dim", 256);
    let mut graph = Graph::new();
    let w = graph.weight("w", vec![dim]);
    graph.output("out", w);
    let mut values: Vec<f32> = (0..256).map(|i| (i % 37) as f32 * 2f32.powi(-30 + 6 * (i / 32))).collect();
    values[255] = f32::INFINITY;
    values[9] = -1e-7;
    for storage in FEWER {
        let program = fuse_in(&graph, &layouts(&graph, storage, false)).expect("it has kernels");
        assert!(program.buffers.iter().any(|b| b.kind == BufferKind::Weight("w".into()) && b.storage == storage));
        let code = crate::device::compile(&program, 1);
        let bytes = storage.encode(&values);
        let mut out = vec![0f32; 256];
        let mut bindings = Bindings::from([("w", Slot::Stored(storage, &bytes)), ("out", Slot::Write(&mut out))]);
        code.run(&Lengths::new(), &mut bindings).expect("no faults");
        drop(bindings);
        for (want, got) in storage.decode(&bytes, 256).into_iter().zip(out) {
            assert!(want == got || (want.is_nan() && got.is_nan()), "{}: {want} {got}", storage.word());
        }
        let wrong = Storage::Q8.encode(&values[..64]);
        for slot in [Slot::Floats(&values), Slot::Stored(Storage::Q8, &wrong), Slot::Stored(Storage::F32, &bytes)] {
            let fault = code.run(&Lengths::new(), &mut Bindings::from([("w", slot)])).expect_err("another form");
            assert!(fault.to_string().starts_with("w must be "), "{fault}");
        }
    }
}
