use crate::harness::{check, dim, many, token};
use align_compiler::tensor::{Axis, DType, MapOp};

fn vocab() -> Axis {
    Axis::fixed("vocab", 5)
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn gathers() {
    check(|g| {
        let table = g.weight("table", vec![vocab(), dim(70)]);
        let tokens = g.input("tokens", vec![token()], DType::Int);
        let x = g.gather(table, &vocab(), tokens);
        g.output("x", x);
        let scores = g.input("scores", vec![token(), vocab()], DType::Float);
        let picked = g.gather(scores, &vocab(), tokens);
        g.output("picked", picked);
        let one = g.input("one", vec![], DType::Int);
        let row = g.gather(scores, &token(), one);
        g.output("row", row);
        let turned = g.input("turned", vec![dim(70), vocab()], DType::Float);
        let columns = g.gather(turned, &vocab(), tokens);
        g.output("columns", columns);
        let square = g.map(MapOp::Mul, &[columns, x]);
        let sum = g.sum(square, &[token()]);
        g.output("sum", sum);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn scatters() {
    check(|g| {
        let tokens = g.input("tokens", vec![token()], DType::Int);
        for n in [1, 3, 64, 130] {
            let x = g.input(format!("x{n}"), vec![token(), dim(n)], DType::Float);
            let out = g.scatter_add(tokens, x, &vocab(), vec![vocab(), dim(n)]);
            g.output(format!("out{n}"), out);
            let turned = g.scatter_add(tokens, x, &vocab(), vec![dim(n), vocab()]);
            g.output(format!("turned{n}"), turned);
            let counts = g.scatter_add(tokens, x, &vocab(), vec![vocab()]);
            g.output(format!("counts{n}"), counts);
        }
        let x = g.input("w", vec![token()], DType::Float);
        let one = g.scatter_add(tokens, x, &vocab(), vec![vocab()]);
        g.output("one", one);
        let own = g.scatter_add(tokens, x, &vocab(), vec![token(), vocab()]);
        g.output("own", own);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn parts_and_joins() {
    check(|g| {
        let x = g.input("x", vec![many(), dim(12)], DType::Float);
        let (half, head, wide) = (Axis::fixed("half", 5), Axis::fixed("head", 3), Axis::fixed("wide", 20));
        let s = g.slice(x, &dim(12), &half, 4);
        g.output("s", s);
        let p = g.pad(s, &half, &wide, 9);
        g.output("p", p);
        let c = g.concat(&[s, x], &[half.clone(), dim(12)], &Axis::fixed("both", 17));
        g.output("c", c);
        let split = g.split(x, &dim(12), [head.clone(), Axis::fixed("part", 4)]);
        g.output("split", split);
        let sum = g.sum(split, std::slice::from_ref(&head));
        g.output("sum", sum);
        let back = g.flatten(split, [Axis::fixed("part", 4), head], &dim(12));
        g.output("back", back);
        let neg = g.map(MapOp::Neg, &[back]);
        let r = g.rename(neg, &dim(12), &Axis::fixed("other", 12));
        g.output("r", r);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn orders() {
    let to = || Axis::fixed("best", 3);
    check(|g| {
        let x = g.input("x", vec![many(), dim(11)], DType::Float);
        let i = g.input("i", vec![many(), dim(11)], DType::Int);
        for (name, node) in [("float", x), ("int", i)] {
            for axis in [dim(11), many()] {
                let order = g.argsort(node, &axis);
                g.output(format!("{name} order {axis}"), order);
                let top = g.topk(node, &axis, &to());
                g.output(format!("{name} top {axis}"), top);
            }
        }
        let all = g.topk(x, &dim(11), &Axis::fixed("all", 11));
        g.output("all", all);
        let best = g.topk(x, &dim(11), &to());
        let values = g.gather(x, &dim(11), best);
        g.output("values", values);
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn running_sums() {
    check(|g| {
        let x = g.input("x", vec![token(), dim(3)], DType::Float);
        let i = g.input("i", vec![token()], DType::Int);
        for reverse in [false, true] {
            for axis in [token(), dim(3)] {
                let c = g.cumsum(x, &axis, reverse);
                g.output(format!("{axis} {reverse}"), c);
            }
            let c = g.cumsum(i, &token(), reverse);
            g.output(format!("int {reverse}"), c);
        }
    });
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn linear_algebra() {
    let (row, column) = (|| Axis::fixed("row", 4), || Axis::fixed("column", 4));
    check(|g| {
        let x = g.input("x", vec![Axis::fixed("batch", 3), row(), column()], DType::Float);
        let y = g.input("y", vec![row()], DType::Float);
        let s = g.solve(x, y, &row(), &column());
        g.output("s", s);
        let [q, r] = g.qr(x, &row(), &column());
        g.output("q", q);
        g.output("r", r);
        let other = g.rename(x, &row(), &Axis::fixed("row2", 4));
        let square = g.contract(x, other, &[column()]);
        let square = g.rename(square, &Axis::fixed("row2", 4), &column());
        let l = g.cholesky(square, &row(), &column());
        g.output("l", l);
        let [values, vectors] = g.eigh(square, &row(), &column());
        g.output("values", values);
        g.output("vectors", vectors);
        let [u, s, v] = g.svd(x, &row(), &column());
        g.output("u", u);
        g.output("sv", s);
        g.output("v", v);
    });
}
