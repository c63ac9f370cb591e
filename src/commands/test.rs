//! `alignc test`: the tests that `.align` files hold, in the interpreter (f64) and by kernels (f32).

use crate::args::Test;
use crate::commands::{report, style};
use crate::failure::{Failure, read};
use crate::print::{err, outln};
use align_compiler::eval::tests::{EXACT, SINGLE, TestOptions, TestOutcome, TestResult, interpret, run_tests};
use align_compiler::interp::{Named, Value};
use align_compiler::program;
use align_compiler::tensor::{DType, Graph, Lengths, Op};
use align_runtime::engine::{Bindings, Cpu, Engine, Slot};
use align_runtime::world::Files;
use align_syntax::render::render;
use std::path::{Path, PathBuf};

/// What the tests came to.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub fn test(args: &Test) -> Result<(), Failure> {
    let mut counts = Counts::default();
    for (name, text) in files(args)? {
        let world = Files::of_program(".", Path::new(&name));
        let (program, mut diagnostics) = program::load(&name, &text, &world);
        report(&mut diagnostics, &program.sources)?;
        let vectors = |name: &str| vectors(args.vectors.as_deref(), name);
        let cpu = Cpu::new(1);
        let kernels = |graph: &Graph, given: &Named, lengths: &Lengths| through(&cpu, graph, given, lengths);
        let exact = TestOptions { vectors: &vectors, run: &interpret, tolerance: EXACT };
        let single = TestOptions { vectors: &vectors, run: &kernels, tolerance: SINGLE };
        for (how, options) in [("f64", exact), ("f32 kernels", single)] {
            for result in run_tests(&program, &world, &options) {
                if args.only.as_ref().is_some_and(|only| !result.name.contains(only.as_str())) {
                    continue;
                }
                let title = title(&name, &result, how);
                match &result.outcome {
                    TestOutcome::Passed => counts.passed += 1,
                    TestOutcome::Failed(diagnostic) => {
                        counts.failed += 1;
                        outln!("FAILED  {title}");
                        err!("{}", render(std::slice::from_ref(diagnostic), &program.sources, style()));
                    }
                    TestOutcome::Skipped(why) => {
                        counts.skipped += 1;
                        outln!("skipped {title}: {why}");
                    }
                }
            }
        }
    }
    let Counts { passed, failed, skipped } = counts;
    outln!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { Err(Failure::Said) } else { Ok(()) }
}

fn title(file: &str, result: &TestResult, how: &str) -> String {
    let case = result.case.map_or(String::new(), |case| format!(", case {case}"));
    format!("{file}: {}{case} ({how})", result.name)
}

/// Names and texts of the files that the arguments mean.
fn files(args: &Test) -> Result<Vec<(String, String)>, Failure> {
    let mut all = vec![];
    for path in &args.files {
        if path == Path::new("stdlib") {
            for module in align_stdlib::modules().filter_map(align_stdlib::module) {
                all.extend(module.files.iter().map(|(name, text)| (name.to_string(), text.to_string())));
            }
        } else if path.is_dir() {
            let mut found = vec![];
            find(path, &mut found)?;
            for path in found {
                all.push((path.display().to_string(), read(&path)?));
            }
        } else {
            all.push((path.display().to_string(), read(path)?));
        }
    }
    Ok(all)
}

/// The `.align` files below a folder, in order of names.
fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let read = |error: std::io::Error| Failure::io(folder, "read", &error);
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(read)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(read)?;
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => find(&path, found)?,
            false if path.extension().is_some_and(|end| end == "align") => found.push(path),
            false => {}
        }
    }
    Ok(())
}

/// The numbers of a method, if the folder has them.
fn vectors(folder: Option<&Path>, name: &str) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(folder?.join(format!("{name}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

/// Runs a graph by kernels as if by the interpreter.
fn through(
    engine: &dyn Engine,
    graph: &Graph,
    given: &Named,
    lengths: &Lengths,
) -> Result<Vec<(String, Value)>, String> {
    let compiled = engine.compile(graph).map_err(|error| error.to_string())?;
    let mut leaves = vec![];
    for (_, data) in graph.nodes() {
        let (Op::Input(name) | Op::Weight(name)) = &data.op else { continue };
        let value = given.get(name).ok_or_else(|| format!("{name} is not given"))?;
        leaves.push((name.as_str(), Numbers::of(data.dtype, &value.laid_out(&data.axes, lengths).data)));
    }
    let mut outputs: Vec<(&str, Value, Numbers)> = vec![];
    for (name, node) in &graph.outputs {
        let data = graph.get(*node);
        let size = data.axes.iter().map(|a| lengths.size(a)).product();
        let value = Value { axes: data.axes.clone(), dtype: data.dtype, data: vec![] };
        outputs.push((name, value, Numbers::of(data.dtype, &vec![0.0; size])));
    }
    let mut bindings = Bindings::new();
    for (name, numbers) in &leaves {
        bindings.insert(name, numbers.read());
    }
    for (name, _, numbers) in &mut outputs {
        bindings.insert(name, numbers.write());
    }
    compiled.run(lengths, &mut bindings).map_err(|fault| fault.what)?;
    drop(bindings);
    Ok(outputs.into_iter().map(|(name, value, n)| (name.to_string(), Value { data: n.numbers(), ..value })).collect())
}

/// Numbers as a device holds them.
enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Bools(Vec<bool>),
}

impl Numbers {
    fn of(dtype: DType, data: &[f64]) -> Numbers {
        match dtype {
            DType::Float => Numbers::Floats(data.iter().map(|x| *x as f32).collect()),
            DType::Int => Numbers::Ints(data.iter().map(|x| *x as i32).collect()),
            DType::Bool => Numbers::Bools(data.iter().map(|x| *x != 0.0).collect()),
        }
    }

    fn read(&self) -> Slot<'_> {
        match self {
            Numbers::Floats(x) => Slot::Floats(x),
            Numbers::Ints(x) => Slot::Ints(x),
            Numbers::Bools(x) => Slot::Bools(x),
        }
    }

    fn write(&mut self) -> Slot<'_> {
        match self {
            Numbers::Floats(x) => Slot::Write(x),
            Numbers::Ints(x) => Slot::WriteInts(x),
            Numbers::Bools(x) => Slot::WriteBools(x),
        }
    }

    fn numbers(self) -> Vec<f64> {
        match self {
            Numbers::Floats(x) => x.into_iter().map(f64::from).collect(),
            Numbers::Ints(x) => x.into_iter().map(f64::from).collect(),
            Numbers::Bools(x) => x.into_iter().map(|b| f64::from(u8::from(b))).collect(),
        }
    }
}
