//! The scalars of nests as expressions of WGSL.

use align_compiler::tensor::{DType, MapOp, RandomKind, ReduceOp};

use super::library::Function;
use super::source::Source;

/// The type of a value.
pub fn word(dtype: DType) -> &'static str {
    match dtype {
        DType::Float => "f32",
        DType::Int => "i32",
        DType::Bool => "bool",
    }
}

impl Source<'_> {
    pub fn constant(&mut self, x: f64, dtype: DType) -> String {
        match dtype {
            DType::Float if (x as f32).is_finite() => {
                let text = format!("{:?}", x as f32);
                if text.starts_with('-') { format!("({text})") } else { text }
            }
            DType::Float => {
                let bits = format!("{:#x}u", (x as f32).to_bits());
                self.call(Function::Bits, &[&bits])
            }
            // The least Int is no literal: its size is not an Int.
            DType::Int if x as i32 == i32::MIN => "(-2147483647 - 1)".into(),
            DType::Int if x < 0.0 => format!("({})", x as i32),
            DType::Int => format!("{}", x as i32),
            DType::Bool => format!("{}", x != 0.0),
        }
    }

    /// A map of arguments of dtype `of` (for `Where`: of its last two). `site`: the number of the fault of a division by 0.
    pub fn map(&mut self, op: MapOp, of: DType, args: &[&str], site: impl FnOnce(&mut Self) -> String) -> String {
        let x = args[0];
        let y = args.get(1).copied().unwrap_or(x);
        let two = |sign: &str| format!("({x} {sign} {y})");
        let float = of == DType::Float;
        match op {
            MapOp::Neg => format!("(-{x})"),
            MapOp::Abs => format!("abs({x})"),
            MapOp::Sign => format!("sign({x})"),
            MapOp::Exp => format!("exp({x})"),
            MapOp::Log => format!("log({x})"),
            MapOp::Sqrt => format!("sqrt({x})"),
            MapOp::Rsqrt => format!("inverseSqrt({x})"),
            MapOp::Sin => self.call(Function::Sin, &[x]),
            MapOp::Cos => self.call(Function::Cos, &[x]),
            MapOp::Tanh => self.call(Function::Tanh, &[x]),
            MapOp::Sigmoid => self.call(Function::Sigmoid, &[x]),
            MapOp::Floor => format!("floor({x})"),
            MapOp::Ceil => format!("ceil({x})"),
            MapOp::Round => format!("round({x})"),
            MapOp::Bf16 => self.call(Function::Bf16, &[x]),
            MapOp::Not => format!("(!{x})"),
            MapOp::IsNan => self.call(Function::IsNan, &[x]),
            MapOp::Add => two("+"),
            MapOp::Sub => two("-"),
            MapOp::Mul => two("*"),
            MapOp::Div if float => two("/"),
            MapOp::Rem if float => self.call(Function::Rem, args),
            MapOp::Div | MapOp::Rem => {
                let site = site(self);
                self.call(if op == MapOp::Div { Function::DivInt } else { Function::RemInt }, &[x, y, &site])
            }
            MapOp::Pow if float => self.call(Function::Pow, args),
            MapOp::Pow => self.call(Function::PowInt, args),
            MapOp::Min if float => self.call(Function::Min, args),
            MapOp::Max if float => self.call(Function::Max, args),
            MapOp::Min => format!("min({x}, {y})"),
            MapOp::Max => format!("max({x}, {y})"),
            MapOp::Eq => two("=="),
            // A nan differs from all.
            MapOp::Ne if float => format!("(!({x} == {y}))"),
            MapOp::Ne => two("!="),
            MapOp::Lt if of == DType::Bool => format!("(!{x} && {y})"),
            MapOp::Le if of == DType::Bool => format!("(!{x} || {y})"),
            MapOp::Gt if of == DType::Bool => format!("({x} && !{y})"),
            MapOp::Ge if of == DType::Bool => format!("({x} || !{y})"),
            MapOp::Lt => two("<"),
            MapOp::Le => two("<="),
            MapOp::Gt => two(">"),
            MapOp::Ge => two(">="),
            MapOp::And => two("&&"),
            MapOp::Or => two("||"),
            MapOp::Where => format!("select({}, {y}, {x})", args[2]),
        }
    }

    pub fn cast(&mut self, x: &str, from: DType, to: DType) -> String {
        match (from, to) {
            (DType::Float, DType::Int) => format!("i32({x})"),
            (DType::Float, DType::Bool) => format!("(!({x} == 0.0))"),
            (DType::Int, DType::Float) => format!("f32({x})"),
            (DType::Int, DType::Bool) => format!("({x} != 0)"),
            (DType::Bool, DType::Float) => format!("select(0.0, 1.0, {x})"),
            (DType::Bool, DType::Int) => format!("select(0, 1, {x})"),
            (DType::Float, DType::Float) | (DType::Int, DType::Int) | (DType::Bool, DType::Bool) => x.to_string(),
        }
    }

    pub fn random(&mut self, kind: RandomKind, stream: u32, seed: &str, counter: &[&str]) -> String {
        let mut words: Vec<String> = counter.iter().map(|c| format!("u32({c})")).collect();
        words.resize(4, "0u".into());
        let function = match kind {
            RandomKind::Uniform => Function::Uniform,
            RandomKind::Normal => Function::Normal,
        };
        self.call(function, &[&format!("vec4({})", words.join(", ")), &format!("vec2(u32({seed}), {stream}u)")])
    }

    /// What a reduction over nothing gives.
    pub fn neutral(&mut self, op: ReduceOp, dtype: DType) -> String {
        let x = match (op, dtype) {
            (ReduceOp::Sum | ReduceOp::Any, _) => 0.0,
            (ReduceOp::Prod | ReduceOp::All, _) => 1.0,
            (ReduceOp::Max, DType::Float) => f64::NEG_INFINITY,
            (ReduceOp::Min, DType::Float) => f64::INFINITY,
            (ReduceOp::Max, DType::Int) => f64::from(i32::MIN),
            (ReduceOp::Min, DType::Int) => f64::from(i32::MAX),
            (ReduceOp::Max, DType::Bool) => 0.0,
            (ReduceOp::Min, DType::Bool) => 1.0,
        };
        self.constant(x, dtype)
    }

    pub fn combine(&mut self, op: ReduceOp, dtype: DType, x: &str, y: &str) -> String {
        match (op, dtype) {
            (ReduceOp::Sum, DType::Float | DType::Int) => format!("{x} + {y}"),
            (ReduceOp::Prod, DType::Float | DType::Int) => format!("{x} * {y}"),
            (ReduceOp::Max, DType::Float) => self.call(Function::Max, &[x, y]),
            (ReduceOp::Min, DType::Float) => self.call(Function::Min, &[x, y]),
            (ReduceOp::Max, DType::Int) => format!("max({x}, {y})"),
            (ReduceOp::Min, DType::Int) => format!("min({x}, {y})"),
            (ReduceOp::Any | ReduceOp::Max | ReduceOp::Sum, _) => format!("{x} || {y}"),
            (ReduceOp::All | ReduceOp::Min | ReduceOp::Prod, _) => format!("{x} && {y}"),
        }
    }

    /// A value of all lanes of the workgroup as one, in all lanes.
    pub fn across(&mut self, op: ReduceOp, dtype: DType, x: &str) -> String {
        let function = match (op, dtype) {
            (ReduceOp::Sum, DType::Float) => Function::GroupSum,
            (ReduceOp::Prod, DType::Float) => Function::GroupProd,
            (ReduceOp::Max, DType::Float) => Function::GroupMax,
            (ReduceOp::Min, DType::Float) => Function::GroupMin,
            (ReduceOp::Sum, DType::Int) => Function::GroupSumInt,
            (ReduceOp::Prod, DType::Int) => Function::GroupProdInt,
            (ReduceOp::Max, DType::Int) => Function::GroupMaxInt,
            (ReduceOp::Min, DType::Int) => Function::GroupMinInt,
            (ReduceOp::Any | ReduceOp::Max | ReduceOp::Sum, _) => Function::GroupAny,
            (ReduceOp::All | ReduceOp::Min | ReduceOp::Prod, _) => Function::GroupAll,
        };
        self.call(function, &[x, "lane"])
    }
}
