//! Scatter-add without atomics, in an order that nothing changes.
//!
//! Every line of the output along the axis of the index is a problem of its own: those of the axes that the index has too
//! are called lines, the others columns. Few places are gone through by one invocation for each line and column; many are
//! sorted by their index first, and an invocation adds up what has one index.

use align_compiler::kernel::{Scatter, Size, View};
use align_compiler::tensor::{Axis, Lengths};

use super::library::Function;
use super::sort::{self, Pairs};
use super::source::Source;
use super::{Context, Grid, Kernel, Kernels, Site, other_axes};

/// How places are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Places {
    InOrder,
    Sorted,
}

const LANES: usize = 128;
/// Places that are better not sorted.
const FEW: usize = 64;

pub fn places(step: &Scatter, lengths: &Lengths) -> Places {
    let Groups { indexed, summed, .. } = groups(step);
    let count = Size::of(indexed.iter().chain(&summed)).get(lengths);
    if count <= FEW { Places::InOrder } else { Places::Sorted }
}

/// The axes of index and values.
struct Groups {
    lines: Vec<Axis>,
    columns: Vec<Axis>,
    /// Of places: those that the index has, and those that it lacks.
    indexed: Vec<Axis>,
    summed: Vec<Axis>,
}

fn groups(step: &Scatter) -> Groups {
    let Scatter { axis, index, values, out, .. } = step;
    let all = other_axes([index, values], &[]);
    let (kept, places): (Vec<Axis>, Vec<Axis>) = all.into_iter().partition(|a| a != axis && out.has(a));
    let (lines, mut columns): (Vec<Axis>, Vec<Axis>) = kept.into_iter().partition(|a| index.has(a));
    // Neighbouring invocations write neighbouring entries.
    columns.sort_by_key(|a| out.stride(a).is_one());
    let (indexed, summed) = places.into_iter().partition(|a| index.has(a));
    Groups { lines, columns, indexed, summed }
}

pub fn kernels(context: Context, step: &Scatter, places: Places) -> Kernels {
    let mut all = Kernels { sites: vec![Site::Index(step.out.buffer)], ..Kernels::default() };
    if !step.add && !context.of(step.out.buffer).add {
        all.kernels.push(zeros(context, &step.out));
    }
    let groups = groups(step);
    match places {
        Places::InOrder => all.kernels.push(in_order(context, step, &groups)),
        Places::Sorted => {
            let pairs = Pairs { rows: Size::of(&groups.lines), count: Size::of(&groups.indexed) };
            all.kernels.push(order(context, step, &groups, &pairs));
            all.kernels.push(runs(context, step, &groups, &pairs));
            all.scratch = pairs.scratch();
        }
    }
    all
}

/// Names of the indices of some axes at a place counted over all of them.
fn unfold(s: &mut Source, place: &str, axes: &[Axis]) -> Vec<(Axis, String)> {
    let loops: Vec<(String, Size)> = axes.iter().map(|a| (a.name().to_string(), Size::of([a]))).collect();
    axes.iter().cloned().zip(s.unfold(place, &loops)).collect()
}

fn within(s: &mut Source, view: &View, at: &[(Axis, String)]) -> String {
    let at: Vec<(&Axis, &str)> = at.iter().map(|(axis, name)| (axis, name.as_str())).collect();
    s.within(view, &at)
}

/// Says which of `count` things the invocation has.
fn own(s: &mut Source, name: &str, count: &Size) {
    let group = s.group();
    s.line(format!("let {name} = {group} * {LANES}u + lane;"));
    let count = s.size(count);
    s.open(format!("if {name} >= {count}"));
    s.line("return;");
    s.close();
}

fn zeros(context: Context, out: &View) -> Kernel {
    let mut s = Source::new(context);
    let axes = other_axes([out], &[]);
    let count = Size::of(&axes);
    own(&mut s, "entry", &count);
    let at = unfold(&mut s, "entry", &axes);
    let place = within(&mut s, out, &at);
    s.store(out.buffer, &place, "0.0", false);
    s.finish("zeros", LANES, Grid(vec![(count, LANES)]))
}

/// The index at a place, or 0 and a fault.
fn checked(s: &mut Source, step: &Scatter, at: &[(Axis, String)]) -> String {
    let place = within(s, &step.index, at);
    let index = s.load(step.index.buffer, &place);
    let (below, site) = (s.axis(&step.axis), s.fault());
    s.call(Function::Checked, &[&index, &below, &site])
}

fn in_order(context: Context, step: &Scatter, groups: &Groups) -> Kernel {
    let mut s = Source::new(context);
    let kept = [&groups.lines[..], &groups.columns].concat();
    let count = Size::of(&kept);
    own(&mut s, "line", &count);
    let mut at = unfold(&mut s, "line", &kept);
    let places = [&groups.indexed[..], &groups.summed].concat();
    let size = s.size(&Size::of(&places));
    s.open(format!("for (var place = 0u; place < {size}; place++)"));
    let of_out = at.clone();
    at.extend(unfold(&mut s, "place", &places));
    let index = checked(&mut s, step, &at);
    s.line(format!("let to = {index};"));
    let from = within(&mut s, &step.values, &at);
    let value = s.load(step.values.buffer, &from);
    s.line(format!("let value = {value};"));
    let at = [&of_out[..], &[(step.axis.clone(), "to".into())]].concat();
    let place = within(&mut s, &step.out, &at);
    s.store(step.out.buffer, &place, "value", true);
    s.close();
    s.finish(&format!("adds along {}", step.axis), LANES, Grid(vec![(count, LANES)]))
}

/// Sorts the places of each line by their index.
fn order(context: Context, step: &Scatter, groups: &Groups, pairs: &Pairs) -> Kernel {
    let mut s = Source::new(context);
    let row = sort::begin(&mut s, pairs);
    let line = unfold(&mut s, &row, &groups.lines);
    pairs.sort(&mut s, |s| {
        let at = [line, unfold(s, "i", &groups.indexed)].concat();
        checked(s, step, &at)
    });
    let (lanes, grid) = sort::grid(pairs);
    s.finish(&format!("order of places by {}", step.axis), lanes, grid)
}

/// The invocation of the first of the places that have one index adds all of them up.
fn runs(context: Context, step: &Scatter, groups: &Groups, pairs: &Pairs) -> Kernel {
    let mut s = Source::new(context);
    let columns = Size::of(&groups.columns);
    let all = pairs.rows.times(&pairs.count).times(&columns);
    own(&mut s, "entry", &all);
    pairs.padded(&mut s);
    let (width, count) = (s.size(&columns), s.size(&pairs.count));
    s.line(format!("let pair = entry / {width} % {count};"));
    s.line(format!("let line = entry / ({width} * {count});"));
    s.line("let base = line * padded;");
    let key = pairs.key(&mut s, "base + pair");
    s.line(format!("let to = {key};"));
    let before = pairs.key(&mut s, "base + max(pair, 1u) - 1u");
    s.open(format!("if pair > 0u && {before} == to"));
    s.line("return;");
    s.close();
    let mut at = unfold(&mut s, "line", &groups.lines);
    s.line(format!("let column = entry % {width};"));
    at.extend(unfold(&mut s, "column", &groups.columns));
    s.line("var sum = 0.0;");
    let key = pairs.key(&mut s, "base + next");
    s.open(format!("for (var next = pair; next < {count} && {key} == to; next++)"));
    let index = pairs.index(&mut s, "base + next");
    s.line(format!("let place = {index};"));
    let mut from = at.clone();
    from.extend(unfold(&mut s, "place", &groups.indexed));
    let sums = !groups.summed.is_empty();
    if sums {
        let size = s.size(&Size::of(&groups.summed));
        s.open(format!("for (var part = 0u; part < {size}; part++)"));
        from.extend(unfold(&mut s, "part", &groups.summed));
    }
    let place = within(&mut s, &step.values, &from);
    let value = s.load(step.values.buffer, &place);
    s.line(format!("sum += {value};"));
    if sums {
        s.close();
    }
    s.close();
    let at = [&at[..], &[(step.axis.clone(), "to".into())]].concat();
    let place = within(&mut s, &step.out, &at);
    s.store(step.out.buffer, &place, "sum", step.add);
    s.finish(&format!("adds along {}, by sorted places", step.axis), LANES, Grid(vec![(all, LANES)]))
}
