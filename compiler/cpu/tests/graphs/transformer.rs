//! A small transformer: packed forward passes and training steps, with each way of attention and of wide rows.

use crate::harness::check_with;
use align_compiler::batch::objective::{Objective, Per, Track};
use align_compiler::batch::training::training_step;
use align_compiler::batch::{BatchOptions, batch};
use align_compiler::interp::Value;
use align_compiler::kernel::Step;
use align_compiler::rewrite::model::{self, Style, model};
use align_compiler::rewrite::{PACKED, PER_ITEM, Rewrites, rewrite};

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn forward() {
    for style in [Style::Quotient, Style::Sums, Style::LogWindow] {
        let graph = model(style);
        let plain = batch(&graph, &BatchOptions::default()).expect("it packs");
        let (given, lengths) = model::packed(&plain);
        check_with(&plain, &given, &lengths);
        let rewrites = Rewrites { wide: 9, ..Rewrites::default() };
        let packed = batch(&rewrite(&graph, PER_ITEM, &rewrites), &BatchOptions::default()).expect("it packs");
        let program = check_with(&rewrite(&packed, PACKED, &rewrites), &given, &lengths);
        assert!(program.steps.iter().any(|s| matches!(s, Step::Attention(_))), "{program}");
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn training_steps() {
    let term = |name: &str, per, value: &str| Objective { name: name.into(), per, value: value.into(), weight: None };
    let terms = [term("token", Per::Token, "nll"), term("example", Per::Example, "mean")];
    let tracks = [Track { name: "right".into(), value: "right".into(), weight: None }];
    for style in [Style::Quotient, Style::LogWindow] {
        for wide in [9, 4096] {
            let rewrites = Rewrites { wide, ..Rewrites::default() };
            let options = BatchOptions::default();
            let graphs = training_step(&model(style), &terms, &tracks, &options, &rewrites, |_| true);
            let step = graphs.expect("it has gradients").step;
            let (mut given, lengths) = model::packed(&step);
            given.insert("scale.token".into(), Value::number(0.3));
            given.insert("scale.example".into(), Value::number(0.7));
            let program = check_with(&step, &given, &lengths);
            assert!(program.steps.iter().any(|s| matches!(s, Step::AttentionGrad(_))), "{program}");
        }
    }
}
