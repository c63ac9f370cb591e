//! Machine code for kernels: vectors of four lanes, and the functions and loops made of them.

pub mod depth;
pub mod math;
pub mod memory;
pub mod nest;
pub mod pass;
pub mod scalar;
pub mod stored;

use crate::host::Host;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, F64X2, I32, I32X4, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, FuncRef, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;

/// Lanes of a vector. Cranelift has vectors of 128 bits on every target.
pub const LANES: usize = 4;

/// A function under construction. Scalars of a nest are vectors throughout: Float `F32X4`, Int `I32X4`, Bool `I32X4` with
/// all bits of a lane set or none.
pub struct Emit<'a> {
    pub b: FunctionBuilder<'a>,
    /// The machine multiplies and adds in one instruction.
    pub fma: bool,
    /// In the order of [`Host::ALL`].
    pub host: Vec<FuncRef>,
}

/// How `bitcast` orders lanes.
const BITS: MemFlagsData = MemFlagsData::new().with_endianness(Endianness::Little);

impl Emit<'_> {
    pub fn splat_f32(&mut self, x: f32) -> Value {
        self.splat_bits(x.to_bits(), F32X4)
    }

    pub fn splat_i32(&mut self, x: i32) -> Value {
        self.splat_bits(x as u32, I32X4)
    }

    fn splat_bits(&mut self, bits: u32, of: Type) -> Value {
        self.lanes_of([bits; LANES], of)
    }

    pub fn lanes_of(&mut self, bits: [u32; LANES], of: Type) -> Value {
        let bytes: Vec<u8> = bits.iter().flat_map(|x| x.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes.as_slice()));
        self.b.ins().vconst(of, constant)
    }

    pub fn splat_f64(&mut self, x: f64) -> Value {
        let bytes: Vec<u8> = [x; 2].iter().flat_map(|x| x.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes.as_slice()));
        self.b.ins().vconst(F64X2, constant)
    }

    pub fn cast_bits(&mut self, x: Value, to: Type) -> Value {
        if self.b.func.dfg.value_type(x) == to {
            return x;
        }
        self.b.ins().bitcast(to, BITS, x)
    }

    /// `x * y + z`.
    pub fn fma(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.fma {
            return self.b.ins().fma(x, y, z);
        }
        let product = self.b.ins().fmul(x, y);
        self.b.ins().fadd(product, z)
    }

    /// A polynomial by Horner's scheme, highest power first.
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let first = self.splat_f32(coefficients[0]);
        coefficients[1..].iter().fold(first, |sum, c| {
            let c = self.splat_f32(*c);
            self.fma(sum, x, c)
        })
    }

    /// A mask where the comparison holds.
    pub fn fcmp(&mut self, code: FloatCC, x: Value, y: Value) -> Value {
        self.b.ins().fcmp(code, x, y)
    }

    pub fn icmp(&mut self, code: IntCC, x: Value, y: Value) -> Value {
        self.b.ins().icmp(code, x, y)
    }

    /// `x` where the mask is set, else `y`.
    pub fn select(&mut self, mask: Value, x: Value, y: Value) -> Value {
        let of = self.b.func.dfg.value_type(x);
        let mask = self.cast_bits(mask, of);
        self.b.ins().bitselect(mask, x, y)
    }

    /// One instruction; `y` if either is nan.
    fn quick_max(&mut self, x: Value, y: Value) -> Value {
        let less = self.fcmp(FloatCC::LessThan, y, x);
        self.select(less, x, y)
    }

    /// One instruction; `y` if either is nan.
    fn quick_min(&mut self, x: Value, y: Value) -> Value {
        let less = self.fcmp(FloatCC::LessThan, x, y);
        self.select(less, x, y)
    }

    /// nan if either is.
    pub fn max(&mut self, x: Value, y: Value) -> Value {
        let max = self.quick_max(x, y);
        let nan = self.fcmp(FloatCC::Unordered, x, x);
        self.select(nan, x, max)
    }

    /// nan if either is.
    pub fn min(&mut self, x: Value, y: Value) -> Value {
        let min = self.quick_min(x, y);
        let nan = self.fcmp(FloatCC::Unordered, x, x);
        self.select(nan, x, min)
    }

    fn constant_i32(&mut self, x: i64) -> Value {
        self.b.ins().iconst(I32, x)
    }

    pub fn shift_left(&mut self, x: Value, by: i64) -> Value {
        let by = self.constant_i32(by);
        self.b.ins().ishl(x, by)
    }

    pub fn shift_right_signed(&mut self, x: Value, by: i64) -> Value {
        let by = self.constant_i32(by);
        self.b.ins().sshr(x, by)
    }

    /// Lanes of two vectors of four: 0 to 3 from `x`, 4 to 7 from `y`.
    pub fn shuffle(&mut self, x: Value, y: Value, lanes: [u8; LANES]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (0..4).map(move |byte| lane * 4 + byte)).collect();
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(bytes.as_slice()));
        let of = self.b.func.dfg.value_type(x);
        let i8x16 = cranelift_codegen::ir::types::I8X16;
        let (x, y) = (self.cast_bits(x, i8x16), self.cast_bits(y, i8x16));
        let shuffled = self.b.ins().shuffle(x, y, mask);
        self.cast_bits(shuffled, of)
    }

    /// The lower and upper pairs of lanes in double precision.
    pub fn promote(&mut self, x: Value) -> [Value; 2] {
        let low = self.b.ins().fvpromote_low(x);
        let upper = self.shuffle(x, x, [2, 3, 2, 3]);
        let high = self.b.ins().fvpromote_low(upper);
        [low, high]
    }

    /// The other way round.
    pub fn demote(&mut self, halves: [Value; 2]) -> Value {
        let low = self.b.ins().fvdemote(halves[0]);
        let high = self.b.ins().fvdemote(halves[1]);
        self.shuffle(low, high, [0, 1, 4, 5])
    }

    /// The low words of two vectors of two 64-bit lanes.
    fn low_words(&mut self, halves: [Value; 2]) -> Value {
        let (low, high) = (self.cast_bits(halves[0], I32X4), self.cast_bits(halves[1], I32X4));
        debug_assert_eq!(I64X2.bits(), I32X4.bits());
        self.shuffle(low, high, [0, 2, 4, 6])
    }

    /// Calls a host function with scalars.
    pub fn call(&mut self, host: Host, args: &[Value]) -> Value {
        let call = self.b.ins().call(self.host[host as usize], args);
        self.b.inst_results(call)[0]
    }

    /// Works out the first `active` lanes one by one; the others repeat the first.
    pub fn each_lane(
        &mut self,
        of: Type,
        active: usize,
        args: &[Value],
        mut f: impl FnMut(&mut Self, &[Value]) -> Value,
    ) -> Value {
        let mut result = None;
        for lane in 0..active {
            let scalars: Vec<Value> = args.iter().map(|x| self.b.ins().extractlane(*x, lane as u8)).collect();
            let value = f(self, &scalars);
            result = Some(match result {
                None => self.b.ins().splat(of, value),
                Some(vector) => self.b.ins().insertlane(vector, value, lane as u8),
            });
        }
        result.expect("at least one lane is active")
    }
}
