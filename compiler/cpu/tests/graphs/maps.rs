use crate::harness::{check, dim, huge, many, token};
use align_compiler::tensor::{Axis, DType, Graph, MapOp, Node, NodeData, Op, RandomKind, ReduceOp};

fn inputs(g: &mut Graph, dtype: DType) -> [Node; 3] {
    let axes = [vec![many(), dim(5)], vec![dim(5)], vec![many()]];
    let mut number = 0;
    axes.map(|axes| {
        number += 1;
        g.input(format!("{dtype:?}{number}"), axes, dtype)
    })
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn functions_of_one_float() {
    use MapOp::*;
    for op in [Neg, Abs, Sign, Exp, Sin, Cos, Tanh, Sigmoid, Floor, Ceil, Round, Bf16, IsNan, Sqrt, Rsqrt, Log] {
        check(|g| {
            let [x, ..] = inputs(g, DType::Float);
            let x = match op {
                Sqrt | Rsqrt | Log => g.map(Abs, &[x]),
                _ => x,
            };
            let y = g.map(op, &[x]);
            g.output("y", y);
        });
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn functions_of_two_numbers() {
    use MapOp::*;
    for op in [Add, Sub, Mul, Div, Rem, Min, Max, Eq, Ne, Lt, Le, Gt, Ge] {
        for dtype in [DType::Float, DType::Int] {
            check(|g| {
                let [x, y, z] = inputs(g, dtype);
                let (x, y) = (g.map(Sub, &[x, z]), g.map(Sub, &[y, x]));
                let three = if dtype == DType::Int { g.int(3) } else { g.float(0.3) };
                let (divides, zero) = (matches!(op, Div | Rem), g.int(0));
                let y = if divides {
                    let is_zero = g.map(Eq, &[y, zero]);
                    g.map(Where, &[is_zero, three, y])
                } else {
                    y
                };
                let r = g.map(op, &[x, y]);
                g.output("r", r);
                let s = g.map(op, &[z, three]);
                g.output("s", s);
            });
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn powers_of_floats_and_ints() {
    check(|g| {
        let [x, y, z] = inputs(g, DType::Float);
        let size = g.map(MapOp::Abs, &[x]);
        let p = g.map(MapOp::Pow, &[size, y]);
        g.output("p", p);
        let three = g.float(3.0);
        let cube = g.map(MapOp::Pow, &[z, three]);
        g.output("cube", cube);
        let [a, b, _] = inputs(g, DType::Int);
        let q = g.map(MapOp::Pow, &[a, b]);
        g.output("q", q);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn bools_and_casts() {
    use MapOp::*;
    check(|g| {
        let [a, b, c] = inputs(g, DType::Bool);
        for op in [And, Or, Eq, Ne, Lt, Le, Gt, Ge, Add, Mul] {
            let r = g.map(op, &[a, b]);
            g.output(format!("{op:?}"), r);
        }
        let n = g.map(Not, &[c]);
        g.output("not", n);
        let [x, y, _] = inputs(g, DType::Float);
        let picked = g.map(Where, &[a, x, y]);
        g.output("picked", picked);
        let which = g.map(Where, &[a, b, c]);
        g.output("which", which);
        for to in [DType::Float, DType::Int, DType::Bool] {
            for (from, node) in [("bool", a), ("float", x)] {
                let cast = g.cast(node, to);
                g.output(format!("{from} to {to:?}"), cast);
            }
        }
        let [i, ..] = inputs(g, DType::Int);
        let [f, t] = [DType::Float, DType::Bool].map(|to| g.cast(i, to));
        g.output("int to float", f);
        g.output("int to bool", t);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn nan_goes_through() {
    check(|g| {
        let [x, y, _] = inputs(g, DType::Float);
        let zero = g.float(0.0);
        let negative = g.map(MapOp::Min, &[x, zero]);
        let bad = g.map(MapOp::Log, &[negative]);
        for op in [MapOp::Max, MapOp::Min, MapOp::Add, MapOp::Ne, MapOp::Lt] {
            let (left, right) = (g.map(op, &[bad, y]), g.map(op, &[y, bad]));
            g.output(format!("{op:?} left"), left);
            g.output(format!("{op:?} right"), right);
        }
        let sizes = g.map(MapOp::IsNan, &[bad]);
        g.output("is", sizes);
        for op in [ReduceOp::Max, ReduceOp::Min] {
            let all = g.reduce(op, bad, &[dim(5)]);
            g.output(format!("over dim {op:?}"), all);
            let all = g.reduce(op, bad, &[many()]);
            g.output(format!("over many {op:?}"), all);
        }
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn layouts_broadcasts_and_indices() {
    check(|g| {
        let x = g.input("x", vec![dim(5), many()], DType::Float);
        let y = g.input("y", vec![many(), dim(5)], DType::Float);
        let z = g.map(MapOp::Mul, &[x, y]);
        g.output("z", z);
        let i = g.iota(&many());
        let j = g.iota(&dim(5));
        let k = g.map(MapOp::Mul, &[i, j]);
        let k = g.cast(k, DType::Float);
        let w = g.map(MapOp::Add, &[z, k]);
        g.output("w", w);
        let t = g.tile(w, &Axis::fixed("head", 3));
        g.output("t", t);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn many_blocks_of_work() {
    check(|g| {
        let x = g.input("x", vec![huge()], DType::Float);
        let y = g.map(MapOp::Tanh, &[x]);
        g.output("y", y);
        let w = g.weight("w", vec![dim(3)]);
        let z = g.map(MapOp::Mul, &[y, w]);
        g.output("z", z);
    });
}

fn random(g: &mut Graph, kind: RandomKind, inputs: &[Node], axes: Vec<Axis>) -> Node {
    g.push(NodeData::new(Op::Random(kind, 3), inputs.to_vec(), axes, DType::Float))
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn random_numbers() {
    check(|g| {
        let seed = g.input("seed", vec![], DType::Int);
        let step = g.input("step", vec![token()], DType::Int);
        let u = random(g, RandomKind::Uniform, &[seed, step], vec![token(), dim(5)]);
        g.output("u", u);
        let n = random(g, RandomKind::Normal, &[seed], vec![dim(300)]);
        g.output("n", n);
    });
}
