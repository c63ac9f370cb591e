use super::{drop_stops, simplify};
use crate::rewrite::model::{self, Style, model};
use crate::rewrite::oracle::{assert_same, count, fill, is_map};
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Node, NodeData, Op, ReduceOp, TableKind};

fn a() -> Axis {
    Axis::fixed("a", 3)
}

fn b() -> Axis {
    Axis::fixed("b", 4)
}

fn c() -> Axis {
    Axis::fixed("c", 2)
}

/// Simplifies the graph whose output is built, checks that its numbers stay, and gives what it became.
fn check(build: impl Fn(&mut Graph) -> Node) -> Graph {
    let mut graph = Graph::new();
    let out = build(&mut graph);
    graph.output("out", out);
    let simple = simplify(&graph);
    let packed = Axis::ragged("time", 0, None).packed();
    let lengths = Lengths::new().with(Axis::item(), vec![3]).with(packed, vec![2, 0, 5]);
    let mut given = Default::default();
    fill(&graph, &mut given, &lengths);
    assert_same(&graph, &simple, &given, &lengths);
    simple
}

fn float(g: &mut Graph, name: &str, axes: &[Axis]) -> Node {
    g.input(name, axes.to_vec(), DType::Float)
}

fn out(g: &Graph) -> &NodeData {
    g.get(g.outputs[0].1)
}

#[test]
fn constants() {
    let folded = check(|g| {
        let (two, three) = (g.float(2.0), g.float(3.0));
        let six = g.map(MapOp::Mul, &[two, three]);
        g.map(MapOp::Sqrt, &[six])
    });
    assert_eq!(out(&folded).op, Op::Const(6f64.sqrt()));
    let same = check(|g| {
        let x = float(g, "x", &[a()]);
        let (zero, one) = (g.float(0.0), g.float(1.0));
        let y = g.map(MapOp::Add, &[zero, x]);
        let y = g.map(MapOp::Div, &[y, one]);
        let y = g.map(MapOp::Neg, &[y]);
        let y = g.map(MapOp::Neg, &[y]);
        let sure = g.bool(true);
        g.map(MapOp::Where, &[sure, y, zero])
    });
    assert_eq!(same.len(), 1);
    let once = check(|g| {
        let x = float(g, "x", &[a()]);
        let (two, three) = (g.float(2.0), g.float(3.0));
        let y = g.map(MapOp::Mul, &[two, x]);
        g.map(MapOp::Mul, &[y, three])
    });
    assert_eq!(count(&once, |op| is_map(op, MapOp::Mul)), 1);
    let kept = check(|g| {
        let x = float(g, "x", &[a()]);
        let zero = g.float(0.0);
        g.map(MapOp::Mul, &[x, zero])
    });
    assert_eq!(count(&kept, |op| is_map(op, MapOp::Mul)), 1, "a nan times 0 is a nan");
}

#[test]
fn casts_and_stops() {
    let g = check(|g| {
        let x = float(g, "x", &[a()]);
        let zero = g.float(0.0);
        let c = g.map(MapOp::Gt, &[x, zero]);
        let i = g.cast(c, DType::Int);
        let s = g.stop(i);
        let f = g.cast(s, DType::Float);
        g.stop(f)
    });
    assert_eq!((count(&g, |op| *op == Op::Cast), count(&g, |op| *op == Op::Stop)), (1, 0));
    let kept = check(|g| {
        let x = float(g, "x", &[a()]);
        let i = g.cast(x, DType::Int);
        g.cast(i, DType::Float)
    });
    assert_eq!(count(&kept, |op| *op == Op::Cast), 2, "the fraction is lost in between");
}

#[test]
fn stops_are_kept_until_they_are_dropped() {
    let stops = |g: &Graph| count(g, |op| *op == Op::Stop);
    let kept = check(|g| {
        let x = float(g, "x", &[a()]);
        let x = g.stop(x);
        g.stop(x)
    });
    assert_eq!((stops(&kept), stops(&drop_stops(&kept))), (1, 0));
}

#[test]
fn tiles_go() {
    let tiles = |g: &Graph| count(g, |op| matches!(op, Op::Tile(_)));
    let under = check(|g| {
        let (x, y) = (float(g, "x", &[b()]), float(g, "y", &[a(), b()]));
        let x = g.tile(x, &a());
        g.map(MapOp::Mul, &[x, y])
    });
    assert_eq!(tiles(&under), 0);
    let outside = check(|g| {
        let (x, y) = (float(g, "x", &[b()]), float(g, "y", &[b()]));
        let (x, y) = (g.tile(x, &a()), g.tile(y, &a()));
        let z = g.map(MapOp::Mul, &[x, y]);
        let z = g.map(MapOp::Exp, &[z]);
        g.reduce(ReduceOp::Max, z, &[a(), b()])
    });
    assert_eq!(tiles(&outside), 0);
    let summed = check(|g| {
        let x = float(g, "x", &[b()]);
        let x = g.tile(x, &a());
        g.sum(x, &[a(), b()])
    });
    assert_eq!((tiles(&summed), count(&summed, |op| is_map(op, MapOp::Mul))), (0, 1));
    let contracted = check(|g| {
        let (x, y) = (float(g, "x", &[b()]), float(g, "y", &[a(), b(), c()]));
        let x = g.tile(x, &a());
        g.contract(x, y, &[a(), b()])
    });
    assert_eq!(tiles(&contracted), 0);
    let gathered = check(|g| {
        let x = float(g, "x", &[b()]);
        let x = g.tile(x, &a());
        let one = g.int(1);
        g.gather(x, &a(), one)
    });
    assert_eq!(gathered.len(), 1);
}

#[test]
fn sums_of_products() {
    let contraction = |g: &Graph| count(g, |op| matches!(op, Op::Contract(_)));
    let matrices = check(|g| {
        let (x, y) = (float(g, "x", &[a(), b()]), float(g, "y", &[b(), c()]));
        let factor = g.float(0.5);
        let y = g.map(MapOp::Mul, &[y, factor]);
        let x = g.map(MapOp::Neg, &[x]);
        let xy = g.map(MapOp::Mul, &[x, y]);
        g.sum(xy, &[b()])
    });
    assert_eq!(contraction(&matrices), 1);
    assert!(!model::has_axes(&matrices, &[a(), b(), c()]));
    let one_has_it = check(|g| {
        let (x, y) = (float(g, "x", &[a(), b()]), float(g, "y", &[a()]));
        let xy = g.map(MapOp::Div, &[x, y]);
        g.sum(xy, &[b()])
    });
    assert_eq!(out(&one_has_it).op, Op::Map(MapOp::Div));
    let squares = check(|g| {
        let x = float(g, "x", &[a(), b()]);
        let xx = g.map(MapOp::Mul, &[x, x]);
        g.sum(xx, &[b()])
    });
    assert_eq!(contraction(&squares), 0, "no matrix product");
    let both = check(|g| {
        let (x, y) = (float(g, "x", &[a(), b()]), float(g, "y", &[b(), c()]));
        let xy = g.map(MapOp::Mul, &[x, y]);
        let s = g.sum(xy, &[a()]);
        g.sum(s, &[b()])
    });
    assert!(!model::has_axes(&both, &[a(), b(), c()]));
}

#[test]
fn sums_over_all_places_of_a_scatter() {
    for kept in [vec![a(), b()], vec![b()]] {
        let simple = check(|g| {
            let (index, one, two) = (g.iota(&a()), g.int(1), g.int(2));
            let index = g.map(MapOp::Mul, &[index, two]);
            let index = g.map(MapOp::Min, &[index, one]);
            let v = float(g, "v", &[c()]);
            let axes = [kept.clone(), vec![c()]].concat();
            let scattered = g.scatter_add(index, v, &b(), axes);
            g.sum(scattered, &[b()])
        });
        assert_eq!(count(&simple, |op| matches!(op, Op::ScatterAdd(_))), 0);
    }
}

#[test]
fn a_scaled_value_stays_in_one_piece() {
    let simple = check(|g| {
        let (x, y) = (float(g, "x", &[a(), b()]), float(g, "y", &[b(), c()]));
        let (row, scale) = (float(g, "row", &[a()]), float(g, "scale", &[b()]));
        let x = g.map(MapOp::Mul, &[x, row]);
        let x = g.map(MapOp::Mul, &[x, scale]);
        let xy = g.map(MapOp::Mul, &[x, y]);
        g.sum(xy, &[b()])
    });
    assert!(matches!(out(&simple).op, Op::Contract(_)));
    let matrix = simple.get(out(&simple).inputs[1]);
    assert_eq!(matrix.op, Op::Input("y".into()));
}

#[test]
fn small_powers_and_pads() {
    for (p, maps) in [(2.0, 1), (3.0, 2), (-1.0, 1), (1.5, 1)] {
        let simple = check(|g| {
            let (x, p) = (float(g, "x", &[a()]), g.float(p));
            let x = g.map(MapOp::Abs, &[x]);
            g.map(MapOp::Pow, &[x, p])
        });
        assert_eq!(count(&simple, |op| is_map(op, MapOp::Pow)), usize::from(p == 1.5));
        assert_eq!(count(&simple, |op| matches!(op, Op::Map(_))), maps + 1);
    }
    let long = Axis::fixed("long", 5);
    for (start, pads) in [(3, 0), (2, 2)] {
        let simple = check(|g| {
            let (x, y) = (float(g, "x", &[b(), a()]), float(g, "y", &[c(), b()]));
            let (x, y) = (g.pad(x, &a(), &long, 0), g.pad(y, &c(), &long, start));
            g.map(MapOp::Add, &[y, x])
        });
        assert_eq!(count(&simple, |op| matches!(op, Op::Pad { .. })), pads);
    }
}

#[test]
fn packed_values() {
    let time = Axis::ragged("time", 0, None).packed();
    let lengths = check(|g| {
        let x = float(g, "x", &[Axis::item()]);
        let x = g.segment_tile(x, &time);
        g.segment_reduce(ReduceOp::Sum, x, &time)
    });
    assert_eq!(count(&lengths, |op| *op == Op::Table(time.clone(), TableKind::Length)), 1);
    assert!(!model::has_axes(&lengths, std::slice::from_ref(&time)));
    let once = check(|g| {
        let x = float(g, "x", &[Axis::item()]);
        let x = g.segment_tile(x, &time);
        let two = g.float(2.0);
        g.map(MapOp::Pow, &[x, two])
    });
    assert!(matches!(out(&once).op, Op::SegmentTile(_)));
}

#[test]
fn a_whole_net() {
    for style in [Style::Quotient, Style::Sums, Style::LogWindow] {
        let plain = model(style);
        let simple = simplify(&plain);
        assert_eq!(simplify(&simple), simple, "nothing is left to do");
        let (given, lengths) = model::item(&plain, 2);
        assert_same(&plain, &simple, &given, &lengths);
    }
}
