//! A training step of a model of SmolLM2-135M's shape on one micro-batch, and where its time goes:
//! `cargo bench -p align-cpu --bench llama [-- layers [segments [length [threads]]]]`.

use align_compiler::batch::BatchOptions;
use align_compiler::batch::objective::{Objective, Per};
use align_compiler::batch::training::training_step;
use align_compiler::kernel::{BufferKind, Program, fuse};
use align_compiler::rewrite::Rewrites;
use align_compiler::tensor::{Axis, AxisKind, DType, Graph, Lengths, MapOp, Node, ReduceOp};
use align_cpu::{Bindings, Cpu, Executable, Slot, Spent};
use std::collections::BTreeMap;
use std::time::Instant;

fn time() -> Axis {
    Axis::ragged("time", 0, None)
}

fn fixed(name: &str) -> Axis {
    let sizes = [("dim", 576), ("kv", 3), ("rep", 3), ("hdim", 64), ("half", 32), ("wide", 1536), ("vocab", 49152)];
    Axis::fixed(name, sizes.iter().find(|(n, _)| *n == name).expect("an axis of the model").1)
}

fn rms_norm(g: &mut Graph, x: Node, path: &str) -> Node {
    let weight = g.weight(path, vec![fixed("dim")]);
    let square = g.map(MapOp::Mul, &[x, x]);
    let sum = g.sum(square, &[fixed("dim")]);
    let size = g.float(576.0);
    let mean = g.map(MapOp::Div, &[sum, size]);
    let eps = g.float(1e-5);
    let mean = g.map(MapOp::Add, &[mean, eps]);
    let scale = g.map(MapOp::Rsqrt, &[mean]);
    let x = g.map(MapOp::Mul, &[x, scale]);
    g.map(MapOp::Mul, &[x, weight])
}

fn rotary(g: &mut Graph, x: Node) -> Node {
    let (hdim, half) = (fixed("hdim"), fixed("half"));
    let first = g.slice(x, &hdim, &half, 0);
    let second = g.slice(x, &hdim, &half, 32);
    let (place, at) = (g.iota(&time()), g.iota(&half));
    let (theta, step) = (g.float(10_000.0), g.float(-2.0 / 64.0));
    let power = g.map(MapOp::Mul, &[at, step]);
    let frequency = g.map(MapOp::Pow, &[theta, power]);
    let angle = g.map(MapOp::Mul, &[place, frequency]);
    let (cos, sin) = (g.map(MapOp::Cos, &[angle]), g.map(MapOp::Sin, &[angle]));
    let [ac, bs, bc, as_] =
        [(first, cos), (second, sin), (second, cos), (first, sin)].map(|(x, y)| g.map(MapOp::Mul, &[x, y]));
    let (left, right) = (g.map(MapOp::Sub, &[ac, bs]), g.map(MapOp::Add, &[bc, as_]));
    g.concat(&[left, right], &[half.clone(), half], &hdim)
}

fn attend(g: &mut Graph, query: Node, key: Node, value: Node) -> Node {
    let past = Axis::new("past", AxisKind::Paired(time()));
    let over = std::slice::from_ref(&past);
    let (key, value) = (g.rename(key, &time(), &past), g.rename(value, &time(), &past));
    let score = g.contract(query, key, &[fixed("hdim")]);
    let root = g.float(8.0);
    let score = g.map(MapOp::Div, &[score, root]);
    let (here, there) = (g.iota(&time()), g.iota(&past));
    let hidden = g.float(f64::NEG_INFINITY);
    let guard = g.map(MapOp::Le, &[there, here]);
    let x = g.map(MapOp::Where, &[guard, score, hidden]);
    let m = g.reduce(ReduceOp::Max, x, over);
    let m = g.stop(m);
    let shifted = g.map(MapOp::Sub, &[x, m]);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, over);
    let p = g.map(MapOp::Div, &[e, sum]);
    g.contract(p, value, over)
}

/// The loss of one item: each token predicts the next given in `targets`.
fn item(layers: usize) -> Graph {
    let mut g = Graph::new();
    let [dim, kv, rep, hdim, wide, vocab] = ["dim", "kv", "rep", "hdim", "wide", "vocab"].map(fixed);
    let over = [dim.clone()];
    let tokens = g.input("tokens", vec![time()], DType::Int);
    let embed = g.weight("embed", vec![vocab.clone(), dim.clone()]);
    let mut h = g.gather(embed, &vocab, tokens);
    for layer in 0..layers {
        let x = rms_norm(&mut g, h, &format!("{layer}.norm1"));
        let q = g.weight(format!("{layer}.q"), vec![kv.clone(), rep.clone(), hdim.clone(), dim.clone()]);
        let k = g.weight(format!("{layer}.k"), vec![kv.clone(), hdim.clone(), dim.clone()]);
        let v = g.weight(format!("{layer}.v"), vec![kv.clone(), hdim.clone(), dim.clone()]);
        let o = g.weight(format!("{layer}.o"), vec![dim.clone(), kv.clone(), rep.clone(), hdim.clone()]);
        let [q, k, v] = [q, k, v].map(|w| g.contract(x, w, &over));
        let (q, k) = (rotary(&mut g, q), rotary(&mut g, k));
        let attended = attend(&mut g, q, k, v);
        let out = g.contract(attended, o, &[kv.clone(), rep.clone(), hdim.clone()]);
        h = g.map(MapOp::Add, &[h, out]);
        let x = rms_norm(&mut g, h, &format!("{layer}.norm2"));
        let [gate, up] = ["gate", "up"].map(|n| g.weight(format!("{layer}.{n}"), vec![wide.clone(), dim.clone()]));
        let down = g.weight(format!("{layer}.down"), vec![dim.clone(), wide.clone()]);
        let (gate, up) = (g.contract(x, gate, &over), g.contract(x, up, &over));
        let (minus, one) = (g.map(MapOp::Neg, &[gate]), g.float(1.0));
        let e = g.map(MapOp::Exp, &[minus]);
        let below = g.map(MapOp::Add, &[one, e]);
        let silu = g.map(MapOp::Div, &[gate, below]);
        let x = g.map(MapOp::Mul, &[silu, up]);
        let x = g.contract(x, down, std::slice::from_ref(&wide));
        h = g.map(MapOp::Add, &[h, x]);
    }
    let h = rms_norm(&mut g, h, "norm");
    let logits = g.contract(h, embed, &over);
    let m = g.reduce(ReduceOp::Max, logits, std::slice::from_ref(&vocab));
    let m = g.stop(m);
    let shifted = g.map(MapOp::Sub, &[logits, m]);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, std::slice::from_ref(&vocab));
    let log = g.map(MapOp::Log, &[sum]);
    let logp = g.map(MapOp::Sub, &[shifted, log]);
    let targets = g.input("targets", vec![time()], DType::Int);
    let own = g.gather(logp, &vocab, targets);
    let nll = g.map(MapOp::Neg, &[own]);
    g.output("nll", nll);
    g
}

/// Memory for every named buffer.
struct Given {
    floats: BTreeMap<String, Vec<f32>>,
    ints: BTreeMap<String, Vec<i32>>,
    outputs: BTreeMap<String, Vec<f32>>,
}

fn given(program: &Program, lengths: &Lengths) -> Given {
    let mut all = Given { floats: BTreeMap::new(), ints: BTreeMap::new(), outputs: BTreeMap::new() };
    for buffer in &program.buffers {
        let count = buffer.size().get(lengths);
        let value = |i: usize| ((i * 2_654_435_761 % 1_000_003) as f32 / 1_000_003.0 - 0.5) * 0.08;
        match (&buffer.kind, buffer.dtype) {
            (BufferKind::Input(name), DType::Int) => {
                all.ints.insert(name.clone(), (0..count).map(|i| (i * 7919 % 49152) as i32).collect());
            }
            (BufferKind::Input(name) | BufferKind::Weight(name), _) => {
                all.floats.insert(name.clone(), (0..count).map(value).collect());
            }
            (BufferKind::Output(name), DType::Float) => {
                all.outputs.insert(name.clone(), vec![0.0; count]);
            }
            _ => {}
        }
    }
    all
}

impl Given {
    fn bindings(&mut self) -> Bindings<'_> {
        let mut all = Bindings::new();
        all.extend(self.floats.iter().map(|(n, x)| (n.as_str(), Slot::Floats(x))));
        all.extend(self.ints.iter().map(|(n, x)| (n.as_str(), Slot::Ints(x))));
        all.extend(self.outputs.iter_mut().map(|(n, x)| (n.as_str(), Slot::Add(x))));
        all
    }
}

/// Names of equal layers alike: without numbers.
fn alike(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn temporaries(code: &Executable, lengths: &Lengths) {
    let held = code.most_held(lengths);
    let least: usize = held.iter().map(|(_, bytes)| bytes).sum();
    println!("temporaries {:.0} MB, of which at once {:.0} MB:", code.memory(lengths) as f64 / 1e6, least as f64 / 1e6);
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, bytes) in held {
        let kind = kinds.entry(alike(&name)).or_default();
        *kind = (kind.0 + 1, kind.1 + bytes);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    for (name, (count, bytes)) in kinds.iter().take(24) {
        println!("  {:7.1} MB  {count:4} x {name}", *bytes as f64 / 1e6);
    }
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let number = |i: usize, default: usize| numbers.get(i).copied().unwrap_or(default);
    let (layers, segments, length) = (number(0, 30), number(1, 4), number(2, 128));
    let threads = number(3, std::thread::available_parallelism().map_or(1, |n| n.get()));
    let terms = [Objective { name: "sft".into(), per: Per::Token, value: "nll".into(), weight: None }];
    let start = Instant::now();
    let graphs = training_step(&item(layers), &terms, &[], &BatchOptions::default(), &Rewrites::default(), |_| true);
    let graph = graphs.unwrap_or_else(|e| panic!("{}", e.what)).step;
    let program = fuse(&graph).unwrap_or_else(|e| panic!("{e}"));
    let compiled = Instant::now();
    println!(
        "{layers} layers, {} steps: graphs and fusion {:.2} s",
        program.steps.len(),
        (compiled - start).as_secs_f64()
    );
    if numbers.len() > 4 {
        println!("{program}");
    }
    let code = Cpu::new(threads).compile(&program).unwrap_or_else(|e| panic!("{e}"));
    println!("machine code {:.2} s", compiled.elapsed().as_secs_f64());
    let lengths = Lengths::new().with(Axis::item(), vec![segments]).with(time().packed(), vec![length; segments]);
    temporaries(&code, &lengths);
    let mut given = given(&program, &lengths);
    given.floats.insert("scale.sft".into(), vec![1.0 / (segments * length) as f32]);
    code.run(&lengths, &mut given.bindings()).unwrap_or_else(|e| panic!("{e}"));
    code.count(false);
    let start = Instant::now();
    code.run(&lengths, &mut given.bindings()).unwrap_or_else(|e| panic!("{e}"));
    let wall = start.elapsed().as_secs_f64();
    let spent = code.spent();
    let total: f64 = spent.iter().map(|s| s.counter.seconds).sum();
    let tokens = (segments * length) as f64;
    println!("{threads} threads: {:.0} tokens/s; {total:.2} s in steps, {wall:.2} s in all", tokens / wall);
    let products = spent.iter().filter(|s| s.what == "product");
    let (flops, seconds) = products.fold((0.0, 0.0), |(f, s), p| (f + p.counter.work.flops, s + p.counter.seconds));
    println!("products {:.0} GFLOP, {:.0} GFLOP/s", flops / 1e9, flops / 1e9 / seconds);
    let mut kinds: BTreeMap<&str, f64> = BTreeMap::new();
    spent.iter().for_each(|s| *kinds.entry(s.what).or_default() += s.counter.seconds);
    for (kind, s) in &kinds {
        println!("  {:5.1} %  {:7.1} ms  {kind}", 100.0 * s / total, 1e3 * s);
    }
    let mut of: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for Spent { name, counter, .. } in &spent {
        let entry = of.entry(alike(name)).or_default();
        *entry = (entry.0 + 1, entry.1 + counter.seconds);
    }
    let mut slowest: Vec<_> = of.into_iter().collect();
    slowest.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    for (name, (count, s)) in slowest.iter().take(24) {
        println!("  {:7.1} ms  {count:4} x {name}", 1e3 * s);
    }
}
