//! Orders: argsort, and the largest entries. A workgroup for each row: bitonic (Batcher, 1968), over pairs of a key and its
//! index, so that ties are in order of indices. Short rows, and the best so far of long ones, stay in its memory.

use align_compiler::kernel::{Size, Sort, SortKind};
use align_compiler::tensor::{Axis, DType};

use super::source::Source;
use super::{Context, Grid, Kernels, Words, other_axes};

const LANES: usize = 128;
/// Pairs that the workgroup's memory holds.
const BLOCK: usize = 1024;

/// Numbers of the step's memory: keys and indices.
const KEYS: usize = 0;
const INDICES: usize = 1;

/// Rows of pairs, each padded to a power of two, in the step's memory.
pub struct Pairs {
    pub rows: Size,
    /// Of a row, before the padding.
    pub count: Size,
}

impl Pairs {
    pub fn scratch(&self) -> Vec<Words> {
        vec![Words { of: self.rows.clone(), power: Some(self.count.clone()) }; 2]
    }

    /// Says how many pairs a row has with its padding, as `padded`.
    pub fn padded(&self, s: &mut Source) {
        let count = s.size(&self.count);
        s.line(format!("let padded = 1u << (32u - countLeadingZeros(max({count}, 1u) - 1u));"));
    }

    pub fn key(&self, s: &mut Source, at: &str) -> String {
        format!("{}[{at}]", s.scratch(KEYS, "u32"))
    }

    pub fn index(&self, s: &mut Source, at: &str) -> String {
        format!("{}[{at}]", s.scratch(INDICES, "u32"))
    }

    /// The workgroup sorts the row at `base`, of which `key` gives the key of each index `i` (lines before it are written by
    /// then). Keys that come last of all may be the largest u32.
    pub fn sort(&self, s: &mut Source, key: impl FnOnce(&mut Source) -> String) {
        let count = s.size(&self.count);
        let [keys, indices] = ["keys", "indices"].map(|name| s.shared(name, &format!("array<u32, {BLOCK}>")));
        s.open(format!("for (var i = lane; i < padded; i += {LANES}u)"));
        s.line("var found = 0xffffffffu;");
        s.open(format!("if i < {count}"));
        let text = key(s);
        s.line(format!("found = {text};"));
        s.close();
        let (of_key, of_index) = (self.key(s, "base + i"), self.index(s, "base + i"));
        s.line(format!("{of_key} = found;"));
        s.line(format!("{of_index} = i;"));
        s.close();
        barrier(s);
        // Blocks by themselves: every other one from the end.
        s.line(format!("let block = min(padded, {BLOCK}u);"));
        s.open("for (var start = 0u; start < padded; start += block)");
        self.enter(s, [&keys, &indices], true);
        whole(s, LANES, [&keys, &indices]);
        self.enter(s, [&keys, &indices], false);
        s.close();
        // Larger and larger pieces: pairs that are far apart where they lie, the rest block by block.
        s.open("for (var size = block << 1u; size <= padded; size <<= 1u)");
        s.open("for (var apart = size >> 1u; apart >= block; apart >>= 1u)");
        s.open(format!("for (var pair = lane; pair < (padded >> 1u); pair += {LANES}u)"));
        s.line("let a = 2u * pair - (pair & (apart - 1u));");
        s.line("let upward = (a & size) == 0u;");
        let [ka, kb] = ["base + a", "base + a + apart"].map(|at| self.key(s, at));
        let [ia, ib] = ["base + a", "base + a + apart"].map(|at| self.index(s, at));
        exchange(s, [&ka, &kb], [&ia, &ib]);
        s.close();
        barrier(s);
        s.close();
        s.open("for (var start = 0u; start < padded; start += block)");
        self.enter(s, [&keys, &indices], true);
        halves(s, LANES, "block >> 1u", [&keys, &indices]);
        self.enter(s, [&keys, &indices], false);
        s.close();
        s.close();
        barrier(s);
    }

    /// Copies the block at `start` into the workgroup's memory, or back.
    fn enter(&self, s: &mut Source, own: [&str; 2], into: bool) {
        s.open(format!("for (var i = lane; i < block; i += {LANES}u)"));
        let there = [self.key(s, "base + start + i"), self.index(s, "base + start + i")];
        for (own, there) in own.into_iter().zip(there) {
            match into {
                true => s.line(format!("{own}[i] = {there};")),
                false => s.line(format!("{there} = {own}[i];")),
            }
        }
        s.close();
        barrier(s);
    }
}

/// All steps of the block at `start`.
fn whole(s: &mut Source, lanes: usize, own: [&str; 2]) {
    s.open("for (var size = 2u; size <= block; size <<= 1u)");
    halves(s, lanes, "size >> 1u", own);
    s.close();
}

/// The steps of a block from pairs that are `first` apart down to neighbours.
fn halves(s: &mut Source, lanes: usize, first: &str, [keys, indices]: [&str; 2]) {
    s.open(format!("for (var apart = {first}; apart > 0u; apart >>= 1u)"));
    s.open(format!("for (var pair = lane; pair < (block >> 1u); pair += {lanes}u)"));
    s.line("let a = 2u * pair - (pair & (apart - 1u));");
    s.line("let upward = ((start + a) & size) == 0u;");
    let both = |array: &str| [format!("{array}[a]"), format!("{array}[a + apart]")];
    let ([ka, kb], [ia, ib]) = (both(keys), both(indices));
    exchange(s, [&ka, &kb], [&ia, &ib]);
    s.close();
    s.line("workgroupBarrier();");
    s.close();
}

/// Puts two pairs in order.
fn exchange(s: &mut Source, [ka, kb]: [&str; 2], [ia, ib]: [&str; 2]) {
    s.line(format!("let key_a = {ka};"));
    s.line(format!("let key_b = {kb};"));
    s.line(format!("let index_a = {ia};"));
    s.line(format!("let index_b = {ib};"));
    s.line("let later = key_a > key_b || (key_a == key_b && index_a > index_b);");
    s.open("if later == upward");
    s.line(format!("{ka} = key_b;"));
    s.line(format!("{kb} = key_a;"));
    s.line(format!("{ia} = index_b;"));
    s.line(format!("{ib} = index_a;"));
    s.close();
}

fn barrier(s: &mut Source) {
    s.line("storageBarrier();");
    s.line("workgroupBarrier();");
}

/// The beginning of a kernel whose workgroups have a row each: gives the name of the row.
fn begin_row(s: &mut Source, rows: &Size) -> String {
    let group = s.group().to_string();
    let rows = s.size(rows);
    s.open(format!("if {group} >= {rows}"));
    s.line("return;");
    s.close();
    group
}

/// The beginning of a kernel that sorts rows: gives the name of the row.
pub fn begin(s: &mut Source, pairs: &Pairs) -> String {
    let group = begin_row(s, &pairs.rows);
    pairs.padded(s);
    s.line(format!("let base = {group} * padded;"));
    group
}

/// The grid of a kernel that sorts rows, and its lanes.
pub fn grid(pairs: &Pairs) -> (usize, Grid) {
    (LANES, Grid(vec![(pairs.rows.clone(), 1)]))
}

pub fn kernels(context: Context, step: &Sort) -> Kernels {
    let Sort { kind, axis, input, out } = step;
    let (to_axis, upward) = match kind {
        SortKind::Argsort => (axis, true),
        SortKind::Top(to) => (to, false),
    };
    let others = other_axes([input], &[axis]);
    let pairs = Pairs { rows: Size::of(&others), count: Size::of([axis]) };
    let mut s = Source::new(context);
    let dtype = context.program.buffer(input.buffer).dtype;
    let of_row = |s: &mut Source, row: &str| -> Vec<(Axis, String)> {
        let loops: Vec<(String, Size)> = others.iter().map(|a| (a.name().to_string(), Size::of([a]))).collect();
        others.iter().cloned().zip(s.unfold(row, &loops)).collect()
    };
    let key_at = |s: &mut Source, row: &[(Axis, String)], i: &str| {
        let at: Vec<(&Axis, &str)> = row.iter().map(|(a, name)| (a, name.as_str())).chain([(axis, i)]).collect();
        let place = s.within(input, &at);
        let x = s.load(input.buffer, &place);
        key(s, &x, dtype, upward)
    };
    let (lanes, scratch, index, row) = match memory(axis, to_axis) {
        None => {
            let row = begin(&mut s, &pairs);
            let row = of_row(&mut s, &row);
            pairs.sort(&mut s, |s| key_at(s, &row, "i"));
            (LANES, pairs.scratch(), pairs.index(&mut s, "base + i"), row)
        }
        Some((block, kept)) => {
            let row = begin_row(&mut s, &pairs.rows);
            let row = of_row(&mut s, &row);
            let lanes = (block / 2).clamp(32, LANES);
            let index = streamed(&mut s, axis, (block, kept), lanes, |s| key_at(s, &row, "next"));
            (lanes, vec![], index, row)
        }
    };
    let kept = s.size(&Size::of([to_axis]));
    s.open(format!("for (var i = lane; i < {kept}; i += {lanes}u)"));
    let at: Vec<(&Axis, &str)> = row.iter().map(|(a, name)| (a, name.as_str())).chain([(to_axis, "i")]).collect();
    let place = s.within(out, &at);
    s.store(out.buffer, &place, &format!("i32({index})"), false);
    s.close();
    let about = if upward { format!("order along {axis}") } else { format!("the largest along {axis}, best first") };
    Kernels { kernels: vec![s.finish(&about, lanes, Grid(vec![(pairs.rows, 1)]))], scratch, sites: vec![] }
}

/// The size of the block in which a row can be ordered, and how many of it are kept while the row goes through: none if all
/// of the row is there at once.
fn memory(axis: &Axis, to: &Axis) -> Option<(usize, usize)> {
    let block = axis.fixed_size().map_or(BLOCK, |n| n.next_power_of_two().clamp(2, BLOCK));
    let whole = axis.fixed_size().is_some_and(|n| n <= BLOCK);
    let few = to.fixed_size().is_some_and(|n| n <= BLOCK / 2) && axis != to;
    match (whole, few) {
        (true, _) => Some((block, 0)),
        (false, true) => Some((block, to.fixed_size().unwrap_or(0))),
        (false, false) => None,
    }
}

/// Puts the first pairs of the row in order at the beginning of the workgroup's memory; `key` gives the key of the index
/// `next`. Gives the index that is the `i`th.
fn streamed(
    s: &mut Source,
    axis: &Axis,
    (block, kept): (usize, usize),
    lanes: usize,
    key: impl FnOnce(&mut Source) -> String,
) -> String {
    let [keys, indices] = ["keys", "indices"].map(|name| s.shared(name, &format!("array<u32, {block}>")));
    let (count, fresh) = (s.axis(axis), block - kept);
    s.line(format!("let block = {block}u;"));
    s.line("let start = 0u;");
    if kept > 0 {
        s.open(format!("for (var i = lane; i < {kept}u; i += {lanes}u)"));
        s.line(format!("{keys}[i] = 0xffffffffu;"));
        s.line(format!("{indices}[i] = 0xffffffffu;"));
        s.close();
        s.open(format!("for (var first = 0u; first < {count}; first += {fresh}u)"));
    }
    s.open(format!("for (var i = lane; i < {fresh}u; i += {lanes}u)"));
    s.line(if kept > 0 { "let next = first + i;" } else { "let next = i;" });
    s.line("var found = 0xffffffffu;");
    s.open(format!("if next < {count}"));
    let text = key(s);
    s.line(format!("found = {text};"));
    s.close();
    let at = if kept > 0 { format!("i + {kept}u") } else { "i".to_string() };
    s.line(format!("{keys}[{at}] = found;"));
    s.line(format!("{indices}[{at}] = next;"));
    s.close();
    s.line("workgroupBarrier();");
    whole(s, lanes, [&keys, &indices]);
    if kept > 0 {
        s.close();
    }
    format!("{indices}[i]")
}

/// A u32 in the order of the numbers; nan is the last.
fn key(s: &mut Source, x: &str, dtype: DType, upward: bool) -> String {
    let turned = if upward { "" } else { "~" };
    match dtype {
        DType::Int => format!("{turned}(bitcast<u32>({x}) ^ 0x80000000u)"),
        DType::Bool => format!("{turned}select(0u, 1u, {x})"),
        DType::Float => {
            s.line(format!("let loaded = bitcast<u32>({x});"));
            // 0 and -0 are equal.
            s.line("let bits = select(loaded, 0u, loaded == 0x80000000u);");
            s.line("let order = bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) == 1u);");
            format!("select({turned}order, 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u)")
        }
    }
}
