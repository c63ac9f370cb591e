use crate::harness::{check, check_with, dim, huge, lengths, many, token};
use align_compiler::interp::{Named, Value};
use align_compiler::kernel::Step;
use align_compiler::tensor::{Axis, DType, Graph, Lengths, MapOp, Node, ReduceOp, TableKind};

const ALL: [ReduceOp; 6] = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod, ReduceOp::Any, ReduceOp::All];

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn over_any_axes() {
    for op in ALL {
        for dtype in [DType::Float, DType::Int, DType::Bool] {
            if matches!(op, ReduceOp::Max | ReduceOp::Min) && dtype == DType::Bool {
                continue;
            }
            check(|g| {
                let head = Axis::fixed("head", 6);
                let x = g.input("x", vec![many(), head.clone(), dim(7)], dtype);
                for (i, over) in [
                    vec![many()],
                    vec![head.clone()],
                    vec![dim(7)],
                    vec![many(), head.clone()],
                    vec![head.clone(), dim(7)],
                    vec![many(), dim(7)],
                    vec![many(), head, dim(7)],
                ]
                .iter()
                .enumerate()
                {
                    let r = g.reduce(op, x, over);
                    g.output(format!("r{i}"), r);
                }
            });
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn long_ones() {
    check(|g| {
        let x = g.input("x", vec![huge(), dim(3)], DType::Float);
        let y = g.input("y", vec![huge()], DType::Float);
        let square = g.map(MapOp::Mul, &[x, x]);
        for (i, over) in [vec![huge()], vec![dim(3)], vec![huge(), dim(3)]].iter().enumerate() {
            let r = g.sum(square, over);
            g.output(format!("r{i}"), r);
        }
        let e = g.map(MapOp::Exp, &[y]);
        let total = g.sum(e, &[huge()]);
        g.output("total", total);
        let most = g.reduce(ReduceOp::Max, e, &[huge()]);
        g.output("most", most);
    });
}

/// Three million thirds: in one sum of single precision the third digit would be wrong.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn long_sums_lose_no_digits() {
    let mut g = Graph::new();
    let x = g.input("x", vec![huge()], DType::Float);
    let three = g.float(3.0);
    let x = g.map(MapOp::Div, &[x, three]);
    let sum = g.sum(x, &[huge()]);
    g.output("sum", sum);
    let count = 3_000_003;
    let program = align_compiler::kernel::fuse(&g).expect("it has kernels");
    let code = crate::device::compile(&program, 2);
    let given = Named::from([("x".into(), Value::floats(vec![huge()], vec![1.0; count]))]);
    let lengths = lengths().with(huge(), vec![count]);
    let got = crate::harness::run(&code, &program, &given, &lengths, false).expect("no fault");
    let (want, got) = (f64::from(1f32 / 3.0) * count as f64, got[0].1.numbers()[0]);
    assert!((got / want - 1.0).abs() < 1e-6, "{got} {want}");
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn softmax_and_norms() {
    for n in [1, 3, 4, 5, 16, 31, 65, 300] {
        let program = check(|g| {
            let x = g.input("x", vec![token(), dim(n)], DType::Float);
            let most = g.reduce(ReduceOp::Max, x, &[dim(n)]);
            let shifted = g.map(MapOp::Sub, &[x, most]);
            let e = g.map(MapOp::Exp, &[shifted]);
            let sum = g.sum(e, &[dim(n)]);
            let y = g.map(MapOp::Div, &[e, sum]);
            g.output("y", y);
            let square = g.map(MapOp::Mul, &[x, x]);
            let sum = g.sum(square, &[dim(n)]);
            let scale = g.map(MapOp::Rsqrt, &[sum]);
            let normed = g.map(MapOp::Mul, &[x, scale]);
            g.output("normed", normed);
        });
        assert!(program.steps.iter().all(|s| matches!(s, Step::Rows(_))));
    }
}

fn segments(g: &mut Graph) -> Node {
    let x = g.input("x", vec![token(), dim(3)], DType::Float);
    let w = g.input("w", vec![token()], DType::Float);
    g.map(MapOp::Mul, &[x, w])
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn of_segments() {
    for op in [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod] {
        check(|g| {
            let x = segments(g);
            let r = g.segment_reduce(op, x, &token());
            g.output("r", r);
            let w = g.input("w", vec![token()], DType::Float);
            let one = g.segment_reduce(op, w, &token());
            g.output("one", one);
            let back = g.segment_tile(one, &token());
            let y = g.map(MapOp::Sub, &[w, back]);
            g.output("y", y);
            let all = g.reduce(op, one, &[Axis::item()]);
            g.output("all", all);
        });
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn tables() {
    check(|g| {
        for kind in [TableKind::Segment, TableKind::Position, TableKind::Start, TableKind::Length] {
            let t = g.table(&token(), kind);
            g.output(format!("{kind:?}"), t);
        }
        let p = g.table(&token(), TableKind::Position);
        let f = g.cast(p, DType::Float);
        let e = g.map(MapOp::Cos, &[f]);
        let s = g.segment_reduce(ReduceOp::Sum, e, &token());
        g.output("s", s);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn of_nothing() {
    let nothing = Lengths::default();
    let lengths = nothing.with(Axis::item(), vec![0]).with(token(), vec![]).with(many(), vec![0]).with(huge(), vec![1]);
    for op in ALL {
        let mut g = Graph::new();
        let x = g.input("x", vec![many(), dim(3)], DType::Float);
        for (i, over) in [vec![many()], vec![dim(3)], vec![many(), dim(3)]].iter().enumerate() {
            let r = g.reduce(op, x, over);
            g.output(format!("r{i}"), r);
        }
        let w = g.input("w", vec![token()], DType::Float);
        let s = g.segment_reduce(op, w, &token());
        g.output("s", s);
        let given = Named::from([
            ("x".into(), Value::floats(vec![many(), dim(3)], vec![])),
            ("w".into(), Value::floats(vec![token()], vec![])),
        ]);
        check_with(&g, &given, &lengths);
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn products() {
    let head = || Axis::fixed("head", 2);
    let out = || Axis::fixed("out", 9);
    check(|g| {
        let x = g.input("x", vec![many(), dim(7)], DType::Float);
        let w = g.weight("w", vec![out(), dim(7)]);
        let y = g.contract(x, w, &[dim(7)]);
        g.output("y", y);
        let dw = g.contract(y, x, &[many()]);
        g.output("dw", dw);
        let dx = g.contract(y, w, &[out()]);
        g.output("dx", dx);
        let a = g.input("a", vec![many(), head(), dim(7)], DType::Float);
        let b = g.input("b", vec![token(), head(), dim(7)], DType::Float);
        let s = g.contract(a, b, &[dim(7)]);
        g.output("s", s);
        let d = g.contract(a, b, &[dim(7), head()]);
        g.output("d", d);
        let p = g.contract(a, x, &[many()]);
        g.output("p", p);
        let v = g.input("v", vec![dim(7)], DType::Float);
        let mv = g.contract(x, v, &[dim(7)]);
        g.output("mv", mv);
        let outer = g.contract(v, w, &[]);
        g.output("outer", outer);
        let dot = g.contract(v, v, &[dim(7)]);
        g.output("dot", dot);
        let first = g.map(MapOp::Add, &[dw, w]);
        g.output("sum", first);
    });
}
