use super::{Case, axis, between};
use crate::autodiff::{jvp, vjp};
use crate::rewrite::oracle::{Named, Value, run};
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Node};

fn i() -> Axis {
    axis("i", 3)
}

fn j() -> Axis {
    axis("j", 5)
}

#[test]
fn functions_of_one_argument() {
    use MapOp::*;
    for op in [Neg, Abs, Sign, Exp, Log, Sqrt, Rsqrt, Sin, Cos, Tanh, Sigmoid, Floor, Ceil, Round] {
        let x = between(3, &[i(), j()], &Lengths::new(), 0.6, 1.4);
        Case::new().with("x", x).check(|g| {
            let x = g.input("x", vec![i(), j()], DType::Float);
            vec![g.map(op, &[x])]
        });
    }
}

/// Arguments of the same axes, one with an axis more, and axes of their own.
#[test]
fn functions_of_two_arguments() {
    use MapOp::*;
    for op in [Add, Sub, Mul, Div, Rem, Pow, Min, Max] {
        for axes in
            [[vec![i(), j()], vec![j(), i()]], [vec![j()], vec![i(), j()]], [vec![i()], vec![j()]], [vec![i()], vec![]]]
        {
            let x = between(5, &axes[0], &Lengths::new(), 1.1, 2.9);
            let y = between(6, &axes[1], &Lengths::new(), 0.7, 1.05);
            Case::new().with("x", x).with("y", y).check(|g| {
                let x = g.input("x", axes[0].clone(), DType::Float);
                let y = g.input("y", axes[1].clone(), DType::Float);
                vec![g.map(op, &[x, y]), g.map(op, &[y, x])]
            });
        }
    }
}

#[test]
fn powers_with_known_exponents_and_twice_the_same_argument() {
    let x = between(3, &[j()], &Lengths::new(), 0.6, 1.4);
    Case::new().with("x", x).check(|g| {
        let x = g.input("x", vec![j()], DType::Float);
        let powers = [0.0, 1.0, 2.0, 3.0, -1.5].map(|p| {
            let p = g.float(p);
            g.map(MapOp::Pow, &[x, p])
        });
        let square = g.map(MapOp::Mul, &[x, x]);
        let one = g.map(MapOp::Div, &[x, x]);
        [&powers[..], &[square, one]].concat()
    });
}

#[test]
fn selects_comparisons_casts_and_stops() {
    Case::new().with("n", Value::ints(vec![j()], [0, 3, 1, 4, 1])).check(|g| {
        let x = g.input("x", vec![i(), j()], DType::Float);
        let y = g.input("y", vec![j()], DType::Float);
        let n = g.input("n", vec![j()], DType::Int);
        let less = g.map(MapOp::Lt, &[x, y]);
        let selected = g.map(MapOp::Where, &[less, x, y]);
        let flag = g.cast(less, DType::Float);
        let counted = g.map(MapOp::Mul, &[x, n]);
        let whole = g.cast(x, DType::Int);
        let whole = g.map(MapOp::Mul, &[whole, y]);
        vec![selected, flag, counted, whole]
    });
    let stopped = gradient(&[2.0, 3.0], |g, x| {
        let still = g.stop(x);
        g.map(MapOp::Mul, &[still, x])
    });
    assert_eq!(stopped, [2.0, 3.0]);
}

/// The gradient of an expression of x (on j) at these numbers.
fn gradient(x: &[f64], build: impl Fn(&mut Graph, Node) -> Node) -> Vec<f64> {
    let axis = axis("j", x.len());
    let mut g = Graph::new();
    let node = g.input("x", vec![axis.clone()], DType::Float);
    let y = build(&mut g, node);
    let axes = g.axes(y).to_vec();
    let sum = g.sum(y, &axes);
    let grad = vjp(&mut g, sum, None, &[node])[0];
    let tangents = g.float(1.0);
    let moved = jvp(&mut g, &[sum], &[(node, tangents)])[0];
    g.output("grad", grad);
    g.output("moved", moved);
    let given = Named::from([("x".into(), Value::floats(vec![axis], x.to_vec()))]);
    let out = run(&g, &given, &Lengths::new());
    let total: f64 = out["grad"].data.iter().sum();
    assert!((out["moved"].data[0] - total).abs() < 1e-12 || total.is_nan(), "forwards: {:?}", out["moved"].data);
    out["grad"].data.clone()
}

#[test]
fn kinks() {
    use MapOp::*;
    assert_eq!(gradient(&[-2.0, 0.0, 3.0], |g, x| g.map(Abs, &[x])), [-1.0, 0.0, 1.0]);
    let zero = |g: &mut Graph| g.float(0.0);
    let bound = |op: MapOp| {
        gradient(&[-2.0, 0.0, 3.0], |g, x| {
            let zero = zero(g);
            g.map(op, &[x, zero])
        })
    };
    assert_eq!(bound(Max), [0.0, 0.5, 1.0]);
    assert_eq!(bound(Min), [1.0, 0.5, 0.0]);
    for op in [Sign, Floor, Ceil, Round] {
        assert_eq!(gradient(&[-2.0, 0.0, 2.5], |g, x| g.map(op, &[x])), [0.0; 3]);
    }
    let powers = gradient(&[0.0, 2.0], |g, x| {
        let p = g.float(2.0);
        g.map(Pow, &[p, x])
    });
    assert_eq!(powers, [2f64.ln(), 4.0 * 2f64.ln()]);
}

/// What is not selected gets exactly 0, whatever stands there.
#[test]
fn unselected_infinities_do_not_matter() {
    use MapOp::*;
    let points = [-1.0, 0.0, 1.0, 4.0];
    let guarded = |inner: &dyn Fn(&mut Graph, Node) -> Node| {
        gradient(&points, |g, x| {
            let zero = g.float(0.0);
            let positive = g.map(Gt, &[x, zero]);
            let value = inner(g, x);
            g.map(Where, &[positive, value, zero])
        })
    };
    assert_eq!(guarded(&|g, x| g.map(Log, &[x])), [0.0, 0.0, 1.0, 0.25]);
    assert_eq!(guarded(&|g, x| g.map(Sqrt, &[x])), [0.0, 0.0, 0.5, 0.25]);
    let quotient = guarded(&|g, x| {
        let one = g.float(1.0);
        g.map(Div, &[one, x])
    });
    assert_eq!(quotient, [0.0, 0.0, -1.0, -1.0 / 16.0]);
    let entropy = guarded(&|g, x| {
        let log = g.map(Log, &[x]);
        g.map(Mul, &[x, log])
    });
    assert_eq!(entropy[..2], [0.0, 0.0]);
    assert!((entropy[3] - (4f64.ln() + 1.0)).abs() < 1e-12);
    // A chain of several: exp(1 / sqrt(x)) overflows near 0 and is nan below.
    let chain = guarded(&|g, x| {
        let root = g.map(Rsqrt, &[x]);
        let tanh = g.map(Tanh, &[root]);
        let power = g.map(Exp, &[root]);
        g.map(Mul, &[tanh, power])
    });
    assert!(chain.iter().all(|x| x.is_finite()) && chain[..2] == [0.0, 0.0] && chain[2] < 0.0);
}

/// Through broadcasts, casts along rows, sums of a row, and a select within a select.
#[test]
fn masks_reach_what_is_behind() {
    use MapOp::*;
    let grad = gradient(&[4.0, 0.0, 9.0], |g, x| {
        let wide = axis("wide", 2);
        let zero = g.float(0.0);
        let positive = g.map(Gt, &[x, zero]);
        let root = g.map(Sqrt, &[x]);
        let tiled = g.tile(root, &wide);
        let sum = g.sum(tiled, &[wide]);
        let log = g.map(Log, &[sum]);
        let small = g.float(3.0);
        let low = g.map(Lt, &[root, small]);
        let inner = g.map(Where, &[low, log, root]);
        g.map(Where, &[positive, inner, zero])
    });
    assert_eq!(grad, [1.0 / 8.0, 0.0, 1.0 / 6.0]);
    // Selected by one reader, not by another: the first decides.
    let grad = gradient(&[1.0, 4.0], |g, x| {
        let root = g.map(Sqrt, &[x]);
        let two = g.float(2.0);
        let zero = g.float(0.0);
        let small = g.map(Lt, &[x, two]);
        let a = g.map(Where, &[small, root, zero]);
        g.map(Add, &[a, root])
    });
    assert_eq!(grad, [1.0, 0.25]);
}
