//! The types of a program as text: `alignc emit --level types`.

use super::{AxisKind, Checked, Type};
use crate::program::Program;
use align_syntax::ast::{Body, Def, Item, ItemKind};
use align_syntax::span::Span;
use std::fmt::Write;

/// Each declaration's head as written, and by line what was found inside: the types of bindings, what methods and
/// functions give, over which axes calls are applied, and what losses and rewards take by name.
pub fn print_types(program: &Program, checked: &Checked) -> String {
    let mut text = String::new();
    for (_, item) in program.items(program.main()) {
        let head = match &item.kind {
            ItemKind::Def(def) => head(program, item, def),
            ItemKind::Param { name, .. } => format!("param {}", name.text),
            ItemKind::Record { name, .. } => format!("record {}", name.text),
            ItemKind::Test { name, .. } => format!("test {name:?}"),
            ItemKind::Bind(_) => "let".to_string(),
            ItemKind::Import { .. } | ItemKind::Edition(_) => continue,
        };
        let _ = writeln!(text, "{head}");
        let inside = |at: Span| at.file == item.span.file && item.span.start <= at.start && at.end <= item.span.end;
        let mut lines: Vec<(Span, String)> = Vec::new();
        for (at, name, ty) in checked.bindings.iter().filter(|b| inside(b.0)) {
            lines.push((*at, format!("{name}: {}", detailed(ty))));
        }
        for (at, name, ty) in checked.results.iter().filter(|b| inside(b.0)) {
            lines.push((*at, format!("{name} -> {}", detailed(ty))));
        }
        for lift in checked.lifts.iter().filter(|l| inside(l.at)) {
            lines.push((lift.at, format!("{} for each {}", lift.function, lift.axes.join(", "))));
        }
        for capture in checked.captures.iter().filter(|c| inside(c.at)) {
            lines.push((capture.at, format!("{}: {} <- {}", capture.of, capture.param, capture.from)));
        }
        lines.sort_by_key(|l| l.0);
        lines.dedup();
        for (at, line) in lines {
            let (row, _) = program.sources.line_column(at.file, at.start);
            let _ = writeln!(text, "{row:>6}  {line}");
        }
    }
    text
}

/// A type, with sizes and origins of its axes: `Tensor[time of reply, dim: width]`.
fn detailed(ty: &Type) -> String {
    match ty {
        Type::Each(element, axes) => {
            let axes: Vec<String> = axes
                .0
                .iter()
                .map(|axis| match &axis.kind {
                    AxisKind::Fixed(Some(size)) => format!("{}: {size}", axis.name),
                    AxisKind::Ragged(origin) => format!("{} of {}", axis.name, origin.shown),
                    _ => axis.name.to_string(),
                })
                .collect();
            match (&**element, &axes[..]) {
                (Type::Float, _) => format!("Tensor[{}]", axes.join(", ")),
                (element, _) => format!("{element} each [{}]", axes.join(", ")),
            }
        }
        other => other.to_string(),
    }
}

/// A declaration up to its body.
fn head(program: &Program, item: &Item, def: &Def) -> String {
    let body = match &def.body {
        Body::Expr(e) => e.span,
        Body::Block(b) => b.span,
    };
    let head = Span { start: def.kind_span.start, end: body.start.max(def.kind_span.end), file: item.span.file };
    let text = program.sources.slice(head).split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_end_matches(['=', ' ']).to_string()
}
