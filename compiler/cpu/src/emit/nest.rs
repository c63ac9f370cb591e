//! The loops of a nest: rows, and within each row its parts.
//!
//! The function takes an array of words (addresses of buffers, sizes, and for each buffer whether stores to it add), and a
//! range of rows, counted over all loops of `rows`. It gives 0, or the code of a fault.

use super::depth::Depths;
use super::scalar::Place;
use super::{Emit, LANES};
use crate::normal::{Normal, Slot};
use align_compiler::kernel::{Address, Block as Code, Index, Lanes, Let, Part, Rows, Scalar, Size, Value as Id};
use align_compiler::tensor::{AxisKind, MapOp};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I32X4, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::Variable;
use std::collections::HashMap;

/// A scalar of the nest where it is worked out for several indices at once.
#[derive(Clone, Debug)]
pub enum Scalars {
    /// The same in all lanes of all parts.
    Same(Value),
    /// A vector for each part.
    Parts(Vec<Value>),
}

impl Scalars {
    pub fn part(&self, part: usize) -> Value {
        match self {
            Scalars::Same(value) => *value,
            Scalars::Parts(parts) => parts[part],
        }
    }
}

/// How many indices of which loop are done at once: `parts` vectors with `active` lanes.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub parts: usize,
    pub active: usize,
    /// The loop that lanes run along.
    pub lane: Option<usize>,
}

impl Mode {
    pub const ONE: Mode = Mode { parts: 1, active: 1, lane: None };

    pub fn width(self) -> usize {
        self.parts * self.active
    }
}

/// What a fault code says.
#[derive(Clone, Debug, PartialEq)]
pub enum Site {
    /// An index outside of a buffer.
    Index {
        slot: usize,
    },
    Division,
}

/// What has been worked out where code is being emitted.
#[derive(Clone, Default)]
pub struct Scope {
    values: Vec<Option<Scalars>>,
    /// Indices that were checked.
    indices: HashMap<(Id, Option<Size>), Value>,
    /// Indices of loops (of the first lane).
    at: Vec<Option<Value>>,
}

pub struct Nest<'n, 'f> {
    pub e: Emit<'f>,
    pub nest: &'n Rows,
    pub slots: &'n [Slot],
    pub buffers: Vec<Value>,
    pub sizes: Vec<Value>,
    pub adds: Vec<Option<Value>>,
    pub fault: Block,
    division: Block,
    pub sites: Vec<Site>,
    depths: Depths,
    pub scope: Scope,
}

/// The place of a size in the arguments, after [`crate::normal`].
pub fn size_slot(size: &Size) -> usize {
    match size.axes[0].kind() {
        AxisKind::Dynamic(slot) => *slot as usize,
        _ => unreachable!("sizes are numbers or slots"),
    }
}

/// Emits the nest into an empty function. Gives the meaning of fault codes.
pub fn emit(mut e: Emit<'_>, normal: &Normal, target: TargetFrontendConfig) -> Vec<Site> {
    let entry = e.b.create_block();
    e.b.append_block_params_for_function_params(entry);
    e.b.switch_to_block(entry);
    let [words, from, to] = [0, 1, 2].map(|i| e.b.block_params(entry)[i]);
    let read = |e: &mut Emit, i: usize| e.b.ins().load(I64, MemFlagsData::trusted(), words, (i * 8) as i32);
    let count = normal.slots.len();
    let buffers = (0..count).map(|i| read(&mut e, i)).collect();
    let sizes = (0..normal.sizes).map(|i| read(&mut e, count + i)).collect();
    let flag = |e: &mut Emit, i: usize| normal.slots[i].output.then(|| read(e, count + normal.sizes + i));
    let adds = (0..count).map(|i| flag(&mut e, i)).collect();
    let (fault, division) = (e.b.create_block(), e.b.create_block());
    e.b.append_block_param(fault, I64);
    e.b.set_cold_block(fault);
    e.b.set_cold_block(division);
    let nest = &normal.nest;
    let depths = Depths::of(nest, &normal.slots);
    let loops = nest.rows.len()
        + nest.parts.iter().map(|p| if let Part::Pass(p) = p { p.loops.len() } else { 0 }).max().unwrap_or(0);
    let scope = Scope { values: vec![None; nest.values.len()], indices: HashMap::new(), at: vec![None; loops] };
    let slots = &normal.slots;
    let mut nest = Nest { e, nest, slots, buffers, sizes, adds, fault, division, sites: vec![], depths, scope };
    nest.rows(from, to);
    nest.faults();
    let Nest { mut e, sites, .. } = nest;
    e.b.seal_all_blocks();
    e.b.finalize(target);
    sites
}

impl Nest<'_, '_> {
    pub fn scalars(&self, id: Id) -> &Scalars {
        self.scope.values[id.0 as usize].as_ref().expect("scalars are worked out before they are used")
    }

    pub fn set(&mut self, id: Id, value: Scalars) {
        self.scope.values[id.0 as usize] = Some(value);
    }

    pub fn at(&self, index: usize) -> Value {
        self.scope.at[index].expect("the loop has begun")
    }

    pub fn set_at(&mut self, index: usize, value: Value) {
        self.scope.at[index] = Some(value);
    }

    pub fn depth(&self, id: Id) -> usize {
        self.depths.of_value(id)
    }

    pub fn checked(&self, id: Id, below: Option<&Size>) -> Option<Value> {
        self.scope.indices.get(&(id, below.cloned())).copied()
    }

    pub fn int(&mut self, x: i64) -> Value {
        self.e.b.ins().iconst(I64, x)
    }

    /// The code of a fault: its place among the sites, and the index.
    pub fn fault_code(&mut self, site: Site, index: Option<Value>) -> Value {
        let known = self.sites.iter().position(|s| *s == site);
        let number = known.unwrap_or_else(|| {
            self.sites.push(site);
            self.sites.len() - 1
        });
        let code = self.int((number as i64 + 1) << 32);
        match index {
            Some(index) => {
                let index = self.e.b.ins().uextend(I64, index);
                self.e.b.ins().bor(code, index)
            }
            None => code,
        }
    }

    fn faults(&mut self) {
        self.e.b.switch_to_block(self.division);
        let code = self.fault_code(Site::Division, None);
        self.e.b.ins().jump(self.fault, &[code.into()]);
        self.e.b.switch_to_block(self.fault);
        let code = self.e.b.block_params(self.fault)[0];
        self.e.b.ins().return_(&[code]);
    }

    // ---------------------------------------------------------------------------------------------- loops

    pub fn variable(&mut self, value: Value) -> Variable {
        let of = self.e.b.func.dfg.value_type(value);
        let variable = self.e.b.declare_var(of);
        self.e.b.def_var(variable, value);
        variable
    }

    /// `while at + width <= end { body; at += width }`, from and to the variable.
    pub fn along(&mut self, at: Variable, end: Value, width: usize, body: impl FnOnce(&mut Self, Value)) {
        let [head, inside, after] = [(); 3].map(|()| self.e.b.create_block());
        let width = self.int(width as i64);
        self.e.b.ins().jump(head, &[]);
        self.e.b.switch_to_block(head);
        let now = self.e.b.use_var(at);
        let next = self.e.b.ins().iadd(now, width);
        // The way out comes first: Cranelift moves what does not change out of a loop only if it comes upon the loop's body
        // before the code behind it.
        let over = self.e.b.ins().icmp(IntCC::SignedGreaterThan, next, end);
        self.e.b.ins().brif(over, after, &[], inside, &[]);
        self.e.b.switch_to_block(inside);
        let scope = self.scope.clone();
        body(self, now);
        self.scope = scope;
        self.e.b.def_var(at, next);
        self.e.b.ins().jump(head, &[]);
        self.e.b.switch_to_block(after);
    }

    /// Rows `from..to`.
    fn rows(&mut self, from: Value, to: Value) {
        let depth = self.nest.rows.len();
        let zero = self.int(0);
        let Some(last) = depth.checked_sub(1) else {
            self.body(Mode::ONE);
            self.e.b.ins().return_(&[zero]);
            return;
        };
        let counts: Vec<Value> = self.nest.rows.iter().map(|dim| self.size(&dim.size())).collect();
        // The indices of the first row.
        let mut rest = from;
        let mut first = vec![zero; depth];
        for i in (1..depth).rev() {
            first[i] = self.e.b.ins().urem(rest, counts[i]);
            rest = self.e.b.ins().udiv(rest, counts[i]);
        }
        first[0] = rest;
        let left = self.e.b.ins().isub(to, from);
        let left = self.variable(left);
        let at: Vec<Variable> = first.into_iter().map(|x| self.variable(x)).collect();
        let run = self.e.b.create_block();
        self.e.b.ins().jump(run, &[]);
        self.e.b.switch_to_block(run);
        // One run along the last loop.
        let start = self.e.b.use_var(at[last]);
        let remaining = self.e.b.use_var(left);
        let end = self.e.b.ins().iadd(start, remaining);
        let end = self.e.b.ins().smin(end, counts[last]);
        for (i, at) in at.iter().enumerate().take(last) {
            let now = self.e.b.use_var(*at);
            self.set_at(i, now);
        }
        let scope = self.scope.clone();
        self.hoisted();
        for mode in self.row_modes() {
            self.along(at[last], end, mode.width(), |nest, now| {
                nest.set_at(last, now);
                nest.body(mode);
            });
        }
        self.scope = scope;
        let done = self.e.b.ins().isub(end, start);
        let remaining = self.e.b.ins().isub(remaining, done);
        self.e.b.def_var(left, remaining);
        self.e.b.def_var(at[last], zero);
        let (over, carry) = (self.e.b.create_block(), self.e.b.create_block());
        self.e.b.ins().brif(remaining, carry, &[], over, &[]);
        self.e.b.switch_to_block(over);
        self.e.b.ins().return_(&[zero]);
        self.e.b.switch_to_block(carry);
        for i in (0..last).rev() {
            let now = self.e.b.use_var(at[i]);
            let one = self.int(1);
            let next = self.e.b.ins().iadd(now, one);
            let fits = self.e.b.ins().icmp(IntCC::UnsignedLessThan, next, counts[i]);
            let [step, wrap] = [(); 2].map(|()| self.e.b.create_block());
            self.e.b.ins().brif(fits, step, &[], wrap, &[]);
            self.e.b.switch_to_block(step);
            self.e.b.def_var(at[i], next);
            self.e.b.ins().jump(run, &[]);
            self.e.b.switch_to_block(wrap);
            self.e.b.def_var(at[i], zero);
        }
        // The last row was done, so this is never reached; a block must end.
        self.e.b.ins().return_(&[zero]);
    }

    /// The widths in which rows are done, widest first.
    fn row_modes(&self) -> Vec<Mode> {
        let last = self.nest.rows.len() - 1;
        if self.nest.lanes == Lanes::Pass {
            return vec![Mode::ONE];
        }
        let mode = |parts, active| Mode { parts, active, lane: Some(last) };
        // Bounds of a pass that differ from row to row: one row at a time.
        let uneven = self.nest.parts.iter().any(|part| match part {
            Part::Pass(pass) => {
                pass.loops.iter().filter_map(|s| s.within).any(|(a, b)| self.depth(a).max(self.depth(b)) > last)
            }
            Part::Row(_) => false,
        });
        if uneven {
            return vec![mode(1, 1)];
        }
        let cost = self.nest.parts.iter().map(|p| block_of(p).lets.iter().map(cost).sum::<usize>()).sum();
        modes(cost, last)
    }

    fn body(&mut self, mode: Mode) {
        let depth = self.nest.rows.len();
        for part in &self.nest.parts {
            match part {
                Part::Row(code) => {
                    self.level(code, depth, mode);
                    code.stores.iter().for_each(|s| self.store(s, &mode));
                }
                Part::Pass(pass) => self.pass(pass, mode),
            }
        }
    }

    /// What does not change along the last loop of rows.
    fn hoisted(&mut self) {
        let last = self.nest.rows.len() - 1;
        for part in &self.nest.parts {
            if let Part::Row(code) = part {
                (0..=last).for_each(|level| self.level(code, level, Mode::ONE));
            }
        }
    }

    /// The scalars of a block that depend on so many loops and are not there yet, and the checks of their indices.
    pub fn level(&mut self, code: &Code, level: usize, mode: Mode) {
        for step in &code.lets {
            if self.depth(step.value) == level && self.scope.values[step.value.0 as usize].is_none() {
                self.work_out(step, mode);
            }
        }
        let loads = code.lets.iter().filter_map(|step| match &step.op {
            Scalar::Load(buffer, at) => Some((buffer, at)),
            _ => None,
        });
        for (buffer, at) in loads.chain(code.stores.iter().map(|s| (&s.buffer, &s.at))) {
            self.check_indices(buffer.0 as usize, at, level);
        }
    }

    fn check_indices(&mut self, slot: usize, address: &Address, level: usize) {
        for term in &address.terms {
            let Index::Value { value, below } = &term.index else { continue };
            if self.depth(*value) > level || self.checked(*value, below.as_ref()).is_some() {
                continue;
            }
            if let Some(Scalars::Same(vector)) = self.scope.values[value.0 as usize] {
                let index = self.index(vector, 0, below.as_ref(), slot);
                self.scope.indices.insert((*value, below.clone()), index);
            }
        }
    }

    fn work_out(&mut self, step: &Let, mode: Mode) {
        let dtype = self.nest.values[step.value.0 as usize];
        let result = match &step.op {
            Scalar::Const(x) => Scalars::Same(self.e.constant(*x, dtype)),
            Scalar::Load(buffer, at) => self.load(buffer.0 as usize, at, &mode),
            Scalar::Index(i) => {
                let at = self.at(*i);
                let at = self.e.b.ins().ireduce(I32, at);
                let first = self.e.b.ins().splat(I32X4, at);
                match mode.lane == Some(*i) {
                    false => Scalars::Same(first),
                    true => Scalars::Parts((0..mode.parts).map(|p| self.counted(first, p)).collect()),
                }
            }
            Scalar::Size(size) => {
                let size = self.size(size);
                let size = self.e.b.ins().ireduce(I32, size);
                Scalars::Same(self.e.b.ins().splat(I32X4, size))
            }
            Scalar::Map(op, args) => {
                let of = self.nest.values[args[args.len() - 1].0 as usize];
                let (op, division) = (*op, self.division);
                self.apply(args, mode, |e, args, active| e.map(op, of, args, Place { active, division }))
            }
            Scalar::Cast(x) => {
                let from = self.nest.values[x.0 as usize];
                self.apply(&[*x], mode, |e, args, _| e.cast(args[0], from, dtype))
            }
            Scalar::Random { kind, stream, seed, counter } => {
                let args: Vec<Id> = [*seed].iter().chain(counter).copied().collect();
                self.apply(&args, mode, |e, args, active| e.random(*kind, *stream, args[0], &args[1..], active))
            }
        };
        self.set(step.value, result);
    }

    /// Indices of the lanes of a part.
    fn counted(&mut self, first: Value, part: usize) -> Value {
        let offsets = [0, 1, 2, 3].map(|lane| (part * LANES) as u32 + lane);
        let offsets = self.e.lanes_of(offsets, I32X4);
        self.e.b.ins().iadd(first, offsets)
    }

    fn apply(&mut self, args: &[Id], mode: Mode, mut f: impl FnMut(&mut Emit, &[Value], usize) -> Value) -> Scalars {
        let args: Vec<Scalars> = args.iter().map(|a| self.scalars(*a).clone()).collect();
        let same = args.iter().all(|a| matches!(a, Scalars::Same(_)));
        let mut at = |part: usize, active: usize| {
            let args: Vec<Value> = args.iter().map(|a| a.part(part)).collect();
            f(&mut self.e, &args, active)
        };
        match same {
            true => Scalars::Same(at(0, 1)),
            false => Scalars::Parts((0..mode.parts).map(|p| at(p, mode.active)).collect()),
        }
    }
}

pub fn block_of(part: &Part) -> &Code {
    match part {
        Part::Row(code) => code,
        Part::Pass(pass) => &pass.block,
    }
}

/// About how many instructions a scalar takes.
pub fn cost(step: &Let) -> usize {
    match &step.op {
        Scalar::Map(MapOp::Exp | MapOp::Log | MapOp::Sigmoid, _) => 20,
        Scalar::Map(MapOp::Tanh | MapOp::Sin | MapOp::Cos | MapOp::Rem, _) => 40,
        Scalar::Map(MapOp::Pow, _) | Scalar::Random { .. } => 60,
        Scalar::Map(MapOp::Max | MapOp::Min, _) => 4,
        Scalar::Const(_) | Scalar::Size(_) => 0,
        _ => 1,
    }
}

/// Widths for code of this cost: as many vectors at once as registers hold, then one vector, then one entry.
pub fn modes(cost: usize, lane: usize) -> Vec<Mode> {
    let parts = match cost {
        0..=16 => 4,
        17..=60 => 2,
        _ => 1,
    };
    let mode = |parts, active| Mode { parts, active, lane: Some(lane) };
    match parts {
        1 => vec![mode(1, LANES), mode(1, 1)],
        _ => vec![mode(parts, LANES), mode(1, LANES), mode(1, 1)],
    }
}
