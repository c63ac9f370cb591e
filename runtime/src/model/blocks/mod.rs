//! Bytes of a GGUF tensor to float32, by type; and back, for some.

use half::{bf16, f16};

mod encode;
mod super_blocks;

pub use encode::{Precision, TooLarge};
use super_blocks::{iq4_xs, q2_k, q3_k, q4_k, q5_k, q6_k};

/// A type of stored values.
#[derive(Debug)]
pub struct Kind {
    code: u32,
    pub name: &'static str,
    /// Values in a block.
    pub values: usize,
    /// Bytes of a block.
    pub bytes: usize,
    read: fn(&[u8], &mut [f32]),
}

const KINDS: [Kind; 15] = [
    Kind { code: 0, name: "F32", values: 1, bytes: 4, read: float32 },
    Kind { code: 1, name: "F16", values: 1, bytes: 2, read: float16 },
    Kind { code: 30, name: "BF16", values: 1, bytes: 2, read: bfloat16 },
    Kind { code: 2, name: "Q4_0", values: 32, bytes: 18, read: q4_0 },
    Kind { code: 3, name: "Q4_1", values: 32, bytes: 20, read: q4_1 },
    Kind { code: 6, name: "Q5_0", values: 32, bytes: 22, read: q5_0 },
    Kind { code: 7, name: "Q5_1", values: 32, bytes: 24, read: q5_1 },
    Kind { code: 8, name: "Q8_0", values: 32, bytes: 34, read: q8_0 },
    Kind { code: 10, name: "Q2_K", values: 256, bytes: 84, read: q2_k },
    Kind { code: 11, name: "Q3_K", values: 256, bytes: 110, read: q3_k },
    Kind { code: 12, name: "Q4_K", values: 256, bytes: 144, read: q4_k },
    Kind { code: 13, name: "Q5_K", values: 256, bytes: 176, read: q5_k },
    Kind { code: 14, name: "Q6_K", values: 256, bytes: 210, read: q6_k },
    Kind { code: 20, name: "IQ4_NL", values: 32, bytes: 18, read: iq4_nl },
    Kind { code: 23, name: "IQ4_XS", values: 256, bytes: 136, read: iq4_xs },
];

/// The type of a code, where its values can be read.
pub fn kind(code: u32) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.code == code)
}

/// Names of the types that can be read.
pub fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// The name of a code for messages, whether or not it can be read.
pub fn name_of(code: u32) -> String {
    let other = match code {
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return kind(code).map_or(format!("type {code}"), |kind| kind.name.into()),
    };
    other.into()
}

/// All values of whole blocks.
pub fn values(kind: &Kind, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / kind.bytes * kind.values];
    for (block, out) in bytes.chunks_exact(kind.bytes).zip(out.chunks_exact_mut(kind.values)) {
        (kind.read)(block, out);
    }
    out
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn float32(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn float16(block: &[u8], out: &mut [f32]) {
    out[0] = half_at(block, 0);
}

fn bfloat16(block: &[u8], out: &mut [f32]) {
    out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
}

/// Four bits each: the low halves of the bytes are the first 16 values, the high halves the last.
fn nibbles(packed: &[u8], mut put: impl FnMut(usize, u8)) {
    for (i, &byte) in packed.iter().enumerate() {
        put(i, byte & 15);
        put(i + 16, byte >> 4);
    }
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], |i, q| out[i] = (f32::from(q) - 8.0) * scale);
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], |i, q| out[i] = f32::from(q) * scale + least);
}

/// The fifth bit of value `i` is bit `i` of a little-endian word.
fn fifth_bit(word: &[u8], i: usize) -> u8 {
    (word[i / 8] >> (i % 8) & 1) << 4
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    nibbles(&block[6..], |i, q| out[i] = (f32::from(q | fifth_bit(&block[2..6], i)) - 16.0) * scale);
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[8..], |i, q| out[i] = f32::from(q | fifth_bit(&block[4..8], i)) * scale + least);
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (out, &byte) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(byte as i8) * scale;
    }
}

/// What four bits stand for where steps are finer near zero.
const UNEVEN: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn uneven(q: u8) -> f32 {
    f32::from(UNEVEN[usize::from(q & 15)])
}

fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], |i, q| out[i] = scale * uneven(q));
}
