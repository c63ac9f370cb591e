//! The scalar functions of nests, on vectors.

use super::{Emit, LANES};
use crate::host::Host;
use align_compiler::tensor::{DType, MapOp, RandomKind, ReduceOp};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Type, Value};

/// The vector that holds a scalar of a nest.
pub fn vector_of(dtype: DType) -> Type {
    match dtype {
        DType::Float => F32X4,
        DType::Int | DType::Bool => I32X4,
    }
}

/// Where an operation is worked out.
#[derive(Clone, Copy)]
pub struct Place {
    /// Lanes that hold something; the others are only kept from harm.
    pub active: usize,
    /// Where a division of an Int by 0 goes, with no arguments.
    pub division: Block,
}

impl Emit<'_> {
    /// A map of arguments of dtype `of` (for `Where`: of its last two).
    pub fn map(&mut self, op: MapOp, of: DType, args: &[Value], place: Place) -> Value {
        match of {
            DType::Float => self.map_float(op, args, place),
            DType::Int => self.map_int(op, args, place),
            DType::Bool => self.map_bool(op, args),
        }
    }

    fn map_float(&mut self, op: MapOp, args: &[Value], place: Place) -> Value {
        let x = args[0];
        let y = args.get(1).copied().unwrap_or(x);
        match op {
            MapOp::Neg => self.b.ins().fneg(x),
            MapOp::Abs => self.b.ins().fabs(x),
            MapOp::Sign => self.sign(x),
            MapOp::Exp => self.exp(x),
            MapOp::Log => self.log(x),
            MapOp::Sqrt => self.b.ins().sqrt(x),
            MapOp::Rsqrt => {
                let one = self.splat_f32(1.0);
                let root = self.b.ins().sqrt(x);
                self.b.ins().fdiv(one, root)
            }
            MapOp::Sin => self.sin(x),
            MapOp::Cos => self.cos(x),
            MapOp::Tanh => self.tanh(x),
            MapOp::Sigmoid => self.sigmoid(x),
            MapOp::Floor => self.b.ins().floor(x),
            MapOp::Ceil => self.b.ins().ceil(x),
            MapOp::Round => self.b.ins().nearest(x),
            MapOp::Bf16 => self.rounded_to_bf16(x),
            MapOp::IsNan => self.fcmp(FloatCC::Unordered, x, x),
            MapOp::Add => self.b.ins().fadd(x, y),
            MapOp::Sub => self.b.ins().fsub(x, y),
            MapOp::Mul => self.b.ins().fmul(x, y),
            MapOp::Div => self.b.ins().fdiv(x, y),
            MapOp::Rem => self.remainder(x, y),
            MapOp::Pow => self.each_lane(F32X4, place.active, args, |e, args| e.call(Host::Pow, args)),
            MapOp::Min => self.min(x, y),
            MapOp::Max => self.max(x, y),
            MapOp::Eq => self.fcmp(FloatCC::Equal, x, y),
            MapOp::Ne => self.fcmp(FloatCC::NotEqual, x, y),
            MapOp::Lt => self.fcmp(FloatCC::LessThan, x, y),
            MapOp::Le => self.fcmp(FloatCC::LessThanOrEqual, x, y),
            MapOp::Gt => self.fcmp(FloatCC::GreaterThan, x, y),
            MapOp::Ge => self.fcmp(FloatCC::GreaterThanOrEqual, x, y),
            MapOp::Where => self.select(x, y, args[2]),
            MapOp::Not | MapOp::And | MapOp::Or => unreachable!("{op:?} takes Bools"),
        }
    }

    fn map_int(&mut self, op: MapOp, args: &[Value], place: Place) -> Value {
        let x = args[0];
        let y = args.get(1).copied().unwrap_or(x);
        match op {
            MapOp::Neg => self.b.ins().ineg(x),
            MapOp::Abs => self.b.ins().iabs(x),
            MapOp::Sign => self.sign_int(x),
            MapOp::Add => self.b.ins().iadd(x, y),
            MapOp::Sub => self.b.ins().isub(x, y),
            MapOp::Mul => self.b.ins().imul(x, y),
            MapOp::Div | MapOp::Rem => {
                self.each_lane(I32X4, place.active, args, |e, args| e.divide(op, args[0], args[1], place))
            }
            MapOp::Pow => self.each_lane(I32X4, place.active, args, |e, args| e.call(Host::PowInt, args)),
            MapOp::Min => self.b.ins().smin(x, y),
            MapOp::Max => self.b.ins().smax(x, y),
            MapOp::Eq => self.icmp(IntCC::Equal, x, y),
            MapOp::Ne => self.icmp(IntCC::NotEqual, x, y),
            MapOp::Lt => self.icmp(IntCC::SignedLessThan, x, y),
            MapOp::Le => self.icmp(IntCC::SignedLessThanOrEqual, x, y),
            MapOp::Gt => self.icmp(IntCC::SignedGreaterThan, x, y),
            MapOp::Ge => self.icmp(IntCC::SignedGreaterThanOrEqual, x, y),
            MapOp::Where => self.select(x, y, args[2]),
            _ => unreachable!("{op:?} does not take Ints"),
        }
    }

    /// Rounded towards minus infinity, and the remainder that belongs to it.
    fn divide(&mut self, op: MapOp, x: Value, y: Value, place: Place) -> Value {
        let fine = self.b.create_block();
        let none = self.b.ins().iconst(I32, 0);
        let is_none = self.b.ins().icmp(IntCC::Equal, y, none);
        self.b.ins().brif(is_none, place.division, &[], fine, &[]);
        self.b.switch_to_block(fine);
        // In 64 bits, where the smallest Int has a negative.
        let (x, y) = (self.b.ins().sextend(I64, x), self.b.ins().sextend(I64, y));
        let quotient = self.b.ins().sdiv(x, y);
        let part = self.b.ins().imul(quotient, y);
        let rest = self.b.ins().isub(x, part);
        // Towards zero became too large where there is a rest and its sign is not that of y.
        let zero = self.b.ins().iconst(I64, 0);
        let signs = self.b.ins().bxor(rest, y);
        let differ = self.b.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let some = self.b.ins().icmp(IntCC::NotEqual, rest, zero);
        let adjust = self.b.ins().band(differ, some);
        let result = match op {
            MapOp::Div => {
                let one = self.b.ins().uextend(I64, adjust);
                self.b.ins().isub(quotient, one)
            }
            _ => {
                let moved = self.b.ins().iadd(rest, y);
                self.b.ins().select(adjust, moved, rest)
            }
        };
        self.b.ins().ireduce(I32, result)
    }

    fn map_bool(&mut self, op: MapOp, args: &[Value]) -> Value {
        let x = args[0];
        let y = args.get(1).copied().unwrap_or(x);
        match op {
            MapOp::Not => self.b.ins().bnot(x),
            MapOp::And => self.b.ins().band(x, y),
            MapOp::Or => self.b.ins().bor(x, y),
            MapOp::Ne => self.b.ins().bxor(x, y),
            MapOp::Where => self.select(x, y, args[2]),
            // Masks are 0 and -1, so their order as Ints is turned round.
            MapOp::Eq => self.icmp(IntCC::Equal, x, y),
            MapOp::Lt => self.icmp(IntCC::SignedGreaterThan, x, y),
            MapOp::Le => self.icmp(IntCC::SignedGreaterThanOrEqual, x, y),
            MapOp::Gt => self.icmp(IntCC::SignedLessThan, x, y),
            MapOp::Ge => self.icmp(IntCC::SignedLessThanOrEqual, x, y),
            _ => unreachable!("{op:?} does not take Bools"),
        }
    }

    pub fn cast(&mut self, x: Value, from: DType, to: DType) -> Value {
        match (from, to) {
            (DType::Float, DType::Int) => self.b.ins().fcvt_to_sint_sat(I32X4, x),
            (DType::Float, DType::Bool) => {
                let zero = self.splat_f32(0.0);
                self.fcmp(FloatCC::NotEqual, x, zero)
            }
            (DType::Int, DType::Float) => self.b.ins().fcvt_from_sint(F32X4, x),
            (DType::Int, DType::Bool) => {
                let zero = self.splat_i32(0);
                self.icmp(IntCC::NotEqual, x, zero)
            }
            (DType::Bool, DType::Float) => {
                let one = self.splat_f32(1.0);
                let one = self.cast_bits(one, I32X4);
                let bits = self.b.ins().band(x, one);
                self.cast_bits(bits, F32X4)
            }
            (DType::Bool, DType::Int) => {
                let one = self.splat_i32(1);
                self.b.ins().band(x, one)
            }
            (DType::Float, DType::Float) | (DType::Int, DType::Int) | (DType::Bool, DType::Bool) => x,
        }
    }

    pub fn constant(&mut self, x: f64, dtype: DType) -> Value {
        match dtype {
            DType::Float => self.splat_f32(x as f32),
            DType::Int => self.splat_i32(x as i32),
            DType::Bool => self.splat_i32(-i32::from(x != 0.0)),
        }
    }

    pub fn random(&mut self, kind: RandomKind, stream: u32, seed: Value, counter: &[Value], active: usize) -> Value {
        let host = match kind {
            RandomKind::Uniform => Host::Uniform,
            RandomKind::Normal => Host::Normal,
        };
        let mut args = vec![seed];
        args.extend(counter);
        self.each_lane(F32X4, active.min(LANES), &args, |e, args| {
            let stream = e.b.ins().iconst(I32, i64::from(stream));
            let zero = e.b.ins().iconst(I32, 0);
            let mut words = vec![args[0], stream];
            words.extend(&args[1..]);
            words.resize(6, zero);
            e.call(host, &words)
        })
    }

    /// What a reduction over nothing gives.
    pub fn neutral(&mut self, op: ReduceOp, dtype: DType) -> Value {
        match (op, dtype) {
            (ReduceOp::Sum | ReduceOp::Any, _) => self.constant(0.0, dtype),
            (ReduceOp::Prod | ReduceOp::All, _) => self.constant(1.0, dtype),
            (ReduceOp::Max, DType::Float) => self.splat_f32(f32::NEG_INFINITY),
            (ReduceOp::Min, DType::Float) => self.splat_f32(f32::INFINITY),
            (ReduceOp::Max, DType::Int) => self.splat_i32(i32::MIN),
            (ReduceOp::Min, DType::Int) => self.splat_i32(i32::MAX),
            (ReduceOp::Max, DType::Bool) => self.constant(0.0, dtype),
            (ReduceOp::Min, DType::Bool) => self.constant(1.0, dtype),
        }
    }

    pub fn combine(&mut self, op: ReduceOp, dtype: DType, x: Value, y: Value) -> Value {
        match (op, dtype) {
            (ReduceOp::Sum, DType::Float) => self.b.ins().fadd(x, y),
            (ReduceOp::Prod, DType::Float) => self.b.ins().fmul(x, y),
            (ReduceOp::Max, DType::Float) => self.max(x, y),
            (ReduceOp::Min, DType::Float) => self.min(x, y),
            (ReduceOp::Sum, DType::Int) => self.b.ins().iadd(x, y),
            (ReduceOp::Prod, DType::Int) => self.b.ins().imul(x, y),
            (ReduceOp::Max, DType::Int) => self.b.ins().smax(x, y),
            (ReduceOp::Min, DType::Int) => self.b.ins().smin(x, y),
            (ReduceOp::Any | ReduceOp::Max | ReduceOp::Sum, _) => self.b.ins().bor(x, y),
            (ReduceOp::All | ReduceOp::Min | ReduceOp::Prod, _) => self.b.ins().band(x, y),
        }
    }

    /// All four lanes in one, in all lanes.
    pub fn across(&mut self, op: ReduceOp, dtype: DType, x: Value) -> Value {
        let other = self.shuffle(x, x, [2, 3, 0, 1]);
        let pairs = self.combine(op, dtype, x, other);
        let other = self.shuffle(pairs, pairs, [1, 0, 3, 2]);
        self.combine(op, dtype, pairs, other)
    }
}
