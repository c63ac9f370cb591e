//! Reductions, axes, indices, packed axes.

use super::{Case, axis};
use crate::rewrite::oracle::Value;
use crate::tensor::{Axis, DType, Graph, MapOp, Node, ReduceOp};

fn input(g: &mut Graph, name: &str, axes: &[Axis]) -> Node {
    g.input(name, axes.to_vec(), DType::Float)
}

fn time() -> Axis {
    Axis::ragged("time", 0, None)
}

fn sample() -> Axis {
    Axis::ragged("sample", 1, None)
}

fn inner() -> Axis {
    Axis::ragged("time", 2, Some(sample()))
}

#[test]
fn reductions() {
    use ReduceOp::*;
    let (i, j, k) = (axis("i", 3), axis("j", 5), axis("k", 2));
    for op in [Sum, Max, Min, Prod] {
        Case::new().check(|g| {
            let x = input(g, "x", &[i.clone(), j.clone(), k.clone()]);
            [vec![j.clone()], vec![k.clone(), i.clone()], vec![i.clone(), j.clone(), k.clone()]]
                .map(|over| g.reduce(op, x, &over))
                .to_vec()
        });
        Case::new().length(time(), &[4]).check(|g| {
            let x = input(g, "x", &[time(), k.clone()]);
            vec![g.reduce(op, x, &[time()]), g.reduce(op, x, &[k.clone(), time()])]
        });
    }
}

/// All that tie share alike; a product sees past zeros, in its second derivative too.
#[test]
fn ties_and_zeros() {
    let j = axis("j", 4);
    let mut g = Graph::new();
    let x = input(&mut g, "x", std::slice::from_ref(&j));
    let max = g.reduce(ReduceOp::Max, x, std::slice::from_ref(&j));
    let grad = super::vjp(&mut g, max, None, &[x])[0];
    let one = g.float(1.0);
    let first = g.array(vec![1.0, 0.0, 0.0, 0.0], vec![j.clone()], DType::Float);
    let moved = super::jvp(&mut g, &[max, max], &[(x, first)]);
    let all = super::jvp(&mut g, &[max], &[(x, one)])[0];
    for (name, node) in [("grad", grad), ("moved", moved[1]), ("all", all)] {
        g.output(name, node);
    }
    let given = [("x".to_string(), Value::floats(vec![j.clone()], vec![2.0, -1.0, 2.0, 2.0]))].into();
    let out = super::run(&g, &given, &Default::default());
    assert_eq!(out["grad"].data, [1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0]);
    assert_eq!((out["moved"].data[0], out["all"].data[0]), (1.0 / 3.0, 1.0));
    for zeros in [vec![0.0, 2.0, 3.0, -1.5], vec![0.0, 2.0, 0.0, -1.5], vec![0.0; 4]] {
        Case::new().with("x", Value::floats(vec![j.clone()], zeros)).check(|g| {
            let x = input(g, "x", std::slice::from_ref(&j));
            vec![g.reduce(ReduceOp::Prod, x, std::slice::from_ref(&j))]
        });
    }
}

#[test]
fn contractions() {
    let (i, j, k, l) = (axis("i", 3), axis("j", 4), axis("k", 2), axis("l", 5));
    let cases = [
        (vec![i.clone(), j.clone()], vec![j.clone(), k.clone()], vec![j.clone()]),
        (vec![l.clone(), i.clone(), j.clone()], vec![k.clone(), j.clone(), l.clone()], vec![j.clone()]),
        (vec![i.clone(), j.clone(), k.clone()], vec![j.clone(), k.clone()], vec![j.clone(), k.clone()]),
        (vec![j.clone()], vec![j.clone()], vec![j.clone()]),
        (vec![i.clone(), l.clone()], vec![i.clone(), l.clone()], vec![l.clone()]),
    ];
    for (of_x, of_y, over) in cases {
        Case::new().check(|g| {
            let (x, y) = (input(g, "x", &of_x), input(g, "y", &of_y));
            vec![g.contract(x, y, &over)]
        });
    }
}

#[test]
fn axes() {
    let (i, j, k) = (axis("i", 3), axis("j", 4), axis("k", 12));
    let (short, long) = (axis("j", 2), axis("j", 7));
    Case::new().check(|g| {
        let x = input(g, "x", &[i.clone(), j.clone()]);
        let square = g.map(MapOp::Mul, &[x, x]);
        let tiled = g.tile(square, &axis("t", 2));
        let renamed = g.rename(square, &j, &axis("other", 4));
        let flat = g.flatten(square, [i.clone(), j.clone()], &k);
        let turned = g.flatten(square, [j.clone(), i.clone()], &k);
        let wave = g.map(MapOp::Sin, &[turned]);
        let split = g.split(wave, &k, [axis("a", 2), axis("b", 6)]);
        let cut = g.slice(square, &j, &short, 1);
        let padded = g.pad(square, &j, &long, 2);
        let y = input(g, "y", &[short.clone(), i.clone()]);
        let cube = g.map(MapOp::Mul, &[cut, y]);
        let all = g.concat(&[square, cube, y], &[j.clone(), short.clone(), short.clone()], &axis("j", 8));
        let all = g.map(MapOp::Tanh, &[all]);
        vec![tiled, renamed, flat, split, cut, padded, all]
    });
}

#[test]
fn gathers_and_scatters() {
    let (i, j, k) = (axis("i", 3), axis("j", 4), axis("k", 2));
    let case = Case::new()
        .with("one", Value::ints(vec![k.clone()], [3, 1]))
        .with("along", Value::ints(vec![i.clone(), k.clone()], [3, 1, 1, 1, 0, 3]))
        .with("turned", Value::ints(vec![j.clone()], [2, 2, 0, 3]))
        .with("number", Value::ints(vec![], [2]));
    case.check(|g| {
        let x = input(g, "x", &[i.clone(), j.clone()]);
        let x = g.map(MapOp::Sin, &[x]);
        let one = g.input("one", vec![k.clone()], DType::Int);
        let along = g.input("along", vec![i.clone(), k.clone()], DType::Int);
        let turned = g.input("turned", vec![j.clone()], DType::Int);
        let number = g.input("number", vec![], DType::Int);
        let mut made: Vec<Node> = [one, along, turned, number].map(|index| g.gather(x, &j, index)).to_vec();
        let v = input(g, "v", &[k.clone(), i.clone()]);
        let v = g.map(MapOp::Sin, &[v]);
        made.push(g.scatter_add(one, v, &j, vec![j.clone(), i.clone()]));
        made.push(g.scatter_add(along, v, &j, vec![i.clone(), j.clone()]));
        made.push(g.scatter_add(along, v, &j, vec![j.clone()]));
        let w = input(g, "w", std::slice::from_ref(&k));
        let w = g.map(MapOp::Sin, &[w]);
        made.push(g.scatter_add(along, w, &j, vec![i.clone(), j.clone()]));
        let order = g.argsort(x, &j);
        made.push(g.gather(x, &j, order));
        let best = g.topk(x, &j, &axis("j", 2));
        made.push(g.gather(x, &j, best));
        made
    });
}

#[test]
fn places_that_are_left_out() {
    let kept = Axis::ragged("time", 9, None);
    Case::new().length(time(), &[5]).check(|g| {
        let x = input(g, "x", &[time(), axis("k", 2)]);
        let y = input(g, "y", &[time()]);
        let here = g.iota(&time());
        let two = g.int(2);
        let rest = g.map(MapOp::Rem, &[here, two]);
        let zero = g.int(0);
        let even = g.map(MapOp::Eq, &[rest, zero]);
        let product = g.map(MapOp::Mul, &[x, y]);
        let short = g.compact(product, even, &time(), &kept);
        let wave = g.map(MapOp::Sin, &[short]);
        let back = g.expand(wave, even, &time(), &kept);
        vec![g.sum(wave, std::slice::from_ref(&kept)), back]
    });
}

#[test]
fn running_sums() {
    let packed = time().packed();
    for reverse in [false, true] {
        let lengths = [2, 0, 3];
        Case::new().length(Axis::item(), &[3]).length(packed.clone(), &lengths).check(|g| {
            let x = input(g, "x", &[axis("i", 4), axis("k", 2)]);
            let y = input(g, "y", std::slice::from_ref(&packed));
            let (x, y) = (g.map(MapOp::Sin, &[x]), g.map(MapOp::Sin, &[y]));
            vec![g.cumsum(x, &axis("i", 4), reverse), g.cumsum(y, &packed, reverse)]
        });
    }
}

#[test]
fn segments() {
    use ReduceOp::*;
    let (token, seq) = (inner().packed(), sample().packed());
    let case =
        || Case::new().length(Axis::item(), &[3]).length(seq.clone(), &[2, 1, 0]).length(token.clone(), &[3, 0, 2]);
    for op in [Sum, Max, Min, Prod] {
        case().check(|g| {
            let x = input(g, "x", &[token.clone(), axis("k", 2)]);
            let by_seq = g.segment_reduce(op, x, &token);
            // The extremum of an empty segment is infinite.
            let infinite = g.float(1e9);
            let size = g.map(MapOp::Abs, &[by_seq]);
            let finite = g.map(MapOp::Lt, &[size, infinite]);
            let zero = g.float(0.0);
            let by_seq = g.map(MapOp::Where, &[finite, by_seq, zero]);
            let by_item = g.segment_reduce(Sum, by_seq, &seq);
            let wave = g.map(MapOp::Sin, &[by_item]);
            let spread = g.segment_tile(wave, &seq);
            let spread = g.segment_tile(spread, &token);
            let all = g.reduce(Sum, x, std::slice::from_ref(&token));
            vec![by_seq, g.map(MapOp::Mul, &[spread, x]), all]
        });
    }
}

#[test]
fn masks_cross_segments() {
    let token = time().packed();
    Case::new()
        .length(Axis::item(), &[3])
        .length(token.clone(), &[2, 0, 3])
        .with("x", Value::floats(vec![token.clone()], vec![1.0, 2.0, 4.0, 3.0, 5.0]))
        .check(|g| {
            let x = input(g, "x", std::slice::from_ref(&token));
            let sum = g.segment_reduce(ReduceOp::Sum, x, &token);
            let zero = g.float(0.0);
            let some = g.map(MapOp::Gt, &[sum, zero]);
            let log = g.map(MapOp::Log, &[sum]);
            let log = g.map(MapOp::Where, &[some, log, zero]);
            let some = g.segment_tile(some, &token);
            let spread = g.segment_tile(sum, &token);
            let root = g.map(MapOp::Sqrt, &[spread]);
            let quotient = g.map(MapOp::Div, &[x, root]);
            vec![log, g.map(MapOp::Where, &[some, quotient, zero])]
        });
}
