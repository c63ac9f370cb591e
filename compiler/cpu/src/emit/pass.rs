//! Passes over inner loops, and their reductions.
//!
//! A sum of floats runs in vectors of f32 over some hundreds of entries; then it is added to totals in double precision. So long sums lose no digits, and their order is fixed.

use super::nest::{Mode, Nest, Scalars, cost, modes};
use super::{Emit, LANES};
use align_compiler::kernel::{Lanes, Pass, Reduce};
use align_compiler::tensor::{DType, ReduceOp};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;

/// Steps of the innermost loop between additions to the totals.
const CHUNK: i64 = 128;

/// The state of the reductions of a pass.
struct Accumulators {
    /// For each reduction, for each part.
    vectors: Vec<Vec<Variable>>,
    /// For each reduction that is a long sum, for each part (or for all parts together): two vectors of doubles.
    totals: Vec<Option<Vec<[Variable; 2]>>>,
}

impl Nest<'_, '_> {
    pub fn pass(&mut self, pass: &Pass, mode: Mode) {
        let rows = self.nest.rows.len();
        let innermost = rows + pass.loops.len() - 1;
        let wide = self.nest.lanes == Lanes::Pass;
        let inner_modes = match wide {
            true => modes(pass.block.lets.iter().map(cost).sum::<usize>() + 2 * pass.reduces.len(), innermost),
            false => vec![mode],
        };
        let parts = inner_modes[0].parts;
        // Where the loops start, and where they end.
        let mut bounds = vec![];
        for span in &pass.loops {
            bounds.push(match span.within {
                None => (self.int(0), self.size(&span.dim.size())),
                Some((start, length)) => {
                    let [start, length] = [start, length].map(|v| {
                        let scalar = self.scalars(v).part(0);
                        let scalar = self.e.b.ins().extractlane(scalar, 0);
                        self.e.b.ins().sextend(I64, scalar)
                    });
                    (start, self.e.b.ins().iadd(start, length))
                }
            });
        }
        let one_run = match (&pass.loops[..], &pass.loops[0].within) {
            ([span], None) => span.dim.size().constant().map(|n| n as i64),
            _ => None,
        };
        let short = if wide { CHUNK * LANES as i64 } else { CHUNK };
        let long = one_run.is_none_or(|n| n > 4 * short);
        let state = self.start(pass, parts, wide, long);
        // Nothing at all happens if a loop is empty: what is read before the loops might not exist.
        let (enter, done) = (self.e.b.create_block(), self.e.b.create_block());
        let mut all = None;
        for (start, end) in &bounds {
            let some = self.e.b.ins().icmp(IntCC::SignedLessThan, *start, *end);
            all = Some(match all {
                None => some,
                Some(all) => self.e.b.ins().band(all, some),
            });
        }
        let all = all.expect("a pass has a loop");
        self.e.b.ins().brif(all, enter, &[], done, &[]);
        self.e.b.switch_to_block(enter);
        let scope = self.scope.clone();
        let outside = if wide { Mode::ONE } else { mode };
        (0..=rows).for_each(|level| self.level(&pass.block, level, outside));
        self.loops(pass, &bounds, 0, &inner_modes, &state, long);
        self.scope = scope;
        self.e.b.ins().jump(done, &[]);
        self.e.b.switch_to_block(done);
        self.results(pass, &state, wide);
    }

    fn start(&mut self, pass: &Pass, parts: usize, wide: bool, long: bool) -> Accumulators {
        let (mut vectors, mut totals) = (vec![], vec![]);
        for reduce in &pass.reduces {
            let dtype = self.nest.values[reduce.value.0 as usize];
            let neutral = self.e.neutral(reduce.op, dtype);
            vectors.push((0..parts).map(|_| self.variable(neutral)).collect());
            let in_double = long && reduce.op == ReduceOp::Sum && dtype == DType::Float;
            totals.push(in_double.then(|| {
                let zero = self.e.splat_f64(0.0);
                let count = if wide { 1 } else { parts };
                (0..count).map(|_| [(); 2].map(|()| self.variable(zero))).collect()
            }));
        }
        Accumulators { vectors, totals }
    }

    /// The loops from number `level` of the pass on.
    fn loops(
        &mut self,
        pass: &Pass,
        bounds: &[(Value, Value)],
        level: usize,
        modes: &[Mode],
        state: &Accumulators,
        long: bool,
    ) {
        let number = self.nest.rows.len() + level;
        let (start, end) = bounds[level];
        let at = self.variable(start);
        if level + 1 < bounds.len() {
            let outside = if self.nest.lanes == Lanes::Pass { Mode::ONE } else { modes[0] };
            self.along(at, end, 1, |nest, now| {
                nest.set_at(number, now);
                nest.level(&pass.block, number + 1, outside);
                nest.loops(pass, bounds, level + 1, modes, state, long);
            });
            return;
        }
        if !long {
            self.innermost(pass, at, end, modes, state);
            return;
        }
        // In pieces, each of which ends with an addition to the totals.
        let wide = self.nest.lanes == Lanes::Pass;
        let step = self.int(if wide { CHUNK * modes[0].width() as i64 } else { CHUNK });
        let [head, after] = [(); 2].map(|()| self.e.b.create_block());
        self.e.b.ins().jump(head, &[]);
        self.e.b.switch_to_block(head);
        let now = self.e.b.use_var(at);
        let stop = self.e.b.ins().iadd(now, step);
        let stop = self.e.b.ins().smin(stop, end);
        self.innermost(pass, at, stop, modes, state);
        self.add_to_totals(pass, state);
        let now = self.e.b.use_var(at);
        let more = self.e.b.ins().icmp(IntCC::SignedLessThan, now, end);
        self.e.b.ins().brif(more, head, &[], after, &[]);
        self.e.b.switch_to_block(after);
    }

    fn innermost(&mut self, pass: &Pass, at: Variable, end: Value, modes: &[Mode], state: &Accumulators) {
        let number = self.nest.rows.len() + pass.loops.len() - 1;
        let wide = self.nest.lanes == Lanes::Pass;
        for mode in modes {
            self.along(at, end, if wide { mode.width() } else { 1 }, |nest, now| {
                nest.set_at(number, now);
                nest.level(&pass.block, number + 1, *mode);
                for (reduce, vectors) in pass.reduces.iter().zip(&state.vectors) {
                    nest.take_up(reduce, vectors, *mode, wide);
                }
                pass.block.stores.iter().for_each(|s| nest.store(s, mode));
            });
        }
    }

    fn take_up(&mut self, reduce: &Reduce, vectors: &[Variable], mode: Mode, wide: bool) {
        let dtype = self.nest.values[reduce.value.0 as usize];
        let scalars = self.scalars(reduce.value).clone();
        for (part, variable) in vectors.iter().enumerate().take(mode.parts) {
            let mut value = scalars.part(part);
            if wide && mode.active == 1 {
                let first = self.e.lanes_of([u32::MAX, 0, 0, 0], I32X4);
                let neutral = self.e.neutral(reduce.op, dtype);
                value = self.e.select(first, value, neutral);
            }
            let so_far = self.e.b.use_var(*variable);
            let now = self.e.combine(reduce.op, dtype, so_far, value);
            self.e.b.def_var(*variable, now);
        }
    }

    fn add_to_totals(&mut self, pass: &Pass, state: &Accumulators) {
        for ((reduce, vectors), totals) in pass.reduces.iter().zip(&state.vectors).zip(&state.totals) {
            let Some(totals) = totals else { continue };
            let mut sums: Vec<Value> = vectors.iter().map(|v| self.e.b.use_var(*v)).collect();
            if totals.len() == 1 {
                sums = vec![tree(&mut self.e, reduce.op, DType::Float, &sums)];
            }
            for (sum, total) in sums.into_iter().zip(totals) {
                for (half, total) in self.e.promote(sum).into_iter().zip(total) {
                    let so_far = self.e.b.use_var(*total);
                    let now = self.e.b.ins().fadd(so_far, half);
                    self.e.b.def_var(*total, now);
                }
            }
            let zero = self.e.splat_f32(0.0);
            vectors.iter().for_each(|v| self.e.b.def_var(*v, zero));
        }
    }

    fn results(&mut self, pass: &Pass, state: &Accumulators, wide: bool) {
        for ((reduce, vectors), totals) in pass.reduces.iter().zip(&state.vectors).zip(&state.totals) {
            let dtype = self.nest.values[reduce.value.0 as usize];
            let result = match (totals, wide) {
                (Some(totals), true) => {
                    let [low, high] = totals[0].map(|t| self.e.b.use_var(t));
                    let sum = self.e.b.ins().fadd(low, high);
                    let (a, b) = (self.e.b.ins().extractlane(sum, 0), self.e.b.ins().extractlane(sum, 1));
                    let sum = self.e.b.ins().fadd(a, b);
                    let sum = self.e.b.ins().fdemote(F32, sum);
                    Scalars::Same(self.e.b.ins().splat(F32X4, sum))
                }
                (Some(totals), false) => {
                    let demote = |total: &[Variable; 2]| {
                        let halves = total.map(|t| self.e.b.use_var(t));
                        self.e.demote(halves)
                    };
                    Scalars::Parts(totals.iter().map(demote).collect())
                }
                (None, true) => {
                    let parts: Vec<Value> = vectors.iter().map(|v| self.e.b.use_var(*v)).collect();
                    let one = tree(&mut self.e, reduce.op, dtype, &parts);
                    Scalars::Same(self.e.across(reduce.op, dtype, one))
                }
                (None, false) => Scalars::Parts(vectors.iter().map(|v| self.e.b.use_var(*v)).collect()),
            };
            self.set(reduce.result, result);
        }
    }
}

/// All in one, in pairs.
fn tree(e: &mut Emit, op: ReduceOp, dtype: DType, values: &[Value]) -> Value {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            let (left, right) = (tree(e, op, dtype, left), tree(e, op, dtype, right));
            e.combine(op, dtype, left, right)
        }
    }
}
