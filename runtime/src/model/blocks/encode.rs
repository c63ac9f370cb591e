//! Values to the bytes of a GGUF or safetensors tensor.

use std::borrow::Cow;

use half::{bf16, f16};

/// How exactly values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    F16,
    Bf16,
    /// Blocks of 32 values with a scale: 8.5 bits a value. GGUF alone has it.
    Q8_0,
}

/// A value that a type cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooLarge(pub f32);

/// Values in a block of [`Precision::Q8_0`].
const BLOCK: usize = 32;

impl Precision {
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Q8_0];

    /// As a program says it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Q8_0 => "q8_0",
        }
    }

    pub fn of(name: &str) -> Option<Precision> {
        Precision::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The type's code in GGUF.
    pub fn code(self) -> u32 {
        match self {
            Precision::F32 => 0,
            Precision::F16 => 1,
            Precision::Bf16 => 30,
            Precision::Q8_0 => 8,
        }
    }

    /// How many values stand together: the rows of a tensor must be made of as many.
    pub fn block(self) -> usize {
        if self == Precision::Q8_0 { BLOCK } else { 1 }
    }

    /// Bytes of so many values.
    pub fn size(self, values: usize) -> usize {
        match self {
            Precision::F32 => 4 * values,
            Precision::F16 | Precision::Bf16 => 2 * values,
            Precision::Q8_0 => values / BLOCK * (BLOCK + 2),
        }
    }

    /// The bytes, little-endian. An error for a finite value that would become infinite.
    pub fn encode(self, values: &[f32]) -> Result<Cow<'_, [u8]>, TooLarge> {
        let mut out = Vec::new();
        match self {
            Precision::F32 if cfg!(target_endian = "little") => return Ok(Cow::Borrowed(bytemuck::cast_slice(values))),
            Precision::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Precision::F16 => {
                for &value in values {
                    out.extend(half(value, value)?.to_le_bytes());
                }
            }
            Precision::Bf16 => {
                for &value in values {
                    let short = bf16::from_f32(value);
                    if short.is_infinite() && value.is_finite() {
                        return Err(TooLarge(value));
                    }
                    out.extend(short.to_le_bytes());
                }
            }
            Precision::Q8_0 => {
                for block in values.chunks_exact(BLOCK) {
                    q8_0(block, &mut out)?;
                }
            }
        }
        Ok(Cow::Owned(out))
    }
}

/// `value`, which is there because of the value `from`.
fn half(value: f32, from: f32) -> Result<f16, TooLarge> {
    let short = f16::from_f32(value);
    if short.is_infinite() && from.is_finite() { Err(TooLarge(from)) } else { Ok(short) }
}

/// As ggml's reference does it: the value farthest from zero becomes 127, halves are rounded away from zero.
fn q8_0(block: &[f32], out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let most = block.iter().fold(0f32, |most, v| most.max(v.abs()));
    let scale = most / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(half(scale, most)?.to_le_bytes());
    out.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
    Ok(())
}
