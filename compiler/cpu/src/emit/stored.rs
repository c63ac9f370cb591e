//! Floats that lie in fewer bits than f32.

use super::memory::MEMORY;
use super::{Emit, LANES};
use align_compiler::storage::{BLOCK, Storage};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emit<'_> {
    /// One number: of bf16 by its address, of what lies in blocks by its place in the buffer.
    pub fn load_stored(&mut self, storage: Storage, buffer: Value, at: Value) -> Value {
        if storage == Storage::Bf16 {
            let upper = self.b.ins().uload16(I32, MEMORY, at, 0);
            let bits = self.shift_left(upper, 16);
            return self.b.ins().bitcast(F32, super::BITS, bits);
        }
        let (numbers, bytes) = storage.block();
        debug_assert_eq!(numbers, BLOCK);
        let block = self.b.ins().ushr_imm_u(at, i64::from(BLOCK.trailing_zeros()));
        let start = self.b.ins().imul_imm_s(block, bytes as i64);
        let start = self.b.ins().iadd(buffer, start);
        let i = self.b.ins().band_imm_u(at, BLOCK as i64 - 1);
        let scale = self.load_f16(start, 0);
        if storage == Storage::Q8 {
            let place = self.b.ins().iadd(start, i);
            let number = self.b.ins().sload8(I32, MEMORY, place, 2);
            let number = self.b.ins().fcvt_from_sint(F32, number);
            return self.b.ins().fmul(number, scale);
        }
        let least = self.load_f16(start, 2);
        let half = BLOCK as i64 / 2;
        let place = self.b.ins().band_imm_u(i, half - 1);
        let place = self.b.ins().iadd(start, place);
        let both = self.b.ins().uload8(I32, MEMORY, place, 4);
        // 4 for the upper half of the block, else 0.
        let shift = self.b.ins().band_imm_u(i, half);
        let shift = self.b.ins().ushr_imm_u(shift, i64::from((half / 4).trailing_zeros()));
        let number = self.b.ins().ushr(both, shift);
        let number = self.b.ins().band_imm_u(number, 15);
        let number = self.b.ins().fcvt_from_sint(F32, number);
        let scaled = self.b.ins().fmul(number, scale);
        self.b.ins().fadd(scaled, least)
    }

    /// A number in f16, subnormal ones and those that are not finite too.
    fn load_f16(&mut self, at: Value, offset: i32) -> Value {
        let bits = self.b.ins().uload16(I32, MEMORY, at, offset);
        let sign = self.b.ins().band_imm_u(bits, 0x8000);
        let sign = self.shift_left(sign, 16);
        let size = self.b.ins().band_imm_u(bits, 0x7fff);
        let size = self.shift_left(size, 13);
        // The exponent counts from another place: a product with 2^112 is exact.
        let number = self.b.ins().bitcast(F32, super::BITS, size);
        let by = self.b.ins().f32const(112f32.exp2());
        let number = self.b.ins().fmul(number, by);
        let number = self.b.ins().bitcast(I32, super::BITS, number);
        let none = self.b.ins().iconst(I32, 0);
        let all = self.b.ins().iconst(I32, 0x7f80_0000);
        let is_finite = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, size, 0x7c00 << 13);
        let exponent = self.b.ins().select(is_finite, none, all);
        let number = self.b.ins().bor(number, exponent);
        let number = self.b.ins().bor(number, sign);
        self.b.ins().bitcast(F32, super::BITS, number)
    }

    /// Four numbers in bf16.
    pub fn load_bf16(&mut self, at: Value, offset: i32) -> Value {
        let words = self.b.ins().load(I64, MEMORY, at, offset);
        let words = self.b.ins().scalar_to_vector(I64X2, words);
        let words = self.cast_bits(words, I16X8);
        let words = self.b.ins().uwiden_low(words);
        let bits = self.shift_left(words, 16);
        self.cast_bits(bits, F32X4)
    }

    /// Numbers rounded to the nearest bf16, ties to even; a nan stays one.
    pub fn rounded_to_bf16(&mut self, x: Value) -> Value {
        let bits = self.cast_bits(x, I32X4);
        let by = self.constant_i32(16);
        let last = self.b.ins().ushr(bits, by);
        let one = self.splat_i32(1);
        let odd = self.b.ins().band(last, one);
        let half = self.splat_i32(0x7fff);
        let sum = self.b.ins().iadd(bits, half);
        let sum = self.b.ins().iadd(sum, odd);
        let quiet = self.splat_i32(0x0040_0000);
        let nan = self.b.ins().bor(bits, quiet);
        let is_nan = self.fcmp(FloatCC::Unordered, x, x);
        let rounded = self.select(is_nan, nan, sum);
        let upper = self.splat_i32(0xffff_0000u32 as i32);
        let rounded = self.b.ins().band(rounded, upper);
        self.cast_bits(rounded, F32X4)
    }

    /// Stores four numbers, rounded.
    pub fn store_bf16s(&mut self, x: Value, at: Value, offset: i32) {
        let rounded = self.rounded_to_bf16(x);
        let bits = self.cast_bits(rounded, I32X4);
        let by = self.constant_i32(16);
        let words = self.b.ins().ushr(bits, by);
        let words = self.b.ins().unarrow(words, words);
        let words = self.cast_bits(words, I64X2);
        let words = self.b.ins().extractlane(words, 0);
        debug_assert_eq!(LANES * 2, 8);
        self.b.ins().store(MEMORY, words, at, offset);
    }

    /// Stores one number, rounded.
    pub fn store_bf16(&mut self, x: Value, at: Value) {
        let x = self.b.ins().splat(F32X4, x);
        let rounded = self.rounded_to_bf16(x);
        let bits = self.cast_bits(rounded, I32X4);
        let word = self.b.ins().extractlane(bits, 0);
        let by = self.constant_i32(16);
        let word = self.b.ins().ushr(word, by);
        self.b.ins().istore16(MEMORY, word, at, 0);
    }
}
