//! Gives a nest its loops: neighbouring loops that all addresses treat as one become one, what does not depend on the
//! innermost loop moves out of it, and the loop for vectors is chosen.

use crate::kernel::ir::{Address, Block, Dim, Index, Lanes, Let, Part, Pass, Rows, Scalar, Size, Span, Value};
use std::collections::{HashMap, HashSet};

/// A last loop with fewer indices than that stays a loop of the rows.
const SHORT: usize = 8;

pub fn shape(nest: &mut Rows) {
    drop_dead(nest);
    join_rows(nest);
    (0..nest.parts.len()).for_each(|part| join_pass(nest, part));
    inner_pass(nest);
    nest.lanes = lanes(nest);
    renumber(nest);
}

/// Counts scalars from 0, in order.
fn renumber(nest: &mut Rows) {
    let mut names: HashMap<Value, Value> = HashMap::new();
    let mut values = vec![];
    let old = std::mem::take(&mut nest.values);
    let mut name = |value: &mut Value| {
        let next = Value(names.len() as u32);
        let new = *names.entry(*value).or_insert(next);
        if new == next {
            values.push(old[value.0 as usize]);
        }
        *value = new;
    };
    let at = |at: &mut Address, name: &mut dyn FnMut(&mut Value)| {
        at.terms.iter_mut().for_each(|t| {
            if let Index::Value { value, .. } = &mut t.index {
                name(value);
            }
        });
    };
    for part in &mut nest.parts {
        if let Part::Pass(pass) = part {
            pass.loops.iter_mut().filter_map(|s| s.within.as_mut()).for_each(|(a, b)| {
                name(a);
                name(b);
            });
        }
        let block = block_mut(part);
        for l in &mut block.lets {
            match &mut l.op {
                Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => {}
                Scalar::Load(_, address) => at(address, &mut name),
                Scalar::Map(_, args) => args.iter_mut().for_each(&mut name),
                Scalar::Cast(x) => name(x),
                Scalar::Random { seed, counter, .. } => counter.iter_mut().chain([seed]).for_each(&mut name),
            }
            name(&mut l.value);
        }
        for store in &mut block.stores {
            at(&mut store.at, &mut name);
            name(&mut store.value);
        }
        if let Part::Pass(pass) = part {
            pass.reduces.iter_mut().for_each(|r| {
                name(&mut r.value);
                name(&mut r.result);
            });
        }
    }
    nest.values = values;
}

/// Drops scalars that nothing reads.
fn drop_dead(nest: &mut Rows) {
    let mut used: HashSet<Value> = HashSet::new();
    for part in nest.parts.iter_mut().rev() {
        if let Part::Pass(pass) = part {
            used.extend(pass.reduces.iter().map(|r| r.value));
            used.extend(pass.loops.iter().filter_map(|s| s.within).flat_map(|(a, b)| [a, b]));
        }
        let block = block_mut(part);
        block.stores.iter().for_each(|s| {
            used.insert(s.value);
            used.extend(values(&s.at));
        });
        for i in (0..block.lets.len()).rev() {
            match used.contains(&block.lets[i].value) {
                true => used.extend(read(&block.lets[i].op)),
                false => {
                    block.lets.remove(i);
                }
            }
        }
    }
}

fn block(part: &Part) -> &Block {
    match part {
        Part::Row(block) => block,
        Part::Pass(pass) => &pass.block,
    }
}

fn block_mut(part: &mut Part) -> &mut Block {
    match part {
        Part::Row(block) => block,
        Part::Pass(pass) => &mut pass.block,
    }
}

fn values(at: &Address) -> impl Iterator<Item = Value> {
    at.terms.iter().filter_map(|t| match t.index {
        Index::Value { value, .. } => Some(value),
        Index::Loop(_) => None,
    })
}

/// The scalars that an expression reads.
fn read(op: &Scalar) -> Vec<Value> {
    match op {
        Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => vec![],
        Scalar::Load(_, at) => values(at).collect(),
        Scalar::Map(_, args) => args.clone(),
        Scalar::Cast(x) => vec![*x],
        Scalar::Random { seed, counter, .. } => counter.iter().chain([seed]).copied().collect(),
    }
}

fn addresses(block: &Block) -> impl Iterator<Item = &Address> {
    let loads = block.lets.iter().filter_map(|l| match &l.op {
        Scalar::Load(_, at) => Some(at),
        _ => None,
    });
    loads.chain(block.stores.iter().map(|s| &s.at))
}

/// Whether loops `i` and `i + 1` are one in the block, `size` being that of the second.
fn joins(block: &Block, i: usize, size: &Size) -> bool {
    let indexed = block.lets.iter().any(|l| matches!(l.op, Scalar::Index(k) if k == i || k == i + 1));
    let fits = |at: &Address| at.stride(i) == at.stride(i + 1).times(size);
    !indexed && addresses(block).all(fits)
}

/// Loop `i` goes into loop `i + 1`, and later ones count one less.
fn join(block: &mut Block, i: usize) {
    let change = |at: &mut Address| {
        at.terms.retain(|t| t.index != Index::Loop(i));
        at.terms.iter_mut().for_each(|t| {
            if let Index::Loop(k) = &mut t.index
                && *k > i
            {
                *k -= 1;
            }
        });
    };
    for l in &mut block.lets {
        match &mut l.op {
            Scalar::Load(_, at) => change(at),
            Scalar::Index(k) if *k > i => *k -= 1,
            _ => {}
        }
    }
    block.stores.iter_mut().for_each(|s| change(&mut s.at));
}

fn join_rows(nest: &mut Rows) {
    let mut i = 0;
    while i + 1 < nest.rows.len() {
        let size = nest.rows[i + 1].size();
        match nest.parts.iter().all(|part| joins(block(part), i, &size)) {
            true => {
                nest.parts.iter_mut().for_each(|part| join(block_mut(part), i));
                let first = nest.rows.remove(i);
                nest.rows[i].axes.splice(0..0, first.axes);
            }
            false => i += 1,
        }
    }
}

fn join_pass(nest: &mut Rows, part: usize) {
    let rows = nest.rows.len();
    let Part::Pass(pass) = &mut nest.parts[part] else { return };
    let mut i = 0;
    while i + 1 < pass.loops.len() {
        let whole = pass.loops[i].within.is_none() && pass.loops[i + 1].within.is_none();
        match whole && joins(&pass.block, rows + i, &pass.loops[i + 1].dim.size()) {
            true => {
                join(&mut pass.block, rows + i);
                let first = pass.loops.remove(i);
                pass.loops[i].dim.axes.splice(0..0, first.dim.axes);
            }
            false => i += 1,
        }
    }
}

/// Of a nest without passes: its last loop becomes a pass, if there are others.
fn inner_pass(nest: &mut Rows) {
    let [Part::Row(block)] = &nest.parts[..] else { return };
    let last = nest.rows.len().wrapping_sub(1);
    if nest.rows.len() < 2 || nest.rows[last].size().constant().is_some_and(|n| n < SHORT) {
        return;
    }
    let at_last = |at: &Address, inner: &HashSet<Value>| {
        at.terms.iter().any(|t| t.index == Index::Loop(last)) || values(at).any(|v| inner.contains(&v))
    };
    let mut inner: HashSet<Value> = HashSet::new();
    let (mut row, mut pass): (Vec<Let>, Vec<Let>) = (vec![], vec![]);
    for l in &block.lets {
        let depends = match &l.op {
            Scalar::Index(i) => *i == last,
            Scalar::Load(_, at) => at_last(at, &inner),
            op => read(op).iter().any(|v| inner.contains(v)),
        };
        if depends {
            inner.insert(l.value);
        }
        if depends { &mut pass } else { &mut row }.push(l.clone());
    }
    let (in_pass, in_row) = block.stores.iter().cloned().partition(|s| at_last(&s.at, &inner));
    let dim: Dim = nest.rows.remove(last);
    nest.parts = vec![
        Part::Row(Block { lets: row, stores: in_row }),
        Part::Pass(Pass {
            loops: vec![Span { dim, within: None }],
            block: Block { lets: pass, stores: in_pass },
            reduces: vec![],
        }),
    ];
    nest.parts.retain(|part| !matches!(part, Part::Row(b) if b.lets.is_empty() && b.stores.is_empty()));
}

/// The loop along which most addresses are contiguous.
fn lanes(nest: &Rows) -> Lanes {
    let last_row = nest.rows.len().checked_sub(1);
    let (mut along_rows, mut along_pass, mut passes) = (0i32, 0i32, 0);
    for part in &nest.parts {
        let Part::Pass(pass) = part else { continue };
        passes += 1;
        let inner = nest.rows.len() + pass.loops.len() - 1;
        let cost = |stride: Size| match stride.constant() {
            Some(0) => 0,
            Some(1) => 1,
            _ => -2,
        };
        for at in addresses(&pass.block) {
            along_pass += cost(at.stride(inner));
            along_rows += last_row.map_or(0, |i| cost(at.stride(i)));
        }
    }
    match passes == 0 || (last_row.is_some() && along_rows > along_pass) {
        true => Lanes::Rows,
        false => Lanes::Pass,
    }
}
