//! Elementary functions on vectors of four floats.
//!
//! Errors against double precision, over all floats (`tests/accuracy.rs` measures them): `exp` 1.0 ulp (results below
//! 2^-126 are 0), `log` 0.8 ulp, `tanh` 1.3 ulp, `sigmoid` 2.5 ulp, `sin` and `cos` 1.2 units of 2^-24 at any argument. All are exact at
//! infinities and zeros, and nan gives nan. Polynomials are those of Cephes (S. Moshier).

use super::{BITS, Emit, LANES};
use crate::host::Host;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, F64X2, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, Value};

/// From here on e^x is infinite in f32.
const EXP_HIGH: f32 = 88.722_84;
/// Below it e^x is less than the smallest normal f32.
const EXP_LOW: f32 = -87.336_55;
const SMALLEST_NORMAL: f32 = f32::MIN_POSITIVE;

impl Emit<'_> {
    pub fn exp(&mut self, x: Value) -> Value {
        // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
        let magic = self.splat_f32(12_582_912.0);
        let log2_e = self.splat_f32(std::f32::consts::LOG2_E);
        let shifted = self.fma(x, log2_e, magic);
        let n = self.b.ins().fsub(shifted, magic);
        let high = self.splat_f32(-0.693_359_4);
        let low = self.splat_f32(2.121_944_4e-4);
        let r = self.fma(n, high, x);
        let r = self.fma(n, low, r);
        let square = self.b.ins().fmul(r, r);
        let tail =
            self.polynomial(r, &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
        let sum = self.fma(tail, square, r);
        let one = self.splat_f32(1.0);
        let sum = self.b.ins().fadd(sum, one);
        // Times 2^n: n, from the low bits of `shifted`, is added to the exponent.
        let bits = self.cast_bits(shifted, I32X4);
        let exponent = self.shift_left(bits, 23);
        let sum = self.cast_bits(sum, I32X4);
        let scaled = self.b.ins().iadd(sum, exponent);
        let scaled = self.cast_bits(scaled, F32X4);
        let (top, bottom) = (self.splat_f32(EXP_HIGH), self.splat_f32(EXP_LOW));
        let infinity = self.splat_f32(f32::INFINITY);
        let zero = self.splat_f32(0.0);
        let under = self.fcmp(FloatCC::LessThan, x, bottom);
        let scaled = self.select(under, zero, scaled);
        // Infinity above; nan stays nan.
        let within = self.fcmp(FloatCC::LessThan, x, top);
        let beyond = self.b.ins().fadd(x, infinity);
        self.select(within, scaled, beyond)
    }

    pub fn log(&mut self, x: Value) -> Value {
        // Subnormals are scaled up by 2^23 first.
        let normal = self.splat_f32(SMALLEST_NORMAL);
        let small = self.fcmp(FloatCC::LessThan, x, normal);
        let up = self.splat_f32(8_388_608.0);
        let scaled = self.b.ins().fmul(x, up);
        let y = self.select(small, scaled, x);
        // y = m 2^e with m in [sqrt(1/2), sqrt(2)).
        let bits = self.cast_bits(y, I32X4);
        let root = self.splat_i32(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32);
        let above = self.b.ins().isub(bits, root);
        let e = self.shift_right_signed(above, 23);
        let exponent = self.shift_left(e, 23);
        let m = self.b.ins().isub(bits, exponent);
        let m = self.cast_bits(m, F32X4);
        let e = self.b.ins().fcvt_from_sint(F32X4, e);
        let (shift, zero) = (self.splat_f32(23.0), self.splat_f32(0.0));
        let shift = self.select(small, shift, zero);
        let e = self.b.ins().fsub(e, shift);
        let one = self.splat_f32(1.0);
        let t = self.b.ins().fsub(m, one);
        let square = self.b.ins().fmul(t, t);
        let p = self.polynomial(
            t,
            &[
                7.037_683_6e-2,
                -1.151_461e-1,
                1.167_699_9e-1,
                -1.242_014_1e-1,
                1.424_932_3e-1,
                -1.666_805_8e-1,
                2.000_071_5e-1,
                -2.499_999_4e-1,
                3.333_333e-1,
            ],
        );
        let cube = self.b.ins().fmul(square, t);
        let (low, high, half) = (self.splat_f32(-2.121_944_4e-4), self.splat_f32(0.693_359_4), self.splat_f32(-0.5));
        let small_part = self.b.ins().fmul(e, low);
        let tail = self.fma(p, cube, small_part);
        let tail = self.fma(square, half, tail);
        let sum = self.b.ins().fadd(t, tail);
        let result = self.fma(e, high, sum);
        // 0 gives -inf, inf gives inf, what is below 0 or nan gives nan.
        let (infinity, minus) = (self.splat_f32(f32::INFINITY), self.splat_f32(f32::NEG_INFINITY));
        let nan = self.splat_f32(f32::NAN);
        let finite = self.fcmp(FloatCC::LessThan, x, infinity);
        let result = self.select(finite, result, x);
        let is_zero = self.fcmp(FloatCC::Equal, x, zero);
        let result = self.select(is_zero, minus, result);
        let negative = self.fcmp(FloatCC::LessThan, x, zero);
        self.select(negative, nan, result)
    }

    pub fn tanh(&mut self, x: Value) -> Value {
        let size = self.b.ins().fabs(x);
        let square = self.b.ins().fmul(x, x);
        let p =
            self.polynomial(square, &[-5.704_988_7e-3, 2.063_909e-2, -5.373_971_7e-2, 1.333_144_2e-1, -3.333_328_4e-1]);
        let cube = self.b.ins().fmul(square, x);
        let near = self.fma(p, cube, x);
        // 1 - 2 / (e^2|x| + 1)
        let twice = self.b.ins().fadd(size, size);
        let e = self.exp(twice);
        let (one, two) = (self.splat_f32(1.0), self.splat_f32(2.0));
        let e = self.b.ins().fadd(e, one);
        let part = self.b.ins().fdiv(two, e);
        let far = self.b.ins().fsub(one, part);
        let far = self.with_sign_of(far, x);
        let limit = self.splat_f32(0.625);
        let is_near = self.fcmp(FloatCC::LessThan, size, limit);
        self.select(is_near, near, far)
    }

    /// Where e^-x is infinite it is 0.
    pub fn sigmoid(&mut self, x: Value) -> Value {
        let minus = self.b.ins().fneg(x);
        let e = self.exp(minus);
        let one = self.splat_f32(1.0);
        let below = self.b.ins().fadd(one, e);
        self.b.ins().fdiv(one, below)
    }

    /// `size`, which is not negative, with the sign of `x`.
    pub fn with_sign_of(&mut self, size: Value, x: Value) -> Value {
        let sign = self.splat_i32(i32::MIN);
        let bits = self.cast_bits(x, I32X4);
        let sign = self.b.ins().band(bits, sign);
        let size = self.cast_bits(size, I32X4);
        let both = self.b.ins().bor(size, sign);
        self.cast_bits(both, F32X4)
    }

    pub fn sin(&mut self, x: Value) -> Value {
        self.circular(x, Host::Sin)
    }

    pub fn cos(&mut self, x: Value) -> Value {
        self.circular(x, Host::Cos)
    }

    /// Sine or cosine. The argument is reduced in double precision, which is enough below 2^31; what is larger goes through
    /// the host.
    fn circular(&mut self, x: Value, which: Host) -> Value {
        if !self.fma {
            return self.each_lane(F32X4, LANES, &[x], |e, x| e.call(which, x));
        }
        let (mut quadrants, mut rests) = (vec![], vec![]);
        for half in self.promote(x) {
            // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
            let magic = self.splat_f64(6_755_399_441_055_744.0);
            let per = self.splat_f64(std::f64::consts::FRAC_2_PI);
            let shifted = self.b.ins().fma(half, per, magic);
            let n = self.b.ins().fsub(shifted, magic);
            let (high, low) =
                (self.splat_f64(-std::f64::consts::FRAC_PI_2), self.splat_f64(-6.123_233_995_736_766e-17));
            let rest = self.b.ins().fma(n, high, half);
            rests.push(self.b.ins().fma(n, low, rest));
            quadrants.push(self.b.ins().bitcast(I64X2, BITS, shifted));
        }
        let r = self.demote([rests[0], rests[1]]);
        let mut quadrant = self.low_words([quadrants[0], quadrants[1]]);
        if which == Host::Cos {
            let one = self.splat_i32(1);
            quadrant = self.b.ins().iadd(quadrant, one);
        }
        let square = self.b.ins().fmul(r, r);
        let p = self.polynomial(square, &[-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
        let cube = self.b.ins().fmul(square, r);
        let sine = self.fma(p, cube, r);
        let p = self.polynomial(square, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2, -0.5]);
        let one = self.splat_f32(1.0);
        let cosine = self.fma(p, square, one);
        // Odd quadrants take the cosine; the second and third turn the sign.
        let odd = self.shift_left(quadrant, 31);
        let odd = self.shift_right_signed(odd, 31);
        let value = self.select(odd, cosine, sine);
        let turn = self.shift_left(quadrant, 30);
        let sign = self.splat_i32(i32::MIN);
        let turn = self.b.ins().band(turn, sign);
        let value = self.cast_bits(value, I32X4);
        let value = self.b.ins().bxor(value, turn);
        let value = self.cast_bits(value, F32X4);
        // -0 stays -0 under sine.
        self.beyond(x, value, which)
    }

    /// `value`, or where |x| is 2^31 or more what the host says.
    fn beyond(&mut self, x: Value, value: Value, which: Host) -> Value {
        let size = self.b.ins().fabs(x);
        let limit = self.splat_f32(2_147_483_648.0);
        let large = self.fcmp(FloatCC::GreaterThanOrEqual, size, limit);
        let any = self.b.ins().vany_true(large);
        let (rare, after) = (self.b.create_block(), self.b.create_block());
        self.b.append_block_param(after, F32X4);
        self.b.set_cold_block(rare);
        self.b.ins().brif(any, rare, &[], after, &[value.into()]);
        self.b.switch_to_block(rare);
        let slow = self.each_lane(F32X4, LANES, &[x], |e, x| e.call(which, x));
        let mixed = self.select(large, slow, value);
        self.b.ins().jump(after, &[mixed.into()]);
        self.b.switch_to_block(after);
        self.b.block_params(after)[0]
    }

    /// The remainder with the sign of the divisor, `x - y floor(x / y)`, worked out in double precision.
    pub fn remainder(&mut self, x: Value, y: Value) -> Value {
        let (xs, ys) = (self.promote(x), self.promote(y));
        let mut halves = [xs[0]; 2];
        for i in 0..2 {
            let quotient = self.b.ins().fdiv(xs[i], ys[i]);
            let whole = self.b.ins().floor(quotient);
            let part = self.b.ins().fmul(whole, ys[i]);
            halves[i] = self.b.ins().fsub(xs[i], part);
        }
        debug_assert_eq!(F64X2.bits(), F32X4.bits());
        self.demote(halves)
    }

    /// 1, -1, or x itself where it is 0 or nan.
    pub fn sign(&mut self, x: Value) -> Value {
        let (one, zero) = (self.splat_f32(1.0), self.splat_f32(0.0));
        let signed = self.with_sign_of(one, x);
        let size = self.b.ins().fabs(x);
        let some = self.fcmp(FloatCC::GreaterThan, size, zero);
        self.select(some, signed, x)
    }

    pub fn sign_int(&mut self, x: Value) -> Value {
        let zero = self.splat_i32(0);
        // Masks are -1.
        let positive = self.icmp(IntCC::SignedGreaterThan, x, zero);
        let negative = self.icmp(IntCC::SignedLessThan, x, zero);
        self.b.ins().isub(negative, positive)
    }
}
