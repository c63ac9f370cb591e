//! Small dense linear algebra over two axes, for every index of the others.

use super::{At, Run, Value, walk};
use crate::linalg::{Matrix, cholesky, eigh, qr, solve, svd};
use crate::tensor::graph::rank_axis;
use crate::tensor::{Axis, DType};

impl Run<'_> {
    /// Applies `f` to the matrix [a, b] of the first input for every index of its other axes. `f` fills its results; their
    /// axes are the other axes and then those of `results`.
    fn each_matrix(
        &self,
        a: &Axis,
        b: &Axis,
        at: &At,
        results: &[Vec<Axis>],
        f: impl Fn(&Matrix, usize) -> Result<Vec<Vec<f64>>, String>,
    ) -> Result<Vec<Value>, String> {
        let x = at.inputs[0];
        let others: Vec<Axis> = x.axes.iter().filter(|n| *n != a && *n != b).cloned().collect();
        let all: Vec<Axis> = others.iter().chain([a, b]).cloned().collect();
        let x = x.laid_out(&all, &self.lengths);
        let (rows, columns) = (self.size(a), self.size(b));
        let count: usize = self.sizes(&others).iter().product();
        let mut data = vec![vec![]; results.len()];
        for i in 0..count {
            let part = x.data[i * rows * columns..(i + 1) * rows * columns].to_vec();
            let made = f(&Matrix { rows, columns, data: part }, i)?;
            data.iter_mut().zip(made).for_each(|(all, one)| all.extend(one));
        }
        let value = |(data, own): (Vec<f64>, &Vec<Axis>)| {
            let axes: Vec<Axis> = others.iter().chain(own).cloned().collect();
            let data = data.into_iter().map(|x| self.round(DType::Float, x)).collect();
            Value { axes, dtype: DType::Float, data }
        };
        Ok(data.into_iter().zip(results).map(value).collect())
    }

    /// x on b with sum[b](m x) = y.
    pub(super) fn solve(&self, a: &Axis, b: &Axis, at: &At) -> Result<Value, String> {
        let (m, y) = (at.inputs[0], at.inputs[1]);
        let others: Vec<Axis> = at.axes.iter().filter(|n| *n != b).cloned().collect();
        let (from, right) = (m.strides(&others, &self.lengths), y.strides(&others, &self.lengths));
        let to = self.strides_of(at.axes, &others);
        let step = |axes: &[Axis], axis: &Axis| walk::stride(axes, axis, &self.lengths);
        let (rows, columns) = (step(&m.axes, a), step(&m.axes, b));
        let (down, out) = (step(&y.axes, a), step(at.axes, b));
        let n = self.size(a);
        if n != self.size(b) {
            return Err(format!("the matrix of a linear system has {n} rows and {} columns", self.size(b)));
        }
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        let mut fault = None;
        walk::walk(&self.sizes(&others), &[&from, &right, &to], |p| {
            let mut matrix = Matrix::zeros(n, n);
            (0..n * n).for_each(|k| matrix.data[k] = m.data[p[0] + k / n * rows + k % n * columns]);
            let y: Vec<f64> = (0..n).map(|i| y.data[p[1] + i * down]).collect();
            match solve(matrix, y) {
                Some(x) => x.iter().enumerate().for_each(|(i, x)| data[p[2] + i * out] = *x),
                None => fault = Some("the matrix of a linear system is singular".to_string()),
            }
        });
        fault.map_or(Ok(self.value(at, data)), Err)
    }

    /// The lower triangle L with L L' = m.
    pub(super) fn cholesky(&self, a: &Axis, b: &Axis, at: &At) -> Result<Value, String> {
        let axes = vec![a.clone(), b.clone()];
        let mut made = self.each_matrix(a, b, at, &[axes], |m, _| {
            let l = cholesky(m).ok_or("the matrix of a Cholesky decomposition is not positive definite")?;
            Ok(vec![l.data])
        })?;
        Ok(made.remove(0).laid_out(at.axes, &self.lengths))
    }

    /// q on [a, rank] and r on [rank, b], rank the smaller size; by Householder reflections, as LAPACK signs them.
    pub(super) fn qr(&self, a: &Axis, b: &Axis, at: &At) -> Result<Vec<Value>, String> {
        let rank = rank_axis(self.size(a), self.size(b));
        let results = [vec![a.clone(), rank.clone()], vec![rank, b.clone()]];
        self.each_matrix(a, b, at, &results, |m, _| {
            let (q, r) = qr(m);
            Ok(vec![q.data, r.data])
        })
    }

    /// Ascending eigenvalues on b, and on [a, b] the vectors as columns, each with its largest entry positive.
    pub(super) fn eigh(&self, a: &Axis, b: &Axis, at: &At) -> Result<Vec<Value>, String> {
        let results = [vec![b.clone()], vec![a.clone(), b.clone()]];
        self.each_matrix(a, b, at, &results, |m, _| {
            let (values, vectors) = eigh(m);
            Ok(vec![values, vectors.data])
        })
    }

    /// u on [a, rank], s descending on [rank], v on [b, rank]: m = u s v'.
    pub(super) fn svd(&self, a: &Axis, b: &Axis, at: &At) -> Result<Vec<Value>, String> {
        let rank = rank_axis(self.size(a), self.size(b));
        let results = [vec![a.clone(), rank.clone()], vec![rank.clone()], vec![b.clone(), rank]];
        self.each_matrix(a, b, at, &results, |m, _| {
            let (u, s, v) = svd(m);
            Ok(vec![u.data, s, v.data])
        })
    }
}
