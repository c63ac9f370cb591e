//! `alignc emit`: a level of the compilation as text.

use crate::args::{Emit, Level};
use crate::commands::{build, checked, report};
use crate::failure::{Failure, read};
use crate::print::out;
use align_compiler::check::print_types;
use align_compiler::kernel;
use align_compiler::stage::graph::{StageGraph, StageKind, TrainNode};
use align_compiler::tensor::print::print;
use align_runtime::engine::Cpu;
use align_runtime::world::Files;
use align_syntax::span::{FileId, Sources};

pub fn emit(args: &Emit) -> Result<(), Failure> {
    if args.level == Level::Tree {
        return tree(args);
    }
    let world = Files::of_program(".", &args.file);
    let (program, checked) = checked(&args.file, &world)?;
    if args.level == Level::Types {
        out!("{}", print_types(&program, &checked));
        return Ok(());
    }
    let graph = build(&program, &args.settings, &world)?;
    if args.level == Level::Stages {
        out!("{graph}");
        return Ok(());
    }
    let node = training(&graph, args.stage.as_deref())?;
    let step = &node.stage.step;
    match args.level {
        Level::Tensor => out!("{}", print(step)),
        Level::Kernels => out!("{}", fuse(step)?),
        Level::Host => out!("{}", align_compiler::host::step_loop(&node.stage).map_err(Failure::new)?),
        Level::Clif => out!("{}", Cpu::new(1).clif(&fuse(step)?).map_err(Failure::new)?),
        Level::Wgsl => out!("{}", wgsl(&fuse(step)?)?),
        Level::Tree | Level::Types | Level::Stages => unreachable!("printed above"),
    }
    Ok(())
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
