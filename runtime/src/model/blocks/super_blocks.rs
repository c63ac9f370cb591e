//! Blocks of 256 values whose parts have scales of their own, which are numbers of few bits too.
//!
//! Products are rounded in the order of ggml's own reading, so that values are equal to the last bit.

use super::{half_at, nibbles, uneven};

/// Two bits of each value: 128 values in 32 bytes, the first 32 of them in the lowest bits.
fn two_bits(packed: &[u8], i: usize) -> u8 {
    packed[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// One bit of each value: the first 32 of all 256 in the lowest bits of 32 bytes.
fn one_bit(packed: &[u8], i: usize) -> u8 {
    packed[i % 32] >> (i / 32) & 1
}

/// Four bits of each value: the first `run` values in the low halves of as many bytes, the next in the high halves.
fn four_bits(packed: &[u8], run: usize, i: usize) -> u8 {
    packed[i / (2 * run) * run + i % run] >> (i / run % 2 * 4) & 15
}

/// Sixteen parts, each with four bits of scale and four of offset.
pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (parts, packed) = (&block[..16], &block[16..80]);
    let (scale, least) = (half_at(block, 80), half_at(block, 82));
    for (part, (out, both)) in out.chunks_exact_mut(16).zip(parts).enumerate() {
        let (scale, least) = (scale * f32::from(both & 15), least * f32::from(both >> 4));
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(two_bits(packed, 16 * part + i)) - least;
        }
    }
}

/// Sixteen parts with scales of six signed bits. The third bit of a value is stored inverted: where it is 0, the value is
/// 4 less.
pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, packed, parts) = (&block[..32], &block[32..96], &block[96..108]);
    let whole = half_at(block, 108);
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let low = parts[part % 8] >> (part / 8 * 4) & 15;
        let six = low | (parts[8 + part % 4] >> (part / 4 * 2) & 3) << 4;
        let scale = whole * (f32::from(six) - 32.0);
        for (i, out) in out.iter_mut().enumerate() {
            let at = 16 * part + i;
            let less = if one_bit(high, at) == 0 { 4.0 } else { 0.0 };
            *out = scale * (f32::from(two_bits(packed, at)) - less);
        }
    }
}

/// Scale and offset of part `part` of eight, six bits each in twelve bytes: the first four parts in the low bits of bytes 0
/// to 7, the last four in bytes 8 to 11 and the top bits of the others.
fn scale_and_least(packed: &[u8], part: usize) -> (f32, f32) {
    let (scale, least) = match part {
        0..4 => (packed[part] & 63, packed[part + 4] & 63),
        _ => {
            let low = packed[part + 4];
            (low & 15 | packed[part - 4] >> 2 & 48, low >> 4 | packed[part] >> 2 & 48)
        }
    };
    (f32::from(scale), f32::from(least))
}

pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (parts, packed) = (&block[4..16], &block[16..]);
    let of = |i| four_bits(packed, 32, i);
    eight_parts(block, parts, of, out);
}

pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (parts, high, packed) = (&block[4..16], &block[16..48], &block[48..]);
    let of = |i| four_bits(packed, 32, i) | one_bit(high, i) << 4;
    eight_parts(block, parts, of, out);
}

/// Eight parts with scales and offsets of six bits.
fn eight_parts(block: &[u8], parts: &[u8], of: impl Fn(usize) -> u8, out: &mut [f32]) {
    let (whole, whole_least) = (half_at(block, 0), half_at(block, 2));
    for (part, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = scale_and_least(parts, part);
        let (scale, least) = (whole * scale, whole_least * least);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(of(32 * part + i)) - least;
        }
    }
}

/// Sixteen parts with scales of eight signed bits.
pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, parts) = (&block[..128], &block[128..192], &block[192..208]);
    let whole = half_at(block, 208);
    for (part, (out, &eight)) in out.chunks_exact_mut(16).zip(parts).enumerate() {
        let scale = whole * f32::from(eight as i8);
        for (i, out) in out.iter_mut().enumerate() {
            let at = 16 * part + i;
            let six = four_bits(low, 64, at) | two_bits(high, at) << 4;
            *out = scale * (f32::from(six) - 32.0);
        }
    }
}

/// Eight parts with scales of six signed bits, values of uneven steps.
pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let whole = half_at(block, 0);
    let (high, low) = (u16::from_le_bytes([block[2], block[3]]), &block[4..8]);
    let packed = block[8..].chunks_exact(16);
    for (part, (out, packed)) in out.chunks_exact_mut(32).zip(packed).enumerate() {
        let six = low[part / 2] >> (part % 2 * 4) & 15 | ((high >> (2 * part) & 3) as u8) << 4;
        let scale = whole * (f32::from(six) - 32.0);
        nibbles(packed, |i, q| out[i] = scale * uneven(q));
    }
}
