use crate::harness::{check, check_with, dim, fill, lengths, many};
use align_compiler::interp::Named;
use align_compiler::kernel::Step;
use align_compiler::tensor::{Axis, CallKind, DType, Graph, MapOp, NodeData, Op};

/// `state = tanh(decay state + x)`, with the square of each state as a result.
fn body() -> Graph {
    let mut b = Graph::new();
    let state = b.param(vec![dim(7)], DType::Float);
    let x = b.param(vec![dim(7)], DType::Float);
    let decay = b.param(vec![], DType::Float);
    let kept = b.map(MapOp::Mul, &[state, decay]);
    let sum = b.map(MapOp::Add, &[kept, x]);
    let next = b.map(MapOp::Tanh, &[sum]);
    let square = b.map(MapOp::Mul, &[next, next]);
    b.output("next", next);
    b.output("square", square);
    b
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn scans() {
    for reverse in [false, true] {
        for axis in [many(), Axis::fixed("steps", 6)] {
            check(|g| {
                let start = g.input("start", vec![dim(7)], DType::Float);
                let x = g.input("x", vec![axis.clone(), dim(7)], DType::Float);
                let decay = g.input("decay", vec![], DType::Float);
                let op = Op::Scan { axis: axis.clone(), reverse, carries: 1, xs: 1, body: Box::new(body()) };
                let scan = NodeData::new(op, vec![start, x, decay], vec![], DType::Float);
                let scan = g.push(scan);
                let (last, all) = (g.result(scan, 0), g.result(scan, 1));
                g.output("last", last);
                g.output("all", all);
            });
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn scans_over_nothing_keep_what_they_were_given() {
    let mut g = Graph::new();
    let start = g.input("start", vec![dim(7)], DType::Float);
    let x = g.input("x", vec![many(), dim(7)], DType::Float);
    let decay = g.input("decay", vec![], DType::Float);
    let op = Op::Scan { axis: many(), reverse: false, carries: 1, xs: 1, body: Box::new(body()) };
    let scan = g.push(NodeData::new(op, vec![start, x, decay], vec![], DType::Float));
    let last = g.result(scan, 0);
    g.output("last", last);
    let lengths = lengths().with(many(), vec![0]);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths);
    check_with(&g, &given, &lengths);
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn loops_stop_when_told() {
    check(|g| {
        let mut b = Graph::new();
        let x = b.param(vec![dim(3)], DType::Float);
        let limit = b.param(vec![], DType::Float);
        let two = b.float(2.0);
        let next = b.map(MapOp::Mul, &[x, two]);
        let sizes = b.map(MapOp::Abs, &[next]);
        let sum = b.sum(sizes, &[dim(3)]);
        let go_on = b.map(MapOp::Lt, &[sum, limit]);
        b.output("go_on", go_on);
        b.output("next", next);
        let x = g.input("x", vec![dim(3)], DType::Float);
        for (i, within) in [3, 100].into_iter().enumerate() {
            let limit = g.float(50.0);
            let op = Op::Loop { within, carries: 1, body: Box::new(b.clone()) };
            let l = g.push(NodeData::new(op, vec![x, limit], vec![], DType::Float));
            let last = g.result(l, 0);
            g.output(format!("last{i}"), last);
        }
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn blocks_of_an_axis() {
    let long = 20_011;
    let mut g = Graph::new();
    let x = g.input("x", vec![many(), dim(40)], DType::Float);
    let w = g.weight("w", vec![Axis::fixed("wide", 300), dim(40)]);
    let mut b = Graph::new();
    let (x_in, w_in) =
        (b.param(vec![many(), dim(40)], DType::Float), b.param(vec![Axis::fixed("wide", 300), dim(40)], DType::Float));
    let y = b.contract(x_in, w_in, &[dim(40)]);
    let e = b.map(MapOp::Exp, &[y]);
    let row = b.sum(e, &[Axis::fixed("wide", 300)]);
    let columns = b.contract(e, x_in, &[many()]);
    let total = b.sum(row, &[many()]);
    b.output("row", row);
    b.output("columns", columns);
    b.output("total", total);
    let call = g.call(CallKind::Chunked { axis: many() }, b, &[x, w]);
    for (i, name) in ["row", "columns", "total"].into_iter().enumerate() {
        let result = g.result(call, i);
        g.output(name, result);
    }
    for count in [0, 1, 37, long] {
        let lengths = lengths().with(many(), vec![count]);
        let mut given = Named::new();
        fill(&g, &mut given, &lengths);
        if count < 100 {
            let program = check_with(&g, &given, &lengths);
            assert!(program.steps.iter().any(|s| matches!(s, Step::Chunked(_))), "{program}");
        } else {
            several_blocks(&g, &given, &lengths);
        }
    }
}

/// Too much for the interpreter: the first column of sums is checked, and memory stays that of a block.
fn several_blocks(g: &Graph, given: &Named, lengths: &align_compiler::tensor::Lengths) {
    let program = align_compiler::kernel::fuse(g).expect("it has kernels");
    let code = crate::device::compile(&program, 2);
    let got = crate::harness::run(&code, &program, given, lengths, false).expect("no fault");
    let (x, w) = (&given["x"].data, &given["w"].data);
    let count = x.len() / 40;
    let row =
        |i: usize| -> f64 { (0..300).map(|j| (0..40).map(|k| x[i * 40 + k] * w[j * 40 + k]).sum::<f64>().exp()).sum() };
    let find = |name: &str| got.iter().find(|(n, _)| n == name).expect("it is there").1.numbers();
    for (i, sum) in find("row").iter().enumerate().step_by(97) {
        assert!((sum / row(i) - 1.0).abs() < 1e-5);
    }
    let all: f64 = find("row").iter().sum();
    assert!((find("total")[0] / all - 1.0).abs() < 1e-5);
    assert!(code.memory(lengths) < count * 300 * 4 / 2, "{} bytes", code.memory(lengths));
}
