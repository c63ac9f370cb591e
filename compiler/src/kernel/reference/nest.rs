//! Nests, one row after another.

use super::Memory;
use crate::kernel::ir::*;
use crate::philox::philox4x32;
use crate::rewrite::simplify::scalar;
use crate::tensor::{DType, MapOp, RandomKind, ReduceOp};

struct Scope<'a> {
    nest: &'a Rows,
    values: Vec<f64>,
    /// Indices of all loops that run.
    loops: Vec<usize>,
}

impl Memory<'_> {
    pub(super) fn nest(&mut self, nest: &Rows) -> Result<(), String> {
        let sizes: Vec<usize> = nest.rows.iter().map(|d| d.size().get(self.lengths)).collect();
        let mut scope = Scope { nest, values: vec![f64::NAN; nest.values.len()], loops: vec![] };
        self.each(&mut scope, &sizes.iter().map(|n| (0, *n)).collect::<Vec<_>>(), &mut |memory, scope| {
            scope.values.fill(f64::NAN);
            nest.parts.iter().try_for_each(|part| match part {
                Part::Row(block) => memory.block(scope, block),
                Part::Pass(pass) => memory.pass(scope, pass),
            })
        })
    }

    /// Runs `f` for all indices of loops with these starts and lengths, inside of those that run.
    fn each(
        &mut self,
        scope: &mut Scope,
        loops: &[(usize, usize)],
        f: &mut impl FnMut(&mut Self, &mut Scope) -> Result<(), String>,
    ) -> Result<(), String> {
        let total: usize = loops.iter().map(|l| l.1).product();
        let outer = scope.loops.len();
        for i in 0..total {
            let mut rest = i;
            let mut own: Vec<usize> = loops
                .iter()
                .rev()
                .map(|(start, n)| {
                    let index = start + rest % n;
                    rest /= n;
                    index
                })
                .collect();
            own.reverse();
            scope.loops.extend(own);
            f(self, scope)?;
            scope.loops.truncate(outer);
        }
        Ok(())
    }

    fn pass(&mut self, scope: &mut Scope, pass: &Pass) -> Result<(), String> {
        let loops: Vec<(usize, usize)> = pass
            .loops
            .iter()
            .map(|span| match span.within {
                None => (0, span.dim.size().get(self.lengths)),
                Some((start, length)) => (scope.get(start) as usize, scope.get(length) as usize),
            })
            .collect();
        let dtypes: Vec<DType> = pass.reduces.iter().map(|r| scope.nest.values[r.result.0 as usize]).collect();
        let mut results: Vec<f64> = pass.reduces.iter().zip(&dtypes).map(|(r, d)| neutral(r.op, *d)).collect();
        self.each(scope, &loops, &mut |memory, scope| {
            memory.block(scope, &pass.block)?;
            for (result, reduce) in results.iter_mut().zip(&pass.reduces) {
                *result = combine(reduce.op, *result, scope.get(reduce.value));
            }
            Ok(())
        })?;
        for ((reduce, result), dtype) in pass.reduces.iter().zip(results).zip(dtypes) {
            scope.values[reduce.result.0 as usize] = self.round(dtype, result);
        }
        Ok(())
    }

    fn place(&self, scope: &Scope, at: &Address) -> Result<usize, String> {
        let mut place = at.offset;
        for Term { index, stride } in &at.terms {
            let i = match index {
                Index::Loop(i) => scope.loops[*i],
                Index::Value { value, below } => {
                    let x = scope.get(*value);
                    let limit = below.as_ref().map_or(f64::INFINITY, |n| n.get(self.lengths) as f64);
                    if !(0.0..limit).contains(&x) {
                        return Err(format!("index {x} is not in 0..{limit}"));
                    }
                    x as usize
                }
            };
            place += i * stride.get(self.lengths);
        }
        Ok(place)
    }

    fn block(&mut self, scope: &mut Scope, block: &Block) -> Result<(), String> {
        for Let { value, op } in &block.lets {
            let x = self.scalar(scope, op, scope.nest.values[value.0 as usize])?;
            scope.values[value.0 as usize] = x;
        }
        for store in &block.stores {
            let at = self.place(scope, &store.at)?;
            self.write(store.buffer, at, scope.get(store.value), store.add)?;
        }
        Ok(())
    }

    fn scalar(&self, scope: &Scope, op: &Scalar, dtype: DType) -> Result<f64, String> {
        let x = match op {
            Scalar::Const(c) => *c,
            Scalar::Load(buffer, at) => self.read(*buffer, self.place(scope, at)?)?,
            Scalar::Index(i) => scope.loops[*i] as f64,
            Scalar::Size(size) => size.get(self.lengths) as f64,
            Scalar::Map(op, args) => {
                let last = args.last().ok_or("a map without arguments")?;
                let ints = scope.nest.values[last.0 as usize] == DType::Int;
                let args: Vec<f64> = args.iter().map(|v| scope.get(*v)).collect();
                match (op, scalar(*op, &args, ints)) {
                    (_, Some(x)) => x,
                    (MapOp::Div | MapOp::Rem, None) if ints => return Err("a division of an Int by 0".into()),
                    (_, None) => f64::NAN,
                }
            }
            Scalar::Cast(x) => match dtype {
                DType::Float => scope.get(*x),
                DType::Int => scope.get(*x).trunc(),
                DType::Bool => f64::from(u8::from(scope.get(*x) != 0.0)),
            },
            Scalar::Random { kind, stream, seed, counter } => {
                let mut words = [0; 4];
                words.iter_mut().zip(counter).for_each(|(word, v)| *word = scope.get(*v) as i64 as u32);
                let drawn = philox4x32(words, [scope.get(*seed) as i64 as u32, *stream]);
                let uniform = |word: u32| f64::from(word >> 8) * (-24f64).exp2();
                match kind {
                    RandomKind::Uniform => uniform(drawn[0]),
                    RandomKind::Normal => {
                        let radius = (-2.0 * (uniform(drawn[0]) + (-24f64).exp2()).ln()).sqrt();
                        radius * (std::f64::consts::TAU * uniform(drawn[1])).cos()
                    }
                }
            }
        };
        Ok(self.round(dtype, x))
    }
}

impl Scope<'_> {
    fn get(&self, value: Value) -> f64 {
        self.values[value.0 as usize]
    }
}

fn neutral(op: ReduceOp, dtype: DType) -> f64 {
    let int = dtype == DType::Int;
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Prod | ReduceOp::All => 1.0,
        ReduceOp::Max if int => f64::from(i32::MIN),
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min if int => f64::from(i32::MAX),
        ReduceOp::Min => f64::INFINITY,
    }
}

fn combine(op: ReduceOp, a: f64, b: f64) -> f64 {
    let either = |a: f64, b: f64, greater: bool| match a.is_nan() || b.is_nan() {
        true => f64::NAN,
        false if (a > b) == greater => a,
        false => b,
    };
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Max | ReduceOp::Any => either(a, b, true),
        ReduceOp::Min | ReduceOp::All => either(a, b, false),
    }
}
