//! Values that are worked out again. What a nest makes and the backward pass reads long after is held in between. If it
//! follows entry by entry from what is held anyway, it is forgotten after its first readers and made again before the next.

use super::homes::usual_size;
use super::schedule::{Lives, usual_bytes};
use crate::kernel::ir::{
    Address, Block, BufferId, BufferKind, Index, Let, Part, Pass, Program, Rows, Scalar, Step, Store, Value,
};
use crate::kernel::size::Access;
use std::collections::{BTreeMap, BTreeSet};

/// Entries below which another step does not pay.
const FEW: f64 = 65_536.0;
/// Steps in between for which making it again pays.
const FAR: usize = 8;
/// So many rounds of loops may be spent on each entry.
const ROUNDS: f64 = 4.0;

/// The same values with fewer temporaries at once, at the price of nests that run twice.
pub fn remake(mut program: Program) -> Program {
    while let Some(split) = best(&program) {
        split.apply(&mut program);
    }
    program
}

/// A buffer whose life is cut in two.
struct Split {
    buffer: BufferId,
    /// The step that makes it.
    made: usize,
    /// Makes it again, before the step with this number.
    nest: Rows,
    before: usize,
}

impl Split {
    fn apply(mut self, program: &mut Program) {
        let again = BufferId(program.buffers.len() as u32);
        program.buffers.push(program.buffer(self.buffer).clone());
        let to = |b: BufferId| if b == self.buffer { again } else { b };
        program.steps[self.before..].iter_mut().for_each(|step| step.rename(&to));
        self.nest.name = format!("{} again", program.buffer(again).name);
        let mut step = Step::Rows(self.nest);
        step.rename(&to);
        program.steps.insert(self.before, step);
        if let Some(origins) = program.origins.get(self.made).cloned() {
            program.origins.insert(self.before, origins);
        }
    }
}

/// The largest value that is held at the step with most memory without being used there, and can be made again.
fn best(program: &Program) -> Option<Split> {
    let lives = Lives::of(program);
    let (peak, _) = lives.peak(program)?;
    let mut found: Vec<(i64, BufferId, usize, usize)> = vec![];
    for (buffer, data) in program.ids().filter(|(_, data)| data.kind == BufferKind::Temp) {
        let uses = lives.uses(buffer);
        let later = uses.partition_point(|(step, _)| *step <= peak);
        let (Some((made, Access::Write)), Some((next, _))) = (uses.first(), uses.get(later)) else { continue };
        let only_read = uses[1..].iter().all(|(_, access)| *access == Access::Read);
        let entries: f64 = data.axes.iter().map(usual_size).product();
        let Some((before, _)) = later.checked_sub(1).map(|i| uses[i]) else { continue };
        if before < peak && next - before >= FAR && only_read && entries >= FEW {
            found.push((usual_bytes(data), buffer, *made, *next));
        }
    }
    found.sort_by_key(|(bytes, buffer, ..)| (std::cmp::Reverse(*bytes), *buffer));
    found.into_iter().find_map(|(_, buffer, made, next)| {
        let Step::Rows(nest) = &program.steps[made] else { return None };
        let is_held = |b: BufferId| match &program.buffer(b).kind {
            BufferKind::Temp => {
                let uses = lives.uses(b);
                let written = uses.iter().filter(|(_, access)| *access != Access::Read).all(|(step, _)| *step <= made);
                written && uses.last().is_some_and(|(last, _)| *last >= next)
            }
            BufferKind::Output(_) => false,
            _ => true,
        };
        let nest = alone(nest, buffer, &is_held)?;
        let entries: f64 = program.buffer(buffer).axes.iter().map(usual_size).product();
        (rounds(&nest) <= ROUNDS * entries).then_some(Split { buffer, made, nest, before: next })
    })
}

/// How often the innermost loops of a nest run.
fn rounds(nest: &Rows) -> f64 {
    let rows: f64 = nest.rows.iter().flat_map(|dim| &dim.axes).map(usual_size).product();
    let inner = |part: &Part| match part {
        Part::Row(_) => 1.0,
        Part::Pass(pass) => pass.loops.iter().flat_map(|span| &span.dim.axes).map(usual_size).product::<f64>(),
    };
    rows * nest.parts.iter().map(inner).sum::<f64>()
}

/// The nest with the stores to one buffer alone, and what these need. What the nest stores elsewhere is loaded from there.
/// `None` if something that it needs is not held.
fn alone(nest: &Rows, buffer: BufferId, is_held: &impl Fn(BufferId) -> bool) -> Option<Rows> {
    let kept = |store: &&Store| store.buffer != buffer && !store.add && is_held(store.buffer);
    let of_rows = nest.parts.iter().filter_map(|part| match part {
        Part::Row(block) => Some(block.stores.iter().filter(kept).filter(|store| is_linear(&store.at))),
        Part::Pass(_) => None,
    });
    let mut need = Need {
        values: BTreeSet::new(),
        stored: of_rows.flatten().map(|store| (store.value, store)).collect(),
        loaded: BTreeMap::new(),
        wanted: &|b| b != buffer && is_held(b),
    };
    let mut parts = vec![];
    for part in nest.parts.iter().rev() {
        let stores = |block: &Block| block.stores.iter().filter(|s| s.buffer == buffer).cloned().collect::<Vec<_>>();
        match part {
            Part::Row(block) => {
                parts.push(Part::Row(need.block(block, stores(block), &BTreeMap::new())?));
            }
            Part::Pass(pass) => {
                let reduces: Vec<_> = pass.reduces.iter().filter(|r| need.values.remove(&r.result)).cloned().collect();
                let stores = stores(&pass.block);
                if reduces.is_empty() && stores.is_empty() {
                    continue;
                }
                reduces.iter().for_each(|r| need.value(r.value));
                let own = pass.block.stores.iter().filter(kept).map(|store| (store.value, store)).collect();
                let block = need.block(&pass.block, stores, &own)?;
                let bounds = pass.loops.iter().filter_map(|span| span.within);
                bounds.for_each(|(start, length)| [start, length].into_iter().for_each(|v| need.value(v)));
                parts.push(Part::Pass(Pass { loops: pass.loops.clone(), block, reduces }));
            }
        }
    }
    let lets = need.loaded.into_iter().map(|(value, op)| Let { value, op }).collect();
    parts.push(Part::Row(Block { lets, stores: vec![] }));
    parts.reverse();
    Some(counted(Rows { parts: joined(parts), ..nest.clone() }))
}

/// With scalars counted in order, without those that nothing makes.
fn counted(mut nest: Rows) -> Rows {
    let mut made: BTreeMap<Value, Value> = BTreeMap::new();
    let dtypes = std::mem::take(&mut nest.values);
    let mut next = |value: &mut Value| {
        nest.values.push(dtypes[value.0 as usize]);
        let number = Value(made.len() as u32);
        *value = *made.entry(*value).or_insert(number);
    };
    for part in &mut nest.parts {
        match part {
            Part::Row(block) => block.lets.iter_mut().for_each(|l| next(&mut l.value)),
            Part::Pass(pass) => {
                pass.block.lets.iter_mut().for_each(|l| next(&mut l.value));
                pass.reduces.iter_mut().for_each(|r| next(&mut r.result));
            }
        }
    }
    let to = |value: &mut Value| *value = made[value];
    let address = |at: &mut Address| {
        for term in &mut at.terms {
            if let Index::Value { value, .. } = &mut term.index {
                to(value);
            }
        }
    };
    let block = |block: &mut Block| {
        for Let { op, .. } in &mut block.lets {
            match op {
                Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => {}
                Scalar::Load(_, at) => address(at),
                Scalar::Map(_, args) => args.iter_mut().for_each(to),
                Scalar::Cast(x) => to(x),
                Scalar::Random { seed, counter, .. } => counter.iter_mut().chain([seed]).for_each(to),
            }
        }
        for store in &mut block.stores {
            address(&mut store.at);
            to(&mut store.value);
        }
    };
    for part in &mut nest.parts {
        match part {
            Part::Row(own) => block(own),
            Part::Pass(pass) => {
                block(&mut pass.block);
                pass.reduces.iter_mut().for_each(|r| to(&mut r.value));
                let bounds = pass.loops.iter_mut().filter_map(|span| span.within.as_mut());
                bounds.for_each(|(start, length)| [start, length].into_iter().for_each(to));
            }
        }
    }
    nest
}

/// Blocks of rows side by side as one, and no empty ones.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = vec![];
    for part in parts {
        match (part, all.last_mut()) {
            (Part::Row(block), _) if block.lets.is_empty() && block.stores.is_empty() => {}
            (Part::Row(block), Some(Part::Row(before))) => {
                before.lets.extend(block.lets);
                before.stores.extend(block.stores);
            }
            (part, _) => all.push(part),
        }
    }
    all
}

/// Scalars of a nest that are needed, found from its end to its beginning.
struct Need<'a> {
    values: BTreeSet<Value>,
    /// Scalars of the row that the nest stores where they are held.
    stored: BTreeMap<Value, &'a Store>,
    /// Those of them that are needed.
    loaded: BTreeMap<Value, Scalar>,
    wanted: &'a dyn Fn(BufferId) -> bool,
}

impl Need<'_> {
    fn value(&mut self, value: Value) {
        match self.stored.get(&value) {
            Some(store) => drop(self.loaded.insert(value, Scalar::Load(store.buffer, store.at.clone()))),
            None => drop(self.values.insert(value)),
        }
    }

    fn address(&mut self, at: &Address) {
        for term in &at.terms {
            if let Index::Value { value, .. } = term.index {
                self.value(value);
            }
        }
    }

    /// A block with these stores alone. `stored`: where else it stores its scalars.
    fn block(&mut self, block: &Block, stores: Vec<Store>, stored: &BTreeMap<Value, &Store>) -> Option<Block> {
        if stores.iter().any(|store| store.add) {
            return None;
        }
        for store in &stores {
            self.value(store.value);
            self.address(&store.at);
        }
        let mut lets = vec![];
        for Let { value, op } in block.lets.iter().rev() {
            if !self.values.remove(value) {
                continue;
            }
            let op = match (op, stored.get(value)) {
                (Scalar::Map(..) | Scalar::Cast(_) | Scalar::Random { .. }, Some(store)) if is_linear(&store.at) => {
                    Scalar::Load(store.buffer, store.at.clone())
                }
                _ => op.clone(),
            };
            match &op {
                Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => {}
                Scalar::Load(buffer, _) if !(self.wanted)(*buffer) => return None,
                Scalar::Load(_, at) => self.address(at),
                Scalar::Map(_, args) => args.iter().for_each(|v| self.value(*v)),
                Scalar::Cast(x) => self.value(*x),
                Scalar::Random { seed, counter, .. } => {
                    self.value(*seed);
                    counter.iter().for_each(|v| self.value(*v));
                }
            }
            lets.push(Let { value: *value, op });
        }
        lets.reverse();
        Some(Block { lets, stores })
    }
}

/// Whether an address depends on loops alone.
fn is_linear(at: &Address) -> bool {
    at.terms.iter().all(|term| matches!(term.index, Index::Loop(_)))
}
