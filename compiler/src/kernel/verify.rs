//! Checks that a program is well formed: that what is read was written, that scalars and loops are in scope, and dtypes.

use super::ir::*;
use super::size::Access;
use crate::storage::Storage;
use crate::tensor::{DType, MapOp};

/// All that is wrong, a line each; empty for a good program.
pub fn verify(program: &Program) -> Vec<String> {
    let mut wrong = vec![];
    let mut written = vec![false; program.buffers.len()];
    for (i, buffer) in program.buffers.iter().enumerate() {
        written[i] = !matches!(buffer.kind, BufferKind::Temp | BufferKind::Output(_));
        if let BufferKind::Const(values) = &buffer.kind
            && buffer.size().constant() != Some(values.len())
        {
            wrong.push(format!("%{i}: {} numbers for {:?}", values.len(), buffer.axes));
        }
    }
    for (i, step) in program.steps.iter().enumerate() {
        let mut say = |what: String| wrong.push(format!("step {i}: {what}"));
        let accesses = step.accesses();
        if let Some((id, _)) = accesses.iter().find(|(id, _)| id.0 as usize >= program.buffers.len()) {
            say(format!("{id} is not there"));
            continue;
        }
        // A nest may read what an earlier part of it wrote for the same row.
        let own: Vec<BufferId> = match step {
            Step::Rows(_) => accesses.iter().filter(|(_, a)| *a == Access::Write).map(|(id, _)| *id).collect(),
            _ => vec![],
        };
        for (id, access) in &accesses {
            let known = written[id.0 as usize] || (*access == Access::Read && own.contains(id));
            if let Some(what) = misuse(program, step, *id, *access) {
                say(what);
            }
            match (access, &program.buffer(*id).kind) {
                (Access::Read, BufferKind::Output(_)) => say(format!("reads the output {id}")),
                (Access::Read | Access::Add, _) if !known => say(format!("reads {id} before it is written")),
                (Access::Write | Access::Add, BufferKind::Temp | BufferKind::Output(_)) | (Access::Read, _) => {}
                (Access::Write | Access::Add, _) => say(format!("writes {id}, which is given")),
            }
        }
        accesses.iter().filter(|(_, a)| *a != Access::Read).for_each(|(id, _)| written[id.0 as usize] = true);
        match step {
            Step::Rows(nest) => rows(program, nest, &mut say),
            Step::Contraction(c) => contraction(program, c, &mut say),
            Step::Chunked(c) => {
                inner(&c.body, &mut say);
                c.inputs.iter().for_each(|b| bound(program, &c.body, b, true, &mut say));
                c.outputs.iter().for_each(|o| bound(program, &c.body, &o.bound, false, &mut say));
            }
            Step::Scan(s) => {
                inner(&s.body, &mut say);
                s.slices.iter().chain(&s.captured).for_each(|b| bound(program, &s.body, b, true, &mut say));
                s.results.iter().for_each(|b| bound(program, &s.body, b, false, &mut say));
            }
            Step::Loop(l) => {
                inner(&l.body, &mut say);
                l.captured.iter().for_each(|b| bound(program, &l.body, b, true, &mut say));
            }
            _ => {}
        }
    }
    for (id, _) in program.ids().filter(|(id, _)| !written[id.0 as usize]) {
        wrong.push(format!("{id} is never written"));
    }
    wrong
}

fn inner(body: &Program, say: &mut impl FnMut(String)) {
    verify(body).into_iter().for_each(|line| say(format!("in its body: {line}")));
}

/// What is wrong with the use of a buffer that holds fewer bits than f32.
fn misuse(program: &Program, step: &Step, id: BufferId, access: Access) -> Option<String> {
    let Buffer { dtype, storage, .. } = *program.buffer(id);
    if storage == Storage::F32 {
        return None;
    }
    let reads = access == Access::Read;
    let fine = dtype == DType::Float
        && match step {
            Step::Rows(_) => reads || (access == Access::Write && storage == Storage::Bf16),
            Step::Contraction(_) => reads,
            Step::Attention(_) | Step::AttentionGrad(_) => reads && storage == Storage::Bf16,
            Step::Chunked(_) | Step::Scan(_) | Step::Loop(_) => reads,
            _ => false,
        };
    (!fine).then(|| format!("{id} holds {}", storage.word()))
}

fn bound(program: &Program, body: &Program, binding: &Binding, input: bool, say: &mut impl FnMut(String)) {
    let kind = match input {
        true => BufferKind::Input(binding.name.clone()),
        false => BufferKind::Output(binding.name.clone()),
    };
    match body.buffers.iter().find(|b| b.kind == kind) {
        None => say(format!("the body has no {kind:?}")),
        Some(own) if own.storage != program.buffer(binding.buffer).storage => {
            say(format!("{} is bound to {}", binding.buffer, own.storage.word()));
        }
        Some(_) => {}
    }
}

fn contraction(program: &Program, c: &Contraction, say: &mut impl FnMut(String)) {
    if [&c.lhs, &c.rhs, &c.out].iter().any(|o| program.buffer(o.buffer).dtype != DType::Float) {
        say("a product of what is not Float".into());
    }
    let lacks = |loops: &[Strided], of: fn(&Strided) -> &Size| loops.iter().all(|l| of(l).is_zero());
    if !lacks(&c.m, |l| &l.rhs) || !lacks(&c.n, |l| &l.lhs) || !lacks(&c.k, |l| &l.out) {
        say("a loop of a product lies in an operand that lacks it".into());
    }
}

/// What is in scope in a nest.
struct Scope<'a, F> {
    program: &'a Program,
    nest: &'a Rows,
    known: Vec<bool>,
    loops: usize,
    say: F,
}

fn rows(program: &Program, nest: &Rows, say: &mut impl FnMut(String)) {
    let mut scope = Scope { program, nest, known: vec![false; nest.values.len()], loops: nest.rows.len(), say };
    for part in &nest.parts {
        match part {
            Part::Row(block) => scope.block(block),
            Part::Pass(pass) => {
                for (start, length) in pass.loops.iter().filter_map(|span| span.within) {
                    [start, length].iter().for_each(|v| scope.expect(*v, DType::Int));
                }
                let before = scope.known.clone();
                scope.loops += pass.loops.len();
                scope.block(&pass.block);
                pass.reduces.iter().for_each(|r| scope.read(r.value));
                scope.loops = nest.rows.len();
                scope.known = before;
                pass.reduces.iter().for_each(|r| scope.define(r.result));
            }
        }
    }
}

impl<F: FnMut(String)> Scope<'_, F> {
    fn dtype(&self, value: Value) -> Option<DType> {
        self.nest.values.get(value.0 as usize).copied()
    }

    fn read(&mut self, value: Value) {
        if self.known.get(value.0 as usize) != Some(&true) {
            (self.say)(format!("{value} of {:?} is not in scope", self.nest.name));
        }
    }

    fn expect(&mut self, value: Value, dtype: DType) {
        self.read(value);
        if self.dtype(value).is_some_and(|own| own != dtype) {
            (self.say)(format!("{value} of {:?} is not {dtype:?}", self.nest.name));
        }
    }

    fn define(&mut self, value: Value) {
        match self.known.get_mut(value.0 as usize) {
            Some(known @ false) => *known = true,
            Some(true) => (self.say)(format!("{value} of {:?} is made twice", self.nest.name)),
            None => (self.say)(format!("{value} of {:?} has no dtype", self.nest.name)),
        }
    }

    fn in_loops(&mut self, i: usize) {
        if i >= self.loops {
            (self.say)(format!("i{i} of {:?} is not in scope", self.nest.name));
        }
    }

    fn address(&mut self, at: &Address) {
        for term in &at.terms {
            match &term.index {
                Index::Loop(i) => self.in_loops(*i),
                Index::Value { value, .. } => self.expect(*value, DType::Int),
            }
        }
    }

    fn block(&mut self, block: &Block) {
        for Let { value, op } in &block.lets {
            let own = self.dtype(*value);
            let wrong = match op {
                Scalar::Const(_) => false,
                Scalar::Load(buffer, at) => {
                    self.address(at);
                    own != Some(self.program.buffer(*buffer).dtype)
                }
                Scalar::Index(i) => {
                    self.in_loops(*i);
                    own != Some(DType::Int)
                }
                Scalar::Size(_) => own != Some(DType::Int),
                Scalar::Cast(x) => {
                    self.read(*x);
                    false
                }
                Scalar::Map(op, args) => {
                    args.iter().for_each(|v| self.read(*v));
                    self.map_is_wrong(*op, args, own)
                }
                Scalar::Random { seed, counter, .. } => {
                    counter.iter().chain([seed]).for_each(|v| self.expect(*v, DType::Int));
                    counter.len() > 4 || own != Some(DType::Float)
                }
            };
            if wrong {
                (self.say)(format!("{value} of {:?} has the wrong dtype or arguments", self.nest.name));
            }
            self.define(*value);
        }
        for store in &block.stores {
            self.address(&store.at);
            self.expect(store.value, self.program.buffer(store.buffer).dtype);
        }
    }

    fn map_is_wrong(&self, op: MapOp, args: &[Value], own: Option<DType>) -> bool {
        use MapOp::*;
        let count = match op {
            Neg | Abs | Sign | Exp | Log | Sqrt | Rsqrt | Sin | Cos | Tanh | Sigmoid | Floor | Ceil | Round | Bf16
            | Not | IsNan => 1,
            Where => 3,
            _ => 2,
        };
        let values = if op == Where && args.len() == 3 { &args[1..] } else { args };
        let dtypes: Vec<Option<DType>> = values.iter().map(|v| self.dtype(*v)).collect();
        let result = match op {
            Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not | IsNan => Some(DType::Bool),
            _ => dtypes.first().copied().flatten(),
        };
        let condition = op != Where || args.first().and_then(|v| self.dtype(*v)) == Some(DType::Bool);
        args.len() != count || !condition || dtypes.iter().any(|d| *d != dtypes[0]) || own != result
    }
}
