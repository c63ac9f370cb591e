//! The attended values and the log-sum-exp of the scores: a workgroup for each tile of queries of a head.

use align_compiler::kernel::{AttentionStep, Size};
use align_compiler::tensor::Attention;

use super::{LANES, ROWS, TILE, Writer, parts, width};
use crate::shader::source::Source;
use crate::shader::{Context, Grid, Kernels};

/// Less than any score.
const MASKED: &str = "-1e30";

pub fn kernels(context: Context, step: &AttentionStep) -> Kernels {
    let Attention { time, hdim, vdim, kv, rep, .. } = &step.attention;
    let views = vec![&step.query, &step.key, &step.value, &step.out, &step.lse];
    let mut w = Writer::new(Source::new(context), &step.attention, views);
    let maxima = w.s.shared("of_lanes", &format!("array<f32, {}>", TILE * 9));
    let heads = Size::of(kv.iter().chain(rep));
    let parts = parts(width(vdim));
    w.begin(&heads, parts);
    w.unfold("head", &[&kv[..], &rep[..]].concat());
    let query = w.rows(&step.query, hdim, "query");
    let key = w.rows(&step.key, hdim, "key");
    let value = w.rows(&step.value, vdim, "value");
    let out = w.rows(&step.out, vdim, "out");
    let lse = w.at_head(&step.lse, "of_lse");
    w.grow(step.tree.as_ref());
    let scale = w.scale();
    for i in 0..ROWS {
        let first = w.first_key(&format!("inside_{i}"));
        w.s.line(format!("let seen_{i} = {first};"));
    }
    w.row_branches(true);
    let begin = w.uniform("begin", "seen_0");
    w.s.line(format!("let end = min(first_row + {TILE}u, {});", w.time));
    for i in 0..ROWS {
        w.s.line(format!("var largest_{i} = {MASKED};"));
        w.s.line(format!("var total_{i} = 0.0;"));
    }
    w.zeros("out", width(vdim));
    w.s.open(format!("for (var first_column = {begin}; first_column < end; first_column += {TILE}u)"));
    w.scores("s", &query, &key);
    w.columns();
    w.column_branches(false);
    for i in 0..ROWS {
        let tree = w.branch_mask(i, true);
        w.s.line(format!("let mask_{i} = (columns >= vec4(seen_{i})) & (columns <= vec4(row_{i})){tree};"));
        w.s.line(format!("let scaled_{i} = select(vec4({MASKED}), s_{i} * {scale}, mask_{i});"));
        let most = |a: &str, b: &str| format!("max(scaled_{i}.{a}, scaled_{i}.{b})");
        w.s.line(format!("{maxima}[(down + {}u) * 9u + across] = max({}, {});", 8 * i, most("x", "y"), most("z", "w")));
    }
    w.s.line("workgroupBarrier();");
    let of_row = |i: usize, lane: usize| format!("{maxima}[(down + {}u) * 9u + {lane}u]", 8 * i);
    for i in 0..ROWS {
        let most = (0..8).fold(format!("largest_{i}"), |most, lane| format!("max({most}, {})", of_row(i, lane)));
        w.s.line(format!("let most_{i} = {most};"));
        w.s.line(format!("let shrunk_{i} = exp(largest_{i} - most_{i});"));
        w.s.line(format!("largest_{i} = most_{i};"));
        w.s.line(format!("let p_{i} = select(vec4<f32>(), exp(scaled_{i} - most_{i}), mask_{i});"));
        w.s.line(format!("total_{i} = fma(total_{i}, shrunk_{i}, (p_{i}.x + p_{i}.y) + (p_{i}.z + p_{i}.w));"));
        for f in 0..Writer::own_fours(width(vdim)) {
            w.s.line(format!("out_{i}_{f} *= shrunk_{i};"));
        }
    }
    w.product("out", "p", &value);
    w.s.close();
    for i in 0..ROWS {
        w.s.line(format!("{maxima}[(down + {}u) * 9u + across] = total_{i};", 8 * i));
    }
    w.s.line("workgroupBarrier();");
    for i in 0..ROWS {
        let sum: Vec<String> = (0..8).map(|lane| of_row(i, lane)).collect();
        w.s.line(format!("let sum_{i} = {};", sum.join(" + ")));
    }
    w.store("out", &out, |i, value| format!("{value} / sum_{i}"));
    w.s.open("if across == 0u && part == 0u");
    for i in 0..ROWS {
        w.s.open(format!("if row_{i} < {}", w.time));
        let time = w.s.times(&format!("row_{i}"), &step.lse.stride(time)).unwrap_or("0u".into());
        let at = if lse == "0u" { time } else { format!("{lse} + {time}") };
        w.s.store(step.lse.buffer, &at, &format!("largest_{i} + log(sum_{i})"), false);
        w.s.close();
    }
    w.s.close();
    let grid = vec![(Size::of([time]), TILE), (heads, 1), (Size::number(parts), 1)];
    Kernels {
        kernels: vec![w.s.finish("attention: scores and probabilities are never stored", LANES, Grid(grid))],
        ..Kernels::default()
    }
}
