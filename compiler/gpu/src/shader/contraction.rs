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

/// How the product is likely to be fast.
pub fn tiling(c: &Contraction, lengths: &Lengths) -> Tiling {
    let of = |loops: &[Strided]| loops.iter().map(|l| l.dim.size().get(lengths)).product::<usize>();
    let (batch, m, n, k) = (of(&c.batch), of(&c.m), of(&c.n), of(&c.k));
    let groups = |t: Tiling| batch * m.div_ceil(t.m) * n.div_ceil(t.n);
    let fitting = match (m, n) {
        (..=16, _) => Tiling::FLAT,
        _ if groups(Tiling::LARGE) >= BUSY => Tiling::LARGE,
        _ if groups(Tiling::MIDDLE) >= BUSY || m * n >= 1 << 20 => Tiling::MIDDLE,
        _ => Tiling::SMALL,
    };
    let wanted = BUSY.div_ceil(groups(fitting).max(1)).min(k / TERMS).min(MOST_PARTS);
    // Powers of two, so that few shaders do.
    let split = if wanted < 2 { 1 } else { wanted.next_power_of_two() };
    Tiling { split, ..fitting }
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
    size: String,
}

impl Factor<'_> {
    /// Whether neighbours along the sum lie next to each other.
    fn along_sum(&self) -> bool {
        self.sum.last().is_some_and(|l| (self.stride)(l).is_one())
    }
}

fn product(context: Context, c: &Contraction, tiling: Tiling, shape: &Shape) -> Kernel {
    let mut s = Source::new(context);
    let Tiling { m, n, k, rows, columns, split } = tiling;
    let lanes = tiling.lanes();
    let [left, right] =
        [(m, "left"), (n, "right")].map(|(w, name)| s.shared(name, &format!("array<f32, {}>", k * (w + 4))));
    let (ms, ns, ks) = (s.size(&shape.m), s.size(&shape.n), s.size(&shape.k));
    let group = s.group();
    let tiles = |size: &str, step: usize| match size.trim_end_matches('u').parse::<usize>() {
        Ok(n) => format!("{}u", n.div_ceil(step)),
        Err(_) => format!("(({size} + {}u) / {step}u)", step - 1),
    };
    let (across, down) = (tiles(&ns, n), tiles(&ms, m));
    s.line(format!("let column = {group} % {across} * {n}u;"));
    s.line(format!("let row = {group} / {across} % {down} * {m}u;"));
    let rest = format!("{group} / ({across} * {down})");
    let batch = s.size(&shape.batch);
    let part = match split {
        1 => {
            s.line(format!("let product = {rest};"));
            None
        }
        _ => {
            s.line(format!("let product = {rest} % {batch};"));
            s.line(format!("let part = {rest} / {batch};"));
            Some("part")
        }
    };
    // The last workgroups of a grid may have no tile.
    let of = if split == 1 { "product".to_string() } else { "part".to_string() };
    let most = if split == 1 { batch.clone() } else { format!("{split}u") };
    s.open(format!("if {of} >= {most}"));
    s.line("return;");
    s.close();
    let bases = bases(&mut s, c, "product", &c.batch);
    // The sum's part of this workgroup: whole tiles.
    let (from, to) = match part {
        None => ("0u".to_string(), ks.clone()),
        Some(part) => {
            s.line(format!("let terms = (({ks} + {}u) / {}u) * {k}u;", split * k - 1, split * k));
            s.line(format!("let begin = min({part} * terms, {ks});"));
            s.line(format!("let end = min(begin + terms, {ks});"));
            ("begin".to_string(), "end".to_string())
        }
    };
    let factors = [
        Factor {
            name: left.clone(),
            operand: &c.lhs,
            loops: &c.m,
            sum: &c.k,
            stride: |l| &l.lhs,
            width: m,
            outer: "row",
            size: ms.clone(),
        },
        Factor {
            name: right.clone(),
            operand: &c.rhs,
            loops: &c.n,
            sum: &c.k,
            stride: |l| &l.rhs,
            width: n,
            outer: "column",
            size: ns.clone(),
        },
    ];
    // A lane's own part of the tile.
    s.line(format!("let lane_row = lane / {}u * {rows}u;", n / columns));
    s.line(format!("let lane_column = lane % {}u * {columns}u;", n / columns));
    let fours = columns / 4;
    for r in 0..rows {
        let names: Vec<String> = (0..fours).map(|c| format!("sum_{r}_{c}")).collect();
        names.iter().for_each(|name| s.line(format!("var {name} = vec4<f32>();")));
    }
    s.open(format!("for (var first = {from}; first < {to}; first += {k}u)"));
    factors.iter().zip(&bases).for_each(|(factor, base)| fetch(&mut s, factor, base, k, lanes, &to));
    s.line("workgroupBarrier();");
    s.open(format!("for (var k = 0u; k < {k}u; k++)"));
    for f in 0..fours {
        let at = |i: usize| format!("{right}[k * {}u + lane_column + {}u]", n + 4, 4 * f + i);
        s.line(format!("let b_{f} = vec4({}, {}, {}, {});", at(0), at(1), at(2), at(3)));
    }
    for r in 0..rows {
        s.line(format!("let a_{r} = {left}[k * {}u + lane_row + {r}u];", m + 4));
        (0..fours).for_each(|f| s.line(format!("sum_{r}_{f} = fma(vec4(a_{r}), b_{f}, sum_{r}_{f});")));
    }
    s.close();
    s.line("workgroupBarrier();");
    s.close();
    // Stores.
    let between = (split > 1).then(|| s.scratch(0, "f32"));
    for r in 0..rows {
        s.open(format!("if row + lane_row + {r}u < {ms}"));
        let row_at = match &between {
            None => along(&mut s, &c.m, |l| &l.out, &format!("(row + lane_row + {r}u)")),
            Some(_) => format!("((part * {batch} + product) * {ms} + row + lane_row + {r}u) * {ns}"),
        };
        s.line(format!("let base = {};", sum_of(&[bases[2].clone(), row_at], between.is_some())));
        for f in 0..fours {
            for (i, part) in ["x", "y", "z", "w"].into_iter().enumerate() {
                let column = format!("column + lane_column + {}u", 4 * f + i);
                s.open(format!("if {column} < {ns}"));
                let value = format!("sum_{r}_{f}.{part}");
                match &between {
                    None => {
                        let at = along(&mut s, &c.n, |l| &l.out, &format!("({column})"));
                        let at = if at == "0u" { "base".to_string() } else { format!("base + {at}") };
                        s.store(c.out.buffer, &at, &value, c.add);
                    }
                    Some(between) => s.line(format!("{between}[base + {column}] = {value};")),
                }
                s.close();
            }
        }
        s.close();
    }
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

/// The lanes fetch a tile of a factor: `k` terms of the sum for each of its rows or columns.
fn fetch(s: &mut Source, factor: &Factor, base: &str, k: usize, lanes: usize, to: &str) {
    let Factor { name, operand, loops, sum, stride, width, outer, size } = factor;
    let count = k * width;
    s.open(format!("for (var i = lane; i < {count}u; i += {lanes}u)"));
    match factor.along_sum() {
        true => {
            s.line(format!("let k = i % {k}u;"));
            s.line(format!("let j = i / {k}u;"));
        }
        false => {
            s.line(format!("let k = i / {width}u;"));
            s.line(format!("let j = i % {width}u;"));
        }
    }
    s.line("var x = 0.0;");
    s.open(format!("if first + k < {to} && {outer} + j < {size}"));
    let own = along(s, loops, *stride, &format!("({outer} + j)"));
    let summed = along(s, sum, *stride, "(first + k)");
    let at = sum_of(&[base.to_string(), own, summed], false);
    let value = s.load(operand.buffer, &at);
    s.line(format!("x = {value};"));
    s.close();
    s.line(format!("{name}[k * {}u + j] = x;", width + 4));
    s.close();
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
    let at = sum_of(&[bases[2].clone(), row, column], false);
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
        let text = sum_of(&[if offsets[i] > 0 { format!("{}u", offsets[i]) } else { "0u".into() }, moved], false);
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
    sum_of(&parts, false)
}

fn sum_of(parts: &[String], only_last: bool) -> String {
    let parts: Vec<&str> =
        parts.iter().skip(usize::from(only_last)).map(String::as_str).filter(|p| *p != "0u").collect();
    if parts.is_empty() { "0u".into() } else { parts.join(" + ") }
}

/// The axes of some loops, for the comment.
fn over(loops: &[Strided]) -> String {
    let names: Vec<String> = loops.iter().map(|l| l.dim.to_string()).collect();
    if names.is_empty() { "one".into() } else { names.join(" ") }
}
