//! Nests: how rows and the indices of their passes are shared among invocations.

mod pass;
mod writer;

use align_compiler::kernel::{Block, BufferId, Lanes, Part, Pass, Rows, Scalar, Size};
use align_compiler::tensor::Lengths;

use super::source::Source;
use super::{Context, Grid, Kernel, Kernels, Words};
use writer::{Phase, Writer};

/// Who works out a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spread {
    /// Rows of a workgroup: neighbouring lanes have neighbouring rows.
    pub rows: usize,
    /// Lanes that share the indices of a row's passes.
    pub slices: usize,
    /// Workgroups that share them: each pass is then a dispatch, and what it found is handed on.
    pub chunks: usize,
}

impl Spread {
    /// An invocation for each row.
    pub const ALONE: Spread = Spread { rows: 128, slices: 1, chunks: 1 };

    /// A workgroup of so many lanes for each row.
    pub const fn group(slices: usize) -> Spread {
        Spread { rows: 1, slices, chunks: 1 }
    }

    pub fn lanes(self) -> usize {
        self.rows * self.slices
    }
}

/// Indices of a pass below which a row has one invocation.
const SHORT: usize = 16;
/// Invocations that keep a large device busy, and workgroups.
const BUSY: usize = 1 << 13;
const GROUPS: usize = 256;
const MOST_CHUNKS: usize = 64;

/// Indices of its longest pass.
fn longest(nest: &Rows, lengths: &Lengths) -> usize {
    let length = |pass: &Pass| pass.loops.iter().map(|span| span.dim.size().get(lengths)).product::<usize>();
    passes(nest).map(length).max().unwrap_or(0)
}

/// Whether there is a choice.
pub fn has_long_passes(nest: &Rows, lengths: &Lengths) -> bool {
    longest(nest, lengths) > SHORT
}

/// How the nest is likely to be fast.
pub fn spread(nest: &Rows, lengths: &Lengths) -> Spread {
    let longest = longest(nest, lengths);
    let rows: usize = nest.rows.iter().map(|dim| dim.size().get(lengths)).product();
    // As many chunks as leave each enough to do; powers of two, so that few shaders do.
    let chunks = |groups: usize, each: usize| match can_be_cut(nest) {
        true => (GROUPS / groups.max(1)).min(longest / each).clamp(1, MOST_CHUNKS).next_power_of_two(),
        false => 1,
    };
    match nest.lanes {
        _ if longest <= SHORT => Spread::ALONE,
        // Neighbouring rows read neighbouring entries.
        Lanes::Rows if rows >= BUSY => Spread::ALONE,
        Lanes::Rows => Spread { rows: 32, slices: 8, chunks: chunks(rows.div_ceil(32), 256) },
        Lanes::Pass => {
            let slices = match longest {
                0..=128 => 32,
                129..=512 => 64,
                513..=2048 => 128,
                _ => 256,
            };
            Spread { chunks: chunks(rows, 4096), ..Spread::group(slices) }
        }
    }
}

pub fn kernels(context: Context, nest: &Rows, spread: Spread) -> Kernels {
    let rows = nest.rows.iter().fold(Size::one(), |n, dim| n.times(&dim.size()));
    let mut all = Kernels::default();
    if spread.chunks == 1 {
        all.kernels.push(kernel(context, nest, (spread, Phase::Whole), &rows, &mut all.sites));
        return all;
    }
    let count = passes(nest).count();
    for reduce in passes(nest).flat_map(|pass| &pass.reduces) {
        debug_assert!((reduce.result.0 as usize) < nest.values.len());
        all.scratch.push(Words { of: rows.times(&Size::number(spread.chunks)), power: None });
    }
    for pass in 0..count {
        let phase = (spread, Phase::Pass(pass));
        all.kernels.push(kernel(context, nest, phase, &rows, &mut all.sites));
    }
    if let Some(Part::Row(last)) = nest.parts.last()
        && !last.stores.is_empty()
    {
        let phase = (Spread { chunks: spread.chunks, ..Spread::ALONE }, Phase::End);
        all.kernels.push(kernel(context, nest, phase, &rows, &mut all.sites));
    }
    all
}

fn kernel(
    context: Context,
    nest: &Rows,
    (spread, phase): (Spread, Phase),
    rows: &Size,
    sites: &mut Vec<super::Site>,
) -> Kernel {
    let mut writer = Writer::new(Source::new(context), nest, spread, phase, std::mem::take(sites));
    writer.kernel(rows);
    let (source, found) = writer.finish();
    *sites = found;
    let mut grid = vec![(rows.clone(), spread.rows)];
    if matches!(phase, Phase::Pass(_)) {
        grid.push((Size::number(spread.chunks), 1));
    }
    let over = nest.rows.iter().map(|dim| format!("{dim}")).collect::<Vec<_>>().join(" ");
    let kind = if passes(nest).next().is_some() { "for each" } else { "at each" };
    let over = if over.is_empty() { String::new() } else { format!(" {kind} {over}") };
    let part = match phase {
        Phase::Whole => never_stored(nest),
        Phase::Pass(i) => format!(": pass {} in {} chunks", i + 1, spread.chunks),
        Phase::End => ": what follows from its passes".into(),
    };
    source.finish_in_rows(&format!("{}{over}{part}", nest.name), (spread.lanes(), spread.rows), Grid(grid))
}

/// What lives in registers alone, in words.
fn never_stored(nest: &Rows) -> String {
    let made = |part: &Part| {
        let is_map = |op: &Scalar| matches!(op, Scalar::Map(..) | Scalar::Random { .. });
        let block = block_of(part);
        let stored = |value| block.stores.iter().any(|store| store.value == value);
        block.lets.iter().filter(|l| is_map(&l.op) && !stored(l.value)).count()
    };
    match nest.parts.iter().map(made).sum::<usize>() {
        0 => String::new(),
        1 => "; one value on the way is never stored".into(),
        n => format!("; {n} values on the way are never stored"),
    }
}

fn passes(nest: &Rows) -> impl Iterator<Item = &Pass> {
    nest.parts.iter().filter_map(|part| if let Part::Pass(pass) = part { Some(pass) } else { None })
}

fn block_of(part: &Part) -> &Block {
    let (Part::Row(block) | Part::Pass(Pass { block, .. })) = part;
    block
}

/// The buffers that a part stores to.
fn stored(part: &Part) -> impl Iterator<Item = BufferId> {
    block_of(part).stores.iter().map(|store| store.buffer)
}

/// The buffers that it loads from.
fn loaded(part: &Part) -> impl Iterator<Item = BufferId> {
    block_of(part).lets.iter().filter_map(|l| if let Scalar::Load(buffer, _) = &l.op { Some(*buffer) } else { None })
}

/// Whether passes can be dispatches of their own: all their indices are there for every row, and none reads what the scalars
/// before it store, which one of its workgroups does.
pub fn can_be_cut(nest: &Rows) -> bool {
    let whole = passes(nest).all(|pass| pass.loops.iter().all(|span| span.within.is_none()));
    let apart = nest.parts.windows(2).all(|two| {
        let before: Vec<BufferId> = if matches!(two[0], Part::Row(_)) { stored(&two[0]).collect() } else { vec![] };
        !loaded(&two[1]).any(|buffer| before.contains(&buffer))
    });
    whole && apart
}
