//! Every kernel is good WGSL: naga validates it, and writes it as SPIR-V.

mod driver;
mod steps;

use align_compiler::batch::BatchOptions;
use align_compiler::batch::objective::{Objective, Per};
use align_compiler::batch::training::training_step;
use align_compiler::kernel::{Program, Step, fuse};
use align_compiler::rewrite::Rewrites;
use align_compiler::rewrite::model::{self, Style, model};
use align_compiler::tensor::Lengths;
use wgpu::naga;

use super::{Bound, Context, Form, Kernels, Variant, kernels, variant};
use crate::shader::{Places, Spread, Tiling};

/// Validates a shader and writes it as SPIR-V, whose writer panics at what it does not know.
pub fn validate(text: &str) {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)));
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    let info = validator.validate(&module).unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)));
    let options = naga::back::spv::Options::default();
    naga::back::spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{e}\n{text}"));
}

/// How the buffers of a program are bound where nothing is special.
pub fn plain(program: &Program) -> Vec<Bound> {
    program.buffers.iter().map(|b| Bound::plain(Form::written(b.dtype, b.storage, true))).collect()
}

/// All ways in which a step may be cut.
fn variants(step: &Step, lengths: &Lengths) -> Vec<Variant> {
    match step {
        Step::Rows(nest) => {
            let block = Spread { rows: 32, slices: 8, chunks: 1 };
            let all = [Spread::ALONE, Spread::group(32), Spread::group(256), block];
            let cut = [Spread { chunks: 4, ..block }, Spread { chunks: 64, ..Spread::group(256) }];
            let cut = cut.into_iter().filter(|_| super::nest::can_be_cut(nest));
            all.into_iter().chain(cut).map(Variant::Rows).collect()
        }
        Step::Contraction(_) => {
            let all = [Tiling::LARGE, Tiling::MIDDLE, Tiling::SMALL, Tiling::FLAT];
            all.into_iter().chain([Tiling { split: 4, ..Tiling::SMALL }]).map(Variant::Contraction).collect()
        }
        Step::Scatter(_) => [Places::InOrder, Places::Sorted].map(Variant::Scatter).into(),
        _ => vec![variant(step, lengths)],
    }
}

fn check(program: &Program, lengths: &Lengths) -> usize {
    let mut count = 0;
    for add in [false, true] {
        let bound: Vec<Bound> = plain(program).into_iter().map(|b| Bound { add, shifted: add, ..b }).collect();
        for step in &program.steps {
            for variant in variants(step, lengths) {
                let Some(Kernels { kernels, .. }) = kernels(Context { program, bound: &bound }, step, variant) else {
                    continue;
                };
                kernels.iter().for_each(|kernel| validate(&kernel.shader.text));
                count += kernels.len();
            }
            if let Step::Chunked(chunked) = step {
                count += check(&chunked.body, lengths);
            }
        }
    }
    count
}

#[test]
fn a_training_step_is_good_wgsl() {
    let term = |name: &str, per, value: &str| Objective { name: name.into(), per, value: value.into(), weight: None };
    let terms = [term("token", Per::Token, "nll"), term("example", Per::Example, "mean")];
    for wide in [9, 4096] {
        let rewrites = Rewrites { wide, ..Rewrites::default() };
        let graphs = training_step(&model(Style::Quotient), &terms, &[], &BatchOptions::default(), &rewrites, |_| true);
        let step = graphs.expect("it has gradients").step;
        let (_, lengths) = model::packed(&step);
        let program = fuse(&step).unwrap_or_else(|e| panic!("{e}"));
        assert!(check(&program, &lengths) > 100);
    }
}
