//! Running sums: an invocation for each line, or a workgroup that goes through its line block by block.

use align_compiler::kernel::{Cumsum, Size};
use align_compiler::tensor::{Axis, AxisKind, DType, TableKind};

use super::scalar::word;
use super::source::Source;
use super::{Context, Grid, Kernels, other_axes};

const LANES: usize = 128;
/// Indices up to which a line has one invocation.
const SHORT: usize = 64;

pub fn kernels(context: Context, step: &Cumsum) -> Kernels {
    let Cumsum { axis, input, out, .. } = step;
    let others = other_axes([input, out], &[axis]);
    let lines = Size::of(&others);
    let mut s = Source::new(context);
    let short = axis.fixed_size().is_some_and(|n| n <= SHORT);
    let group = s.group();
    s.line(match short {
        true => format!("let line = {group} * {LANES}u + lane;"),
        false => format!("let line = {group};"),
    });
    let size = s.size(&lines);
    s.open(format!("if line >= {size}"));
    s.line("return;");
    s.close();
    let loops: Vec<(String, Size)> = others.iter().map(|a| (a.name().to_string(), Size::of([a]))).collect();
    let names = s.unfold("line", &loops);
    let at: Vec<(&Axis, &str)> = others.iter().zip(names.iter().map(String::as_str)).collect();
    let at: Vec<(&Axis, &str)> = at.into_iter().chain([(axis, "i")]).collect();
    match short {
        true => alone(&mut s, step, &at),
        false => together(&mut s, step, &at),
    }
    let about = format!("running sums along {axis}{}", if step.reverse { ", from the end" } else { "" });
    let grid = Grid(vec![(lines, if short { LANES } else { 1 })]);
    Kernels { kernels: vec![s.finish(&about, LANES, grid)], ..Kernels::default() }
}

fn dtype(s: &Source, step: &Cumsum) -> DType {
    s.context.program.buffer(step.out.buffer).dtype
}

/// Says the index `i` of what is the `t`th from where the sum begins.
fn index(s: &mut Source, step: &Cumsum) -> String {
    let count = s.axis(&step.axis);
    s.line(if step.reverse { format!("let i = {count} - 1u - t;") } else { "let i = t;".to_string() });
    count
}

fn alone(s: &mut Source, step: &Cumsum, at: &[(&Axis, &str)]) {
    let of = word(dtype(s, step));
    s.line(format!("var sum = {of}();"));
    let count = s.axis(&step.axis);
    s.open(format!("for (var t = 0u; t < {count}; t++)"));
    index(s, step);
    let from = s.within(&step.input, at);
    let x = s.load(step.input.buffer, &from);
    s.line(format!("sum += {x};"));
    let to = s.within(&step.out, at);
    s.store(step.out.buffer, &to, "sum", false);
    s.close();
}

/// In blocks of the workgroup's size, by doubling steps (Hillis and Steele, 1986).
fn together(s: &mut Source, step: &Cumsum, at: &[(&Axis, &str)]) {
    let axis = &step.axis;
    let of = word(dtype(s, step));
    let sums = s.shared("sums", &format!("array<{of}, {LANES}>"));
    let count = s.axis(axis);
    s.line(format!("var before = {of}();"));
    s.open(format!("for (var first = 0u; first < {count}; first += {LANES}u)"));
    s.line("let t = first + lane;");
    s.line(format!("var sum = {of}();"));
    // How many come before it in its sum.
    s.line("var earlier = t;");
    s.open(format!("if t < {count}"));
    index(s, step);
    let from = s.within(&step.input, at);
    let x = s.load(step.input.buffer, &from);
    s.line(format!("sum = {x};"));
    if matches!(axis.kind(), AxisKind::Packed(_) | AxisKind::Pairs(_) | AxisKind::Cross(..)) {
        let position = s.table(axis, TableKind::Position, "i");
        match step.reverse {
            false => s.line(format!("earlier = u32({position});")),
            true => {
                let segment = s.table(axis, TableKind::Segment, "i");
                let length = s.table(axis, TableKind::Length, &segment);
                s.line(format!("earlier = u32({length} - 1 - {position});"));
            }
        }
    }
    s.close();
    for apart in (0..).map(|i| 1 << i).take_while(|apart| *apart < LANES) {
        s.line(format!("{sums}[lane] = sum;"));
        s.line("workgroupBarrier();");
        s.open(format!("if min(lane, earlier) >= {apart}u"));
        s.line(format!("sum += {sums}[lane - {apart}u];"));
        s.close();
        s.line("workgroupBarrier();");
    }
    s.open("if earlier > lane");
    s.line("sum += before;");
    s.close();
    s.line(format!("{sums}[lane] = sum;"));
    s.line("workgroupBarrier();");
    s.line(format!("before = {sums}[{}u];", LANES - 1));
    s.line("workgroupBarrier();");
    s.open(format!("if t < {count}"));
    index(s, step);
    let to = s.within(&step.out, at);
    s.store(step.out.buffer, &to, "sum", false);
    s.close();
    s.close();
}
