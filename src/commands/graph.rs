//! `alignc graph`: the stages of a program, drawn.

use crate::args::Graph;
use crate::commands::{STORE, build, checked};
use crate::drawing::{Arrow, Box, Drawing, Look, dot, svg, wrapped};
use crate::failure::Failure;
use crate::print::out;
use align_compiler::stage::graph::{Reads, StageGraph, StageKind};
use align_compiler::stage::print::{grouped, word};
use align_runtime::world::Files;
use std::fs;

/// Letters of a line in a box.
const LETTERS: usize = 30;

pub fn graph(args: &Graph) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file).with_store(STORE);
    let (program, _) = checked(&args.file, &world)?;
    let graph = build(&program, &args.settings, &world)?;
    let drawing = drawing(&graph);
    let Some(path) = &args.out else {
        out!("{}", dot(&drawing));
        return Ok(());
    };
    let text = match path.extension().and_then(|end| end.to_str()) {
        Some("svg") => svg(&drawing),
        Some("dot" | "gv") => dot(&drawing),
        _ => return Err(Failure::Usage(format!("{}: a drawing is a file that ends in .svg or .dot", path.display()))),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Failure::io(folder, "create", &error))?;
    }
    fs::write(path, text).map_err(|error| Failure::io(path, "write", &error))
}

/// Stages that something needs, and what reads what; what is read twice is one arrow.
fn drawing(graph: &StageGraph) -> Drawing {
    let order = graph.order();
    let mut drawing = Drawing::default();
    for id in &order {
        let stage = graph.get(*id);
        let (look, more) = match &stage.kind {
            StageKind::Init(_)
            | StageKind::Patch(_)
            | StageKind::Merge(_)
            | StageKind::Choose(_)
            | StageKind::Join(_)
            | StageKind::Part(_) => (Look::Source, None),
            StageKind::Load(load) => (Look::Source, Some(load.path.clone())),
            StageKind::Data(data) => (Look::Source, Some(format!("{} rows", grouped(data.rows)))),
            StageKind::Train(_) | StageKind::Evaluate(_) => (Look::Kept, None),
            StageKind::Sample(sample) => {
                let (prompts, n) = (sample.asks.len(), sample.wanted.replies());
                (Look::Kept, Some(format!("{n} for each of {} prompts", grouped(prompts))))
            }
            StageKind::Ask(ask) => {
                (Look::Kept, Some(format!("{} requests to {}", grouped(ask.questions.len()), ask.server.name())))
            }
            StageKind::Save(save) => (Look::End, Some(save.to.clone())),
            StageKind::Show(_) => (Look::End, None),
            StageKind::Assert(assert) => (Look::End, Some(assert.text.clone())),
            StageKind::Plot(plot) => {
                let labels = plot.series.iter().map(|series| series.label.clone()).collect::<Vec<_>>();
                (Look::End, Some(labels.join(", ")))
            }
        };
        let mut lines = vec![word(&stage.kind).to_string()];
        if !stage.name.is_empty() {
            lines.extend(wrapped(&stage.name, LETTERS));
        }
        lines.extend(more.iter().flat_map(|more| wrapped(more, LETTERS)));
        drawing.boxes.push(Box { lines, look });
    }
    for (to, id) in order.iter().enumerate() {
        for (from, what) in graph.inputs(*id) {
            let Some(from) = order.iter().position(|other| *other == from) else { continue };
            // What stays as it is, beside what is trained.
            let strong = !(matches!(what, Reads::Frozen(_)) && matches!(graph.get(*id).kind, StageKind::Train(_)));
            match drawing.arrows.iter_mut().find(|arrow| (arrow.from, arrow.to) == (from, to)) {
                Some(arrow) => arrow.strong |= strong,
                None => drawing.arrows.push(Arrow { from, to, strong }),
            }
        }
    }
    drawing
}
