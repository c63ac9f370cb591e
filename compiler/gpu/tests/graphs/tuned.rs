//! Steps run as the candidate that is fastest; whichever that is, results are right.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{Data, check_with, close, dim, fill, lengths, many, run};
use align_compiler::interp::{self, Named, Precision, Value};
use align_compiler::kernel::{BufferKind, Program, fuse};
use align_compiler::tensor::{Axis, DType, Graph, MapOp, ReduceOp};
use align_gpu::Gpu;

/// By adapter and step the seconds of each candidate.
type File = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;

fn device(file: &Path) -> Gpu {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(gpu.tune(Some(file.to_path_buf()), true), None);
    gpu
}

/// Products, sums and a softmax, of which one reads what another makes.
fn graph() -> Graph {
    let [k, rows, columns] = [("k", 900), ("rows", 70), ("columns", 48)].map(|(name, size)| Axis::fixed(name, size));
    let mut g = Graph::new();
    let x = g.input("x", vec![many(), k.clone()], DType::Float);
    let w = g.input("w", vec![k.clone(), columns.clone()], DType::Float);
    let y = g.contract(x, w, std::slice::from_ref(&k));
    g.output("product", y);
    let v = g.input("v", vec![rows.clone(), k.clone()], DType::Float);
    let scores = g.contract(x, v, std::slice::from_ref(&k));
    let largest = g.reduce(ReduceOp::Max, scores, std::slice::from_ref(&rows));
    let apart = g.map(MapOp::Sub, &[scores, largest]);
    let weights = g.map(MapOp::Exp, &[apart]);
    let sum = g.reduce(ReduceOp::Sum, weights, std::slice::from_ref(&rows));
    let soft = g.map(MapOp::Div, &[weights, sum]);
    g.output("soft", soft);
    let squares = g.map(MapOp::Mul, &[v, v]);
    let all = g.reduce(ReduceOp::Sum, squares, &[rows, k]);
    g.output("all", all);
    g
}

/// The reference's outputs and a program's, which agree; gives the program's.
fn checked(gpu: &Gpu, program: &Program, given: &Named, wanted: &[(String, Value)]) -> Vec<(String, Vec<f64>)> {
    let code = gpu.compile(program);
    let numbers = |all: Vec<(String, Data)>| all.into_iter().map(|(name, data)| (name, data.numbers()));
    for add in [true, false] {
        // The second run has all bind groups of the first.
        for _ in 0..2 {
            let outputs = run(&code, program, given, &lengths(), add).unwrap_or_else(|e| panic!("{e}\n{program}"));
            for (name, got) in numbers(outputs) {
                let (_, value) = wanted.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}"));
                let is = |kind: &BufferKind| *kind == BufferKind::Output(name.clone());
                let buffer = program.buffers.iter().find(|b| is(&b.kind)).expect("it is there");
                let by = if add { 0.25 } else { 0.0 };
                let value = value.laid_out(&buffer.axes, &lengths());
                let want: Vec<f64> = value.data.iter().map(|x| x + by).collect();
                close(&name, &want, &got, true, program);
            }
        }
    }
    let last = run(&code, program, given, &lengths(), false).unwrap_or_else(|e| panic!("{e}"));
    numbers(last).collect()
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn whichever_candidate_is_fastest_results_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    let graph = graph();
    let mut given = Named::new();
    fill(&graph, &mut given, &lengths());
    let program = fuse(&graph).unwrap_or_else(|e| panic!("{e}"));
    let wanted = interp::run(&graph, &given, &lengths(), Precision::F64).unwrap_or_else(|e| panic!("{e}"));
    let first = device(&path);
    if !first.about().times {
        return;
    }
    let found = checked(&first, &program, &given, &wanted);
    let timed = first.timed();
    assert!(timed >= 4, "{timed} steps were timed");
    // Another process reads what this one wrote.
    let second = device(&path);
    assert_eq!(checked(&second, &program, &given, &wanted), found);
    assert_eq!(second.timed(), 0, "all of it is in the file");
    let text = std::fs::read_to_string(&path).unwrap();
    let all: File = serde_json::from_str(&text).unwrap();
    let steps = all.values().next().expect("an adapter");
    assert!(steps.values().all(|found| found.len() > 1), "{text}");
    let most = steps.values().map(BTreeMap::len).max().unwrap_or(0);
    let mut different = 0;
    for i in 0..most {
        let mut forced = all.clone();
        for found in forced.values_mut().flat_map(BTreeMap::values_mut) {
            let at = i % found.len();
            *found.values_mut().nth(at).unwrap() = 1e-12;
        }
        std::fs::write(&path, serde_json::to_vec(&forced).unwrap()).unwrap();
        let gpu = device(&path);
        different += usize::from(checked(&gpu, &program, &given, &wanted) != found);
        assert_eq!(gpu.timed(), 0);
    }
    assert!(different > 0, "candidates add up in different orders");
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn software_is_not_tuned_unless_asked() {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{e}"));
    if gpu.about().kind != "software" {
        return;
    }
    assert_eq!(gpu.tune(None, false), None);
    let mut g = Graph::new();
    let x = g.input("x", vec![many(), dim(900)], DType::Float);
    let y = g.reduce(ReduceOp::Sum, x, &[dim(900)]);
    g.output("y", y);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths());
    let program = check_with(&g, &given, &lengths());
    let wanted = interp::run(&g, &given, &lengths(), Precision::F64).unwrap_or_else(|e| panic!("{e}"));
    checked(&gpu, &program, &given, &wanted);
    assert_eq!(gpu.timed(), 0);
}
