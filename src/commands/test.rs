//! `alignc test`: the tests that `.align` files hold, in the interpreter (f64) and by kernels (f32).

use crate::args::Test;
use crate::commands::{report, style};
use crate::failure::{Failure, read};
use crate::print::{err, errln, outln};
use align_compiler::check::check;
use align_compiler::eval::tests::{EXACT, SINGLE, TestOptions, TestOutcome, TestResult, interpret, run_tests};
use align_compiler::interp::{Named, Value};
use align_compiler::kernel::Layouts;
use align_compiler::program;
use align_compiler::tensor::{DType, Graph, Lengths, Op};
use align_runtime::engine::{Bindings, Cpu, Engine, Slot};
use align_runtime::world::Files;
use align_syntax::diag::Diagnostic;
use align_syntax::render::render;
use align_syntax::span::Span;
use std::path::{Path, PathBuf};

/// What the tests came to.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// A failure, with all ways to run the test that end in it.
struct Told<'a> {
    result: &'a TestResult,
    place: (&'static str, Span),
    why: &'a Diagnostic,
    how: Vec<&'static str>,
}

impl Told<'_> {
    fn is_of(&self, result: &TestResult) -> bool {
        (self.result.span, self.result.case) == (result.span, result.case)
    }
}

pub fn test(args: &Test) -> Result<(), Failure> {
    let mut counts = Counts::default();
    for (name, text) in files(args)? {
        let world = Files::of_program(".", Path::new(&name));
        let (program, mut diagnostics) = program::load(&name, &text, &world);
        diagnostics.extend(check(&program).diagnostics);
        report(&mut diagnostics, &program.sources)?;
        let vectors = |name: &str| vectors(args.vectors.as_deref(), name);
        let cpu = Cpu::new(1);
        let kernels = |graph: &Graph, given: &Named, lengths: &Lengths| through(&cpu, graph, given, lengths);
        let exact = TestOptions { vectors: &vectors, run: &interpret, tolerance: EXACT };
        let single = TestOptions { vectors: &vectors, run: &kernels, tolerance: SINGLE };
        let runs = [("f64", exact), ("f32 kernels", single)];
        let results = runs.map(|(how, options)| (how, run_tests(&program, &world, &options)));
        let asked = |result: &&TestResult| args.only.as_ref().is_none_or(|only| result.name.contains(only.as_str()));
        let mut told: Vec<Told> = vec![];
        for (how, result) in results.iter().flat_map(|(how, all)| all.iter().filter(asked).map(move |r| (*how, r))) {
            match &result.outcome {
                TestOutcome::Passed => counts.passed += 1,
                TestOutcome::Failed(why) => {
                    counts.failed += 1;
                    let place = (why.code, why.span());
                    match told.iter_mut().find(|t| t.is_of(result) && t.place == place) {
                        Some(same) => same.how.push(how),
                        None => told.push(Told { result, place, why, how: vec![how] }),
                    }
                }
                TestOutcome::Skipped(why) => {
                    counts.skipped += 1;
                    outln!("skipped {}: {why}", title(&name, result, how));
                }
            }
        }
        for Told { result, why, how, .. } in told {
            errln!("FAILED  {}", title(&name, result, &how.join(", ")));
            err!("{}", render(std::slice::from_ref(why), &program.sources, style()));
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

/// The numbers of a method, if the folder has them. A file that is there and cannot be read is an error.
fn vectors(folder: Option<&Path>, name: &str) -> Result<Option<serde_json::Value>, String> {
    let Some(path) = folder.map(|folder| folder.join(format!("{name}.json"))) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Runs a graph by kernels as if by the interpreter.
fn through(
    engine: &dyn Engine,
    graph: &Graph,
    given: &Named,
    lengths: &Lengths,
) -> Result<Vec<(String, Value)>, String> {
    let compiled = engine.compile(graph, &Layouts::default()).map_err(|error| error.to_string())?;
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
