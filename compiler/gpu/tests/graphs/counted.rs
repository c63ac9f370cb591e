//! What runs took is counted where it is asked for.

use crate::device::compile;
use crate::harness::{dim, fill, lengths, many, run};
use align_compiler::interp::Named;
use align_compiler::kernel::fuse;
use align_compiler::tensor::{DType, Graph, MapOp, NodeData, Op};

/// `state = tanh(state + x)`
fn body() -> Graph {
    let mut b = Graph::new();
    let state = b.param(vec![dim(7)], DType::Float);
    let x = b.param(vec![dim(7)], DType::Float);
    let sum = b.map(MapOp::Add, &[state, x]);
    let next = b.map(MapOp::Tanh, &[sum]);
    b.output("next", next);
    b
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn steps_and_those_of_bodies_are_counted_and_the_host_beside_them() {
    let mut g = Graph::new();
    let x = g.input("x", vec![many(), dim(7)], DType::Float);
    let start = g.input("start", vec![dim(7)], DType::Float);
    let op = Op::Scan { axis: many(), reverse: false, carries: 1, xs: 1, body: Box::new(body()) };
    let scan = g.push(NodeData::new(op, vec![start, x], vec![], DType::Float));
    let last = g.result(scan, 0);
    let product = g.contract(x, last, &[dim(7)]);
    g.output("product", product);
    let mut given = Named::new();
    fill(&g, &mut given, &lengths());
    let program = fuse(&g).unwrap_or_else(|e| panic!("{e}"));
    let code = compile(&program, 1);
    let run = || run(&code, &program, &given, &lengths(), false).unwrap_or_else(|e| panic!("{e}"));
    run();
    assert!(code.spent().is_empty(), "nobody asked");
    code.count(true);
    run();
    code.count(false);
    run();
    let spent = code.spent();
    let (host, steps) = spent.split_last().expect("a product, a scan, the host");
    assert!(host.host && host.counter.runs == 2 && host.counter.seconds > 0.0, "{host:?}");
    let of = |what: &str| steps.iter().filter(|s| s.what == what).collect::<Vec<_>>();
    let [rounds] = of("pointwise")[..] else { panic!("{steps:?}") };
    assert_eq!((rounds.counter.runs, rounds.counter.events.len()), (2 * 37, 37), "of the first run alone");
    let [product] = of("product")[..] else { panic!("{steps:?}") };
    assert_eq!((product.counter.runs, product.counter.events.len()), (2, 1));
    assert_eq!(product.counter.work.flops, (2 * 2 * 37 * 7) as f64);
    assert!(steps.iter().all(|s| !s.host && s.counter.seconds > 0.0), "{steps:?}");
    // The device works on them one after another.
    let times: Vec<_> = rounds.counter.events.iter().map(|(start, took)| (*start, *start + *took)).collect();
    assert!(times.is_sorted_by(|a, b| a.1 <= b.0), "{times:?}");
}
