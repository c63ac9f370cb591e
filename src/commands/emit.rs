//! `alignc emit`: a level of the compilation as text.

use crate::args::{Emit, Level};
use crate::commands::{STORE, build, build_with, checked, options, report};
use crate::failure::{Failure, read};
use crate::print::{out, outln};
use align_compiler::check::print_types;
use align_compiler::host::{Role, step_loop};
use align_compiler::kernel;
use align_compiler::program::Program;
use align_compiler::stage::graph::{StageGraph, StageKind, TrainNode};
use align_compiler::stage::passes::{PASSES, Passes};
use align_compiler::stage::train::TrainStage;
use align_compiler::tensor::print::print;
use align_runtime::engine::Cpu;
use align_runtime::world::Files;
use align_syntax::span::{FileId, Sources};

pub fn emit(args: &Emit) -> Result<(), Failure> {
    if args.level == Level::Tree {
        return tree(args);
    }
    let world = Files::of_program(".", &args.file).with_store(STORE);
    let (program, checked) = checked(&args.file, &world)?;
    if args.level == Level::Types {
        out!("{}", print_types(&program, &checked));
        return Ok(());
    }
    let graph = build(&program, &args.settings, &world)?;
    if args.passes {
        return passes(args, &program, &world);
    }
    if args.level == Level::Stages {
        out!("{graph}");
        return Ok(());
    }
    let node = training(&graph, args.stage.as_deref())?;
    lowered(args, &node.stage, Role::Stage)?;
    for update in &node.updates {
        outln!("\nupdate {}", update.name);
        lowered(args, &update.stage, Role::Turn)?;
    }
    Ok(())
}

/// The step of a stage or of an update in it.
fn lowered(args: &Emit, stage: &TrainStage, role: Role) -> Result<(), Failure> {
    let step = &stage.step;
    match args.level {
        Level::Tensor => out!("{}", print(step)),
        Level::Kernels => out!("{}", fuse(step)?),
        Level::Host => out!("{}", step_loop(stage, role).map_err(Failure::new)?),
        Level::Clif => out!("{}", Cpu::new(1).clif(&fuse(step)?).map_err(Failure::new)?),
        Level::Wgsl => out!("{}", wgsl(&fuse(step)?)?),
        Level::Tree | Level::Types | Level::Stages => unreachable!("printed above"),
    }
    Ok(())
}

/// The stages before all passes, then for each pass the lines that it takes away and those that it adds.
fn passes(args: &Emit, program: &Program, world: &Files) -> Result<(), Failure> {
    if args.level != Level::Stages {
        return Err(Failure::Usage("`--passes` goes with `--level stages`".into()));
    }
    let of = |count: usize| -> Result<String, Failure> {
        let mut building = options(&args.settings);
        let left_out: Vec<&str> = building.passes.left_out().collect();
        let mut passes = Passes::first(count);
        left_out.into_iter().for_each(|name| passes.leave_out(name));
        building.passes = passes;
        Ok(build_with(program, &building, world)?.planned())
    };
    let mut before = of(0)?;
    out!("{before}");
    for (at, pass) in PASSES.iter().enumerate() {
        let after = of(at + 1)?;
        outln!("\n{}: {}", pass.name, pass.does);
        let changed = changes(&before, &after);
        out!("{}", if changed.is_empty() { "  nothing changes\n" } else { &changed });
        before = after;
    }
    Ok(())
}

/// The lines that are in one text alone, in order: `- ` of the first, `+ ` of the second.
fn changes(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    // The longest common subsequence from each pair of places on.
    let mut longest = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = match a[i] == b[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            text += &format!("- {}\n", a[i]);
            i += 1;
        } else {
            text += &format!("+ {}\n", b[j]);
            j += 1;
        }
    }
    text
}

fn tree(args: &Emit) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let mut sources = Sources::default();
    sources.add(args.file.display().to_string(), text.as_str());
    let mut parsed = align_syntax::parse(FileId(0), &text);
    out!("{}", align_syntax::print::print(&parsed.file));
    report(&mut parsed.diagnostics, &sources)
}

fn fuse(step: &align_compiler::tensor::Graph) -> Result<kernel::Program, Failure> {
    kernel::fuse(step).map_err(Failure::new)
}

/// Each shader once, with what else uses it.
#[cfg(feature = "gpu")]
fn wgsl(program: &kernel::Program) -> Result<String, Failure> {
    Ok(align_gpu::shader::text(program))
}

#[cfg(not(feature = "gpu"))]
fn wgsl(_: &kernel::Program) -> Result<String, Failure> {
    Err(Failure::new("this alignc is built without GPUs (the feature `gpu`)"))
}

/// The training stage of a name, or the first.
fn training<'g, 'p>(graph: &'g StageGraph<'p>, name: Option<&str>) -> Result<&'g TrainNode<'p>, Failure> {
    let stages = graph.stages().filter_map(|(_, stage)| match &stage.kind {
        StageKind::Train(node) => Some((stage.name.as_str(), &**node)),
        _ => None,
    });
    let mut names = vec![];
    for (stage, node) in stages {
        if name.is_none_or(|name| name == stage) {
            return Ok(node);
        }
        names.push(stage);
    }
    Err(Failure::Usage(match (name, names.is_empty()) {
        (_, true) => "the program has no training stage".to_string(),
        (Some(name), false) => format!("there is no training stage `{name}`; there are: {}", names.join(", ")),
        (None, false) => unreachable!("the first stage is taken"),
    }))
}
