//! The cotangents of query, key and value.

use align_compiler::kernel::{AttentionGradStep, Size};
use align_compiler::tensor::{Attention, TableKind};

use super::{LANES, ROWS, TILE, Writer, parts, width};
use crate::shader::source::Source;
use crate::shader::{Context, Grid, Kernel, Kernels, Words};

/// The piece of the step's memory that has, for each query, the sum of its output times the cotangent of it.
const SUMS: usize = 0;

pub fn kernels(context: Context, step: &AttentionGradStep) -> Kernels {
    let Attention { time, kv, rep, .. } = &step.attention;
    let rows = Size::of(kv.iter().chain(rep)).times_axis(time);
    Kernels {
        kernels: vec![sums(context, step), of_keys(context, step), of_queries(context, step)],
        scratch: vec![Words { of: rows, power: None }],
        ..Kernels::default()
    }
}

/// Eight lanes to a row.
fn sums(context: Context, step: &AttentionGradStep) -> Kernel {
    let Attention { time, vdim, kv, rep, .. } = &step.attention;
    let mut w = Writer::new(Source::new(context), &step.attention, vec![]);
    let partial = w.s.shared("of_lanes", &format!("array<f32, {LANES}>"));
    let heads = Size::of(kv.iter().chain(rep));
    let rows = heads.clone().times_axis(time);
    let (count, per_place) = (w.s.size(&rows), w.s.size(&heads));
    let group = w.s.group();
    w.s.line(format!("let row = {group} * 8u + lane / 8u;"));
    // What rows past the last one read is not used.
    w.s.line(format!("let inside = min(row, {count} - 1u);"));
    w.s.line(format!("let place = inside / {per_place};"));
    w.s.line(format!("let head = inside % {per_place};"));
    w.unfold("head", &[&kv[..], &rep[..]].concat());
    let [out, cotangent] =
        [(&step.out, "out"), (&step.cotangent, "cotangent")].map(|(view, name)| w.rows(view, vdim, name));
    w.s.line("var sum = 0.0;");
    w.s.open(format!("for (var i = lane % 8u; i < {}u; i += 8u)", width(vdim)));
    let (left, right) = (w.at(&out, "place", "i"), w.at(&cotangent, "place", "i"));
    let (left, right) = (w.s.load(step.out.buffer, &left), w.s.load(step.cotangent.buffer, &right));
    w.s.line(format!("sum = fma({left}, {right}, sum);"));
    w.s.close();
    w.s.line(format!("{partial}[lane] = sum;"));
    w.s.line("workgroupBarrier();");
    w.s.open(format!("if lane % 8u == 0u && row < {count}"));
    let between = w.s.scratch(SUMS, "f32");
    let all: Vec<String> = (0..8).map(|i| format!("{partial}[lane + {i}u]")).collect();
    w.s.line(format!("{between}[row] = {};", all.join(" + ")));
    w.s.close();
    w.s.finish("attention, backward: sums of outputs times their cotangents", LANES, Grid(vec![(rows, 8)]))
}

/// A workgroup for each tile of queries of a head.
fn of_queries(context: Context, step: &AttentionGradStep) -> Kernel {
    let Attention { time, hdim, vdim, kv, rep, .. } = &step.attention;
    let views = vec![&step.query, &step.key, &step.value, &step.lse, &step.cotangent, &step.query_grad];
    let mut w = Writer::new(Source::new(context), &step.attention, views);
    let heads = Size::of(kv.iter().chain(rep));
    let parts = parts(width(hdim));
    w.begin(&heads, parts);
    w.unfold("head", &[&kv[..], &rep[..]].concat());
    let query = w.rows(&step.query, hdim, "query");
    let key = w.rows(&step.key, hdim, "key");
    let value = w.rows(&step.value, vdim, "value");
    let cotangent = w.rows(&step.cotangent, vdim, "cotangent");
    let grad = w.rows(&step.query_grad, hdim, "grad");
    let lse = w.at_head(&step.lse, "of_lse");
    w.grow(step.tree.as_ref());
    let (scale, between, count) = (w.scale(), w.s.scratch(SUMS, "f32"), w.s.size(&heads));
    for i in 0..ROWS {
        let inside = format!("inside_{i}");
        let first = w.first_key(&inside);
        w.s.line(format!("let seen_{i} = {first};"));
        let total = w.number(&step.lse, &lse, &inside);
        w.s.line(format!("let total_{i} = {total};"));
        w.s.line(format!("let sum_{i} = {between}[{inside} * {count} + head];"));
    }
    w.row_branches(true);
    let begin = w.uniform("begin", "seen_0");
    w.s.line(format!("let end = min(first_row + {TILE}u, {});", w.time));
    w.zeros("grad", width(hdim));
    w.s.open(format!("for (var first_column = {begin}; first_column < end; first_column += {TILE}u)"));
    w.scores("s", &query, &key);
    w.scores("d", &cotangent, &value);
    w.columns();
    w.column_branches(false);
    for i in 0..ROWS {
        let tree = w.branch_mask(i, true);
        w.s.line(format!("let mask_{i} = (columns >= vec4(seen_{i})) & (columns <= vec4(row_{i})){tree};"));
        w.s.line(format!("let p_{i} = exp(select(vec4(-1e30), s_{i} * {scale} - total_{i}, mask_{i}));"));
        w.s.line(format!("let slope_{i} = p_{i} * (d_{i} - sum_{i});"));
    }
    w.product("grad", "slope", &key);
    w.s.close();
    w.store("grad", &grad, |_, value| format!("{value} * {scale}"));
    let grid = vec![(Size::of([time]), TILE), (heads, 1), (Size::number(parts), 1)];
    w.s.finish(
        "attention, backward: queries; scores and probabilities are made again and never stored",
        LANES,
        Grid(grid),
    )
}

/// A workgroup for each tile of keys of a head that key and value have: rows of scores are keys, columns are queries.
fn of_keys(context: Context, step: &AttentionGradStep) -> Kernel {
    let Attention { time, hdim, vdim, kv, rep, window, .. } = &step.attention;
    let views = vec![&step.query, &step.key, &step.value, &step.lse, &step.cotangent, &step.key_grad, &step.value_grad];
    let mut w = Writer::new(Source::new(context), &step.attention, views);
    let (heads, reps) = (Size::of(kv), Size::of(rep));
    let parts = parts(width(hdim).max(width(vdim)));
    w.begin(&heads, parts);
    w.unfold("head", kv);
    let key = w.rows(&step.key, hdim, "key");
    let value = w.rows(&step.value, vdim, "value");
    let key_grad = w.rows(&step.key_grad, hdim, "key_grad");
    let value_grad = w.rows(&step.value_grad, vdim, "value_grad");
    w.grow(step.tree.as_ref());
    w.row_branches(false);
    let (scale, between, per_place) = (w.scale(), w.s.scratch(SUMS, "f32"), w.s.size(&reps.times(&heads)));
    // The last query that sees a key of the tile, and one.
    w.s.line(format!("let last = min(first_row + {}u, {} - 1u);", TILE - 1, w.time));
    let segment = w.s.table(time, TableKind::Segment, "last");
    w.s.line(format!("let segment = {segment};"));
    let (start, length) = (w.s.table(time, TableKind::Start, "segment"), w.s.table(time, TableKind::Length, "segment"));
    let end = match window.filter(|_| step.tree.is_none()) {
        None => format!("u32({start} + {length})"),
        Some(window) => format!("min(u32({start} + {length}), last + {}u)", window.max(1)),
    };
    let end = w.uniform("end", &end);
    w.zeros("key", width(hdim));
    w.zeros("value", width(vdim));
    let reps = w.s.size(&reps);
    if reps != "1u" {
        w.s.open(format!("for (var rep = 0u; rep < {reps}; rep++)"));
        w.unfold("rep", rep);
        w.s.line(format!("let full_head = head * {reps} + rep;"));
    } else {
        w.unfold("0u", rep);
        w.s.line("let full_head = head;");
    }
    let query = w.rows(&step.query, hdim, "query");
    let cotangent = w.rows(&step.cotangent, vdim, "cotangent");
    let lse = w.at_head(&step.lse, "of_lse");
    w.s.open(format!("for (var first_column = first_row; first_column < {end}; first_column += {TILE}u)"));
    w.scores("s", &key, &query);
    w.scores("d", &value, &cotangent);
    w.columns();
    w.column_branches(true);
    let [mut seen, mut totals, mut sums] = [const { vec![] }; 3];
    for j in 0..4 {
        w.s.line(format!("let query_{j} = min(columns[{j}u], {} - 1u);", w.time));
        let query = format!("query_{j}");
        seen.push(w.first_key(&query));
        totals.push(w.number(&step.lse, &lse, &query));
        sums.push(format!("{between}[{query} * {per_place} + full_head]"));
    }
    w.s.line(format!("let seen = vec4({});", seen.join(", ")));
    w.s.line(format!("let total = vec4({});", totals.join(", ")));
    w.s.line(format!("let sum = vec4({});", sums.join(", ")));
    w.s.line(format!("let inside = columns < vec4({});", w.time));
    for i in 0..ROWS {
        let row = format!("vec4(row_{i})");
        let tree = w.branch_mask(i, false);
        w.s.line(format!("let mask_{i} = (columns >= {row}) & (seen <= {row}) & inside{tree};"));
        w.s.line(format!("let p_{i} = exp(select(vec4(-1e30), s_{i} * {scale} - total, mask_{i}));"));
        w.s.line(format!("let slope_{i} = p_{i} * (d_{i} - sum);"));
    }
    w.product("value", "p", &cotangent);
    w.product("key", "slope", &query);
    w.s.close();
    if reps != "1u" {
        w.s.close();
    }
    w.store("key", &key_grad, |_, value| format!("{value} * {scale}"));
    w.store("value", &value_grad, |_, value| value.to_string());
    let grid = vec![(Size::of([time]), TILE), (heads, 1), (Size::number(parts), 1)];
    w.s.finish(
        "attention, backward: keys and values; scores and probabilities are made again and never stored",
        LANES,
        Grid(grid),
    )
}
