use super::{Layouts, fuse, fuse_in};
use crate::batch::objective::{Objective, Per, Track};
use crate::batch::training::training_step;
use crate::batch::{BatchOptions, batch};
use crate::interp::{self, Named, Precision, Value};
use crate::kernel::ir::{Buffer, BufferId, BufferKind, Program, Step};
use crate::kernel::parse::parse;
use crate::kernel::reference;
use crate::kernel::verify::verify;
use crate::rewrite::model::{self, Style, model, time, vocab};
use crate::rewrite::oracle::{assert_close, fill};
use crate::rewrite::{PACKED, PER_ITEM, Rewrites, rewrite};
use crate::storage::Storage;
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Node, NodeData, Op, ReduceOp, TableKind};

/// The program gives what the graph gives.
pub fn check_with(graph: &Graph, given: &Named, lengths: &Lengths) -> Program {
    check_in(graph, given, lengths, &Layouts::default())
}

/// The program gives what the graph gives of numbers as they are stored.
fn check_in(graph: &Graph, given: &Named, lengths: &Lengths, layouts: &Layouts) -> Program {
    let program = fuse_in(graph, layouts).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&program), Vec::<String>::new(), "{program}");
    let read = parse(&program.to_string()).unwrap_or_else(|e| panic!("{e}\n{program}"));
    assert_eq!(read.to_string(), program.to_string());
    assert!(read == program, "{program}");
    let stored: Named =
        given.iter().map(|(name, value)| (name.clone(), as_stored(name, value, lengths, layouts))).collect();
    let expected = interp::run(graph, &stored, lengths, Precision::F64).unwrap_or_else(|e| panic!("{e}"));
    let found = reference::run(&program, given, lengths, Precision::F64).unwrap_or_else(|e| panic!("{e}\n{program}"));
    assert_eq!(found.len(), expected.len(), "{program}");
    for (name, value) in expected {
        let (_, own) = found.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}\n{program}"));
        assert_eq!(own.axes, value.axes, "{name}");
        let same = std::panic::catch_unwind(|| assert_close(&name, &value.data, &own.data));
        assert!(same.is_ok(), "{program}");
    }
    program
}

fn as_stored(name: &str, value: &Value, lengths: &Lengths, layouts: &Layouts) -> Value {
    match layouts.storage.get(name) {
        Some(storage) => value.stored(layouts.inputs.get(name).unwrap_or(&value.axes), *storage, lengths),
        None => value.clone(),
    }
}

/// Lengths of five sequences, the third of them empty.
fn lengths() -> Lengths {
    Lengths::new().with(Axis::item(), vec![5]).with(time().packed(), vec![3, 1, 0, 7, 2])
}

fn check(build: impl Fn(&mut Graph)) -> Program {
    let mut graph = Graph::new();
    build(&mut graph);
    let mut given = Named::new();
    fill(&graph, &mut given, &lengths());
    check_with(&graph, &given, &lengths())
}

fn token() -> Axis {
    time().packed()
}

fn dim() -> Axis {
    Axis::fixed("dim", 5)
}

/// Steps by kind: nests, products, others.
fn count(program: &Program) -> (usize, usize, usize) {
    let nests = program.steps.iter().filter(|s| matches!(s, Step::Rows(_))).count();
    let products = program.steps.iter().filter(|s| matches!(s, Step::Contraction(_))).count();
    (nests, products, program.steps.len() - nests - products)
}

fn softmax(g: &mut Graph, x: Node, over: &Axis) -> Node {
    let (_, shifted) = model::softmax_parts(g, x, over);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, std::slice::from_ref(over));
    g.map(MapOp::Div, &[e, sum])
}

fn rms_norm(g: &mut Graph, x: Node) -> Node {
    let square = g.map(MapOp::Mul, &[x, x]);
    let sum = g.sum(square, &[dim()]);
    let size = g.float(5.0);
    let mean = g.map(MapOp::Div, &[sum, size]);
    let eps = g.float(1e-5);
    let mean = g.map(MapOp::Add, &[mean, eps]);
    let scale = g.map(MapOp::Rsqrt, &[mean]);
    let x = g.map(MapOp::Mul, &[x, scale]);
    let weight = g.weight("norm", vec![dim()]);
    g.map(MapOp::Mul, &[x, weight])
}

#[test]
fn softmax_is_one_nest() {
    let program = check(|g| {
        let x = g.input("x", vec![token(), dim()], DType::Float);
        let y = softmax(g, x, &dim());
        g.output("y", y);
    });
    assert_eq!(count(&program), (1, 0, 0), "{program}");
}

#[test]
fn a_norm_is_one_nest_with_the_sum_before_it() {
    let program = check(|g| {
        let x = g.input("x", vec![token(), dim()], DType::Float);
        let y = g.input("y", vec![token(), dim()], DType::Float);
        let h = g.map(MapOp::Add, &[x, y]);
        let n = rms_norm(g, h);
        g.output("n", n);
        g.output("h", h);
    });
    assert_eq!(count(&program), (1, 0, 0), "{program}");
}

#[test]
fn an_optimizer_update_is_one_nest() {
    let entry = Axis::new("entry", crate::tensor::AxisKind::Dynamic(0));
    let mut g = Graph::new();
    let [w, grad, m, v] = ["w", "g", "m", "v"].map(|n| g.input(n, vec![entry.clone()], DType::Float));
    let t = g.input("t", vec![], DType::Float);
    let mix = |g: &mut Graph, old, new, beta: f64| {
        let (a, b) = (g.float(beta), g.float(1.0 - beta));
        let (a, b) = (g.map(MapOp::Mul, &[old, a]), g.map(MapOp::Mul, &[new, b]));
        g.map(MapOp::Add, &[a, b])
    };
    let m = mix(&mut g, m, grad, 0.9);
    let square = g.map(MapOp::Mul, &[grad, grad]);
    let v = mix(&mut g, v, square, 0.99);
    let beta = g.float(0.9);
    let one = g.float(1.0);
    let power = g.map(MapOp::Pow, &[beta, t]);
    let correction = g.map(MapOp::Sub, &[one, power]);
    let hat = g.map(MapOp::Div, &[m, correction]);
    let root = g.map(MapOp::Sqrt, &[v]);
    let eps = g.float(1e-8);
    let below = g.map(MapOp::Add, &[root, eps]);
    let step = g.map(MapOp::Div, &[hat, below]);
    let w = g.map(MapOp::Sub, &[w, step]);
    [("w", w), ("m", m), ("v", v)].into_iter().for_each(|(n, x)| g.output(n, x));
    let lengths = Lengths::new().with(entry, vec![7]);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths);
    given.insert("v".into(), Value::floats(given["v"].axes.clone(), vec![0.5; 7]));
    given.insert("t".into(), Value::number(3.0));
    let program = check_with(&g, &given, &lengths);
    assert_eq!(count(&program), (1, 0, 0), "{program}");
}

#[test]
fn segments_and_their_tables() {
    let program = check(|g| {
        let x = g.input("x", vec![token(), dim()], DType::Float);
        let c = g.input("c", vec![Axis::item()], DType::Float);
        for (name, op) in [("sum", ReduceOp::Sum), ("max", ReduceOp::Max), ("min", ReduceOp::Min)] {
            let y = g.segment_reduce(op, x, &token());
            g.output(name, y);
            let back = g.segment_tile(y, &token());
            let back = g.map(MapOp::Sub, &[x, back]);
            g.output(format!("{name}_back"), back);
        }
        let first = g.reduce(ReduceOp::Max, x, &[dim()]);
        let y = g.segment_tile(c, &token());
        let y = g.map(MapOp::Mul, &[first, y]);
        let per_item = g.segment_reduce(ReduceOp::Sum, y, &token());
        let length = g.table(&token(), TableKind::Length);
        let one = g.int(1);
        let at_least_one = g.map(MapOp::Max, &[length, one]);
        let mean = g.map(MapOp::Div, &[per_item, at_least_one]);
        let total = g.sum(mean, &[Axis::item()]);
        let one = g.float(1.0);
        let ones = g.tile(one, &token());
        let count = g.sum(ones, &[token()]);
        let mean = g.map(MapOp::Mul, &[total, count]);
        g.output("mean", mean);
        let centred = g.segment_tile(per_item, &token());
        let centred = g.map(MapOp::Sub, &[y, centred]);
        let square = g.map(MapOp::Mul, &[centred, centred]);
        let variance = g.segment_reduce(ReduceOp::Sum, square, &token());
        g.output("variance", variance);
        let by_dim = g.sum(x, &[token()]);
        g.output("by_dim", by_dim);
    });
    assert_eq!(count(&program), (6, 0, 0), "{program}");
}

#[test]
fn gathers_and_scatters() {
    let mut g = Graph::new();
    let table = g.weight("embed", vec![vocab(), dim()]);
    let tokens = g.input("tokens", vec![token()], DType::Int);
    let x = g.gather(table, &vocab(), tokens);
    let place = g.table(&token(), TableKind::Position);
    let place = g.cast(place, DType::Float);
    let x = g.map(MapOp::Mul, &[x, place]);
    let y = softmax(&mut g, x, &dim());
    let two = g.int(2);
    let column = g.gather(y, &dim(), two);
    let by_token = g.map(MapOp::Rem, &[tokens, two]);
    let picked = g.gather(y, &dim(), by_token);
    let sum = g.map(MapOp::Add, &[column, picked]);
    g.output("sum", sum);
    let start = g.table(&token(), TableKind::Start);
    let here = g.iota(&Axis::item());
    let z = g.map(MapOp::Mul, &[start, here]);
    g.output("z", z);
    let back = g.scatter_add(tokens, y, &vocab(), vec![vocab(), dim()]);
    g.output("back", back);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths());
    let ids = (0..13).map(|i| i * 7 % 11).collect::<Vec<i64>>();
    given.insert("tokens".into(), Value::ints(vec![token()], ids));
    let program = check_with(&g, &given, &lengths());
    assert_eq!(count(&program).2, 1, "{program}");
    given.insert("tokens".into(), Value::ints(vec![token()], vec![11; 13]));
    assert!(reference::run(&program, &given, &lengths(), Precision::F64).is_err(), "an index outside");
}

#[test]
fn slices_pads_and_concats_are_stores_of_parts() {
    let (whole, half) = (Axis::fixed("h", 6), Axis::fixed("h", 3));
    let program = check(|g| {
        let x = g.input("x", vec![token(), whole.clone()], DType::Float);
        let c = g.input("c", vec![token(), whole.clone()], DType::Float);
        let a = g.slice(x, &whole, &half, 0);
        let b = g.slice(x, &whole, &half, 3);
        let negative = g.map(MapOp::Neg, &[b]);
        let turned = g.concat(&[negative, a], &[half.clone(), half.clone()], &whole);
        let turned = g.map(MapOp::Mul, &[turned, c]);
        let y = g.map(MapOp::Add, &[x, turned]);
        g.output("y", y);
    });
    assert_eq!(count(&program), (1, 0, 0), "{program}");
    assert!(!program.to_string().contains("where"), "{program}");
    check(|g| {
        let x = g.input("x", vec![token(), half.clone()], DType::Float);
        let p = g.pad(x, &half, &whole, 1);
        let sum = g.sum(p, std::slice::from_ref(&whole));
        g.output("p", p);
        g.output("sum", sum);
        let flat = Axis::fixed("flat", 18);
        let w = g.weight("w", vec![half.clone(), whole.clone()]);
        let flattened = g.flatten(w, [half.clone(), whole.clone()], &flat);
        let square = g.map(MapOp::Mul, &[flattened, flattened]);
        g.output("flat", square);
        let apart = g.split(square, &flat, [whole.clone(), half.clone()]);
        g.output("apart", apart);
        let transposed = g.weight("t", vec![whole.clone(), Axis::fixed("q", 2), half.clone()]);
        let odd = g.flatten(transposed, [half.clone(), whole.clone()], &flat);
        g.output("odd", odd);
        let named = g.rename(odd, &flat, &Axis::fixed("other", 18));
        let product = g.contract(named, named, &[Axis::fixed("q", 2)]);
        g.output("product", product);
    });
}

#[test]
fn products_that_add_to_one_buffer() {
    let (a, b) = (Axis::fixed("a", 3), Axis::fixed("b", 4));
    let program = check(|g| {
        let x = g.input("x", vec![token(), a.clone()], DType::Float);
        let y = g.input("y", vec![token(), b.clone()], DType::Float);
        let (v, w) = (g.weight("v", vec![a.clone(), dim()]), g.weight("w", vec![dim(), b.clone()]));
        let one = g.contract(x, v, std::slice::from_ref(&a));
        let two = g.contract(y, w, std::slice::from_ref(&b));
        let h = g.input("h", vec![token(), dim()], DType::Float);
        let sum = g.map(MapOp::Add, &[one, h]);
        let sum = g.map(MapOp::Add, &[sum, two]);
        g.output("sum", sum);
        let dv = g.contract(x, sum, &[token()]);
        let dw = g.contract(sum, y, &[token()]);
        let both = g.sum(dw, std::slice::from_ref(&b));
        g.output("dv", dv);
        g.output("both", both);
    });
    assert_eq!(count(&program), (2, 4, 0), "{program}");
}

#[test]
fn sorts_scans_and_algebra() {
    let (n, k) = (Axis::fixed("n", 6), Axis::fixed("k", 2));
    check(|g| {
        let x = g.input("x", vec![token(), n.clone()], DType::Float);
        let y = g.map(MapOp::Neg, &[x]);
        let order = g.argsort(y, &n);
        let sorted = g.gather(x, &n, order);
        g.output("sorted", sorted);
        let top = g.topk(x, &n, &k);
        g.output("top", top);
        let best = Axis::fixed("best", 1);
        let one = g.topk(x, &n, &best);
        g.output("best", one);
        let running = g.cumsum(x, &token(), true);
        let along = g.cumsum(running, &n, false);
        g.output("along", along);
        let (rows, columns) = (Axis::fixed("r", 3), Axis::fixed("c", 3));
        let m = g.weight("m", vec![rows.clone(), columns.clone()]);
        let v = g.weight("v", vec![rows.clone()]);
        let solved = g.push(crate::tensor::NodeData {
            op: Op::Solve(rows, columns.clone()),
            inputs: vec![m, v],
            axes: vec![columns],
            dtype: DType::Float,
            origin: Default::default(),
        });
        g.output("solved", solved);
    });
}

#[test]
fn scans_run_their_body() {
    let step = Axis::fixed("step", 4);
    check(|g| {
        let first = g.input("first", vec![dim()], DType::Float);
        let xs = g.input("xs", vec![dim(), step.clone()], DType::Float);
        let rate = g.input("rate", vec![], DType::Float);
        let mut body = Graph::new();
        let c = body.param(vec![dim()], DType::Float);
        let x = body.param(vec![dim()], DType::Float);
        let r = body.param(vec![], DType::Float);
        let next = body.map(MapOp::Mul, &[c, r]);
        let next = body.map(MapOp::Add, &[next, x]);
        let y = body.sum(next, &[dim()]);
        body.output("next", next);
        body.output("y", y);
        let op = Op::Scan { axis: step.clone(), reverse: true, carries: 1, xs: 1, body: Box::new(body) };
        let scan = g.push(crate::tensor::NodeData::new(op, vec![first, xs, rate], vec![], DType::Float));
        let (last, ys) = (g.result(scan, 0), g.result(scan, 1));
        g.output("last", last);
        g.output("ys", ys);
    });
}

fn terms() -> Vec<Objective> {
    let term = |name: &str, per, value: &str| Objective { name: name.into(), per, value: value.into(), weight: None };
    vec![term("token", Per::Token, "nll"), term("example", Per::Example, "mean")]
}

#[test]
fn forward_of_a_transformer() {
    for style in [Style::Quotient, Style::Sums, Style::LogWindow] {
        let graph = model(style);
        let plain = batch(&graph, &BatchOptions::default()).expect("it packs");
        let (given, lengths) = model::packed(&plain);
        check_with(&plain, &given, &lengths);
        let rewrites = Rewrites { wide: 9, ..Rewrites::default() };
        let packed = batch(&rewrite(&graph, PER_ITEM, &rewrites), &BatchOptions::default()).expect("it packs");
        let packed = rewrite(&packed, PACKED, &rewrites);
        check_with(&packed, &given, &lengths);
    }
}

#[test]
fn a_training_step_of_a_transformer() {
    let tracks = [Track { name: "right".into(), value: "right".into(), weight: None }];
    for wide in [9, 4096] {
        let rewrites = Rewrites { wide, ..Rewrites::default() };
        let options = BatchOptions::default();
        let graphs = training_step(&model(Style::Quotient), &terms(), &tracks, &options, &rewrites, |_| true);
        let step = graphs.expect("it has gradients").step;
        let (mut given, lengths) = model::packed(&step);
        given.insert("scale.token".into(), Value::number(0.3));
        given.insert("scale.example".into(), Value::number(0.7));
        check_with(&step, &given, &lengths);
    }
}

/// What follows from weights alone is made just before its first reader, wherever the graph has it.
#[test]
fn functions_of_weights_are_made_late() {
    let [a, b, c, d] = [("a", 40), ("b", 50), ("c", 60), ("d", 70)].map(|(name, size)| Axis::fixed(name, size));
    let sides = [(a.clone(), b.clone()), (b, c.clone()), (c, d)];
    let program = check(|g| {
        let mut x = g.input("x", vec![token(), a.clone()], DType::Float);
        let function = |(i, (from, to)): (usize, &(Axis, Axis))| {
            let w = g.weight(format!("w{i}"), vec![from.clone(), to.clone()]);
            g.map(MapOp::Exp, &[w])
        };
        let weights: Vec<Node> = sides.iter().enumerate().map(function).collect();
        for ((from, _), w) in sides.iter().zip(weights) {
            x = g.contract(x, w, std::slice::from_ref(from));
        }
        g.output("x", x);
    });
    let kinds: Vec<bool> = program.steps.iter().map(|step| matches!(step, Step::Contraction(_))).collect();
    assert_eq!(kinds, [false, true, false, true, false, true], "{program}");
}

/// A step whose products are of bf16, without the calls that round less than their bodies do.
#[test]
fn a_training_step_in_bf16() {
    for wide in [9, 4096] {
        let rewrites = Rewrites { wide, attention: false, bf16: Some(vec![]), ..Rewrites::default() };
        let options = BatchOptions::default();
        let graphs = training_step(&model(Style::Quotient), &terms(), &[], &options, &rewrites, |_| true);
        let step = graphs.expect("it has gradients").step;
        let (mut given, lengths) = model::packed(&step);
        given.insert("scale.token".into(), Value::number(0.3));
        given.insert("scale.example".into(), Value::number(0.7));
        let program = check_with(&step, &given, &lengths);
        let is_rounded = |b: BufferId| program.buffer(b).storage == Storage::Bf16;
        let products = program.steps.iter().filter_map(|step| match step {
            Step::Contraction(c) if !c.m.is_empty() && !c.n.is_empty() => Some(c),
            _ => None,
        });
        let mut count = 0;
        for product in products {
            assert!(is_rounded(product.lhs.buffer) && is_rounded(product.rhs.buffer), "{program}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}

/// Weights of several axes in fewer bits, in another order of memory: in products, gathers, bodies and all else.
#[test]
fn weights_in_fewer_bits() {
    let tracks = [Track { name: "right".into(), value: "right".into(), weight: None }];
    let rewrites = Rewrites { wide: 9, ..Rewrites::default() };
    let options = BatchOptions::default();
    let graphs = training_step(&model(Style::Quotient), &terms(), &tracks, &options, &rewrites, |path| path == "norm");
    let step = graphs.expect("it has a gradient").step;
    let (mut given, lengths) = model::packed(&step);
    given.insert("scale.token".into(), Value::number(0.3));
    given.insert("scale.example".into(), Value::number(0.7));
    for storage in [Storage::Bf16, Storage::Q8, Storage::Q4] {
        let program = check_in(&step, &given, &lengths, &all_stored(&step, storage));
        let held = program.buffers.iter().filter(|b| b.storage == storage).count();
        assert_eq!(held, 14, "{program}");
        let is_copy = |b: &&Buffer| b.kind == BufferKind::Temp && b.axes.len() > 1 && b.size().constant().is_some();
        assert_eq!(program.buffers.iter().find(is_copy), None, "{program}");
    }
}

/// All weights of several axes, each with its axes turned round.
fn all_stored(graph: &Graph, storage: Storage) -> Layouts {
    let mut layouts = Layouts::default();
    for (_, data) in graph.nodes() {
        if let (Op::Weight(name), true) = (&data.op, data.axes.len() > 1) {
            layouts.inputs.insert(name.clone(), data.axes.iter().rev().cloned().collect());
            layouts.storage.insert(name.clone(), storage);
        }
    }
    layouts
}

/// Steps that cannot read fewer bits read a copy.
#[test]
fn copies_of_weights_in_fewer_bits() {
    let steps = Axis::fixed("steps", 6);
    let mut g = Graph::new();
    let mut body = Graph::new();
    let [state, x, all] =
        [vec![dim()], vec![dim()], vec![steps.clone(), dim()]].map(|axes| body.param(axes, DType::Float));
    let sum = body.sum(all, std::slice::from_ref(&steps));
    let next = body.map(MapOp::Mul, &[state, x]);
    let next = body.map(MapOp::Add, &[next, sum]);
    body.output("next", next);
    let w = g.weight("w", vec![steps.clone(), dim()]);
    let start = g.weight("start", vec![dim()]);
    let op = Op::Scan { axis: steps.clone(), reverse: false, carries: 1, xs: 1, body: Box::new(body) };
    let scan = g.push(NodeData::new(op, vec![start, w, w], vec![], DType::Float));
    let last = g.result(scan, 0);
    g.output("last", last);
    let sum = g.cumsum(w, &steps, false);
    g.output("sum", sum);
    let order = g.argsort(w, &dim());
    g.output("order", order);
    g.output("itself", w);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths());
    for storage in [Storage::Bf16, Storage::Q8, Storage::Q4] {
        let layouts =
            Layouts { storage: [("w".to_string(), storage), ("start".into(), storage)].into(), ..Layouts::default() };
        check_in(&g, &given, &lengths(), &layouts);
    }
}

#[test]
fn places_left_out_have_an_error_of_their_own() {
    let mut graph = Graph::new();
    let from = Axis::item();
    let x = graph.input("x", vec![from.clone()], DType::Float);
    let keep = graph.input("keep", vec![from.clone()], DType::Bool);
    let y = graph.compact(x, keep, &from, &time());
    let y = graph.map(MapOp::Exp, &[y]);
    graph.output("y", y);
    let error = fuse(&graph).expect_err("no kernel makes it");
    assert_eq!(error.what, "places that are left out by a Bool have no kernels yet");
}
