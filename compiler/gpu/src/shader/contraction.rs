//! Matrix products: a workgroup works out a tile of the output from tiles of both factors that it holds in its memory, a
//! lane a part of it in registers.

use align_compiler::kernel::{Contraction, Operand, Size, Strided};
use align_compiler::tensor::Lengths;

use super::source::Source;
use super::{Context, Grid, Kernel, Kernels, Words};

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tiling {
    /// Rows and columns of a workgroup's tile, and how much of the sum is held at once.
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Rows and columns of a lane: columns in fours.
    pub rows: usize,
    pub columns: usize,
    /// Parts of the sum that workgroups of their own work out; a second kernel adds them, in order.
    pub split: usize,
}

impl Tiling {
    pub const LARGE: Tiling = Tiling { m: 128, n: 128, k: 8, rows: 8, columns: 8, split: 1 };
    pub const MIDDLE: Tiling = Tiling { m: 64, n: 64, k: 16, rows: 4, columns: 4, split: 1 };
    pub const SMALL: Tiling = Tiling { m: 32, n: 32, k: 16, rows: 4, columns: 4, split: 1 };
    /// For few rows.
    pub const FLAT: Tiling = Tiling { m: 8, n: 64, k: 32, rows: 2, columns: 4, split: 1 };

    pub fn lanes(self) -> usize {
        (self.m / self.rows) * (self.n / self.columns)
    }
}

/// Workgroups that keep a large device busy.
const BUSY: usize = 256;
/// Least terms of a part of a sum that is worth a workgroup of its own.
const TERMS: usize = 512;
const MOST_PARTS: usize = 32;
/// Least share of the tiles that lies inside of the output.
const INSIDE: f64 = 0.7;
/// Rows that are few.
const FEW: usize = 16;

/// How the product is likely to be fast: by the largest tiles of which enough keep the device busy, in parts of the sum if need
/// be, and which are not mostly outside of the output.
pub fn tiling(c: &Contraction, lengths: &Lengths) -> Tiling {
    let of = |loops: &[Strided]| loops.iter().map(|l| l.dim.size().get(lengths)).product::<usize>();
    let (batch, m, n, k) = (of(&c.batch), of(&c.m), of(&c.n), of(&c.k));
    best(batch, m, n, k)
}

fn best(batch: usize, m: usize, n: usize, k: usize) -> Tiling {
    let most = (k / TERMS).clamp(1, MOST_PARTS);
    let groups = |t: Tiling| batch * m.div_ceil(t.m) * n.div_ceil(t.n);
    let fits = |t: &Tiling| {
        let inside = (batch * m * n) as f64 / (groups(*t) * t.m * t.n).max(1) as f64;
        inside >= INSIDE && groups(*t) * most >= BUSY
    };
    let tiles = match m <= FEW {
        true => Tiling::FLAT,
        false => [Tiling::LARGE, Tiling::MIDDLE].into_iter().find(fits).unwrap_or(Tiling::SMALL),
    };
    // Powers of two, so that few shaders do.
    let split = BUSY.div_ceil(groups(tiles).max(1)).next_power_of_two();
    Tiling { split: if most == 1 { 1 } else { split.min(most.next_power_of_two()) }, ..tiles }
}

pub fn kernels(context: Context, c: &Contraction, tiling: Tiling) -> Kernels {
    let of = |loops: &[Strided]| loops.iter().fold(Size::one(), |n, l| n.times(&l.dim.size()));
    let shape = Shape { batch: of(&c.batch), m: of(&c.m), n: of(&c.n), k: of(&c.k) };
    let mut all = Kernels { kernels: vec![product(context, c, tiling, &shape)], ..Kernels::default() };
    if tiling.split > 1 {
        let of = shape.batch.times(&shape.m).times(&shape.n).times(&Size::number(tiling.split));
        all.scratch.push(Words { of, power: None });
        all.kernels.push(sum(context, c, tiling, &shape));
    }
    all
}

/// Sizes of the groups of loops.
struct Shape {
    batch: Size,
    m: Size,
    n: Size,
    k: Size,
}

/// One of the factors, and how the lanes fetch a tile of it.
struct Factor<'c> {
    name: String,
    operand: &'c Operand,
    loops: &'c [Strided],
    sum: &'c [Strided],
    stride: fn(&Strided) -> &Size,
    /// Its rows (left) or columns (right) in a tile.
    width: usize,
    outer: &'static str,
    size: &'c Size,
    fetch: Fetch,
}

/// In what order lanes fetch a tile, so that neighbours read what lies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    /// Neighbours along the sum.
    Sum,
    /// Neighbouring rows or columns.
    Outer,
    /// Four at a time, which lie together along the sum.
    SumFours,
    /// Four at a time, which are neighbouring rows or columns.
    OuterFours,
}

/// Whether all strides but the one of the last loop of `dense`, and the offset, are multiples of four, and that loop has four
/// neighbours in a row at every fourth index.
fn in_fours(dense: &[Strided], others: &[&[Strided]], stride: fn(&Strided) -> &Size, offset: usize) -> bool {
    let Some((last, before)) = dense.split_last() else { return false };
    let fourth = |size: &Size| size.factor.is_multiple_of(4);
    let rest = before.iter().chain(others.iter().copied().flatten());
    stride(last).is_one()
        && last.dim.size().constant().is_some_and(|n| n.is_multiple_of(4))
        && rest.map(stride).all(fourth)
        && offset.is_multiple_of(4)
}

fn fetch_of(s: &Source, c: &Contraction, operand: &Operand, loops: &[Strided], stride: fn(&Strided) -> &Size) -> Fetch {
    // A buffer is bound as vectors or as numbers, whoever reads it.
    let fours = s.reads_fours(operand.buffer) && c.lhs.buffer != c.rhs.buffer;
    match () {
        () if fours && in_fours(&c.k, &[loops, &c.batch], stride, operand.offset) => Fetch::SumFours,
        () if fours && in_fours(loops, &[&c.k, &c.batch], stride, operand.offset) => Fetch::OuterFours,
        () if c.k.last().is_some_and(|l| stride(l).is_one()) => Fetch::Sum,
        () => Fetch::Outer,
    }
}

fn product(context: Context, c: &Contraction, tiling: Tiling, shape: &Shape) -> Kernel {
    let mut s = Source::new(context);
    let Tiling { m, n, k, rows, columns, split } = tiling;
    let lanes = tiling.lanes();
    // A row of a tile has a vector more than it needs, so that lanes that store a column use different banks.
    let [left, right] =
        [(m, "left"), (n, "right")].map(|(w, name)| s.shared(name, &format!("array<vec4<f32>, {}>", k * pitch(w))));
    let (ms, ns, ks) = (s.size(&shape.m), s.size(&shape.n), s.size(&shape.k));
    let group = s.group();
    let (across, down) = (tiles(&ns, n), tiles(&ms, m));
    s.line(format!("let column = {};", tile_of(group, "1u", &across, n)));
    s.line(format!("let row = {};", tile_of(group, &across, &down, m)));
    let rest = match (across.as_str(), down.as_str()) {
        ("1u", "1u") => group.to_string(),
        ("1u", one) | (one, "1u") => format!("{group} / {one}"),
        (across, down) => format!("{group} / ({across} * {down})"),
    };
    let batch = s.size(&shape.batch);
    match (split, batch.as_str()) {
        (1, _) => s.line(format!("let product = {rest};")),
        (_, "1u") => {
            s.line("let product = 0u;");
            s.line(format!("let part = {rest};"));
        }
        _ => {
            s.line(format!("let product = {rest} % {batch};"));
            s.line(format!("let part = {rest} / {batch};"));
        }
    }
    // The last workgroups of a grid may have no tile.
    let (of, most) = if split == 1 { ("product", batch.clone()) } else { ("part", format!("{split}u")) };
    s.open(format!("if {of} >= {most}"));
    s.line("return;");
    s.close();
    let bases = bases(&mut s, c, if batch == "1u" { "0u" } else { "product" }, &c.batch);
    // The sum's part of this workgroup: whole tiles.
    let (from, to) = match split {
        1 => ("0u", ks.clone()),
        _ => {
            s.line(format!("let terms = ({ks} + {}u) / {}u * {k}u;", split * k - 1, split * k));
            s.line(format!("let begin = min(part * terms, {ks});"));
            s.line(format!("let end = min(begin + terms, {ks});"));
            ("begin", "end".to_string())
        }
    };
    let strides: [fn(&Strided) -> &Size; 2] = [|l| &l.lhs, |l| &l.rhs];
    let factors = [
        Factor {
            fetch: fetch_of(&s, c, &c.lhs, &c.m, strides[0]),
            name: left.clone(),
            operand: &c.lhs,
            loops: &c.m,
            sum: &c.k,
            stride: strides[0],
            width: m,
            outer: "row",
            size: &shape.m,
        },
        Factor {
            fetch: fetch_of(&s, c, &c.rhs, &c.n, strides[1]),
            name: right.clone(),
            operand: &c.rhs,
            loops: &c.n,
            sum: &c.k,
            stride: strides[1],
            width: n,
            outer: "column",
            size: &shape.n,
        },
    ];
    // A lane has every so many fours of rows and columns: neighbouring lanes read neighbouring fours.
    let (row_fours, column_fours) = (rows.div_ceil(4), columns / 4);
    let lanes_across = n / columns;
    s.line(format!("let lane_row = lane / {lanes_across}u;"));
    s.line(format!("let lane_column = lane % {lanes_across}u;"));
    for r in 0..rows {
        (0..column_fours).for_each(|f| s.line(format!("var sum_{r}_{f} = vec4<f32>();")));
    }
    s.open(format!("for (var first = {from}; first < {to}; first += {k}u)"));
    factors.iter().zip(&bases).for_each(|(factor, base)| fetch(&mut s, factor, base, k, lanes, (from, &to)));
    s.line("workgroupBarrier();");
    s.open(format!("for (var k = 0u; k < {k}u; k++)"));
    for f in 0..column_fours {
        let moved = f * (n / column_fours / 4);
        s.line(format!("let b_{f} = {right}[{}];", fragment(pitch(n), "lane_column", moved)));
    }
    match rows {
        2 => s.line(format!("let a = {left}[k * {}u + lane_row / 2u];", pitch(m))),
        _ => (0..row_fours).for_each(|f| {
            let moved = f * (m / row_fours / 4);
            s.line(format!("let a_{f} = {left}[{}];", fragment(pitch(m), "lane_row", moved)));
        }),
    }
    for r in 0..rows {
        let a = match rows {
            2 => format!("a[lane_row % 2u * 2u + {r}u]"),
            _ => format!("a_{}.{}", r / 4, PARTS[r % 4]),
        };
        (0..column_fours).for_each(|f| s.line(format!("sum_{r}_{f} = fma(vec4({a}), b_{f}, sum_{r}_{f});")));
    }
    s.close();
    s.line("workgroupBarrier();");
    s.close();
    let row_of = |r: usize| match rows {
        2 => format!("row + lane_row * 2u + {r}u"),
        _ => format!("row + lane_row * 4u + {}u", r / 4 * (m / row_fours) + r % 4),
    };
    let column_of = |f: usize| format!("column + lane_column * 4u + {}u", f * (n / column_fours));
    let out = Out { c, shape, tiling, base: bases[2].clone() };
    out.store(&mut s, row_of, column_of, &batch);
    let about = format!(
        "{}: m {}, n {}, sum over {}{}",
        c.name,
        over(&c.m),
        over(&c.n),
        over(&c.k),
        if split > 1 { format!(", in {split} parts") } else { String::new() }
    );
    let grid = vec![(shape.n.clone(), n), (shape.m.clone(), m), (shape.batch.clone(), 1), (Size::number(split), 1)];
    s.finish(&about, lanes, Grid(grid))
}

/// Vectors of a row of a tile.
fn pitch(width: usize) -> usize {
    width / 4 + 1
}

/// A lane's vector in row `k` of a tile.
fn fragment(pitch: usize, lane: &str, moved: usize) -> String {
    match moved {
        0 => format!("k * {pitch}u + {lane}"),
        _ => format!("k * {pitch}u + {lane} + {moved}u"),
    }
}

/// How many tiles cover a size.
fn tiles(size: &str, step: usize) -> String {
    match size.trim_end_matches('u').parse::<usize>() {
        Ok(n) => format!("{}u", n.div_ceil(step)),
        Err(_) => format!("(({size} + {}u) / {step}u)", step - 1),
    }
}

/// Where the tile of a workgroup begins, of `count` tiles that are behind `inner` others.
fn tile_of(group: &str, inner: &str, count: &str, step: usize) -> String {
    match (inner, count) {
        (_, "1u") => "0u".into(),
        ("1u", _) => format!("{group} % {count} * {step}u"),
        _ => format!("{group} / {inner} % {count} * {step}u"),
    }
}

/// The lanes fetch a tile of a factor: `k` terms of the sum for each of its rows or columns, as rows of vectors. A lane stores whole
/// vectors: four lanes that store a component each would race.
fn fetch(s: &mut Source, factor: &Factor, base: &str, k: usize, lanes: usize, (from, to): (&str, &str)) {
    let Factor { name, operand, loops, sum, stride, width, outer, size, fetch } = factor;
    let pitch = pitch(*width);
    // A lane's terms of the sum, by four rows or columns.
    let terms = if *fetch == Fetch::SumFours { 4 } else { 1 };
    let (inner, outward) = (k / terms, width / 4);
    let count = inner * outward;
    let place = if count == lanes { "lane" } else { "i" };
    match count == lanes {
        true => s.open(""),
        false => s.open(format!("for (var i = lane; i < {count}u; i += {lanes}u)")),
    }
    // Neighbouring lanes read what lies together.
    let times = |place: String, by: usize| if by == 1 { place } else { format!("{place} * {by}u") };
    let (of_sum, of_outer) = match fetch {
        Fetch::Sum | Fetch::SumFours => (format!("{place} % {inner}u"), format!("{place} / {inner}u")),
        Fetch::Outer | Fetch::OuterFours => (format!("{place} / {outward}u"), format!("{place} % {outward}u")),
    };
    s.line(format!("let k = {};", times(of_sum, terms)));
    s.line(format!("let j = {of_outer};"));
    // Where tiles fit there is nothing to be outside of.
    let whole_sum = from == "0u" && to.trim_end_matches('u').parse::<usize>().is_ok_and(|n| n.is_multiple_of(k));
    let whole = size.constant().is_some_and(|n| n.is_multiple_of(*width));
    let all = s.size(size);
    let load = |s: &mut Source, into: &str, index: String, fours: bool| {
        let inside: Vec<String> =
            [(!whole_sum).then(|| format!("first + k < {to}")), (!whole).then(|| format!("{index} < {all}"))]
                .into_iter()
                .flatten()
                .collect();
        let own = along(s, loops, *stride, &format!("({index})"));
        let summed = along(s, sum, *stride, "(first + k)");
        let at = sum_of(&[base.to_string(), own, summed]);
        let value = match fours {
            true => s.load_fours(operand.buffer, &format!("({at}) / 4u")),
            false => s.load(operand.buffer, &at),
        };
        if inside.is_empty() {
            s.line(format!("{into} = {value};"));
            return;
        }
        s.open(format!("if {}", inside.join(" && ")));
        s.line(format!("{into} = {value};"));
        s.close();
    };
    let index = |i: usize| if i == 0 { format!("{outer} + j * 4u") } else { format!("{outer} + j * 4u + {i}u") };
    match fetch {
        Fetch::OuterFours => {
            s.line("var x = vec4<f32>();");
            load(s, "x", index(0), true);
            s.line(format!("{name}[k * {pitch}u + j] = x;"));
        }
        Fetch::Sum | Fetch::Outer => {
            s.line("var x = vec4<f32>();");
            PARTS.into_iter().enumerate().for_each(|(i, part)| load(s, &format!("x.{part}"), index(i), false));
            s.line(format!("{name}[k * {pitch}u + j] = x;"));
        }
        Fetch::SumFours => {
            for i in 0..4 {
                s.line(format!("var x_{i} = vec4<f32>();"));
                load(s, &format!("x_{i}"), index(i), true);
            }
            for (i, part) in PARTS.into_iter().enumerate() {
                let turned = (0..4).map(|j| format!("x_{j}.{part}")).collect::<Vec<_>>().join(", ");
                s.line(format!("{name}[(k + {i}u) * {pitch}u + j] = vec4({turned});"));
            }
        }
    }
    s.close();
}

/// Components of a vector.
const PARTS: [&str; 4] = ["x", "y", "z", "w"];

/// Where the sums of a lane go.
struct Out<'c> {
    c: &'c Contraction,
    shape: &'c Shape,
    tiling: Tiling,
    base: String,
}

impl Out<'_> {
    fn store(
        &self,
        s: &mut Source,
        row_of: impl Fn(usize) -> String,
        column_of: impl Fn(usize) -> String,
        batch: &str,
    ) {
        let Out { c, shape, tiling, base } = self;
        let (ms, ns) = (s.size(&shape.m), s.size(&shape.n));
        let between = (tiling.split > 1).then(|| s.scratch(0, "f32"));
        let whole_rows = shape.m.constant().is_some_and(|n| n.is_multiple_of(tiling.m));
        let whole_columns = shape.n.constant().is_some_and(|n| n.is_multiple_of(tiling.n));
        let stride: fn(&Strided) -> &Size = |l| &l.out;
        let fours = between.is_none()
            && s.stores_fours(c.out.buffer)
            && in_fours(&c.n, &[&c.m, &c.batch], stride, c.out.offset);
        for r in 0..tiling.rows {
            let row = row_of(r);
            if !whole_rows {
                s.open(format!("if {row} < {ms}"));
            }
            let at = match &between {
                None => {
                    let row = along(s, &c.m, stride, &format!("({row})"));
                    sum_of(&[base.clone(), row])
                }
                Some(_) if batch == "1u" => format!("(part * {ms} + {row}) * {ns}"),
                Some(_) => format!("((part * {batch} + product) * {ms} + {row}) * {ns}"),
            };
            s.line(format!("let row_{r} = {at};"));
            for f in 0..tiling.columns / 4 {
                let column = column_of(f);
                let value = format!("sum_{r}_{f}");
                if fours {
                    if !whole_columns {
                        s.open(format!("if {column} < {ns}"));
                    }
                    let at = along(s, &c.n, stride, &format!("({column})"));
                    s.store_fours(c.out.buffer, &format!("(row_{r} + {at}) / 4u"), &value, c.add);
                    if !whole_columns {
                        s.close();
                    }
                    continue;
                }
                for (i, part) in PARTS.into_iter().enumerate() {
                    let column = if i == 0 { column.clone() } else { format!("{column} + {i}u") };
                    if !whole_columns {
                        s.open(format!("if {column} < {ns}"));
                    }
                    match &between {
                        None => {
                            let at = along(s, &c.n, stride, &format!("({column})"));
                            let at = sum_of(&[format!("row_{r}"), at]);
                            s.store(c.out.buffer, &at, &format!("{value}.{part}"), c.add);
                        }
                        Some(between) => s.line(format!("{between}[row_{r} + {column}] = {value}.{part};")),
                    }
                    if !whole_columns {
                        s.close();
                    }
                }
            }
            if !whole_rows {
                s.close();
            }
        }
    }
}

/// The second kernel of a sum in parts.
fn sum(context: Context, c: &Contraction, tiling: Tiling, shape: &Shape) -> Kernel {
    const WIDTH: usize = 128;
    let mut s = Source::new(context);
    let all = shape.batch.times(&shape.m).times(&shape.n);
    let (total, ms, ns) = (s.size(&all), s.size(&shape.m), s.size(&shape.n));
    let group = s.group();
    s.line(format!("let entry = {group} * {WIDTH}u + lane;"));
    s.open(format!("if entry >= {total}"));
    s.line("return;");
    s.close();
    let between = s.scratch(0, "f32");
    s.line("var total = 0.0;");
    s.open(format!("for (var part = 0u; part < {}u; part++)", tiling.split));
    s.line(format!("total += {between}[part * {total} + entry];"));
    s.close();
    s.line(format!("let product = entry / ({ms} * {ns});"));
    s.line(format!("let row = entry / {ns} % {ms};"));
    s.line(format!("let column = entry % {ns};"));
    let bases = bases(&mut s, c, "product", &c.batch);
    let row = along(&mut s, &c.m, |l| &l.out, "row");
    let column = along(&mut s, &c.n, |l| &l.out, "column");
    let at = sum_of(&[bases[2].clone(), row, column]);
    s.store(c.out.buffer, &at, "total", c.add);
    let about = format!("{}: the sum of its {} parts", c.name, tiling.split);
    s.finish(&about, WIDTH, Grid(vec![(all, WIDTH)]))
}

/// Where a product of the batch begins in left, right and output.
fn bases(s: &mut Source, c: &Contraction, product: &str, batch: &[Strided]) -> [String; 3] {
    let strides: [fn(&Strided) -> &Size; 3] = [|l| &l.lhs, |l| &l.rhs, |l| &l.out];
    let offsets = [c.lhs.offset, c.rhs.offset, c.out.offset];
    let names = ["of_left", "of_right", "of_out"];
    std::array::from_fn(|i| {
        let moved = along(s, batch, strides[i], product);
        let text = sum_of(&[if offsets[i] > 0 { format!("{}u", offsets[i]) } else { "0u".into() }, moved]);
        if text.contains(['+', '*', '/', '%']) {
            s.line(format!("let {} = {text};", names[i]));
            names[i].to_string()
        } else {
            text
        }
    })
}

/// Where an index, counted over some loops, lies by their strides.
fn along(s: &mut Source, loops: &[Strided], stride: fn(&Strided) -> &Size, index: &str) -> String {
    let mut parts = vec![];
    for (i, l) in loops.iter().enumerate() {
        let inner = loops[i + 1..].iter().fold(Size::one(), |n, l| n.times(&l.dim.size()));
        let mut at = index.to_string();
        if !inner.is_one() {
            at = format!("{at} / {}", s.size(&inner));
        }
        if i > 0 {
            at = format!("{at} % {}", s.size(&l.dim.size()));
        }
        if loops.len() > 1 {
            at = format!("({at})");
        }
        parts.extend(s.times(&at, stride(l)));
    }
    sum_of(&parts)
}

fn sum_of(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| *p != "0u").collect();
    if parts.is_empty() { "0u".into() } else { parts.join(" + ") }
}

/// The axes of some loops, for the comment.
fn over(loops: &[Strided]) -> String {
    let names: Vec<String> = loops.iter().map(|l| l.dim.to_string()).collect();
    if names.is_empty() { "one".into() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_as_large_as_keeps_a_device_busy() {
        let of = |m, n, k| best(1, m, n, k);
        // A layer of 16,384 tokens: forward, gradients of weights, narrow outputs.
        assert_eq!(of(16_384, 576, 576), Tiling::LARGE);
        assert_eq!(of(576, 576, 16_384), Tiling { split: 16, ..Tiling::LARGE });
        assert_eq!(of(16_384, 192, 576), Tiling::LARGE);
        assert_eq!(of(16_384, 64, 576), Tiling::MIDDLE);
        assert_eq!(of(600, 64, 64), Tiling::SMALL);
        assert_eq!(of(8, 49_152, 576), Tiling::FLAT);
        assert_eq!(of(8, 576, 49_152), Tiling { split: 32, ..Tiling::FLAT });
        assert_eq!(of(1, 1, 0), Tiling::FLAT);
    }
}
