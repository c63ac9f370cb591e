//! Steps by themselves: good WGSL in all forms, and on a device what the reference gives.

use std::collections::BTreeMap;

use align_compiler::interp::{Named, Value};
use align_compiler::kernel::{
    AttentionGradStep, AttentionStep, Buffer, BufferId, BufferKind, Cumsum, Program, Scatter, Sort, SortKind, Step,
    Tree, View,
};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Attention, Axis, DType, Lengths};

use super::driver::Driver;
use super::{plain, validate, variants};
use crate::shader::{Bound, Context, Form, kernels};

/// A program of one step, and numbers for its inputs.
#[derive(Clone)]
struct Case {
    program: Program,
    given: Named,
    lengths: Lengths,
}

impl Case {
    fn new(lengths: Lengths) -> Case {
        Case { program: Program::default(), given: Named::new(), lengths }
    }

    fn view(&mut self, name: &str, axes: &[&Axis], dtype: DType, kind: BufferKind) -> View {
        let axes: Vec<Axis> = axes.iter().map(|a| (*a).clone()).collect();
        let buffer = Buffer { name: name.into(), dtype, storage: Storage::F32, axes, kind };
        let axes = buffer.axes.iter().cloned().zip(buffer.strides()).collect();
        self.program.buffers.push(buffer);
        View { buffer: BufferId(self.program.buffers.len() as u32 - 1), offset: 0, axes }
    }

    fn input(&mut self, name: &str, axes: &[&Axis], dtype: DType, value: impl Fn(usize, f64) -> f64) -> View {
        let view = self.view(name, axes, dtype, BufferKind::Input(name.into()));
        let count = self.program.buffer(view.buffer).size().get(&self.lengths);
        let mut state = 17 + name.bytes().map(u64::from).sum::<u64>();
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // What bf16 holds.
            (((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * 128.0).round() / 128.0
        };
        let data = (0..count).map(|i| value(i, next())).collect();
        let axes = axes.iter().map(|a| (*a).clone()).collect();
        self.given.insert(name.into(), Value { axes, dtype, data });
        view
    }

    fn floats(&mut self, name: &str, axes: &[&Axis]) -> View {
        self.input(name, axes, DType::Float, |_, x| x)
    }

    fn output(&mut self, name: &str, axes: &[&Axis], dtype: DType) -> View {
        self.view(name, axes, dtype, BufferKind::Output(name.into()))
    }

    /// `add`: outputs are floats, which may be added. All forms of it are good WGSL; on the device are `all`, or the plain one.
    fn check(&self, driver: &Driver, (add, all): (bool, bool), tolerance: f64) {
        let Case { program, given, lengths } = self;
        let floats = |dtype| dtype == DType::Float;
        let mut forms: BTreeMap<&str, Vec<Bound>> = BTreeMap::from([("plain", plain(program))]);
        let each = |change: &dyn Fn(&Buffer, Bound) -> Bound| -> Vec<Bound> {
            program.buffers.iter().zip(plain(program)).map(|(b, bound)| change(b, bound)).collect()
        };
        let is_output = |b: &Buffer| matches!(b.kind, BufferKind::Output(_));
        if add {
            forms.insert("add", each(&|b, bound| Bound { add: is_output(b), ..bound }));
        }
        forms.insert("shifted", each(&|_, bound| Bound { shifted: true, ..bound }));
        let bf16 = |b: &Buffer, bound| match floats(b.dtype) && !is_output(b) {
            true => Bound { form: Form::Bf16, ..bound },
            false => bound,
        };
        if !matches!(program.steps[0], Step::AttentionGrad(_)) {
            forms.insert("bf16", each(&bf16));
        }
        for variant in variants(&program.steps[0], lengths) {
            for (form, bound) in &forms {
                let own = kernels(Context { program, bound }, &program.steps[0], variant).expect("it has kernels");
                own.kernels.iter().for_each(|kernel| validate(&kernel.shader.text));
                if all || *form == "plain" {
                    driver.check(program, bound, (given, lengths), variant, tolerance);
                }
            }
        }
    }
}

fn time() -> Axis {
    Axis::ragged("time", 1, None).packed()
}

struct Shape {
    segments: Vec<usize>,
    kv: usize,
    rep: usize,
    hdim: usize,
    vdim: usize,
    window: Option<usize>,
    /// Each segment is a tree: a third of it, what is below that, and the rest, which is below the first third too.
    tree: bool,
}

/// The tables of such trees.
fn tree(case: &mut Case, segments: &[usize]) -> Tree {
    let (mut ends, mut places) = (vec![], vec![]);
    for n in segments {
        let (root, next) = (n / 3, 2 * n / 3);
        ends.extend((0..*n).map(|i| if (root..next).contains(&i) { next } else { *n }));
        places.extend((0..*n).map(|i| if i < next { i } else { i - next + root }));
    }
    let mut table = |name, values: Vec<usize>| case.input(name, &[&time()], DType::Int, |i, _| values[i] as f64);
    Tree { ends: table("ends", ends), places: table("places", places) }
}

/// The forward and the backward step of attention.
fn attention(shape: &Shape) -> [Case; 2] {
    let [kv, rep, hdim, vdim] = [("kv", shape.kv), ("rep", shape.rep), ("hdim", shape.hdim), ("vdim", shape.vdim)]
        .map(|(n, s)| Axis::fixed(n, s));
    let vdim = if shape.hdim == shape.vdim { hdim.clone() } else { vdim };
    let time = time();
    let reps: Vec<&Axis> = if shape.rep > 1 { vec![&rep] } else { vec![] };
    let attention = Attention {
        time: time.clone(),
        hdim: hdim.clone(),
        vdim: vdim.clone(),
        kv: vec![kv.clone()],
        rep: reps.iter().map(|a| (*a).clone()).collect(),
        scale: 1.5 / (shape.hdim as f64).sqrt(),
        window: shape.window,
        tree: shape.tree,
        cached: None,
    };
    let heads = |last: &[&'static str]| -> Vec<&Axis> {
        let own = |name: &&str| match *name {
            "h" => vec![&hdim],
            "v" => vec![&vdim],
            _ => reps.clone(),
        };
        [vec![&time, &kv], last.iter().flat_map(own).collect()].concat()
    };
    let (query, key, value, out) = (heads(&["rep", "h"]), heads(&["h"]), heads(&["v"]), heads(&["rep", "v"]));
    let lse = heads(&["rep"]);
    let lengths = Lengths::new().with(time.clone(), shape.segments.clone());
    let mut forward = Case::new(lengths.clone());
    let branches = |case: &mut Case| shape.tree.then(|| tree(case, &shape.segments));
    let step = AttentionStep {
        attention: attention.clone(),
        query: forward.floats("query", &query),
        key: forward.floats("key", &key),
        value: forward.floats("value", &value),
        tree: branches(&mut forward),
        cache: None,
        out: forward.output("out", &out, DType::Float),
        lse: forward.output("lse", &lse, DType::Float),
    };
    forward.program.steps.push(Step::Attention(step));
    let results = align_compiler::kernel::reference::run(
        &forward.program,
        &forward.given,
        &lengths,
        align_compiler::interp::Precision::F64,
    );
    let results: Named = results.unwrap_or_else(|e| panic!("{e}")).into_iter().collect();
    let mut backward = Case::new(lengths);
    let step = AttentionGradStep {
        attention,
        query: backward.floats("query", &query),
        key: backward.floats("key", &key),
        value: backward.floats("value", &value),
        tree: branches(&mut backward),
        out: backward.input("out", &out, DType::Float, |i, _| results["out"].data[i]),
        lse: backward.input("lse", &lse, DType::Float, |i, _| results["lse"].data[i]),
        cotangent: backward.floats("cotangent", &out),
        query_grad: backward.output("query_grad", &query, DType::Float),
        key_grad: backward.output("key_grad", &key, DType::Float),
        value_grad: backward.output("value_grad", &value, DType::Float),
    };
    backward.program.steps.push(Step::AttentionGrad(step));
    [forward, backward]
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn attention_within_segments() {
    let driver = Driver::new();
    let base = |segments: &[usize]| Shape {
        segments: segments.to_vec(),
        kv: 2,
        rep: 3,
        hdim: 20,
        vdim: 12,
        window: None,
        tree: false,
    };
    for shape in [
        Shape { tree: true, ..base(&[1, 5, 0, 70, 64, 3]) },
        Shape { tree: true, window: Some(9), kv: 1, rep: 2, hdim: 64, vdim: 64, ..base(&[100, 31, 40]) },
        base(&[1, 5, 0, 70, 64, 3]),
        Shape { window: Some(50), ..base(&[130, 7]) },
        Shape { window: Some(1), kv: 1, rep: 1, hdim: 3, vdim: 3, ..base(&[100]) },
        Shape { rep: 1, hdim: 33, vdim: 64, window: Some(9), ..base(&[12, 31, 40]) },
        Shape { kv: 1, rep: 2, hdim: 64, vdim: 64, ..base(&[200, 2]) },
        Shape { kv: 1, rep: 2, hdim: 80, vdim: 96, ..base(&[50, 9]) },
        Shape { kv: 1, rep: 2, hdim: 150, vdim: 30, ..base(&[40, 50]) },
        Shape { kv: 1, rep: 1, hdim: 128, vdim: 300, ..base(&[45, 1, 1]) },
        Shape { kv: 1, rep: 1, hdim: 256, vdim: 128, ..base(&[37]) },
    ] {
        attention(&shape).iter().for_each(|case| case.check(&driver, (true, shape.rep == 3), 1e-5));
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn scatters() {
    let driver = Driver::new();
    let (time, vocab, dim, rows, small) =
        (time(), Axis::fixed("vocab", 37), Axis::fixed("dim", 6), Axis::fixed("rows", 5), Axis::fixed("small", 3));
    let all: [(&[&Axis], &[&Axis], &[&Axis]); 6] = [
        (&[&time], &[&time, &dim], &[&vocab, &dim]),
        (&[&time, &rows], &[&time, &rows, &dim], &[&vocab, &dim]),
        // A line for each row.
        (&[&rows, &time], &[&time, &rows], &[&rows, &vocab]),
        // Sums over what the index lacks, and a place for each index.
        (&[&time], &[&time, &dim, &small], &[&dim, &vocab]),
        (&[&rows, &small], &[&dim, &small], &[&vocab, &dim, &rows]),
        (&[], &[&dim], &[&vocab, &dim]),
    ];
    for (index, values, out) in all {
        for (add, long) in [(false, 1500), (true, 20)] {
            let mut case = Case::new(Lengths::new().with(time.clone(), vec![long, 3, 0, 9]));
            let index = case.input("index", index, DType::Int, |i, _| ((i * i + 3 * i) % 37 / 2) as f64);
            let values = case.floats("values", values);
            let out = case.output("out", out, DType::Float);
            case.program.steps.push(Step::Scatter(Scatter { axis: vocab.clone(), index, values, out, add: false }));
            case.check(&driver, (true, true), 1e-5);
            if add {
                let Step::Scatter(step) = &mut case.program.steps[0] else { unreachable!("a scatter") };
                step.add = true;
                let context = Context { program: &case.program, bound: &plain(&case.program) };
                for variant in variants(&case.program.steps[0], &case.lengths) {
                    let all = kernels(context, &case.program.steps[0], variant).expect("it has kernels");
                    all.kernels.iter().for_each(|kernel| validate(&kernel.shader.text));
                }
            }
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn an_index_outside_is_found() {
    let driver = Driver::new();
    let (time, vocab) = (time(), Axis::fixed("vocab", 7));
    for wrong in [-3.0, 7.0] {
        let mut case = Case::new(Lengths::new().with(time.clone(), vec![100]));
        let index = case.input("index", &[&time], DType::Int, |i, _| if i == 60 { wrong } else { 2.0 });
        let values = case.floats("values", &[&time]);
        let out = case.output("out", &[&vocab], DType::Float);
        case.program.steps.push(Step::Scatter(Scatter { axis: vocab.clone(), index, values, out, add: false }));
        let Case { program, given, lengths } = &case;
        for variant in variants(&program.steps[0], lengths) {
            assert_eq!(driver.faults(program, &plain(program), (given, lengths), variant), [wrong as i32]);
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn orders() {
    let driver = Driver::new();
    let (rows, top) = (Axis::fixed("rows", 5), Axis::fixed("top", 2));
    let lengths = [1, 2, 3, 100, 1025, 5000];
    for (length, fixed) in lengths.into_iter().flat_map(|n| [(n, true), (n, false)]) {
        let time = if fixed { Axis::fixed("n", length) } else { time() };
        let special = |i: usize, x: f64| match i % 11 {
            3 => f64::NAN,
            5 => 0.0,
            7 => -0.0,
            8 => f64::INFINITY,
            9 => f64::NEG_INFINITY,
            _ => x,
        };
        for dtype in [DType::Float, DType::Int, DType::Bool] {
            for kind in [SortKind::Argsort, SortKind::Top(top.clone())] {
                if length < 2 && kind != SortKind::Argsort {
                    continue;
                }
                let mut case = Case::new(Lengths::new().with(time.clone(), vec![length]));
                let input = case.input("input", &[&time, &rows], dtype, |i, x| match dtype {
                    DType::Float => special(i, x),
                    DType::Int => (x * 100.0).round(),
                    DType::Bool => f64::from(x > 0.0),
                });
                let along = if kind == SortKind::Argsort { &time } else { &top };
                let out = case.output("out", &[&rows, along], DType::Int);
                case.program.steps.push(Step::Sort(Sort { kind, axis: time.clone(), input, out }));
                case.check(&driver, (false, true), 0.0);
            }
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn running_sums() {
    let driver = Driver::new();
    let (time, rows, long) = (time(), Axis::fixed("rows", 5), Axis::fixed("long", 300));
    let lengths = Lengths::new().with(time.clone(), vec![3, 0, 200, 1, 127, 300]);
    for dtype in [DType::Float, DType::Int] {
        for (axis, reverse) in [&time, &rows, &long].into_iter().flat_map(|a| [(a, false), (a, true)]) {
            let mut case = Case::new(lengths.clone());
            let axes: Vec<&Axis> = if axis == &long { vec![&rows, &long] } else { vec![&time, &rows] };
            let input =
                case.input("input", &axes, dtype, |_, x| if dtype == DType::Int { (x * 9.0).round() } else { x });
            let out = case.output("out", &axes, dtype);
            case.program.steps.push(Step::Cumsum(Cumsum { axis: axis.clone(), reverse, input, out }));
            case.check(&driver, (dtype == DType::Float, true), 1e-5);
        }
    }
}
