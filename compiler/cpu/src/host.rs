//! Functions of the host that kernels call: what is rare and long. All take and give scalars.

use align_compiler::philox::philox4x32;
use cranelift_codegen::ir::types::{F32, I32};
use cranelift_codegen::ir::{AbiParam, Signature};
use cranelift_codegen::isa::CallConv;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Sin,
    Cos,
    Pow,
    PowInt,
    Uniform,
    Normal,
}

impl Host {
    pub const ALL: [Host; 6] = [Host::Sin, Host::Cos, Host::Pow, Host::PowInt, Host::Uniform, Host::Normal];

    pub fn name(self) -> &'static str {
        match self {
            Host::Sin => "align_sin",
            Host::Cos => "align_cos",
            Host::Pow => "align_pow",
            Host::PowInt => "align_pow_int",
            Host::Uniform => "align_uniform",
            Host::Normal => "align_normal",
        }
    }

    pub fn address(self) -> *const u8 {
        match self {
            Host::Sin => sin as *const u8,
            Host::Cos => cos as *const u8,
            Host::Pow => pow as *const u8,
            Host::PowInt => pow_int as *const u8,
            Host::Uniform => uniform as *const u8,
            Host::Normal => normal as *const u8,
        }
    }

    pub fn signature(self, convention: CallConv) -> Signature {
        let (params, result) = match self {
            Host::Sin | Host::Cos => (vec![F32], F32),
            Host::Pow => (vec![F32; 2], F32),
            Host::PowInt => (vec![I32; 2], I32),
            Host::Uniform | Host::Normal => (vec![I32; 6], F32),
        };
        let mut signature = Signature::new(convention);
        signature.params = params.into_iter().map(AbiParam::new).collect();
        signature.returns = vec![AbiParam::new(result)];
        signature
    }
}

extern "C" fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

extern "C" fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

extern "C" fn pow(x: f32, y: f32) -> f32 {
    f64::from(x).powf(f64::from(y)) as f32
}

extern "C" fn pow_int(x: i32, y: i32) -> i32 {
    f64::from(x).powf(f64::from(y)) as i32
}

/// A multiple of 2^-24 in [0, 1).
fn unit(word: u32) -> f64 {
    f64::from(word >> 8) * (-24f64).exp2()
}

extern "C" fn uniform(seed: u32, stream: u32, a: u32, b: u32, c: u32, d: u32) -> f32 {
    unit(philox4x32([a, b, c, d], [seed, stream])[0]) as f32
}

/// By Box and Muller; the first uniform is taken from (0, 1].
extern "C" fn normal(seed: u32, stream: u32, a: u32, b: u32, c: u32, d: u32) -> f32 {
    let words = philox4x32([a, b, c, d], [seed, stream]);
    let radius = (-2.0 * (unit(words[0]) + (-24f64).exp2()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * unit(words[1])).cos()) as f32
}
