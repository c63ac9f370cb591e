//! Linear algebra.

use super::{Case, axis};
use crate::tensor::{Axis, DType, Graph, MapOp, Node};

fn a() -> Axis {
    axis("row", 3)
}

fn b() -> Axis {
    axis("column", 3)
}

fn group() -> Axis {
    axis("group", 2)
}

/// x x' + 2, for each index of `group`.
fn positive(g: &mut Graph) -> Node {
    let wide = axis("wide", 4);
    let x = g.input("x", vec![group(), a(), wide.clone()], DType::Float);
    let y = g.rename(x, &a(), &b());
    let product = g.contract(x, y, &[wide]);
    let (here, there) = (g.iota(&a()), g.iota(&b()));
    let same = g.map(MapOp::Eq, &[here, there]);
    // Unequal on the diagonal, so that eigenvalues lie apart.
    let place = g.map(MapOp::Add, &[here, here]);
    let two = g.float(2.0);
    let place = g.map(MapOp::Add, &[place, two]);
    let diagonal = g.map(MapOp::Mul, &[same, place]);
    g.map(MapOp::Add, &[product, diagonal])
}

#[test]
fn systems() {
    for many in [false, true] {
        Case::new().check(|g| {
            let m = positive(g);
            let skew = g.input("skew", vec![a(), b()], DType::Float);
            let m = g.map(MapOp::Add, &[m, skew]);
            let axes = if many { vec![axis("rhs", 2), a()] } else { vec![a()] };
            let y = g.input("y", axes, DType::Float);
            vec![g.solve(m, y, &a(), &b())]
        });
    }
}

#[test]
fn cholesky() {
    Case::new().check(|g| {
        let m = positive(g);
        vec![g.cholesky(m, &a(), &b())]
    });
}

#[test]
fn eigenvalues_and_vectors() {
    for which in [0..1, 1..2, 0..2] {
        Case::new().check(|g| {
            let m = positive(g);
            g.eigh(m, &a(), &b())[which.clone()].to_vec()
        });
    }
}

#[test]
fn qr() {
    for (rows, columns) in [(4, 3), (3, 3), (3, 5)] {
        for which in [0..1, 1..2, 0..2] {
            Case::new().check(|g| {
                let (a, b) = (axis("row", rows), axis("column", columns));
                let m = g.input("m", vec![a.clone(), b.clone()], DType::Float);
                g.qr(m, &a, &b)[which.clone()].to_vec()
            });
        }
    }
}

#[test]
fn svd() {
    for (rows, columns) in [(4, 3), (3, 3), (2, 4)] {
        for which in [0..1, 1..2, 2..3, 0..3] {
            Case::new().check(|g| {
                let (a, b) = (axis("row", rows), axis("column", columns));
                let m = g.input("m", vec![a.clone(), b.clone()], DType::Float);
                g.svd(m, &a, &b)[which.clone()].to_vec()
            });
        }
    }
}
